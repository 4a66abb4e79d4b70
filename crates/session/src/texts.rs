//! Every sentence that a user of a box reads, in one place: what went wrong and what to do,
//! what sshbox's own words say, and what is shown while one waits. The tests below hold each
//! as a snapshot. Knows no terminal, no socket and no clock.
//!
//! A refusal is one or two clauses without a full stop; `exit::Failure` puts `sshbox:` before
//! it and the reference behind it.
#![expect(missing_docs, reason = "a text says what it is")]

use std::time::Duration;

// What sshbox-shell refuses.
pub const NOT_BY_HAND: &str = "this is started by sshbox's sshd, not by hand";
pub const NO_ROOM_FOR_SESSION: &str = "the host cannot make room for your session; tell your admin";
pub const IN_TRANSITION: &str =
    "your box is being started or stopped and does not end; try again in a minute";
pub const WENT_AWAY: &str = "your box started and went away again; try again, then tell your admin";
pub const NO_SENSE: &str =
    "your box gave an answer that makes no sense; its init may be broken, tell your admin";
pub const NO_WAKE_SERVICE: &str =
    "your box cannot be reached now; tell your admin that the wake service does not answer";
pub const TOO_MANY_WAKES: &str = "too many boxes are being started; try again in a moment";
pub const WAKE_FAILED: &str = "your box cannot be started; tell your admin";
pub const NOT_WATCHED: &str = "the session cannot be watched; try again, then tell your admin";
pub const NO_TERMINAL: &str = "the terminal cannot be used; try again, then tell your admin";

// What any of our programs says when a library of it panics.
pub const BROKEN: &str = "sshbox itself failed; try again in a minute, then tell your admin";

// What the words refuse.
pub const SSHD_WITHOUT_TERMINAL: &str =
    "@sshd speaks to an ssh client, not to a terminal; see @help for the lines that call it";
pub const SSHD_WITHOUT_KEY: &str = "the key of this login is not known, so @sshd cannot let it in; tell your admin that sshd needs ExposeAuthInfo";

// What sshbox-wake refuses.
pub const NOT_YOURS: &str = "this box is not yours";
pub const SHORT_OF_RESOURCES: &str = "the host is short of resources; try again in a minute";
pub const NOT_SET_UP: &str = "sshbox is not set up right; tell your admin";
pub const NO_ROOM_FOR_BOX: &str = "the host cannot make room for your box; tell your admin";
pub const BOX_BUSY: &str = "your box is being started or stopped; try again in a minute";
pub const TOO_SLOW: &str = "your box takes too long to start; try again in a minute, then tell your admin";
pub const NO_ACCOUNT: &str = "your account is not known here; log in again, then tell your admin";
pub const NO_REST: &str = "your box does not come to rest; try again in a minute, then tell your admin";
pub const NO_IMAGE: &str = "the image of your box is not on this host; tell your admin";
pub const ENDED_AT_ONCE: &str = "your box started and ended at once; try again, then tell your admin";
pub const NETWORK_BUSY: &str = "the network of the boxes is being made; try again in a minute";
pub const FOREIGN: &str = "a container that is not yours has the name of your box; tell your admin";
pub const OTHER_ACCOUNT: &str =
    "the home of this name belongs to an earlier account; your admin must decide what becomes of it";
pub const NO_HOME: &str = "your home cannot be opened; tell your admin";
pub const NO_ENGINE: &str =
    "boxes cannot be started, stopped or looked at now: Docker does not run; tell your admin";
pub const SLOW_ENGINE: &str = "Docker is too slow for your box; try again in a minute, then tell your admin";
pub const ENGINE_FAILED: &str = "Docker cannot do that to your box; tell your admin";
pub const NO_ANSWER: &str = "your box runs but does not answer; try again in a minute, then tell your admin";

// What the init of a box refuses.
pub const NO_SFTP_SERVER: &str =
    "this box has no sftp server; its image needs the package openssh-sftp-server";
pub const NO_SSH_SERVER: &str = "this box has no SSH server; its image needs the package openssh-server";
pub const NO_HOST_KEY: &str = "the host gave your box no host key; try @restart, then tell your admin";

/// Variables that do not fit into a request, alone or with the command.
#[must_use]
pub fn environment_too_long(length: usize, most: usize) -> String {
    let (length, most) = (length / 1000, most / 1000);
    format!(
        "the variables that your client sends are {length} KB long, and together with the command {most} KB are possible; see SendEnv and SetEnv in your ssh_config"
    )
}

/// On a terminal whose type the box does not know.
#[must_use]
pub fn unknown_terminal(name: &str, instead: &str) -> String {
    format!("sshbox: this box does not know the terminal type {name}; its programs get {instead}")
}

/// A program that every image should have.
#[must_use]
pub fn no_program(program: &str) -> String {
    format!("the image of this box has no {program}")
}

/// When no program can be started because of the limit `pids`; with the number of tasks and the
/// limit, if they are known. Both count threads: a user who counts processes sees fewer.
#[must_use]
pub fn too_many_tasks(tasks: Option<(u64, u64)>) -> String {
    let of = tasks.map_or(String::new(), |(now, most)| format!(", {now} of {most}"));
    format!(
        "your box has as many tasks as it may (processes and threads{of}); end some of them, or stop all with @restart"
    )
}

/// The kernel's word on why a program cannot be started.
#[must_use]
pub fn cannot_start(error: &std::io::Error) -> String {
    format!("your box cannot start a program: {error}")
}

/// Programs that clients call on this side, and the Debian packages that bring them.
const PACKAGES: [(&str, &str); 6] = [
    ("rsync", "rsync"),
    ("scp", "openssh-client"),
    ("git-upload-pack", "git"),
    ("git-receive-pack", "git"),
    ("git-upload-archive", "git"),
    ("mosh-server", "mosh"),
];

/// What to say when the box does not know the program that a client called, if that is one.
#[must_use]
pub fn missing_program(command: &[u8]) -> Option<String> {
    let program = command.split(|byte| *byte == b' ').next()?;
    let (program, package) = PACKAGES.iter().find(|(name, _)| name.as_bytes() == program)?;
    Some(format!("this box has no {program}; its image needs the package {package}"))
}

/// What to say after a command that added a key where no key counts, as `ssh-copy-id` does.
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

// At the first login with a terminal.

/// Three lines: whose box it is, what it may use, and when it stops.
#[must_use]
pub fn first_words(login: &str, cores: &str, memory: &str, tasks: u64, idle: Option<Duration>) -> String {
    let end = idle.map_or_else(
        || "It is not stopped for being idle.".to_owned(),
        |idle| format!("It stops {} after the last session.", span(idle)),
    );
    format!(
        "\
This is the box of {login}, a container of its own. Files in the home stay, others do not.
It may use {cores}, {memory} of memory and {tasks} tasks (processes and threads).
{end} More, typed on your own machine: ssh ... @help
"
    )
}

// While a box starts.

/// Shown on a terminal from the third tenth of a second on, behind a sign that turns.
pub const STARTING: &str = "starting your box ...";
/// … while it is stopped by `@restart` or `@stop`.
pub const STOPPING: &str = "stopping your box ...";
/// The same for an admin.
pub const ADMIN_STARTING: &str = "starting the box ...";
pub const ADMIN_STOPPING: &str = "stopping the box ...";
pub const ADMIN_REAPING: &str = "looking at all boxes ...";
/// After Ctrl-C.
pub const CANCELLED: &str = "sshbox: cancelled";

/// What takes back what a full-screen program may have left set in a terminal when its box
/// ended under it: the other screen, a hidden cursor, bracketed paste, mouse, colours, keypad.
/// xterm's control sequences; each does nothing where it was not set.
pub const CALM: &str = concat!(
    "\x1b[?1047l\x1b[?25h\x1b[?2004l",
    "\x1b[?1000l\x1b[?1002l\x1b[?1003l\x1b[?1006l",
    "\x1b[0m\x1b[?1l\x1b>\r"
);

// Why a box was stopped; each goes on "your box was stopped: …".

pub const BY_ITS_USER: &str = "you typed @stop";
pub const BY_RESTART: &str = "you typed @restart";
pub const BY_ADMIN: &str = "an admin stopped it";
pub const RESTARTED_BY_ADMIN: &str = "an admin restarted it";
pub const OUT_OF_MEMORY: &str = "it ran out of memory";
pub const REMOVED: &str = "it was removed, by an admin or by Docker";
pub const FROM_OUTSIDE: &str = "it was stopped from outside, by an admin or by Docker";
pub const BY_ITSELF: &str = "its init ended with an error";

/// The reaper's reason.
#[must_use]
pub fn nobody_used_it(allowed: Duration) -> String {
    format!("nobody used it for {}", span(allowed))
}

/// When a session ends because its box did.
#[must_use]
pub fn ended(reason: Option<&str>, reference: &str) -> String {
    match reason {
        Some(reason) => {
            format!("sshbox: your box was stopped: {reason}; log in again to start it (ref {reference})")
        }
        None => format!("sshbox: your box ended this session; log in again (ref {reference})"),
    }
}

/// When the program of a session was killed because the box had no memory left.
pub const STARVED: &str =
    "sshbox: your box ran out of memory and the kernel killed this program; @status shows the limit";

/// At the next login with a terminal, why the box was stopped last.
#[must_use]
pub fn last_stop(ago: Duration, reason: &str) -> String {
    format!("sshbox: your box was stopped {} ago: {reason}", span(ago))
}

// The words.

/// All of them, as they are typed.
pub const WORDS: &str = "@config, @help, @keys, @restart, @sshd, @status, @stop";

/// A word that there is not, or one with something behind it that it does not take.
#[must_use]
pub fn unknown_word(word: &str) -> String {
    format!("unknown word {word}; there are {WORDS} (@status --json for programs)")
}

pub const STOPPED: &str = "your box is stopped; the next login starts it";
pub const NOT_RUNNING: &str = "your box does not run";
pub const RESTARTED: &str = "your box was restarted";
pub const NOTHING_DONE: &str = "nothing was done";

/// The question before `@restart` and `@stop`.
#[must_use]
pub fn question(verb: &str, sessions: usize) -> String {
    let sessions = match sessions {
        0 => "no session is open".to_owned(),
        1 => "1 session is open and will end".to_owned(),
        many => format!("{many} sessions are open and will end"),
    };
    format!("{verb} your box? All programs in it end; {sessions}. [y/N] ")
}

/// How this server is called from outside, as far as it knows.
#[derive(Clone, Copy, Debug)]
pub struct Server<'a> {
    /// Name or address.
    pub host: &'a str,
    /// Port.
    pub port: &'a str,
}

/// `@help`.
#[must_use]
pub fn help(login: &str, server: Server<'_>) -> String {
    let Server { host, port } = server;
    format!(
        "\
You type these in place of a command, as in: ssh -p {port} {login}@{host} @status

  @status   what your box is, what it uses and when it stops (--json for programs)
  @restart  stop and start your box; every program in it ends, your files stay
  @stop     stop your box until the next login
  @keys     the keys that log in to your box, and where you manage them
  @config   lines for ~/.ssh/config, see below
  @sshd     what those lines call: an SSH server inside your box
  @help     this text

Port forwarding (-L, -R, -D), your agent (-A), X11 (-X) and editors such as VS Code need
an SSH server inside your box. Once, on your own machine:

  ssh -p {port} {login}@{host} @config >> ~/.ssh/config

From then on:

  ssh {login}-box
"
    )
}

/// `@config`, for the user `person` of the box.
#[must_use]
pub fn config(login: &str, person: &str, server: Server<'_>) -> String {
    let Server { host, port } = server;
    format!(
        "\
# sshbox: into {login}'s box with forwarding, agent, X11 and editors: ssh {login}-box
# If your key is not one that ssh tries by itself, name it here and for {host}: IdentityFile
Host {login}-box
    User {person}
    ProxyCommand ssh -T -p {port} {login}@{host} @sshd
    StrictHostKeyChecking accept-new
"
    )
}

/// Below the list of `@keys`: where to change it.
#[must_use]
pub fn keys_managed(page: Option<&str>, by_admin: bool) -> String {
    let place = match (page, by_admin) {
        (Some(page), _) => format!("To add or remove keys: {page}"),
        (None, true) => "Your admin keeps this list".to_owned(),
        (None, false) => "This list is kept where you have your account".to_owned(),
    };
    format!("{place}\nThe box's ~/.ssh/authorized_keys does not count.")
}

/// `@keys`: type, fingerprint and comment of each, the one of this login marked.
#[must_use]
pub fn keys(keys: &[(&str, &str, &str)], used: &str, left_out: usize, managed: &str) -> String {
    let width = keys.iter().map(|(kind, ..)| kind.len()).max().unwrap_or_default();
    let lines = keys.iter().map(|(kind, fingerprint, comment)| {
        let mark = if *fingerprint == used { '*' } else { ' ' };
        format!("{mark} {kind:<width$}  {fingerprint}  {comment}").trim_end().to_owned() + "\n"
    });
    let more = if left_out == 0 { String::new() } else { format!("  and {left_out} more\n") };
    lines.collect::<String>() + &more + "\n* the key of this login\n" + managed + "\n"
}

/// A time in its two largest units.
#[must_use]
pub fn span(time: Duration) -> String {
    let (minutes, seconds) = (time.as_secs() / 60, time.as_secs() % 60);
    let (hours, days) = (minutes / 60, minutes / (24 * 60));
    let two = |large: u64, unit: &str, small: u64, rest: &str| match small {
        0 => format!("{large}{unit}"),
        _ => format!("{large}{unit} {small}{rest}"),
    };
    match (days, hours, minutes) {
        (0, 0, 0) => format!("{seconds}s"),
        (0, 0, _) => two(minutes, "m", seconds, "s"),
        (0, _, _) => two(hours, "h", minutes % 60, "m"),
        _ => two(days, "d", hours % 24, "h"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use insta::assert_snapshot;

    const SERVER: Server<'_> = Server { host: "box.example.org", port: "2200" };

    #[test]
    fn every_refusal_says_what_to_do_in_one_line() {
        let refusals = [
            NOT_BY_HAND,
            NO_ROOM_FOR_SESSION,
            IN_TRANSITION,
            WENT_AWAY,
            NO_SENSE,
            NO_WAKE_SERVICE,
            TOO_MANY_WAKES,
            WAKE_FAILED,
            NOT_WATCHED,
            NO_TERMINAL,
            BROKEN,
            SSHD_WITHOUT_TERMINAL,
            SSHD_WITHOUT_KEY,
            NOT_YOURS,
            SHORT_OF_RESOURCES,
            NOT_SET_UP,
            NO_ROOM_FOR_BOX,
            BOX_BUSY,
            TOO_SLOW,
            NO_ACCOUNT,
            NO_REST,
            NO_IMAGE,
            ENDED_AT_ONCE,
            NETWORK_BUSY,
            FOREIGN,
            OTHER_ACCOUNT,
            NO_HOME,
            NO_ENGINE,
            SLOW_ENGINE,
            ENGINE_FAILED,
            NO_ANSWER,
            NO_SFTP_SERVER,
            NO_SSH_SERVER,
            NO_HOST_KEY,
        ];
        assert_snapshot!(refusals.join("\n"), @"
        this is started by sshbox's sshd, not by hand
        the host cannot make room for your session; tell your admin
        your box is being started or stopped and does not end; try again in a minute
        your box started and went away again; try again, then tell your admin
        your box gave an answer that makes no sense; its init may be broken, tell your admin
        your box cannot be reached now; tell your admin that the wake service does not answer
        too many boxes are being started; try again in a moment
        your box cannot be started; tell your admin
        the session cannot be watched; try again, then tell your admin
        the terminal cannot be used; try again, then tell your admin
        sshbox itself failed; try again in a minute, then tell your admin
        @sshd speaks to an ssh client, not to a terminal; see @help for the lines that call it
        the key of this login is not known, so @sshd cannot let it in; tell your admin that sshd needs ExposeAuthInfo
        this box is not yours
        the host is short of resources; try again in a minute
        sshbox is not set up right; tell your admin
        the host cannot make room for your box; tell your admin
        your box is being started or stopped; try again in a minute
        your box takes too long to start; try again in a minute, then tell your admin
        your account is not known here; log in again, then tell your admin
        your box does not come to rest; try again in a minute, then tell your admin
        the image of your box is not on this host; tell your admin
        your box started and ended at once; try again, then tell your admin
        the network of the boxes is being made; try again in a minute
        a container that is not yours has the name of your box; tell your admin
        the home of this name belongs to an earlier account; your admin must decide what becomes of it
        your home cannot be opened; tell your admin
        boxes cannot be started, stopped or looked at now: Docker does not run; tell your admin
        Docker is too slow for your box; try again in a minute, then tell your admin
        Docker cannot do that to your box; tell your admin
        your box runs but does not answer; try again in a minute, then tell your admin
        this box has no sftp server; its image needs the package openssh-sftp-server
        this box has no SSH server; its image needs the package openssh-server
        the host gave your box no host key; try @restart, then tell your admin
        ");
    }

    #[test]
    fn texts_with_something_in_them() {
        assert_snapshot!(environment_too_long(210_000, 200_000), @"the variables that your client sends are 210 KB long, and together with the command 200 KB are possible; see SendEnv and SetEnv in your ssh_config");
        assert_snapshot!(unknown_terminal("ghostty", "xterm-256color"), @"sshbox: this box does not know the terminal type ghostty; its programs get xterm-256color");
        assert_snapshot!(no_program("/bin/zsh"), @"the image of this box has no /bin/zsh");
        assert_snapshot!(cannot_start(&std::io::Error::from_raw_os_error(5)), @"your box cannot start a program: Input/output error (os error 5)");
        assert_snapshot!(too_many_tasks(Some((512, 512))), @"your box has as many tasks as it may (processes and threads, 512 of 512); end some of them, or stop all with @restart");
        assert_snapshot!(too_many_tasks(None), @"your box has as many tasks as it may (processes and threads); end some of them, or stop all with @restart");
        assert_snapshot!(missing_program(b"rsync --server -e.LsfxCIvu . x").unwrap(), @"this box has no rsync; its image needs the package rsync");
        assert_snapshot!(missing_program(b"git-upload-pack 'x.git'").unwrap(), @"this box has no git-upload-pack; its image needs the package git");
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
        assert_snapshot!(unknown_word("@stauts"), @"unknown word @stauts; there are @config, @help, @keys, @restart, @sshd, @status, @stop (@status --json for programs)");
    }

    #[test]
    fn while_a_box_starts_or_ends() {
        let shown = [STARTING, STOPPING, CANCELLED, STOPPED, NOT_RUNNING, RESTARTED, NOTHING_DONE];
        assert_snapshot!(shown.join("\n"), @"
        starting your box ...
        stopping your box ...
        sshbox: cancelled
        your box is stopped; the next login starts it
        your box does not run
        your box was restarted
        nothing was done
        ");
        assert_snapshot!([question("Restart", 0), question("Stop", 1), question("Stop", 12)].join("\n"), @"
        Restart your box? All programs in it end; no session is open. [y/N] 
        Stop your box? All programs in it end; 1 session is open and will end. [y/N] 
        Stop your box? All programs in it end; 12 sessions are open and will end. [y/N]
        ");
        let half_an_hour = nobody_used_it(Duration::from_secs(1800));
        let reasons = [
            BY_ITS_USER,
            BY_RESTART,
            BY_ADMIN,
            RESTARTED_BY_ADMIN,
            OUT_OF_MEMORY,
            REMOVED,
            FROM_OUTSIDE,
            BY_ITSELF,
            &half_an_hour,
        ];
        assert_snapshot!(reasons.map(|reason| ended(Some(reason), "1a2b3c4d")).join("\n"), @"
        sshbox: your box was stopped: you typed @stop; log in again to start it (ref 1a2b3c4d)
        sshbox: your box was stopped: you typed @restart; log in again to start it (ref 1a2b3c4d)
        sshbox: your box was stopped: an admin stopped it; log in again to start it (ref 1a2b3c4d)
        sshbox: your box was stopped: an admin restarted it; log in again to start it (ref 1a2b3c4d)
        sshbox: your box was stopped: it ran out of memory; log in again to start it (ref 1a2b3c4d)
        sshbox: your box was stopped: it was removed, by an admin or by Docker; log in again to start it (ref 1a2b3c4d)
        sshbox: your box was stopped: it was stopped from outside, by an admin or by Docker; log in again to start it (ref 1a2b3c4d)
        sshbox: your box was stopped: its init ended with an error; log in again to start it (ref 1a2b3c4d)
        sshbox: your box was stopped: nobody used it for 30m; log in again to start it (ref 1a2b3c4d)
        ");
        assert_snapshot!(ended(None, "1a2b3c4d"), @"sshbox: your box ended this session; log in again (ref 1a2b3c4d)");
        assert_snapshot!(last_stop(Duration::from_secs(7512), &half_an_hour), @"sshbox: your box was stopped 2h 5m ago: nobody used it for 30m");
        assert_snapshot!(STARVED, @"sshbox: your box ran out of memory and the kernel killed this program; @status shows the limit");
    }

    #[test]
    fn what_a_person_is_told_first() {
        assert_snapshot!(first_words("alice", "2 cores", "8.0 GiB", 512, Some(Duration::from_secs(1800))), @"
        This is the box of alice, a container of its own. Files in the home stay, others do not.
        It may use 2 cores, 8.0 GiB of memory and 512 tasks (processes and threads).
        It stops 30m after the last session. More, typed on your own machine: ssh ... @help
        ");
        assert!(
            first_words("alice", "2 cores", "8.0 GiB", 512, None)
                .contains("\nIt is not stopped for being idle. More,")
        );
    }

    #[test]
    fn keys_are_listed_with_the_one_in_use_marked() {
        let list = [
            ("ssh-ed25519", "SHA256:aaaa", "laptop"),
            ("ecdsa-sha2-nistp256", "SHA256:bbbb", ""),
            ("ssh-rsa", "SHA256:cccc", "old desk"),
        ];
        let page = keys_managed(Some("https://example.org/alice/keys"), true);
        assert_snapshot!(keys(&list, "SHA256:cccc", 0, &page), @"
          ssh-ed25519          SHA256:aaaa  laptop
          ecdsa-sha2-nistp256  SHA256:bbbb
        * ssh-rsa              SHA256:cccc  old desk

        * the key of this login
        To add or remove keys: https://example.org/alice/keys
        The box's ~/.ssh/authorized_keys does not count.
        ");
        assert_snapshot!(keys(&list[..1], "SHA256:aaaa", 2, &keys_managed(None, true)), @"
        * ssh-ed25519  SHA256:aaaa  laptop
          and 2 more

        * the key of this login
        Your admin keeps this list
        The box's ~/.ssh/authorized_keys does not count.
        ");
        assert_snapshot!(keys_managed(None, false), @"
        This list is kept where you have your account
        The box's ~/.ssh/authorized_keys does not count.
        ");
    }

    #[test]
    fn times_have_two_units_at_most() {
        let spans = [0, 59, 60, 1859, 3600, 86_399, 90_061, 40 * 86_400];
        assert_snapshot!(spans.map(|seconds| span(Duration::from_secs(seconds))).join("\n"), @"
        0s
        59s
        1m
        30m 59s
        1h
        23h 59m
        1d 1h
        40d
        ");
    }

    #[test]
    fn the_words_explain_themselves() {
        assert_snapshot!(help("alice", SERVER), @"
        You type these in place of a command, as in: ssh -p 2200 alice@box.example.org @status

          @status   what your box is, what it uses and when it stops (--json for programs)
          @restart  stop and start your box; every program in it ends, your files stay
          @stop     stop your box until the next login
          @keys     the keys that log in to your box, and where you manage them
          @config   lines for ~/.ssh/config, see below
          @sshd     what those lines call: an SSH server inside your box
          @help     this text

        Port forwarding (-L, -R, -D), your agent (-A), X11 (-X) and editors such as VS Code need
        an SSH server inside your box. Once, on your own machine:

          ssh -p 2200 alice@box.example.org @config >> ~/.ssh/config

        From then on:

          ssh alice-box
        ");
        assert_snapshot!(config("alice", "user", SERVER), @"
        # sshbox: into alice's box with forwarding, agent, X11 and editors: ssh alice-box
        # If your key is not one that ssh tries by itself, name it here and for box.example.org: IdentityFile
        Host alice-box
            User user
            ProxyCommand ssh -T -p 2200 alice@box.example.org @sshd
            StrictHostKeyChecking accept-new
        ");
    }
}
