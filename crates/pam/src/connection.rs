//! One connection: how many a user may have open, and in which network it is.

use crate::PROGRAM;
use crate::network::{HostNetwork, leave};
use identity::Login;
use session::clock;
use session::escape::printable;
use session::journal::{Event, Field, FieldValue, log};
use session::presence::{
    CONNECTIONS_DEFAULT, ConnectionRecord, LockGuard, LoginAnswer, RUN, Slot, UserRuntimeDir,
};
use session::procfs::Stat;
use session::texts;
use session::times::later;
use session::wake_client;
use std::io;
use std::net::Ipv4Addr;
use std::path::Path;
use std::sync::OnceLock;
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

/// The place of this connection among those of the user. Held until this process ends. No program of the user
/// inherits it: it is closed at execve(2).
static PLACE: OnceLock<Place> = OnceLock::new();

struct Place {
    /// Holds the slot, and a shared lock too while the reaper must not stop the box.
    lock: LockGuard,
    slot: Slot,
}

/// Counts this connection, if the user may open one more. Fails with a text for the user.
pub(crate) fn admit(login: &Login) -> Result<(), String> {
    let runtime_dir = UserRuntimeDir::of(Path::new(RUN), login);
    let most = Rules::of(runtime_dir.login_answer().as_ref()).connections;
    match take_place(&runtime_dir, most) {
        Ok(Some(place)) => {
            let _ = PLACE.set(place);
            Ok(())
        }
        Ok(None) => {
            let text = texts::too_many_connections(most);
            let fields: [FieldValue<'_>; 2] = [(Field::User, &login.as_str()), (Field::Reason, &text)];
            log(PROGRAM, Event::ConnectionRefused, &fields);
            Err(text)
        }
        // A connection that cannot be counted forwards nothing. Its sessions are counted by themselves.
        Err(error) => {
            report(login, &format!("cannot count the connection: {error}"));
            Ok(())
        }
    }
}

/// Takes a slot; `None` if there is no free one.
fn take_place(runtime_dir: &UserRuntimeDir, most: u32) -> io::Result<Option<Place>> {
    let lock = match runtime_dir.live_file() {
        // The first login since boot.
        Err(error) if error.kind() == io::ErrorKind::NotFound => {
            runtime_dir.prepare_host_side()?;
            runtime_dir.live_file()?
        }
        opened => opened?,
    };
    Ok(lock.take_connection_slot(most)?.map(|slot| Place { lock, slot }))
}

/// Moves this process out of the network of the host, and records the connection. Returns the name servers of the
/// network, if it has one. Fails with a text for the user.
pub(crate) fn open(login: &Login, fingerprint: Option<String>) -> Result<Vec<Ipv4Addr>, String> {
    let runtime_dir = UserRuntimeDir::of(Path::new(RUN), login);
    let forward = Rules::of(runtime_dir.login_answer().as_ref()).forward;
    let connection = Connection { login, runtime_dir: &runtime_dir, place: PLACE.get() };
    let recorded = connection.record(fingerprint);
    if let Err(error) = &recorded {
        report(login, &format!("cannot record the connection: {error}"));
    }
    // What cannot be closed when its key is removed does not forward either.
    connection.enter_network(forward.filter(|_| recorded.is_ok()))
}

struct Connection<'a> {
    login: &'a Login,
    runtime_dir: &'a UserRuntimeDir,
    /// `None` if the connection could not be counted.
    place: Option<&'a Place>,
}

impl Connection<'_> {
    /// Records process and key, so that the connection is closed when the key or the user is removed.
    fn record(&self, fingerprint: Option<String>) -> io::Result<()> {
        let place = self.place()?;
        let pid = i32::try_from(std::process::id()).unwrap_or_default();
        let began = Stat::of(pid).and_then(|stat| stat.start()).ok_or(io::ErrorKind::NotFound)?;
        let record = ConnectionRecord { pid, began, fingerprint };
        self.runtime_dir.write_connection_record(place.slot, &record)
    }

    fn place(&self) -> io::Result<&Place> {
        self.place.ok_or_else(|| io::Error::other("the connection is not counted"))
    }

    /// `forward` is the longest time to wait for the box; `None` if the connection forwards nothing.
    fn enter_network(&self, forward: Option<Duration>) -> Result<Vec<Ipv4Addr>, String> {
        let host = HostNetwork::current();
        // Before the look at the box: from then on, the reaper does not stop it.
        let kept = self.keep_box(Duration::ZERO).is_ok();
        if let (true, Some(_), Ok(host)) = (kept, forward, &host)
            && self.runtime_dir.box_is_of_login_account()
            && let Ok(name_servers) = host.join_box(self.runtime_dir)
        {
            return Ok(name_servers);
        }
        // Before anything that takes time: whatever happens from here on, it happens without a network.
        leave().map_err(|error| {
            report(self.login, &error.to_string());
            texts::NO_NETWORK_NAMESPACE.to_owned()
        })?;
        let Some(patience) = forward else { return Ok(Vec::new()) };
        let until = later(Instant::now(), patience);
        let joined = self.start(until).and_then(|()| host?.join_box(self.runtime_dir));
        Ok(joined.unwrap_or_else(|error| {
            report(self.login, &error.to_string());
            Vec::new()
        }))
    }

    /// Keeps the reaper from stopping the box until the connection ends. Waits while the box is being stopped.
    fn keep_box(&self, patience: Duration) -> io::Result<()> {
        let place = self.place()?;
        place.lock.share(patience)?;
        let _ = place.lock.record_presence(clock::boottime());
        Ok(())
    }

    /// Has the box started, until this moment.
    fn start(&self, until: Instant) -> io::Result<()> {
        let left = || match until.saturating_duration_since(Instant::now()) {
            Duration::ZERO => {
                Err(io::Error::new(io::ErrorKind::TimedOut, "the box did not start within forward.wait"))
            }
            left => Ok(left),
        };
        self.keep_box(left()?)?;
        // One login of a user at a time requests a start; one that has waited for that looks first.
        let turn = self.runtime_dir.turn_to_wake(left()?)?;
        if turn.waited && self.box_runs() {
            return Ok(());
        }
        let reply = wake_client::ask_for_login(self.login, left()?)?
            .ok_or_else(|| io::Error::other("sshbox-wake closed the connection"))?;
        match reply.get("failed") {
            Some(failed) => Err(io::Error::other(printable(failed))),
            None => Ok(()),
        }
    }

    /// Whether the network of a running box is recorded.
    fn box_runs(&self) -> bool {
        self.runtime_dir.box_is_of_login_account()
            && self.runtime_dir.box_network().is_some_and(|network| network.open().is_ok())
    }
}

/// Logs why the connection forwards nothing.
fn report(login: &Login, error: &str) {
    log(PROGRAM, Event::ForwardingUnavailable, &[(Field::User, &login.as_str()), (Field::Error, &error)]);
}
