//! Escapes bytes from outside before they reach a terminal or a log line: the result is printable ASCII.

use std::fmt::Write as _;

/// Longest result; the rest is cut off and marked.
const LONGEST: usize = 1024;

/// Quotes a text: bytes outside 0x20 to 0x7e become `\xNN`, a backslash `\\`, a double quote `\"`. A
/// text that is too long ends in `...`.
#[must_use]
pub fn printable(text: &[u8]) -> String {
    printable_and_cut(text).0
}

/// The same, and whether the text was too long.
#[must_use]
pub fn printable_and_cut(text: &[u8]) -> (String, bool) {
    let mut out = String::with_capacity(text.len().min(LONGEST));
    for byte in text {
        if out.len() >= LONGEST {
            out.push_str("...");
            return (out, true);
        }
        match byte {
            b'\\' | b'"' => {
                out.push('\\');
                out.push(char::from(*byte));
            }
            0x20..=0x7e => out.push(char::from(*byte)),
            // Writing to a String cannot fail.
            _ => {
                let _ = write!(out, "\\x{byte:02x}");
            }
        }
    }
    (out, false)
}

/// Shows a line that may hold quoted texts already: bytes outside 0x20 to 0x7e become `\xNN`, all others
/// stay.
#[must_use]
pub fn visible(line: &[u8]) -> String {
    let mut out = String::with_capacity(line.len());
    for byte in line {
        match byte {
            0x20..=0x7e => out.push(char::from(*byte)),
            // Writing to a String cannot fail.
            _ => {
                let _ = write!(out, "\\x{byte:02x}");
            }
        }
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a14_only_printable_ascii_comes_out() {
        let every_byte: Vec<u8> = (0..=255).collect();
        assert!(printable(&every_byte).bytes().all(|b| (0x20..=0x7e).contains(&b)));
        assert_eq!(printable("\x1b]0;x\x07\u{202e}".as_bytes()), r"\x1b]0;x\x07\xe2\x80\xae");
        assert_eq!(printable(br#"a"b\"#), r#"a\"b\\"#);
        assert!(visible(&every_byte).bytes().all(|b| (0x20..=0x7e).contains(&b)));
        assert_eq!(visible(b"a=\"b\\x0a\"\n"), r#"a="b\x0a"\x0a"#);
    }

    #[test]
    fn distinct_texts_stay_distinct() {
        assert_ne!(printable(b"\\x41\n"), printable(b"\\x41\\x0a"));
    }

    #[test]
    fn a_long_text_is_cut_and_marked() {
        let text = printable(&vec![b'a'; 100_000]);
        assert_eq!(text.len(), LONGEST + 3);
        assert!(text.ends_with("..."));
        let fits = vec![b'a'; LONGEST];
        assert_eq!(printable_and_cut(&fits), (String::from_utf8(fits.clone()).unwrap(), false));
        assert!(printable_and_cut(&[&fits[..], b"a"].concat()).1);
        // The last byte that fits may need four characters.
        let (text, cut) = printable_and_cut(&[&fits[1..], b"\n"].concat());
        assert_eq!((text.len(), cut), (LONGEST + 3, false));
    }
}
