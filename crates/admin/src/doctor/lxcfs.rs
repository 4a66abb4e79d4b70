//! lxcfs: whether boxes show their own memory, processors and time since start, or the host's.

use super::verdict::{Verdict, ok, warn};
use super::visit::{field, seen};
use super::{Doctor, Judged};
use host::features::{self, Lxcfs};

/// What a visitor saw of it.
#[derive(Debug)]
struct Inside {
    /// Whether its files are bound there.
    bound: bool,
    /// Processors that programs count, if the image can tell.
    processors: Option<f64>,
    /// Processors that the box may use.
    cpus: f64,
}

/// `lxcfs`: do `free`, `top` and `uptime` tell of the box?
pub fn lxcfs(doctor: &Doctor) -> Judged {
    let lxcfs = features::lxcfs();
    let serves = matches!(lxcfs, Lxcfs::Serves(_));
    let limits = &doctor.config()?.container;
    let inside = seen(doctor).ok().filter(|_| serves).map(|(_, seen)| Inside {
        bound: seen.lines().any(|line| line.contains(" - fuse.lxcfs ")),
        processors: field(seen, "Processors").parse().ok(),
        cpus: limits.limits.cpus.min(limits.ceilings.cpus).cores(),
    });
    Ok(judge(&lxcfs, inside.as_ref(), &stale(doctor)))
}

/// Users of boxes whose files of lxcfs cannot be read any more.
fn stale(doctor: &Doctor) -> Vec<String> {
    let Ok(engine) = doctor.engine() else { return Vec::new() };
    let running = doctor.wait(engine.running()).unwrap_or_default();
    let is_stale = |id: &str| {
        let found = doctor.wait(engine.find(id)).ok().flatten();
        found.and_then(|found| found.pid).is_some_and(features::has_stale_lxcfs)
    };
    running.into_iter().filter(|listed| is_stale(&listed.id)).map(|listed| listed.user).collect()
}

fn judge(lxcfs: &Lxcfs, inside: Option<&Inside>, stale: &[String]) -> Verdict {
    if !stale.is_empty() {
        return warn(
            format!("it was restarted: free, ps and top fail in the boxes of {}", stale.join(", ")),
            "sshbox restart NAME, or wait until they are stopped; reload it next time (systemctl reload lxcfs)",
        );
    }
    match (lxcfs, inside) {
        (Lxcfs::Absent, _) => warn(
            "it does not run: free, top and uptime in a box show the host's memory, processors and start",
            "apt install lxcfs",
        ),
        (Lxcfs::Fails(error), _) => warn(
            format!("it does not answer: {error}; boxes start without it and show the host's memory"),
            "systemctl restart lxcfs; journalctl -u lxcfs",
        ),
        (Lxcfs::Serves(_), Some(Inside { bound: false, .. })) => warn(
            "it runs, but Docker does not give its files to boxes",
            "restart docker: lxcfs must be mounted where dockerd sees it; journalctl -t sshbox-wake",
        ),
        (Lxcfs::Serves(_), Some(Inside { processors: Some(seen), cpus, .. })) if *seen > cpus.ceil() => warn(
            format!("boxes show their own memory, but {seen} processors where {cpus} may be used"),
            "systemctl edit lxcfs, with [Service], ExecStart= and ExecStart=/usr/bin/lxcfs --enable-cfs /var/lib/lxcfs",
        ),
        (Lxcfs::Serves(_), _) => ok("boxes show their own memory, processors and start"),
    }
}

#[cfg(test)]
mod tests {
    use super::super::verdict::State;
    use super::*;
    use std::io;

    #[test]
    fn what_boxes_show_is_told() {
        let serves = || Lxcfs::Serves(Vec::new());
        let inside = |bound, processors| Inside { bound, processors, cpus: 1.5 };
        assert_eq!(judge(&serves(), Some(&inside(true, Some(2.0))), &[]).state, State::Ok);
        assert_eq!(judge(&serves(), Some(&inside(true, None)), &[]).state, State::Ok);
        let host = judge(&serves(), Some(&inside(true, Some(64.0))), &[]);
        assert_eq!(host.seen, "boxes show their own memory, but 64 processors where 1.5 may be used");
        assert_eq!(judge(&serves(), Some(&inside(false, Some(2.0))), &[]).state, State::Warn);
        assert_eq!(judge(&Lxcfs::Absent, None, &[]).fix.unwrap(), "apt install lxcfs");
        let dead = Lxcfs::Fails(io::Error::from_raw_os_error(107));
        assert!(judge(&dead, None, &[]).seen.contains("not connected"));
        let stale = judge(&serves(), None, &["alice".to_owned(), "bob".to_owned()]);
        assert!(stale.seen.ends_with("in the boxes of alice, bob"), "{stale:?}");
    }
}
