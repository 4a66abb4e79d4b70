//! The file `network`: which network namespace the running container has, and which process is its init. Root
//! writes it when it has started the container, and `pam_sshbox` reads it. The engine has bound the namespace to
//! a path that belongs to root, so no right to look into processes is needed to open it.

use super::UserRuntimeDir;
use crate::atomic;
use crate::procfs::Stat;
use rustix::fs::{Mode, OFlags, StatFs, fstat, fstatfs, open};
use std::fmt::Write as _;
use std::fs::File;
use std::io::{self, Read as _};
use std::net::Ipv4Addr;
use std::os::fd::OwnedFd;
use std::path::{Path, PathBuf};
use std::time::Duration;

/// Name of the file.
const FILE: &str = "network";

/// Longest file, in bytes.
const LONGEST: u64 = 8192;

/// Last line: a file without it is torn and says nothing.
const END: &str = "end";

/// `f_type` of a namespace: `NSFS_MAGIC` in `linux/magic.h`.
const NSFS: u32 = 0x6e73_6673;

/// Most name servers that a resolver of the C library asks.
const NAME_SERVERS_MAX: usize = 3;

/// The network of a running container.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct BoxNetwork {
    /// Where the namespace is bound. Only root can change what is there.
    path: PathBuf,
    /// Inode of the namespace. The kernel gives it to another one only after this one has ended.
    inode: u64,
    /// Pid of the container's init.
    init: i32,
    /// Start of the init, since boot: no later process of this pid has the same.
    began: Duration,
    /// The name servers of the container.
    name_servers: Vec<Ipv4Addr>,
}

impl BoxNetwork {
    /// The network of the container with this init, whose namespace is bound to this path. For root.
    ///
    /// # Errors
    /// `InvalidData` if there is no namespace at this path or no such process, or the I/O error.
    pub fn of(path: &Path, init: i32, name_servers: &[Ipv4Addr]) -> io::Result<Self> {
        let invalid = |what| io::Error::new(io::ErrorKind::InvalidData, what);
        let (_, inode) = open_namespace(path)?;
        let began = Stat::of(init).filter(|stat| !stat.has_ended()).and_then(|stat| stat.start());
        let began = began.ok_or_else(|| invalid("the container's init has ended"))?;
        if path.to_str().is_none_or(|path| path.contains(char::is_whitespace)) {
            return Err(invalid("the path of the network namespace contains white space"));
        }
        let name_servers = name_servers.iter().copied().take(NAME_SERVERS_MAX).collect();
        Ok(Self { path: path.to_owned(), inode, init, began, name_servers })
    }

    /// Opens the namespace, if the container still runs and has the namespace that was recorded.
    ///
    /// # Errors
    /// `NotFound` if the container has stopped since, or the I/O error.
    pub fn open(&self) -> io::Result<OwnedFd> {
        let (namespace, inode) = open_namespace(&self.path)?;
        // Checked after the namespace was opened: as long as the init runs, it is the container's.
        let runs =
            Stat::of(self.init).is_some_and(|stat| !stat.has_ended() && stat.start() == Some(self.began));
        if inode != self.inode || !runs {
            return Err(io::Error::new(io::ErrorKind::NotFound, "the container has stopped since"));
        }
        Ok(namespace)
    }

    /// Inode of the namespace.
    #[must_use]
    pub fn inode(&self) -> u64 {
        self.inode
    }

    /// The name servers of the container.
    #[must_use]
    pub fn name_servers(&self) -> &[Ipv4Addr] {
        &self.name_servers
    }

    fn parse(text: &str) -> Option<Self> {
        let mut lines: Vec<&str> = text.strip_suffix('\n')?.lines().collect();
        if lines.pop() != Some(END) {
            return None;
        }
        let values = |name: &'static str| lines.iter().filter_map(move |line| line.strip_prefix(name));
        let (init, began) = values("init ").next()?.split_once(' ')?;
        Some(Self {
            path: values("path ").next()?.into(),
            inode: values("inode ").next()?.parse().ok()?,
            init: init.parse().ok().filter(|init| *init > 0)?,
            began: Duration::from_millis(began.parse().ok()?),
            name_servers: values("nameserver ").map_while(|address| address.parse().ok()).collect(),
        })
    }

    fn text(&self) -> String {
        let Self { path, inode, init, began, name_servers } = self;
        let mut text = format!("path {}\ninode {inode}\ninit {init} {}\n", path.display(), began.as_millis());
        for address in name_servers {
            let _ = writeln!(text, "nameserver {address}");
        }
        text + END + "\n"
    }
}

/// Opens the namespace at this path, and returns it with its inode.
fn open_namespace(path: &Path) -> io::Result<(OwnedFd, u64)> {
    let flags = OFlags::RDONLY | OFlags::CLOEXEC | OFlags::NONBLOCK | OFlags::NOFOLLOW | OFlags::NOCTTY;
    let file = open(path, flags, Mode::empty())?;
    let StatFs { f_type, .. } = fstatfs(&file)?;
    if u32::try_from(f_type) != Ok(NSFS) {
        return Err(io::Error::new(io::ErrorKind::NotFound, "no namespace is bound to this path"));
    }
    let inode = fstat(&file)?.st_ino;
    Ok((file, inode))
}

impl UserRuntimeDir {
    /// The network of the running container; `None` if none was recorded since boot.
    #[must_use]
    pub fn box_network(&self) -> Option<BoxNetwork> {
        let mut text = String::new();
        File::open(self.host_dir.join(FILE)).ok()?.take(LONGEST).read_to_string(&mut text).ok()?;
        BoxNetwork::parse(&text)
    }

    /// Records the network of the container. For root.
    ///
    /// # Errors
    /// The I/O error.
    pub fn write_box_network(&self, network: &BoxNetwork) -> io::Result<()> {
        if self.box_network().as_ref() == Some(network) {
            return Ok(());
        }
        let text = network.text();
        atomic::replace(atomic::directory(&self.host_dir)?, FILE, text.as_bytes(), 0o600, None)
    }

    /// Forgets the network of the container. For root.
    ///
    /// # Errors
    /// The I/O error.
    pub fn remove_box_network(&self) -> io::Result<()> {
        atomic::remove(&self.host_dir.join(FILE))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::presence::tests::prepared;
    use std::fs;

    /// A namespace that is always there: that of this process.
    const OWN: &str = "/proc/self/ns/net";

    fn ourselves() -> i32 {
        i32::try_from(std::process::id()).unwrap()
    }

    #[test]
    fn f32_a_note_is_read_as_it_was_written_and_a_torn_one_is_none() {
        let dir = tempfile::tempdir().unwrap();
        let runtime_dir = prepared(dir.path());
        assert_eq!(runtime_dir.box_network(), None);
        let network = BoxNetwork {
            path: "/run/docker/netns/0123456789ab".into(),
            inode: 4_026_532_000,
            init: 77,
            began: Duration::from_millis(123_450),
            name_servers: vec![Ipv4Addr::new(127, 0, 0, 11), Ipv4Addr::new(192, 0, 2, 1)],
        };
        runtime_dir.write_box_network(&network).unwrap();
        assert_eq!(runtime_dir.box_network().as_ref(), Some(&network));
        let text = network.text();
        for torn in 0..text.len() {
            fs::write(dir.path().join("users/alice/network"), &text[..torn]).unwrap();
            assert_eq!(runtime_dir.box_network(), None, "{:?}", &text[..torn]);
        }
        runtime_dir.remove_box_network().unwrap();
        runtime_dir.remove_box_network().unwrap();
        assert_eq!(runtime_dir.box_network(), None);
    }

    #[test]
    fn a6_only_the_namespace_that_was_recorded_is_opened_and_only_while_the_init_runs() {
        let path = fs::canonicalize("/proc/self/ns").unwrap().join("net");
        // A link of /proc leads to the namespace; a bound one is a file.
        assert!(BoxNetwork::of(&path, ourselves(), &[]).is_err());
        let file = tempfile::NamedTempFile::new().unwrap();
        assert!(BoxNetwork::of(file.path(), ourselves(), &[]).is_err());
        assert!(BoxNetwork::of(Path::new("/nowhere"), ourselves(), &[]).is_err());
        let inode = fs::metadata(OWN).map(|found| std::os::unix::fs::MetadataExt::ino(&found)).unwrap();
        let began = Stat::of(ourselves()).unwrap().start().unwrap();
        let network = BoxNetwork {
            path: file.path().to_owned(),
            inode,
            init: ourselves(),
            began,
            name_servers: Vec::new(),
        };
        assert_eq!(network.open().unwrap_err().kind(), io::ErrorKind::NotFound);
    }
}
