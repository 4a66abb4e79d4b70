//! The user of the container, from its `/etc/passwd`. The file is parsed here because a static
//! program has no NSS.

use std::ffi::OsString;
use std::fs::{self, DirBuilder};
use std::io;
use std::os::unix::ffi::OsStringExt as _;
use std::os::unix::fs::DirBuilderExt as _;
use std::path::{Path, PathBuf};

/// The user of the container.
#[derive(Debug, PartialEq, Eq)]
pub struct ContainerUser {
    /// Name in the container: the login name, from the line that the host put into `/etc/passwd`.
    pub name: OsString,
    /// Home directory in the container.
    pub home: PathBuf,
    /// Login shell.
    pub shell: PathBuf,
}

impl ContainerUser {
    /// The user that this process runs as.
    pub fn of_this_process() -> Self {
        let uid = nix::unistd::getuid().as_raw();
        let passwd = fs::read("/etc/passwd").unwrap_or_default();
        Self::find(uid, &passwd).unwrap_or_else(|| Self {
            name: uid.to_string().into(),
            home: std::env::var_os("HOME").unwrap_or_else(|| "/".into()).into(),
            shell: "/bin/sh".into(),
        })
    }

    fn find(uid: u32, passwd: &[u8]) -> Option<Self> {
        passwd.split(|byte| *byte == b'\n').find_map(|line| {
            let fields: Vec<&[u8]> = line.split(|byte| *byte == b':').collect();
            let [name, _, number, _, _, home, shell] = fields[..] else {
                return None;
            };
            let number: u32 = std::str::from_utf8(number).ok()?.parse().ok()?;
            // passwd(5): an empty shell means /bin/sh.
            let shell: &[u8] = if shell.is_empty() { b"/bin/sh" } else { shell };
            let text = |bytes: &[u8]| OsString::from_vec(bytes.to_vec());
            (number == uid).then(|| Self {
                name: text(name),
                home: text(home).into(),
                shell: text(shell).into(),
            })
        })
    }

    /// Copies the image's `/etc/skel` into an empty home. The host created the home, so the image could
    /// not fill it; without these files a shell has no prompt and no aliases.
    pub fn fill_empty_home(&self) {
        // The container also works with a home that cannot be written.
        let _ = fill_empty(&self.home, Path::new("/etc/skel"));
    }
}

fn fill_empty(home: &Path, skel: &Path) -> io::Result<()> {
    if fs::read_dir(home)?.next().is_some() {
        return Ok(());
    }
    copy(skel, home)
}

/// Copies files and directories, but no links. Directories get mode 0700, as the home has and as ssh
/// requires of `~/.ssh`.
fn copy(from: &Path, to: &Path) -> io::Result<()> {
    for entry in fs::read_dir(from)? {
        let entry = entry?;
        let (kind, target) = (entry.file_type()?, to.join(entry.file_name()));
        if kind.is_file() {
            fs::copy(entry.path(), target)?;
        } else if kind.is_dir() {
            DirBuilder::new().mode(0o700).create(&target)?;
            copy(&entry.path(), &target)?;
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::unix::fs::PermissionsExt as _;

    const PASSWD: &[u8] =
        b"root:x:0:0:root:/root:/bin/bash\nbad\nuser:x:1000:1000::/home/user:/bin/bash\nnone:x:7:7::/:\n";

    #[test]
    fn the_user_is_found_by_number() {
        let user = ContainerUser::find(1000, PASSWD).unwrap();
        assert_eq!((user.name.to_str(), user.home.to_str()), (Some("user"), Some("/home/user")));
        assert_eq!(ContainerUser::find(7, PASSWD).unwrap().shell, Path::new("/bin/sh"));
        assert_eq!(ContainerUser::find(8, PASSWD), None);
        assert_eq!(ContainerUser::find(0, b""), None);
    }

    #[test]
    fn an_empty_home_is_filled_and_a_used_one_left_alone() {
        let dir = tempfile::tempdir().unwrap();
        let (home, skel) = (dir.path().join("home"), dir.path().join("skel"));
        fs::create_dir(&home).unwrap();
        fs::create_dir_all(skel.join(".ssh")).unwrap();
        fs::write(skel.join(".bashrc"), "PS1=x").unwrap();
        fs::write(skel.join(".ssh/authorized_keys"), "# not used").unwrap();
        std::os::unix::fs::symlink("..", skel.join("loop")).unwrap();
        fill_empty(&home, &skel).unwrap();
        assert_eq!(fs::read_to_string(home.join(".ssh/authorized_keys")).unwrap(), "# not used");
        assert_eq!(fs::metadata(home.join(".ssh")).unwrap().permissions().mode() & 0o777, 0o700);
        assert!(fs::symlink_metadata(home.join("loop")).is_err());
        assert_eq!(fs::read_to_string(home.join(".bashrc")).unwrap(), "PS1=x");
        fs::write(home.join(".bashrc"), "mine").unwrap();
        fill_empty(&home, &skel).unwrap();
        assert_eq!(fs::read_to_string(home.join(".bashrc")).unwrap(), "mine");
    }
}
