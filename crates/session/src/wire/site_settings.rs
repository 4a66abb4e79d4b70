//! What an account says about the user's new sessions: the site's variables, and the directory where sessions
//! begin. The same fields travel to the container in a request and stand in the note that `sshbox-keys` leaves
//! for `sshbox-shell`. The values may be secrets, such as an API token: nothing here prints them.

use super::fields::Fields;
use std::fmt;

/// Field with a variable, `NAME=VALUE`.
const VARIABLE: &str = "site";

/// Field with the directory.
const DIRECTORY: &str = "directory";

/// What the site gives to each new session of a user.
#[derive(Clone, Default, PartialEq, Eq)]
pub struct SiteSettings {
    /// Variables: names and values, without NUL.
    pub variables: Vec<(Vec<u8>, Vec<u8>)>,
    /// Where sessions begin: an absolute path, or one below the home.
    pub directory: Option<Vec<u8>>,
}

impl SiteSettings {
    /// Whether there are none.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.variables.is_empty() && self.directory.is_none()
    }

    /// Adds the settings to a packet or a note.
    #[must_use]
    pub fn add_to(&self, mut fields: Fields) -> Fields {
        for (name, value) in &self.variables {
            fields = fields.with(VARIABLE, &[name, &b"="[..], value].concat());
        }
        match &self.directory {
            Some(directory) => fields.with(DIRECTORY, directory),
            None => fields,
        }
    }

    /// The settings in a packet or a note.
    #[must_use]
    pub fn of(fields: &Fields) -> Self {
        let variables = fields.iter().filter(|(name, _)| *name == VARIABLE.as_bytes());
        let variables = variables.filter_map(|(_, variable)| {
            let at = variable.iter().position(|byte| *byte == b'=')?;
            Some((variable.get(..at)?.to_vec(), variable.get(at + 1..)?.to_vec()))
        });
        Self { variables: variables.collect(), directory: fields.get(DIRECTORY).map(<[u8]>::to_vec) }
    }
}

/// Without the values of the variables.
impl fmt::Debug for SiteSettings {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let names = self.variables.iter().map(|(name, _)| String::from_utf8_lossy(name));
        f.debug_struct("SiteSettings")
            .field("variables", &names.collect::<Vec<_>>())
            .field("directory", &self.directory.as_deref().map(String::from_utf8_lossy))
            .finish()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn settings() -> SiteSettings {
        let every: Vec<u8> = (1..=255).collect();
        let variables = vec![(b"A".to_vec(), every), (b"EMPTY".to_vec(), vec![])];
        SiteSettings { variables, directory: Some(b"proj/one".to_vec()) }
    }

    #[test]
    fn settings_survive_with_every_byte_that_can_occur() {
        for settings in [settings(), SiteSettings { directory: None, ..settings() }, SiteSettings::default()]
        {
            let fields = settings.add_to(Fields::default().with("ask", b"shell"));
            assert_eq!(SiteSettings::of(&fields), settings);
        }
        assert!(SiteSettings::default().is_empty() && !settings().is_empty());
    }

    #[test]
    fn a16_debug_output_has_no_values() {
        let secret =
            SiteSettings { variables: vec![(b"TOKEN".to_vec(), b"s3cret".to_vec())], directory: None };
        let shown = format!("{secret:?}");
        assert!(shown.contains("TOKEN") && !shown.contains("s3cret"), "{shown}");
    }
}
