//! The owners of all homes on this host. Lists the directory of the homes and enters no home.

use crate::config::Template;
use identity::Login;
use std::ffi::OsStr;
use std::fs;
use std::io;
use std::os::unix::fs::MetadataExt as _;
use std::path::Path;

/// The login names that have a home, each with the uid of the directory. Links are no homes.
///
/// # Errors
/// The I/O error. No directory of homes is no error: there are none.
pub fn owners(template: &Template) -> io::Result<Vec<(Login, u32)>> {
    let (before, after) = template.parts();
    let (dir, prefix) = before.rsplit_once('/').unwrap_or((".", before));
    let suffix = after.split('/').next().unwrap_or_default();
    let login_of = |name: &OsStr| {
        let name = name.to_str()?.strip_prefix(prefix)?.strip_suffix(suffix)?;
        Login::parse(name.as_bytes()).ok()
    };
    let entries = match fs::read_dir(Path::new(&format!("{dir}/"))) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Vec::new()),
        entries => entries?,
    };
    let mut found = Vec::new();
    for entry in entries {
        let Some(login) = login_of(&entry?.file_name()) else { continue };
        match fs::symlink_metadata(template.fill(&login)) {
            Ok(home) if home.is_dir() => found.push((login, home.uid())),
            _ => {}
        }
    }
    Ok(found)
}
