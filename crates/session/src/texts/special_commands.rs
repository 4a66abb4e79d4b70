//! What the special commands say: `@help`, `@config`, `@keys`, `@stop` and `@restart`. `box_status`
//! has the text of `@status`.
#![expect(missing_docs, reason = "each text says what it is")]

/// All special commands, as a user types them.
pub const SPECIAL_COMMANDS: &str = "@config, @help, @keys, @restart, @sshd, @status, @stop";

/// An unknown special command, or one with an argument that it does not take.
#[must_use]
pub fn unknown_special_command(command: &str) -> String {
    format!("unknown command {command}; available: {SPECIAL_COMMANDS} (@status --json for programs)")
}

pub const STOPPED: &str = "your box is stopped; the next login starts it";
pub const NOT_RUNNING: &str = "your box does not run";
pub const RESTARTED: &str = "your box was restarted";
pub const RESTARTED_UNDER_CONNECTIONS: &str =
    "your box was restarted; what your other connections forwarded has ended, reconnect to forward again";
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

/// How clients reach this server, as far as it knows.
#[derive(Clone, Copy, Debug)]
pub struct Server<'a> {
    /// Name or address.
    pub host: &'a str,
    /// Port.
    pub port: &'a str,
}

/// `@help`.
#[must_use]
pub fn help(login: &str, server: Server<'_>, forwards_ports: bool) -> String {
    let Server { host, port } = server;
    let ports = if forwards_ports {
        "Ports (-L, -R, -D, -W) are forwarded as by any SSH server; they start and end in your box.
Editors such as VS Code, JetBrains Gateway and Zed need no more than host, port and name."
    } else {
        "Ports (-L, -R, -D, -W) are not forwarded: your admin or the web app does not allow it."
    };
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

{ports}

Your agent (-A) is forwarded too. If SSH_AUTH_SOCK is not set in your box, your admin or the
web app does not allow it.

X11 (-X) and unix sockets need an SSH server inside your box. Once, on your own machine:

  ssh -p {port} {login}@{host} @config >> ~/.ssh/config

From then on:

  ssh {login}-box

Tunnel devices (-w) are not available.
"
    )
}

/// `@config`, for the user of the container.
#[must_use]
pub fn config(login: &str, container_user: &str, server: Server<'_>) -> String {
    let Server { host, port } = server;
    format!(
        "\
# sshbox: into {login}'s box with X11 and unix sockets too: ssh {login}-box
# If your key is not one that ssh tries by itself, name it here and for {host}: IdentityFile
Host {login}-box
    User {container_user}
    ProxyCommand ssh -T -p {port} {login}@{host} @sshd
    StrictHostKeyChecking accept-new
"
    )
}

/// Below the list of `@keys`: where to change the list.
#[must_use]
pub fn keys_managed(page: Option<&str>, by_admin: bool) -> String {
    let place = match (page, by_admin) {
        (Some(page), _) => format!("To add or remove keys: {page}"),
        (None, true) => "Your admin manages this list".to_owned(),
        (None, false) => "You manage this list where you have your account".to_owned(),
    };
    format!("{place}\nsshbox does not use the box's ~/.ssh/authorized_keys.")
}

/// `@keys`: type, fingerprint and comment of each key, with a mark at the key of this login.
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

#[cfg(test)]
mod tests {
    use super::*;
    use insta::assert_snapshot;

    const SERVER: Server<'_> = Server { host: "box.example.org", port: "2200" };

    #[test]
    fn stop_and_restart_ask_and_tell() {
        assert_snapshot!([STOPPED, NOT_RUNNING, RESTARTED, RESTARTED_UNDER_CONNECTIONS, NOTHING_DONE].join("\n"), @"
        your box is stopped; the next login starts it
        your box does not run
        your box was restarted
        your box was restarted; what your other connections forwarded has ended, reconnect to forward again
        nothing was done
        ");
        assert_snapshot!([question("Restart", 0), question("Stop", 1), question("Stop", 12)].join("\n"), @"
        Restart your box? All programs in it end; no session is open. [y/N] 
        Stop your box? All programs in it end; 1 session is open and will end. [y/N] 
        Stop your box? All programs in it end; 12 sessions are open and will end. [y/N]
        ");
    }

    #[test]
    fn an_unknown_command_lists_the_known_ones() {
        assert_snapshot!(unknown_special_command("@stauts"), @"unknown command @stauts; available: @config, @help, @keys, @restart, @sshd, @status, @stop (@status --json for programs)");
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
        sshbox does not use the box's ~/.ssh/authorized_keys.
        ");
        assert_snapshot!(keys(&list[..1], "SHA256:aaaa", 2, &keys_managed(None, true)), @"
        * ssh-ed25519  SHA256:aaaa  laptop
          and 2 more

        * the key of this login
        Your admin manages this list
        sshbox does not use the box's ~/.ssh/authorized_keys.
        ");
        assert_snapshot!(keys_managed(None, false), @"
        You manage this list where you have your account
        sshbox does not use the box's ~/.ssh/authorized_keys.
        ");
    }

    #[test]
    fn help_and_config_explain_themselves() {
        assert_snapshot!(help("alice", SERVER, true), @"
        You type these in place of a command, as in: ssh -p 2200 alice@box.example.org @status

          @status   what your box is, what it uses and when it stops (--json for programs)
          @restart  stop and start your box; every program in it ends, your files stay
          @stop     stop your box until the next login
          @keys     the keys that log in to your box, and where you manage them
          @config   lines for ~/.ssh/config, see below
          @sshd     what those lines call: an SSH server inside your box
          @help     this text

        Ports (-L, -R, -D, -W) are forwarded as by any SSH server; they start and end in your box.
        Editors such as VS Code, JetBrains Gateway and Zed need no more than host, port and name.

        Your agent (-A) is forwarded too. If SSH_AUTH_SOCK is not set in your box, your admin or the
        web app does not allow it.

        X11 (-X) and unix sockets need an SSH server inside your box. Once, on your own machine:

          ssh -p 2200 alice@box.example.org @config >> ~/.ssh/config

        From then on:

          ssh alice-box

        Tunnel devices (-w) are not available.
        ");
        assert!(help("alice", SERVER, false).contains("(-L, -R, -D, -W) are not forwarded: your admin"));
        assert_snapshot!(config("alice", "user", SERVER), @"
        # sshbox: into alice's box with X11 and unix sockets too: ssh alice-box
        # If your key is not one that ssh tries by itself, name it here and for box.example.org: IdentityFile
        Host alice-box
            User user
            ProxyCommand ssh -T -p 2200 alice@box.example.org @sshd
            StrictHostKeyChecking accept-new
        ");
    }
}
