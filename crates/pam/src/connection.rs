//! One connection: how many a user may have open, and in which network it is.

use crate::PROGRAM;
use crate::network::{HostNetwork, leave};
use identity::Login;
use session::clock;
use session::escape::printable;
use session::journal::{Event, Field, FieldValue, log};
use session::presence::{CONNECTIONS_DEFAULT, ConnectionRecord, LockGuard, LoginAnswer, RUN, UserRuntimeDir};
use session::procfs::Stat;
use session::texts;
use session::times::later;
use session::wake_client;
use std::io;
use std::net::Ipv4Addr;
use std::path::Path;
use std::time::{Duration, Instant};

/// What the account of a login allows to its connections.
struct Rules {
    /// How many may be open at once.
    connections: u32,
    /// How long a connection waits for the box to forward into it; `None` if it does not forward.
    forward: Option<Duration>,
}

impl Rules {
    fn of(answer: Option<&LoginAnswer>) -> Self {
        match answer {
            Some(LoginAnswer::Accepted { connections, forward, .. }) => {
                Self { connections: *connections, forward: *forward }
            }
            // sshd does not get this far for a user who is refused.
            _ => Self { connections: CONNECTIONS_DEFAULT, forward: None },
        }
    }
}

/// Checks whether this user may open one more connection. Fails with a text for the user.
pub(crate) fn admit(login: &Login) -> Result<(), String> {
    let runtime_dir = UserRuntimeDir::of(Path::new(RUN), login);
    let most = Rules::of(runtime_dir.login_answer().as_ref()).connections;
    // An error means that the user has had no box since boot. Then the session phase counts.
    match runtime_dir.open_connections() {
        Ok(open) if open >= most as usize => Err(refuse(login, most)),
        _ => Ok(()),
    }
}

/// Moves the connection out of the network of the host, and marks it as open as long as this process lives.
/// Returns the name servers of the network, if it has one. Fails with a text for the user.
pub(crate) fn open(login: &Login, fingerprint: Option<String>) -> Result<Vec<Ipv4Addr>, String> {
    let runtime_dir = UserRuntimeDir::of(Path::new(RUN), login);
    let rules = Rules::of(runtime_dir.login_answer().as_ref());
    let connection = Connection { login, runtime_dir: &runtime_dir, rules: &rules, fingerprint };
    let (presence, name_servers) = connection.enter_network()?;
    // Held until this process ends. No program of the user inherits it: it is closed at execve(2).
    std::mem::forget(presence);
    Ok(name_servers)
}

struct Connection<'a> {
    login: &'a Login,
    runtime_dir: &'a UserRuntimeDir,
    rules: &'a Rules,
    fingerprint: Option<String>,
}

impl Connection<'_> {
    fn enter_network(&self) -> Result<(Option<LockGuard>, Vec<Ipv4Addr>), String> {
        let host = HostNetwork::current();
        // Before the look at the box: as long as it is held, the reaper does not stop the box.
        let mut presence = self.presence(Duration::ZERO)?;
        if let (Some(_), Ok(host), Some(_)) = (self.rules.forward, &host, &presence)
            && self.runtime_dir.box_is_of_login_account()
            && let Ok(name_servers) = host.join_box(self.runtime_dir)
        {
            return Ok((presence, name_servers));
        }
        // Before anything that takes time: whatever happens from here on, it happens without a network.
        leave().map_err(|error| self.report(&error.to_string(), texts::NO_NETWORK_NAMESPACE))?;
        let Some(patience) = self.rules.forward else { return Ok((presence, Vec::new())) };
        let until = later(Instant::now(), patience);
        let started = self.start(&mut presence, until).and_then(|()| host?.join_box(self.runtime_dir));
        if presence.is_none() {
            presence = self.presence(Duration::ZERO)?;
        }
        let name_servers = started.unwrap_or_else(|error| {
            self.report(&error.to_string(), "");
            Vec::new()
        });
        Ok((presence, name_servers))
    }

    /// Has the box started, until this moment.
    fn start(&self, presence: &mut Option<LockGuard>, until: Instant) -> io::Result<()> {
        let left = || match until.saturating_duration_since(Instant::now()) {
            Duration::ZERO => Err(io::Error::new(io::ErrorKind::TimedOut, "the box did not start in time")),
            left => Ok(left),
        };
        // Waits while the box is being stopped.
        if presence.is_none() {
            *presence = self.presence(left()?).map_err(io::Error::other)?;
        }
        // One login of a user at a time requests a start; one that has waited for that looks first.
        let _turn = match self.runtime_dir.turn_to_wake(left()?) {
            Ok(turn) if turn.waited && self.box_runs() => return Ok(()),
            Ok(turn) => Some(turn),
            Err(error) if error.kind() == io::ErrorKind::NotFound => None,
            Err(error) => return Err(error),
        };
        let reply = wake_client::ask_for_login(self.login, left()?)?
            .ok_or_else(|| io::Error::other("sshbox-wake closed the connection"))?;
        if let Some(failed) = reply.get("failed") {
            return Err(io::Error::other(printable(failed)));
        }
        if presence.is_none() {
            *presence = self.presence(left()?).map_err(io::Error::other)?;
        }
        Ok(())
    }

    /// Whether the network of a running box is recorded.
    fn box_runs(&self) -> bool {
        self.runtime_dir.box_is_of_login_account()
            && self.runtime_dir.box_network().is_some_and(|network| network.open().is_ok())
    }

    /// Marks the connection as open; `None` if the user has had no box since boot, or if the box is being stopped
    /// for longer than `patience`.
    fn presence(&self, patience: Duration) -> Result<Option<LockGuard>, String> {
        let Ok(presence) = self.runtime_dir.lock_live_shared(patience) else { return Ok(None) };
        let most = self.rules.connections;
        let Ok(slot) = presence.take_connection_slot(most) else { return Ok(None) };
        let Some(slot) = slot else { return Err(refuse(self.login, most)) };
        let pid = i32::try_from(std::process::id()).unwrap_or_default();
        if let Some(began) = Stat::of(pid).and_then(|stat| stat.start()) {
            let record = ConnectionRecord { pid, began, fingerprint: self.fingerprint.clone() };
            // Without it, the connection is closed when the user is removed, but not when only the key is.
            let _ = self.runtime_dir.write_login_connection(slot, &record);
        }
        let _ = presence.record_presence(clock::boottime());
        Ok(Some(presence))
    }

    /// Logs why the connection forwards nothing, and returns the text for the user.
    fn report(&self, error: &str, advice: &str) -> String {
        let fields: [FieldValue<'_>; 2] = [(Field::User, &self.login.as_str()), (Field::Error, &error)];
        log(PROGRAM, Event::ForwardingUnavailable, &fields);
        advice.to_owned()
    }
}

/// Logs that the user has too many connections open, and returns the text for the user.
fn refuse(login: &Login, most: u32) -> String {
    let text = texts::too_many_connections(most);
    log(PROGRAM, Event::ConnectionRefused, &[(Field::User, &login.as_str()), (Field::Reason, &text)]);
    text
}
