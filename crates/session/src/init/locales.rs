//! Which locales a container has: those of glibc, in its archive and in directories beside it. The files
//! are parsed here because a static program has no locales. Other C libraries are not checked.

use std::collections::BTreeSet;
use std::fs::{self, File};
use std::io;
use std::os::unix::fs::FileExt as _;
use std::path::Path;

/// Replaces a locale that the container lacks. It is part of glibc.
pub const FALLBACK: &str = "C.UTF-8";

/// Directory of glibc's locales.
pub const FOLDER: &str = "/usr/lib/locale";

/// The variables that choose a locale (locale(7)).
const CHOOSE: [&[u8]; 14] = [
    b"LANG",
    b"LC_ALL",
    b"LC_ADDRESS",
    b"LC_COLLATE",
    b"LC_CTYPE",
    b"LC_IDENTIFICATION",
    b"LC_MEASUREMENT",
    b"LC_MESSAGES",
    b"LC_MONETARY",
    b"LC_NAME",
    b"LC_NUMERIC",
    b"LC_PAPER",
    b"LC_TELEPHONE",
    b"LC_TIME",
];

/// Head of an archive: magic number, serial number, then offset, used and size of the table of names
/// and of the strings (`struct locarhead` in glibc's `locarchive.h`).
const HEAD: usize = 8;
const MAGIC: u32 = 0xde02_0109;

/// Numbers in an entry of the table: hash, offset of the name, offset of the locale or 0.
const ENTRY: usize = 3;

/// Longest part of an archive that is read, in bytes; all of Debian's locales need a tenth of it.
const LONGEST: usize = 1 << 20;

/// The locales of a container.
#[derive(Debug)]
pub struct Locales(BTreeSet<String>);

impl Locales {
    /// The locales below this directory; `None` if [`FALLBACK`] is not among them.
    pub fn below(folder: &Path) -> Option<Self> {
        let mut names: BTreeSet<String> =
            archived(&folder.join("locale-archive")).unwrap_or_default().into_iter().collect();
        for entry in fs::read_dir(folder).ok()?.flatten().filter(|entry| entry.path().is_dir()) {
            names.extend(entry.file_name().to_str().and_then(canonical));
        }
        let fallback = canonical(FALLBACK)?;
        names.contains(&fallback).then_some(Self(names))
    }

    /// Whether this variable chooses a locale that the container lacks.
    pub fn lacks(&self, variable: &[u8], value: &[u8]) -> bool {
        if !CHOOSE.contains(&variable) || matches!(value, b"" | b"C" | b"POSIX") {
            return false;
        }
        let name = std::str::from_utf8(value).ok().and_then(canonical);
        !name.is_some_and(|name| self.0.contains(&name))
    }
}

/// A name as glibc compares it, `language_TERRITORY.codeset@modifier`: of the codeset only letters and
/// digits count, and their case does not.
fn canonical(name: &str) -> Option<String> {
    let (name, modifier) = name.split_at(name.find('@').unwrap_or(name.len()));
    let (place, codeset) = name.split_at(name.find('.').unwrap_or(name.len()));
    let mut codeset = codeset.replace(|letter: char| !letter.is_ascii_alphanumeric(), "").to_lowercase();
    if codeset.bytes().all(|byte| byte.is_ascii_digit()) && !codeset.is_empty() {
        codeset.insert_str(0, "iso");
    }
    let dot = if codeset.is_empty() { "" } else { "." };
    (!name.contains('/')).then(|| format!("{place}{dot}{codeset}{modifier}"))
}

/// The names in an archive.
fn archived(path: &Path) -> io::Result<Vec<String>> {
    let broken = || io::Error::from(io::ErrorKind::InvalidData);
    let file = File::open(path)?;
    let head = numbers(&part(&file, 0, HEAD * 4)?);
    let [MAGIC, _, table, _, entries, strings, used, _] = head[..] else {
        return Err(broken());
    };
    let table = numbers(&part(&file, table, (entries as usize).saturating_mul(ENTRY * 4))?);
    let text = part(&file, strings, used as usize)?;
    let name = |entry: &[u32]| {
        let [_, name, locale] = *entry else { return None };
        let start = usize::try_from(name.checked_sub(strings)?).ok()?;
        let name = text.get(start..)?.split(|byte| *byte == 0).next()?;
        (locale != 0).then(|| std::str::from_utf8(name).ok().and_then(canonical))?
    };
    Ok(table.chunks_exact(ENTRY).filter_map(name).collect())
}

fn part(file: &File, offset: u32, length: usize) -> io::Result<Vec<u8>> {
    if length > LONGEST {
        return Err(io::ErrorKind::InvalidData.into());
    }
    let mut bytes = vec![0; length];
    file.read_exact_at(&mut bytes, u64::from(offset))?;
    Ok(bytes)
}

fn numbers(bytes: &[u8]) -> Vec<u32> {
    bytes.as_chunks().0.iter().map(|number| u32::from_ne_bytes(*number)).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    /// An archive with these names, and an empty and an unused entry.
    fn archive(names: &[&str]) -> Vec<u8> {
        let (mut table, mut text) = (vec![0_u32; ENTRY], Vec::new());
        let count = u32::try_from(names.len()).unwrap() + 2;
        let strings = 32 + count * 12;
        for name in names {
            table.extend([7, strings + u32::try_from(text.len()).unwrap(), 99]);
            text.extend(name.bytes().chain([0]));
        }
        table.extend([7, strings, 0]);
        let used = u32::try_from(text.len()).unwrap();
        let head = [MAGIC, 1, 32, count - 2, count, strings, used, used];
        head.iter().chain(&table).flat_map(|number| number.to_ne_bytes()).chain(text).collect()
    }

    fn below(archive: &[u8], folders: &[&str]) -> Option<Locales> {
        let dir = tempfile::tempdir().unwrap();
        fs::write(dir.path().join("locale-archive"), archive).unwrap();
        for folder in folders {
            fs::create_dir(dir.path().join(folder)).unwrap();
        }
        Locales::below(dir.path())
    }

    #[test]
    fn archive_and_directories_list_the_locales() {
        let locales = below(&archive(&["en_US.utf8", "de_DE@euro"]), &["C.utf8", "ru_RU.koi8r"]).unwrap();
        for there in ["en_US.UTF-8", "en_US.utf8", "C.UTF-8", "C", "POSIX", "", "de_DE@euro", "ru_RU.KOI8-R"]
        {
            assert!(!locales.lacks(b"LANG", there.as_bytes()), "{there}");
        }
        for missing in ["de_DE.UTF-8", "en_US", "en_US.ISO-8859-1", "UTF-8", "en", "../C.utf8", "\u{e9}", "x"]
        {
            assert!(locales.lacks(b"LC_ALL", missing.as_bytes()), "{missing}");
        }
        // Not every LC_ variable chooses a locale.
        assert!(!locales.lacks(b"LC_ORACLE", b"x") && !locales.lacks(b"COLORTERM", b"x"));
        assert!(locales.lacks(b"LC_TIME", b"\xff"));
    }

    #[test]
    fn a_container_without_glibcs_locales_is_not_checked() {
        assert!(Locales::below(Path::new("/nonexistent")).is_none());
        assert!(below(&archive(&["en_US.utf8"]), &[]).is_none(), "there is nothing to fall back to");
    }

    #[test]
    fn a_broken_archive_is_none() {
        let whole = archive(&["en_US.utf8"]);
        for broken in
            [&b""[..], &whole[..40], &[0xff; 64], &[&whole[..16], &[0xff; 16], &whole[32..]].concat()]
        {
            let locales = below(broken, &["C.utf8"]).unwrap();
            assert!(locales.lacks(b"LANG", b"en_US.UTF-8") && !locales.lacks(b"LANG", b"C.UTF-8"));
        }
    }
}
