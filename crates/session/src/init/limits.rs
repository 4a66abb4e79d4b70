//! The limits of the programs in a container, and those of PID 1, which are above: what programs use up
//! does not keep PID 1 from its work.

use nix::libc::rlim_t;
use nix::sys::resource::{Resource, getrlimit, setrlimit};
use std::ffi::OsString;
use std::fs;
use std::io;

/// Directory of the terminals.
const TERMINALS: &str = "/dev/pts";

/// The limits of a program. The host passes them as arguments of PID 1.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Limits {
    /// Soft and hard limit on open files. The hard one also limits how many file descriptors may be in
    /// flight between the processes of this user.
    pub open_files: Option<(rlim_t, rlim_t)>,
    /// Number of terminals in the container.
    pub terminals: Option<u32>,
}

impl Limits {
    /// From the arguments of PID 1. Raises the limit of PID 1 itself as far as the engine allows.
    pub fn take(arguments: impl Iterator<Item = OsString>) -> io::Result<Self> {
        let (_, most) = getrlimit(Resource::RLIMIT_NOFILE)?;
        setrlimit(Resource::RLIMIT_NOFILE, most, most)?;
        let numbers = arguments.skip(1).filter_map(|number| number.to_str()?.parse().ok());
        Ok(Self::new(&numbers.collect::<Vec<_>>(), most))
    }

    /// Programs get at most half of what PID 1 has: the kernel compares before it adds the file
    /// descriptors of one message, so many senders at once can exceed their limit.
    fn new(numbers: &[u64], most: rlim_t) -> Self {
        let mut limits = Self::default();
        if let [soft, hard, ..] = *numbers {
            let hard = hard.min(most / 2).max(1);
            limits.open_files = Some((soft.min(hard), hard));
        }
        limits.terminals = numbers.get(2).and_then(|&number| u32::try_from(number).ok());
        limits
    }

    /// The number of terminals, if all of them are in use.
    pub fn terminals_in_use(self) -> Option<u32> {
        // One more entry is `ptmx`.
        let entries = fs::read_dir(TERMINALS).ok()?.flatten().filter(|entry| entry.file_name() != "ptmx");
        self.terminals.filter(|&most| entries.take(most as usize).count() >= most as usize)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn programs_get_what_the_host_passes_and_at_most_half_of_what_init_has() {
        let limits = |numbers: &[u64], most| {
            let Limits { open_files, terminals } = Limits::new(numbers, most);
            (open_files, terminals)
        };
        assert_eq!(limits(&[1024, 65536, 256], 1 << 20), (Some((1024, 65536)), Some(256)));
        assert_eq!(limits(&[1024, 65536, 256], 65536), (Some((1024, 32768)), Some(256)));
        assert_eq!(limits(&[1024, 65536, 256], 1024), (Some((512, 512)), Some(256)));
        assert_eq!(limits(&[1024, 65536], 1 << 20), (Some((1024, 65536)), None));
        for other in [&[][..], &[7]] {
            assert_eq!(limits(other, 1 << 20), (None, None));
        }
    }

    #[test]
    fn free_terminals_are_told_from_none() {
        let with = |terminals| Limits { terminals, open_files: None }.terminals_in_use();
        assert_eq!((with(Some(1 << 20)), with(None)), (None, None));
    }
}
