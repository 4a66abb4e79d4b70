//! What the site gives to sessions, on its way through the container's SSH server to `inner_session`. sshd
//! passes nothing but what its configuration sets, and everyone on the host reads a command line. So the
//! setting is in a file, which only the user can read, from the start of sshd until it asks for the keys.

use crate::wire::{Fields, SiteSettings};
use std::ffi::OsStr;
use std::fs::{self, File};
use std::io::{self, Write as _};
use std::os::unix::ffi::OsStrExt as _;
use std::os::unix::fs::OpenOptionsExt as _;

/// Variable with the site's settings, in hexadecimal digits.
pub const SITE: &str = "SSHBOX_SITE";

/// Beginning of the file's path. `/tmp` is a tmpfs.
const FILE: &str = "/tmp/.sshbox-sshd-";

/// Writes the configuration line to a new file; returns its path.
pub fn write(line: &str) -> io::Result<String> {
    let mut random = [0_u8; 8];
    rustix::rand::getrandom(&mut random, rustix::rand::GetRandomFlags::empty())?;
    let path = format!("{FILE}{}", hexadecimal(&random));
    let mut file = File::options().write(true).create_new(true).mode(0o600).open(&path)?;
    if let Err(error) = writeln!(file, "{line}") {
        let _ = fs::remove_file(&path);
        return Err(error);
    }
    Ok(path)
}

/// Removes the file.
pub fn remove(path: &OsStr) {
    if path.as_bytes().starts_with(FILE.as_bytes()) {
        let _ = fs::remove_file(path);
    }
}

/// Encodes the settings as hexadecimal digits: sshd's configuration cannot hold all bytes.
pub fn encode(site: &SiteSettings) -> String {
    hexadecimal(site.add_to(Fields::default()).bytes())
}

/// The reverse of [`encode`]; `None` when the text is something else.
pub fn decode(text: &[u8]) -> Option<SiteSettings> {
    Some(SiteSettings::of(&Fields::from_bytes(bytes_of(text)?)))
}

/// Bytes as hexadecimal digits.
pub fn hexadecimal(bytes: &[u8]) -> String {
    const DIGITS: [char; 16] =
        ['0', '1', '2', '3', '4', '5', '6', '7', '8', '9', 'a', 'b', 'c', 'd', 'e', 'f'];
    let digit = |number: u8| DIGITS.get(usize::from(number)).copied().unwrap_or_default();
    bytes.iter().flat_map(|byte| [digit(byte >> 4), digit(byte & 15)]).collect()
}

/// The reverse of [`hexadecimal`]; `None` when the text is something else.
pub fn bytes_of(text: &[u8]) -> Option<Vec<u8>> {
    let digit = |byte: u8| char::from(byte).to_digit(16).and_then(|digit| u8::try_from(digit).ok());
    let pair = |[high, low]: &[u8; 2]| Some((digit(*high)? << 4) | digit(*low)?);
    text.as_chunks().0.iter().map(pair).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::unix::fs::PermissionsExt as _;

    #[test]
    fn settings_survive_sshd_with_every_byte_that_can_occur() {
        let every: Vec<u8> = (1..=255).collect();
        let site = SiteSettings { variables: vec![(b"A".to_vec(), every.clone())], directory: Some(every) };
        let text = encode(&site);
        assert!(text.bytes().all(|byte| byte.is_ascii_hexdigit()));
        assert_eq!(decode(text.as_bytes()), Some(site));
        assert_eq!((decode(b""), decode(b"zz")), (Some(SiteSettings::default()), None));
    }

    #[test]
    fn a16_the_file_is_closed_to_others_and_removed() {
        let path = write("SetEnv A=1").unwrap();
        assert_eq!(fs::read_to_string(&path).unwrap(), "SetEnv A=1\n");
        assert_eq!(fs::metadata(&path).unwrap().permissions().mode() & 0o7777, 0o600);
        remove(OsStr::new(&path));
        assert!(!fs::exists(&path).unwrap());
        let other = tempfile::NamedTempFile::new().unwrap();
        remove(other.path().as_os_str());
        assert!(other.path().exists());
    }
}
