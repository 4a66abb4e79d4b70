//! The format of all packets: fields `name=value`, each ended by a NUL, as in an environment block. A
//! value may hold any byte but NUL. Readers skip fields that they do not know, so that programs of
//! different releases understand each other.

use super::PACKET_MAX;

/// A packet: `name=value` fields, each ended by a NUL.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Fields(Vec<u8>);

impl Fields {
    /// A packet as it was received.
    #[must_use]
    pub fn from_bytes(packet: Vec<u8>) -> Self {
        Self(packet)
    }

    /// The packet as it is sent.
    #[must_use]
    pub fn bytes(&self) -> &[u8] {
        &self.0
    }

    /// Adds a field. A value ends at its first NUL: an environment variable or an argument holds none.
    #[must_use]
    pub fn with(mut self, name: &str, value: &[u8]) -> Self {
        let value = value.split(|byte| *byte == 0).next().unwrap_or_default();
        self.0.extend_from_slice(name.as_bytes());
        self.0.push(b'=');
        self.0.extend_from_slice(value);
        self.0.push(0);
        self
    }

    /// Length of the packet in bytes.
    #[must_use]
    pub fn length(&self) -> usize {
        self.0.len()
    }

    /// Whether one more field fits, with this many bytes of name and value.
    #[must_use]
    pub fn has_room(&self, bytes: usize) -> bool {
        self.0.len() + bytes + 2 <= PACKET_MAX
    }

    /// All fields in order.
    pub fn iter(&self) -> impl Iterator<Item = (&[u8], &[u8])> {
        self.0.split(|byte| *byte == 0).filter_map(|field| {
            let at = field.iter().position(|byte| *byte == b'=')?;
            let (name, value) = field.split_at(at);
            Some((name, value.get(1..)?))
        })
    }

    /// The first field of this name.
    #[must_use]
    pub fn get(&self, name: &str) -> Option<&[u8]> {
        self.iter().find(|(found, _)| *found == name.as_bytes()).map(|(_, value)| value)
    }

    /// The first field of this name, if it is UTF-8.
    #[must_use]
    pub fn text(&self, name: &str) -> Option<&str> {
        std::str::from_utf8(self.get(name)?).ok()
    }

    /// The first field of this name, if it parses as `T`.
    #[must_use]
    pub fn parse<T: std::str::FromStr>(&self, name: &str) -> Option<T> {
        self.text(name)?.parse().ok()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn fields_are_found_by_name_and_the_first_one_counts() {
        let fields =
            Fields::default().with("n", b"7").with("n", b"8").with("cut", b"a\0b").with("bad", b"\xff");
        assert_eq!((fields.parse::<u8>("n"), fields.get("cut")), (Some(7), Some(&b"a"[..])));
        assert_eq!((fields.text("bad"), fields.get("none")), (None, None));
        assert_eq!(fields.bytes(), b"n=7\0n=8\0cut=a\0bad=\xff\0");
        assert_eq!(Fields::from_bytes(fields.bytes().to_vec()), fields);
    }

    #[test]
    fn what_has_no_equals_sign_is_skipped() {
        let fields = Fields::from_bytes(b"\0nonsense\0=empty name\0a=1".to_vec());
        let all: Vec<_> = fields.iter().collect();
        assert_eq!(all, [(&b""[..], &b"empty name"[..]), (b"a", b"1")]);
    }
}
