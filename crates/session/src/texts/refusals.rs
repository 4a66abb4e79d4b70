//! Refusals and notes about a failure. A refusal is one or two clauses without a full stop;
//! `exit::Failure` puts `sshbox:` before it and the reference behind it.
#![expect(missing_docs, reason = "each text says what it is")]

use crate::escape::printable;

// What sshbox-shell refuses.
pub const NOT_STARTED_BY_SSHD: &str = "only sshbox's sshd can start this program";
pub const NO_SESSION_FILES: &str = "the host cannot create the files of your session; tell your admin";
pub const IN_TRANSITION: &str = "another start or stop of your box takes too long; try again in a minute";
pub const STOPPED_AGAIN: &str =
    "your box stopped again right after its start; try again, then tell your admin";
pub const INVALID_REPLY: &str =
    "your box gave an answer that makes no sense; its init may be broken, tell your admin";
pub const NO_WAKE_SERVICE: &str =
    "your box cannot be reached; tell your admin that the wake service does not answer";
pub const TOO_MANY_WAKES: &str = "too many boxes are being started; try again in a moment";
pub const WAKE_FAILED: &str = "your box cannot be started; tell your admin";
pub const NOT_WATCHED: &str = "sshbox cannot watch the session; try again, then tell your admin";
pub const NO_TERMINAL: &str = "the terminal cannot be used; try again, then tell your admin";
pub const TOO_FAST: &str = "you begin sessions faster than the host can serve them; try again in a minute";
pub const ACCOUNT_REFUSED: &str =
    "your account may not log in any more, so this connection is closed; ask those who manage it";
pub const NO_LONGER_ACCEPTED: &str =
    "your login is no longer accepted, so this connection is closed; log in again";

// What any program says when a library panics.
pub const BROKEN: &str = "sshbox itself failed; try again in a minute, then tell your admin";

// What the special commands refuse.
pub const SSHD_WITHOUT_TERMINAL: &str =
    "@sshd speaks to an ssh client, not to a terminal; see @help for the lines that call it";
pub const SSHD_WITHOUT_KEY: &str =
    "@sshd cannot tell which key you logged in with; tell your admin that sshd needs ExposeAuthInfo";

// What sshbox-wake refuses.
pub const NOT_YOURS: &str = "this box is not yours";
pub const SHORT_OF_RESOURCES: &str = "the host is short of resources; try again in a minute";
pub const NOT_SET_UP: &str = "sshbox is not configured correctly; tell your admin";
pub const NO_BOX_FILES: &str = "the host cannot create the files of your box; tell your admin";
pub const BOX_BUSY: &str = "your box is being started or stopped; try again in a minute";
pub const TOO_SLOW: &str = "your box takes too long to start; try again in a minute, then tell your admin";
pub const NO_ACCOUNT: &str = "this host has no account for you; log in again, then tell your admin";
pub const STATE_KEEPS_CHANGING: &str =
    "the state of your box keeps changing; try again in a minute, then tell your admin";
pub const NO_IMAGE: &str = "the image of your box is not on this host; tell your admin";
pub const NO_BOX_NAME: &str = "the host cannot read the secret that names your box; tell your admin";
pub const ENDED_AT_ONCE: &str = "your box started and ended at once; try again, then tell your admin";
pub const NO_FILTER: &str =
    "the kernel of the host cannot filter the system calls of your box; tell your admin";
pub const NETWORK_BUSY: &str = "another process is creating the network of the boxes; try again in a minute";
pub const IMAGE_BUSY: &str = "another process is reading the image of your box; try again in a minute";
pub const NO_NETWORK_RULES: &str = "the network rules of boxes are not loaded, so no box starts; tell your admin to run sshbox network apply";
pub const NETWORK_NOT_FILTERED: &str =
    "sshbox cannot filter the network of the boxes, so no box starts; tell your admin to run sshbox doctor";
pub const FOREIGN: &str = "a container that is not yours has the name of your box; tell your admin";
pub const OTHER_ACCOUNT: &str =
    "the home of this name belongs to an earlier account; your admin must decide what to do with it";
pub const UID_NOT_FOR_BOXES: &str = "your account names a uid that is not for boxes; tell your admin";
pub const UID_TAKEN: &str = "the uid of your box belongs to another box; tell your admin";
pub const UID_OF_HOST: &str = "the uid of your box belongs to a user of the host; tell your admin";
pub const NO_UID: &str = "the host has no uid for your box; tell your admin";
pub const NO_HOME: &str = "your home cannot be opened; tell your admin";
pub const NO_DISK_SERVICE: &str =
    "your home cannot be prepared; tell your admin that the disk service does not answer";
pub const DISK_TOO_SLOW: &str =
    "your home takes too long to prepare; try again in a minute, then tell your admin";
pub const DISK_BUSY: &str = "your home is being worked on; try again in a minute";
pub const DISK_FAILED: &str = "your home cannot be prepared; tell your admin";
pub const DISK_NOT_SET_UP: &str =
    "the host cannot limit your home, so your box does not start; tell your admin to run sshbox doctor";
pub const DISK_DAMAGED: &str =
    "the file system of your home is damaged; your admin must repair it, so do not try again";
pub const DISK_REPAIR: &str =
    "the file system of your home must be repaired, which takes a while; your admin must run sshbox quota";
pub const HOME_MISSING: &str =
    "your home is missing on this host, and no other home is made in its place; tell your admin";
pub const IMAGE_MISSING: &str =
    "the image of your home is not on this host, and no other home is made in its place; tell your admin";
pub const TWO_HOMES: &str =
    "this host has two homes for you, a directory and an image; your admin must decide which is yours";
pub const NO_ENGINE: &str =
    "the container engine does not run, so boxes cannot be started, stopped or shown; tell your admin";
pub const SLOW_ENGINE: &str = "the container engine is too slow; try again in a minute, then tell your admin";
pub const ENGINE_FAILED: &str = "the container engine refused that for your box; tell your admin";
pub const NO_ANSWER: &str = "your box runs but does not answer; try again in a minute, then tell your admin";

// What sshbox-init refuses.
pub const NO_SFTP_SERVER: &str =
    "this box has no sftp server; its image needs the package openssh-sftp-server";
pub const NO_SSH_SERVER: &str = "this box has no SSH server; its image needs the package openssh-server";
pub const NO_HOST_KEY: &str = "the host gave your box no host key; try @restart, then tell your admin";
pub const TOO_MANY_IN_FLIGHT: &str = "the programs in your box send each other too many file descriptors; end some of them, or stop all with @restart";

/// The user has as many sessions open as allowed. The special commands still work.
#[must_use]
pub fn too_many_sessions(most: u32) -> String {
    let sessions = if most == 1 { "1 open session".to_owned() } else { format!("{most} open sessions") };
    format!(
        "you have {sessions}, the most you may have; close some, or end all with @restart (@status counts them)"
    )
}

/// The user has as many connections open as allowed: shown by the client before its login is refused.
#[must_use]
pub fn too_many_connections(most: u32) -> String {
    let connections =
        if most == 1 { "1 open connection".to_owned() } else { format!("{most} open connections") };
    format!("you have {connections}, the most you may have; close some and log in again")
}

/// The network of this connection could not be separated from that of the host.
pub const NO_NETWORK_NAMESPACE: &str = "this host could not separate your connection from its own network, so the login was refused; try again, then tell your admin";

/// The key of this connection was removed from the account.
#[must_use]
pub fn key_removed(fingerprint: &str) -> String {
    format!(
        "the key {fingerprint} was removed from your account, so this connection is closed; log in with another key"
    )
}

/// The home belongs to another uid than the box.
#[must_use]
pub fn home_of_another_uid(login: &str) -> String {
    format!("your home belongs to another uid on this host; ask your admin to run: sudo sshbox chown {login}")
}

/// The variables of the client, alone or with the command, do not fit into a request.
#[must_use]
pub fn environment_too_long(length: usize, most: usize) -> String {
    let (length, most) = (length / 1000, most / 1000);
    format!(
        "the variables that your client and your site send are {length} KB long, and at most {most} KB fit, command included; see SendEnv and SetEnv in your ssh_config"
    )
}

/// The account names a directory that the container does not have.
#[must_use]
pub fn no_directory(path: &str) -> String {
    format!(
        "sshbox: this box has no directory {path}, which your site sets as the first one; this session begins in your home"
    )
}

/// The container has no terminfo entry for the client's terminal.
#[must_use]
pub fn unknown_terminal(name: &str, instead: &str) -> String {
    format!("sshbox: this box does not know the terminal type {name}; its programs get {instead}")
}

/// The image lacks a program that every image should have.
#[must_use]
pub fn no_program(program: &str) -> String {
    format!("the image of this box has no {program}")
}

/// The limit `pids` is reached; with the number of tasks and the limit, if known. Both count threads,
/// so a user who counts processes sees fewer.
#[must_use]
pub fn too_many_tasks(tasks: Option<(u64, u64)>) -> String {
    let of = tasks.map_or(String::new(), |(now, most)| format!(", {now} of {most}"));
    format!(
        "your box has as many tasks as it may (processes and threads{of}); end some of them, or stop all with @restart"
    )
}

/// The limit `ptys` is reached, if a number is given; otherwise the limit of the host is.
#[must_use]
pub fn no_terminal_left(most: Option<u32>) -> String {
    most.map_or_else(
        || "the host has no terminal left for your box; try again in a minute, then tell your admin".to_owned(),
        |most| format!("your box has as many terminals as it may ({most}); close some of them, or stop all with @restart"),
    )
}

/// The account names this image, and the configuration does not allow it.
#[must_use]
pub fn image_not_allowed(image: &str) -> String {
    format!(
        "your account names the image {}, which box.images does not allow; tell your admin",
        printable(image.as_bytes())
    )
}

/// The kernel cannot start a program, for this reason.
#[must_use]
pub fn cannot_start(error: &std::io::Error) -> String {
    format!("your box cannot start a program: {error}")
}

/// Programs that clients run in the container, and the Debian packages that contain them.
const PACKAGES: [(&str, &str); 6] = [
    ("rsync", "rsync"),
    ("scp", "openssh-client"),
    ("git-upload-pack", "git"),
    ("git-receive-pack", "git"),
    ("git-upload-archive", "git"),
    ("mosh-server", "mosh"),
];

/// The image lacks the program of this command, if it is one of the above.
#[must_use]
pub fn missing_program(command: &[u8]) -> Option<String> {
    let program = command.split(|byte| *byte == b' ').next()?;
    let (program, package) = PACKAGES.iter().find(|(name, _)| name.as_bytes() == program)?;
    Some(format!("this box has no {program}; its image needs the package {package}"))
}

/// The command added a key to a file that sshbox does not use, as `ssh-copy-id` does.
#[must_use]
pub fn key_without_effect(command: &[u8]) -> Option<&'static str> {
    let appends_to = |after: &str| {
        let path = after.trim_start_matches([' ', '"', '\'', '\\']);
        let path =
            ["~/", "$HOME/", "${HOME}/"].iter().find_map(|home| path.strip_prefix(home)).unwrap_or(path);
        path.starts_with(".ssh/authorized_keys")
    };
    let command = std::str::from_utf8(command).ok()?;
    let found = command.split(">>").skip(1).any(appends_to);
    found.then_some(
        "sshbox: keys in ~/.ssh/authorized_keys do not log in to your box; @keys says where to add one",
    )
}

#[cfg(test)]
mod tests {
    use super::*;
    use insta::assert_snapshot;

    #[test]
    #[expect(clippy::too_many_lines, reason = "a list of all texts")]
    fn every_refusal_says_what_to_do_in_one_line() {
        let refusals = [
            NOT_STARTED_BY_SSHD,
            NO_SESSION_FILES,
            IN_TRANSITION,
            STOPPED_AGAIN,
            INVALID_REPLY,
            NO_WAKE_SERVICE,
            TOO_MANY_WAKES,
            WAKE_FAILED,
            NOT_WATCHED,
            NO_TERMINAL,
            TOO_FAST,
            ACCOUNT_REFUSED,
            NO_LONGER_ACCEPTED,
            BROKEN,
            SSHD_WITHOUT_TERMINAL,
            SSHD_WITHOUT_KEY,
            NOT_YOURS,
            SHORT_OF_RESOURCES,
            NOT_SET_UP,
            NO_BOX_FILES,
            BOX_BUSY,
            TOO_SLOW,
            NO_ACCOUNT,
            STATE_KEEPS_CHANGING,
            NO_IMAGE,
            NO_BOX_NAME,
            ENDED_AT_ONCE,
            NO_FILTER,
            NETWORK_BUSY,
            IMAGE_BUSY,
            NO_NETWORK_RULES,
            NETWORK_NOT_FILTERED,
            FOREIGN,
            OTHER_ACCOUNT,
            UID_NOT_FOR_BOXES,
            UID_TAKEN,
            UID_OF_HOST,
            NO_UID,
            NO_HOME,
            NO_DISK_SERVICE,
            DISK_TOO_SLOW,
            DISK_BUSY,
            DISK_FAILED,
            DISK_NOT_SET_UP,
            DISK_DAMAGED,
            DISK_REPAIR,
            HOME_MISSING,
            IMAGE_MISSING,
            TWO_HOMES,
            NO_ENGINE,
            SLOW_ENGINE,
            ENGINE_FAILED,
            NO_ANSWER,
            NO_SFTP_SERVER,
            NO_SSH_SERVER,
            NO_HOST_KEY,
            TOO_MANY_IN_FLIGHT,
        ];
        assert_snapshot!(refusals.join("\n"), @"
        only sshbox's sshd can start this program
        the host cannot create the files of your session; tell your admin
        another start or stop of your box takes too long; try again in a minute
        your box stopped again right after its start; try again, then tell your admin
        your box gave an answer that makes no sense; its init may be broken, tell your admin
        your box cannot be reached; tell your admin that the wake service does not answer
        too many boxes are being started; try again in a moment
        your box cannot be started; tell your admin
        sshbox cannot watch the session; try again, then tell your admin
        the terminal cannot be used; try again, then tell your admin
        you begin sessions faster than the host can serve them; try again in a minute
        your account may not log in any more, so this connection is closed; ask those who manage it
        your login is no longer accepted, so this connection is closed; log in again
        sshbox itself failed; try again in a minute, then tell your admin
        @sshd speaks to an ssh client, not to a terminal; see @help for the lines that call it
        @sshd cannot tell which key you logged in with; tell your admin that sshd needs ExposeAuthInfo
        this box is not yours
        the host is short of resources; try again in a minute
        sshbox is not configured correctly; tell your admin
        the host cannot create the files of your box; tell your admin
        your box is being started or stopped; try again in a minute
        your box takes too long to start; try again in a minute, then tell your admin
        this host has no account for you; log in again, then tell your admin
        the state of your box keeps changing; try again in a minute, then tell your admin
        the image of your box is not on this host; tell your admin
        the host cannot read the secret that names your box; tell your admin
        your box started and ended at once; try again, then tell your admin
        the kernel of the host cannot filter the system calls of your box; tell your admin
        another process is creating the network of the boxes; try again in a minute
        another process is reading the image of your box; try again in a minute
        the network rules of boxes are not loaded, so no box starts; tell your admin to run sshbox network apply
        sshbox cannot filter the network of the boxes, so no box starts; tell your admin to run sshbox doctor
        a container that is not yours has the name of your box; tell your admin
        the home of this name belongs to an earlier account; your admin must decide what to do with it
        your account names a uid that is not for boxes; tell your admin
        the uid of your box belongs to another box; tell your admin
        the uid of your box belongs to a user of the host; tell your admin
        the host has no uid for your box; tell your admin
        your home cannot be opened; tell your admin
        your home cannot be prepared; tell your admin that the disk service does not answer
        your home takes too long to prepare; try again in a minute, then tell your admin
        your home is being worked on; try again in a minute
        your home cannot be prepared; tell your admin
        the host cannot limit your home, so your box does not start; tell your admin to run sshbox doctor
        the file system of your home is damaged; your admin must repair it, so do not try again
        the file system of your home must be repaired, which takes a while; your admin must run sshbox quota
        your home is missing on this host, and no other home is made in its place; tell your admin
        the image of your home is not on this host, and no other home is made in its place; tell your admin
        this host has two homes for you, a directory and an image; your admin must decide which is yours
        the container engine does not run, so boxes cannot be started, stopped or shown; tell your admin
        the container engine is too slow; try again in a minute, then tell your admin
        the container engine refused that for your box; tell your admin
        your box runs but does not answer; try again in a minute, then tell your admin
        this box has no sftp server; its image needs the package openssh-sftp-server
        this box has no SSH server; its image needs the package openssh-server
        the host gave your box no host key; try @restart, then tell your admin
        the programs in your box send each other too many file descriptors; end some of them, or stop all with @restart
        ");
    }

    #[test]
    fn texts_with_a_value() {
        assert_snapshot!(home_of_another_uid("alice"), @"your home belongs to another uid on this host; ask your admin to run: sudo sshbox chown alice");
        assert_snapshot!(environment_too_long(210_000, 200_000), @"the variables that your client and your site send are 210 KB long, and at most 200 KB fit, command included; see SendEnv and SetEnv in your ssh_config");
        assert_snapshot!(no_directory("proj/one"), @"sshbox: this box has no directory proj/one, which your site sets as the first one; this session begins in your home");
        assert_snapshot!(unknown_terminal("ghostty", "xterm-256color"), @"sshbox: this box does not know the terminal type ghostty; its programs get xterm-256color");
        assert_snapshot!(image_not_allowed("lab/r:4"), @"your account names the image lab/r:4, which box.images does not allow; tell your admin");
        assert_snapshot!(no_program("/bin/zsh"), @"the image of this box has no /bin/zsh");
        assert_snapshot!(cannot_start(&std::io::Error::from_raw_os_error(5)), @"your box cannot start a program: Input/output error (os error 5)");
        assert_snapshot!(too_many_tasks(Some((512, 512))), @"your box has as many tasks as it may (processes and threads, 512 of 512); end some of them, or stop all with @restart");
        assert_snapshot!(too_many_tasks(None), @"your box has as many tasks as it may (processes and threads); end some of them, or stop all with @restart");
        assert_snapshot!(no_terminal_left(Some(256)), @"your box has as many terminals as it may (256); close some of them, or stop all with @restart");
        assert_snapshot!(no_terminal_left(None), @"the host has no terminal left for your box; try again in a minute, then tell your admin");
        assert_snapshot!(missing_program(b"rsync --server -e.LsfxCIvu . x").unwrap(), @"this box has no rsync; its image needs the package rsync");
        assert_snapshot!(missing_program(b"git-upload-pack 'x.git'").unwrap(), @"this box has no git-upload-pack; its image needs the package git");
        assert_snapshot!(too_many_sessions(50), @"you have 50 open sessions, the most you may have; close some, or end all with @restart (@status counts them)");
        assert_snapshot!(too_many_connections(20), @"you have 20 open connections, the most you may have; close some and log in again");
        assert_snapshot!(NO_NETWORK_NAMESPACE, @"this host could not separate your connection from its own network, so the login was refused; try again, then tell your admin");
        assert_snapshot!(key_removed("SHA256:a"), @"the key SHA256:a was removed from your account, so this connection is closed; log in with another key");
        assert_eq!(missing_program(b"ls"), None);
        assert_eq!(missing_program(b""), None);
        let note = key_without_effect(b"cat >> ~/.ssh/authorized_keys").unwrap();
        assert_snapshot!(note, @"sshbox: keys in ~/.ssh/authorized_keys do not log in to your box; @keys says where to add one");
        for command in [
            &br#"exec sh -c 'cd ; umask 077 ; mkdir -p ".ssh" && cat >> ".ssh/authorized_keys" || exit 1'"#[..],
            b"cat >>.ssh/authorized_keys2",
            b"tee x >> log; cat >> \"$HOME/.ssh/authorized_keys\"",
        ] {
            assert_eq!(key_without_effect(command), Some(note), "{}", String::from_utf8_lossy(command));
        }
        for command in ["cat ~/.ssh/authorized_keys", "cat ~/.ssh/authorized_keys >> keys", "echo >> x", ""] {
            assert_eq!(key_without_effect(command.as_bytes()), None, "{command}");
        }
    }
}
