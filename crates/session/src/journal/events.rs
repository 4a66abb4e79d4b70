//! The events and fields of the journal. sshbox-journal(7) documents them for admins; a test compares
//! the two.

/// Severity of an entry (RFC 5424, table 2).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Level {
    /// An admin has to act.
    Error = 3,
    /// sshbox went on, but something is wrong.
    Warning = 4,
    /// An ordinary event.
    Info = 6,
}

/// All events: the first words of the entry's text, its severity, and its `MESSAGE_ID`, which never
/// changes.
macro_rules! events {
    ($($(#[$doc:meta])* $event:ident = $text:literal, $level:ident, $id:literal;)*) => {
        /// What happened.
        #[derive(Clone, Copy, Debug, PartialEq, Eq)]
        pub enum Event { $($(#[$doc])* $event),* }

        impl Event {
            /// All of them.
            pub const ALL: &[Self] = &[$(Self::$event),*];

            /// The first words of its entry's text.
            #[must_use]
            pub fn text(self) -> &'static str {
                match self { $(Self::$event => $text),* }
            }

            /// Its severity.
            #[must_use]
            pub fn level(self) -> Level {
                match self { $(Self::$event => Level::$level),* }
            }

            /// Its `MESSAGE_ID`: 32 hexadecimal digits.
            #[must_use]
            pub fn id(self) -> &'static str {
                match self { $(Self::$event => $id),* }
            }
        }
    };
}

events! {
    /// sshd has authenticated a user: logged at the first session of a connection.
    LoginAccepted = "login accepted", Info, "c9d858c7f19e39bc2fb693c71f6a625c";
    /// The account of this name does not have the offered key: logged once for each such key of a login.
    LoginRefused = "login refused", Info, "c732bf614327c3c89a72f495668d7ecc";
    /// The account source returned a key that sshbox does not accept.
    KeyLeftOut = "key left out", Warning, "aa07bfe276e65fa048e4cfcf459e352a";
    /// A value of an account is out of range; the nearest allowed value is used.
    ValueBounded = "value bounded", Warning, "b9a6ecba1bb744a5b1bd298ae44b6855";
    /// A value of an account is invalid; the account is used without it.
    ValueLeftOut = "value left out", Warning, "b7980aecd41c97844a66f4ea9d4cfe1e";
    /// The account source's answer is too long to be read; the user is refused.
    AnswerTooLong = "answer too long", Warning, "3dc4c47c6083b910f96f00834a2ee2ae";
    /// The account source did not answer.
    AccountSourceFailed = "account source failed", Warning, "b6bbcc905bbd6300413282631714bd9b";
    /// An answer could not be written to the cache: logged once until writing works again.
    CacheNotWritten = "cache not written", Warning, "a635a9190060565dcc34715310076740";
    /// The note about the account that logs in could not be written for `sshbox-shell`.
    AccountNotTold = "account not told", Warning, "dee1f4331ae792fbe6fb229a05527eec";
    /// The configuration is not valid.
    ConfigurationRefused = "configuration refused", Error, "1ba3c637019d22b3ccc01c66e86918b3";
    /// A client requests a shell, a command or a special command.
    SessionStarted = "session started", Info, "a7b363cbefcb0c72bde343c81aef8bf4";
    /// A session that had started has ended, in whatever way.
    SessionEnded = "session ended", Info, "a110eca4a2151fa45643de7ddfe31f7c";
    /// A session could not start; its user was told why.
    SessionFailed = "session failed", Warning, "4ab93f38f98bafee8bf9f1adba3674cc";
    /// A container was created and started.
    BoxCreated = "box created", Info, "a4480042847c4b471eaabf2afa533f44";
    /// An existing container was started or unpaused.
    BoxStarted = "box started", Info, "c77ebd89468c48d16efb81b23e39d24a";
    /// A container got no host key for its SSH server.
    HostKeyMissing = "host key missing", Warning, "aa6a8969db7b049e0a5aa3d7bedadee5";
    /// A container got the name that the configuration gives it now.
    BoxRenamed = "box renamed", Info, "68f442c36eb27a5580bb601f4ead1cc4";
    /// The limit of a home on the disk could not be applied yet.
    DiskNotAdjusted = "disk not adjusted", Warning, "1cfa3811bcdf444d86eff924a8e271a6";
    /// A running container that did not accept sessions accepts them again.
    BoxReconnected = "box reconnected", Info, "a8b946c7fd6167c2a020c6293f257eed";
    /// sshbox stopped a container.
    BoxStopped = "box stopped", Info, "cf124a9f2a9ac0d19fd511ca758a83e4";
    /// A container had stopped without sshbox; logged when sshbox notices.
    BoxEnded = "box ended", Warning, "901356d9c9f16a63582d6aa45bbb7453";
    /// A running container got the limits that its account has now.
    BoxUpdated = "box updated", Info, "bf9a20dfe4e6351ce53722980827d45a";
    /// The limits of a running container could not be changed.
    UpdateFailed = "update failed", Warning, "02c211a32cddca0fd558428bbe742973";
    /// A connection was closed because its user or its key was removed.
    ConnectionClosed = "connection closed", Info, "7858febe0e02076218f33c31c1b1b804";
    /// The check whether users with open connections may still log in failed.
    RecheckFailed = "recheck failed", Warning, "be5f8f4f04f49e272397e5fda1729bcf";
    /// A connection does not forward ports, although its user may; the session is not affected.
    ForwardingUnavailable = "forwarding unavailable", Warning, "4f0d8f0c2b7a4a6f9d1c5be0a7318e26";
    /// A connection was refused, because its user has as many open as allowed.
    ConnectionRefused = "connection refused", Warning, "d2a96e1f5c3047b88b0e74f1a96d30c5";
    /// A container could not be started.
    WakeFailed = "wake failed", Warning, "9179b77ec9235af2b3ea8b93037a5120";
    /// A container could not be stopped.
    StopFailed = "stop failed", Warning, "ea6949e82a217e548bea9873361078a0";
    /// The state of a container could not be read.
    LookFailed = "look failed", Warning, "9b78901ec4db1b9e2954d09d1b8311a9";
    /// A program did not end in time; its watchdog kills it.
    DeadlinePassed = "deadline passed", Error, "b44ee3028af549ad9677f74974dfccbc";
    /// A caller sent `sshbox-wake` an invalid request, or one for another user's container.
    RequestRefused = "request refused", Warning, "f6c7dbc1019d6e13b00e7892495c1173";
    /// The reaper failed.
    ReaperFailed = "reaper failed", Error, "c4b90d320f865f708152b011cb5ec31b";
    /// The rules for what boxes can reach were missing or changed, and were loaded again.
    NetworkRulesRestored = "network rules restored", Warning, "ba7487ba499145a540b8ed96183af0c8";
    /// The rules for what boxes can reach cannot be loaded.
    NetworkRulesFailed = "network rules failed", Error, "245e49004948c2633f1c063c813191cb";
    /// A library panicked in one of the programs.
    ProgramFailed = "program failed", Error, "b3834f43ceb34c12a1fdee425d2a6da5";
    /// An admin used the `sshbox` command.
    AdminAction = "admin action", Info, "50884387edd00b472f15312c3985ded3";
}

/// All fields, by their names in the text of an entry; journald has them in capital letters behind
/// `SSHBOX_`.
macro_rules! fields {
    ($($(#[$doc:meta])* $field:ident = $name:literal;)*) => {
        /// A field of an entry.
        #[derive(Clone, Copy, Debug, PartialEq, Eq)]
        pub enum Field { $($(#[$doc])* $field),* }

        impl Field {
            /// All of them.
            pub const ALL: &[Self] = &[$(Self::$field),*];

            /// Its name in the text of an entry.
            #[must_use]
            pub fn name(self) -> &'static str {
                match self { $(Self::$field => $name),* }
            }

            /// Its name in journald.
            #[must_use]
            pub fn key(self) -> String {
                format!("SSHBOX_{}", self.name().to_ascii_uppercase())
            }
        }
    };
}

fields! {
    /// Login name.
    User = "user";
    /// The reference that all entries of one session, or of one run of a program, share.
    Ref = "ref";
    /// Address of the client.
    Address = "address";
    /// Address of the trusted proxy through which the client has connected; then `address` is absent.
    Proxy = "proxy";
    /// Port of the client, or of the proxy.
    Port = "port";
    /// Fingerprint of the key, `SHA256:…`.
    Fingerprint = "fingerprint";
    /// Pid of the sshd that holds the connection, as in sshd's own log lines.
    Sshd = "sshd";
    /// The command that the client requested; absent for a login shell.
    Command = "command";
    /// Length of the command in bytes, if the entry does not contain all of it.
    CommandLength = "command_length";
    /// SHA-256 of the command in hexadecimal digits, if the entry does not contain all of it.
    CommandHash = "command_sha256";
    /// Type of the terminal; absent without one.
    Term = "term";
    /// Duration in milliseconds.
    Duration = "ms";
    /// Exit status of the session, or of the program that failed.
    Status = "status";
    /// Signal that killed the session's program.
    Signal = "signal";
    /// Bytes written to the client's terminal.
    Sent = "sent";
    /// Bytes read from the client's terminal.
    Received = "received";
    /// Why.
    Reason = "reason";
    /// The error with all its causes.
    Error = "error";
    /// What is used in place of the missing answer.
    Serves = "serves";
    /// Who acted: `user`, `admin`, `reaper`, or the admin's login name.
    By = "by";
    /// What an admin did.
    Action = "action";
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::collections::BTreeSet;

    #[test]
    fn events_and_fields_are_told_apart() {
        let ids: BTreeSet<_> = Event::ALL.iter().map(|event| event.id()).collect();
        let texts: BTreeSet<_> = Event::ALL.iter().map(|event| event.text()).collect();
        let keys: BTreeSet<_> = Field::ALL.iter().map(|field| field.key()).collect();
        assert_eq!(
            (ids.len(), texts.len(), keys.len()),
            (Event::ALL.len(), Event::ALL.len(), Field::ALL.len())
        );
        for id in ids {
            assert!(id.len() == 32 && id.bytes().all(|b| b.is_ascii_hexdigit()), "{id}");
        }
        for key in keys {
            // The names that journald accepts: systemd.journal-fields(7).
            let is_valid = |b: u8| b.is_ascii_uppercase() || b.is_ascii_digit() || b == b'_';
            assert!(key.len() <= 64 && key.starts_with('S') && key.bytes().all(is_valid), "{key}");
        }
    }
}
