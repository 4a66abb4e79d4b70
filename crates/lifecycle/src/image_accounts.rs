//! `/etc/passwd` and `/etc/group` of a box: the line of its user, with the login name, and the lines of the
//! image, whose first user is a second name. So the user has a name in every image, whatever its uid. The image's files come from the engine,
//! once for each image and boot, and are kept in `/run/sshbox/images`.

use crate::engine::{Engine, EngineError};
use host::config::UidGid;
use identity::Login;
use session::atomic;
use session::deadlines::NETWORK;
use session::presence::host_lock;
use std::fmt;
use std::fs::{self, DirBuilder};
use std::io::{self, Read as _};
use std::os::unix::ffi::OsStrExt as _;
use std::os::unix::fs::DirBuilderExt as _;
use std::path::{Path, PathBuf};

/// Longest file of an image that is used, in bytes. A longer one counts as missing.
const MAX_LENGTH: usize = 1 << 20;

/// Longest archive of such a file: with its header, padding and end.
const MAX_ARCHIVE: usize = MAX_LENGTH + 16 * 512;

/// The uid of the first user in most images.
const FIRST_USER: u32 = 1000;

/// `/etc/passwd` and `/etc/group` of an image; empty if it has none.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ImageAccounts {
    passwd: Vec<u8>,
    group: Vec<u8>,
}

/// Why the accounts of an image are not known.
#[derive(Debug)]
pub enum ImageAccountsError {
    /// The engine did not give the files.
    Engine(EngineError),
    /// Another process asks the engine for too long.
    Busy(io::Error),
    /// Reading or writing the copies failed.
    Copies(PathBuf, io::Error),
}

impl fmt::Display for ImageAccountsError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Engine(error) => error.fmt(f),
            Self::Busy(_) => f.write_str("another process reads files of an image"),
            Self::Copies(path, _) => write!(f, "cannot read or write {}", path.display()),
        }
    }
}

impl std::error::Error for ImageAccountsError {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        match self {
            Self::Engine(error) => std::error::Error::source(error),
            Self::Busy(error) | Self::Copies(_, error) => Some(error),
        }
    }
}

impl ImageAccounts {
    /// The accounts of the image with this id. `run` is the runtime directory.
    ///
    /// # Errors
    /// [`ImageAccountsError`]
    pub async fn of(engine: &Engine, image_id: &str, run: &Path) -> Result<Self, ImageAccountsError> {
        let dir = run.join("images").join(directory_name(image_id));
        let failed = |error| ImageAccountsError::Copies(dir.clone(), error);
        if let Some(copies) = Self::read(&dir).map_err(failed)? {
            return Ok(copies);
        }
        let _host_lock = host_lock(run, NETWORK).map_err(ImageAccountsError::Busy)?;
        // The process that held the lock before may have done it.
        if let Some(copies) = Self::read(&dir).map_err(failed)? {
            return Ok(copies);
        }
        let [passwd, group] = engine
            .files_of_image(image_id, ["/etc/passwd", "/etc/group"], MAX_ARCHIVE)
            .await
            .map_err(ImageAccountsError::Engine)?
            .map(|archive| archive.and_then(|archive| file_in(&archive)).unwrap_or_default());
        let accounts = Self { passwd, group };
        accounts.write(&dir).map_err(failed)?;
        Ok(accounts)
    }

    fn read(dir: &Path) -> io::Result<Option<Self>> {
        let read = |name| match fs::read(dir.join(name)) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
            other => other.map(Some),
        };
        // The group is written first.
        let (Some(passwd), Some(group)) = (read("passwd")?, read("group")?) else { return Ok(None) };
        Ok(Some(Self { passwd, group }))
    }

    fn write(&self, dir: &Path) -> io::Result<()> {
        DirBuilder::new().recursive(true).mode(0o700).create(dir)?;
        let dir = atomic::directory(dir)?;
        atomic::replace(&dir, "group", &self.group, 0o600, None)?;
        atomic::replace(&dir, "passwd", &self.passwd, 0o600, None)
    }

    /// The `/etc/passwd` of the box of `login`, whose home is at `home` in the box.
    #[must_use]
    pub fn passwd(&self, login: &Login, user: UidGid, home: &Path) -> Vec<u8> {
        let UidGid { uid, gid } = user;
        let mut line = format!("{login}:x:{uid}:{gid}::").into_bytes();
        line.extend(home.as_os_str().as_bytes());
        line.push(b':');
        line.extend(self.shell(uid));
        with_line(line, &self.with_first_user(user, home))
    }

    /// The lines of the image, with its first user as a second name of the box's user: configurations of
    /// clients contain the name (`User user`), and its uid would belong to nobody.
    fn with_first_user(&self, UidGid { uid, gid }: UidGid, home: &Path) -> Vec<u8> {
        let lines = self.passwd.split(|byte| *byte == b'\n').map(|line| {
            let fields: Vec<&[u8]> = line.split(|byte| *byte == b':').collect();
            match fields[..] {
                [name, password, number, _, comment, _, shell]
                    if number == FIRST_USER.to_string().as_bytes() =>
                {
                    let (uid, gid) = (uid.to_string(), gid.to_string());
                    let home = home.as_os_str().as_bytes();
                    [name, password, uid.as_bytes(), gid.as_bytes(), comment, home, shell].join(&b':')
                }
                _ => line.to_vec(),
            }
        });
        lines.collect::<Vec<_>>().join(&b'\n')
    }

    /// The `/etc/group` of the box of `login`.
    #[must_use]
    pub fn group(&self, login: &Login, user: UidGid) -> Vec<u8> {
        with_line(format!("{login}:x:{}:", user.gid).into_bytes(), &self.group)
    }

    /// The shell that the image gives this uid, its first user, or root.
    fn shell(&self, uid: u32) -> &[u8] {
        let lines = || self.passwd.split(|byte| *byte == b'\n');
        let shell_of = |wanted: u32| {
            lines().find_map(|line| {
                let fields: Vec<&[u8]> = line.split(|byte| *byte == b':').collect();
                let [_, _, number, _, _, _, shell] = fields[..] else { return None };
                let is_theirs = std::str::from_utf8(number).ok()?.parse::<u32>() == Ok(wanted);
                (is_theirs && is_shell(shell)).then_some(shell)
            })
        };
        [uid, FIRST_USER, 0].into_iter().find_map(shell_of).unwrap_or(b"/bin/sh")
    }
}

/// A program that refuses logins is no shell for a user who logs in.
fn is_shell(shell: &[u8]) -> bool {
    let name = shell.rsplit(|byte| *byte == b'/').next().unwrap_or_default();
    shell.starts_with(b"/") && ![&b"nologin"[..], b"false", b"true", b"sync"].contains(&name)
}

/// The line, and after it the lines of the image: the first line with a name or a number counts.
fn with_line(mut line: Vec<u8>, image: &[u8]) -> Vec<u8> {
    line.push(b'\n');
    line.extend(image);
    if !line.ends_with(b"\n") {
        line.push(b'\n');
    }
    line
}

/// A directory name for an image id such as `sha256:1f…`.
fn directory_name(image_id: &str) -> String {
    image_id.chars().filter(char::is_ascii_alphanumeric).collect()
}

/// The content of the first entry of a tar archive. `None` if that is no regular file, or too long.
fn file_in(archive: &[u8]) -> Option<Vec<u8>> {
    let mut archive: tar::Archive<&[u8]> = tar::Archive::new(archive);
    let mut entry = archive.entries().ok()?.next()?.ok()?;
    if !entry.header().entry_type().is_file() {
        return None;
    }
    let mut content = Vec::new();
    entry.read_to_end(&mut content).ok()?;
    (content.len() <= MAX_LENGTH).then_some(content)
}

#[cfg(test)]
mod tests {
    use super::*;
    use insta::assert_snapshot;

    const PASSWD: &str = "root:x:0:0:root:/root:/bin/ash\nwww:x:33:33::/:/usr/sbin/nologin\n\
                          user:x:1000:1000::/home/user:/bin/bash\nodd:x:1001:1001::/:/bin/zsh\n";

    fn accounts(passwd: &str) -> ImageAccounts {
        ImageAccounts { passwd: passwd.into(), group: b"root:x:0:\nusers:x:100:".to_vec() }
    }

    fn passwd_of(image: &str, uid: u32) -> String {
        let login = Login::parse(b"Ada-L").unwrap();
        let text = accounts(image).passwd(&login, UidGid { uid, gid: 7 }, Path::new("/home/user"));
        String::from_utf8(text).unwrap()
    }

    #[test]
    fn a13_the_users_line_is_the_first_and_those_of_the_image_follow() {
        assert_snapshot!(passwd_of(PASSWD, 1_700_000_042), @"
        Ada-L:x:1700000042:7::/home/user:/bin/bash
        root:x:0:0:root:/root:/bin/ash
        www:x:33:33::/:/usr/sbin/nologin
        user:x:1700000042:7::/home/user:/bin/bash
        odd:x:1001:1001::/:/bin/zsh
        ");
        let group = accounts("").group(&Login::parse(b"Ada-L").unwrap(), UidGid { uid: 5, gid: 6 });
        assert_eq!(group, b"Ada-L:x:6:\nroot:x:0:\nusers:x:100:\n");
    }

    #[test]
    fn the_shell_is_that_of_the_uid_or_of_the_images_first_user_or_of_root() {
        let shell = |image: &str, uid| {
            let text = passwd_of(image, uid);
            text.lines().next().unwrap().rsplit(':').next().unwrap().to_owned()
        };
        assert_eq!(shell(PASSWD, 1001), "/bin/zsh");
        assert_eq!(shell(PASSWD, 33), "/bin/bash");
        let without = PASSWD.replace("user:x:1000", "user:x:999");
        assert_eq!(shell(&without, 1_700_000_042), "/bin/ash");
        let closed = without.replace("/bin/ash", "/sbin/nologin");
        for image in [&*closed, "", "nonsense\n:::::\n", "root:x:0:0:root:/root:\n"] {
            assert_eq!(shell(image, 1_700_000_042), "/bin/sh", "{image}");
        }
    }

    fn archive(kind: tar::EntryType, content: &[u8]) -> Vec<u8> {
        let mut header = tar::Header::new_gnu();
        header.set_entry_type(kind);
        header.set_size(content.len() as u64);
        let mut archive = tar::Builder::new(Vec::new());
        archive.append_data(&mut header, "passwd", content).unwrap();
        archive.into_inner().unwrap()
    }

    #[test]
    fn only_a_regular_file_is_used() {
        assert_eq!(file_in(&archive(tar::EntryType::Regular, b"root:x")).unwrap(), b"root:x");
        assert_eq!(file_in(&archive(tar::EntryType::Symlink, b"")), None);
        assert_eq!(file_in(&archive(tar::EntryType::Directory, b"")), None);
        assert_eq!(file_in(&archive(tar::EntryType::Regular, &vec![b'x'; (1 << 20) + 1])), None);
        for nonsense in [&b""[..], b"x", &[0; 1024], &[b'x'; 4096]] {
            assert_eq!(file_in(nonsense), None);
        }
    }

    #[test]
    fn f32_copies_count_when_both_are_there() {
        let dir = tempfile::tempdir().unwrap();
        let dir = dir.path().join("images/sha2561");
        assert_eq!(ImageAccounts::read(&dir).unwrap(), None);
        fs::create_dir_all(&dir).unwrap();
        fs::write(dir.join("group"), "").unwrap();
        assert_eq!(ImageAccounts::read(&dir).unwrap(), None);
        accounts(PASSWD).write(&dir).unwrap();
        assert_eq!(ImageAccounts::read(&dir).unwrap(), Some(accounts(PASSWD)));
        assert_eq!(directory_name("sha256:../../x"), "sha256x");
    }
}
