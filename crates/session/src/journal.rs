//! The journal: one entry per event in the system log, in the same form for all programs. Writing never
//! fails and hardly waits. Programs log nowhere else: sshd discards the stderr of `sshbox-keys`, and the
//! stderr of `sshbox-shell` belongs to the user. sshbox-journal(7) documents it for admins.

mod entry;
mod events;
mod reference;

pub use events::{Event, Field, Level};
pub use reference::Reference;

/// A field and its value.
pub type FieldValue<'a> = (Field, &'a dyn AsRef<[u8]>);

/// Writes one entry: `event name="value" … ref="1a2b3c4d"`, and the same as fields. A value may hold
/// any bytes: the entry is printable ASCII. Empty values are left out.
pub fn log(program: &str, event: Event, fields: &[FieldValue<'_>]) {
    entry::Entry::new(program, event, fields).send();
}
