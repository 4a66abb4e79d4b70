//! `/run/sshbox`: the directories, sockets, locks and small files of each user. Root creates them;
//! `docs/src/protocols.md` lists every file with its owner and mode.
//!
//! Locks are flock(2) locks, and open-file-description locks for the slots of sessions: the kernel releases
//! both when their process ends.

mod account_note;
mod asked_note;
mod limits_note;
mod locks;
mod login_answer;
mod network_note;
mod pace;
mod runtime_dir;
mod session_slots;
mod site_settings_note;
mod stop_record;
mod temporary_user;

pub use account_note::AccountNoteError;
pub use locks::{
    LockGuard, WakeTurn, doctor_lock, host_lock, network_lock, projects_lock, reaper_at_work, reaper_lock,
    recheck_lock,
};
pub use login_answer::LoginAnswer;
pub use network_note::BoxNetwork;
pub use pace::Turn;
pub use runtime_dir::{ETC_GROUP, ETC_PASSWD, UserRuntimeDir};
pub use session_slots::{
    CONNECTIONS_DEFAULT, CONNECTIONS_MAX, ConnectionRecord, SESSIONS_DEFAULT, SESSIONS_MAX, Slot,
};
pub use stop_record::StopRecord;
pub use temporary_user::{TEMPORARY_USER_KEYS, TEMPORARY_USER_PREFIX, is_reserved, temporary_user_key};

/// The runtime directory of sshbox.
pub const RUN: &str = "/run/sshbox";

/// The socket of `sshbox-wake`.
pub const WAKE_SOCKET: &str = "/run/sshbox/wake.sock";

/// The socket of `sshbox-disk`, which only root can connect to.
pub const DISK_SOCKET: &str = "/run/sshbox/disk.sock";

#[cfg(test)]
mod tests {
    use super::*;
    use crate::soon::soon;
    use identity::Login;
    use std::fs;
    use std::path::Path;

    /// The prepared directories of `alice` below `run`.
    pub fn prepared(run: &Path) -> UserRuntimeDir {
        for folder in ["users", "boxes", "accounts"] {
            fs::create_dir_all(run.join(folder)).unwrap();
        }
        let runtime_dir = UserRuntimeDir::of(run, &Login::parse(b"alice").unwrap());
        runtime_dir.prepare().unwrap();
        runtime_dir.prepare().unwrap();
        runtime_dir
    }

    /// `live.lock` as the reaper takes it, as soon as no session holds it.
    pub fn locked_by_reaper(runtime_dir: &UserRuntimeDir) -> LockGuard {
        let mut lock = None;
        soon(|| {
            lock = runtime_dir.try_lock_live().unwrap();
            lock.is_some()
        });
        lock.unwrap()
    }
}
