//! The protocol between the programs: packets on Unix sockets, their fields, and the messages of each
//! socket. The hand-over at `boot.sock` has a few fields only, which are written and read in `init` and in sshbox-wake.

mod disk_messages;
mod fields;
mod session_messages;
mod site_settings;
mod socket;
mod wake_messages;

pub use disk_messages::DiskVerb;
pub use fields::Fields;
pub use session_messages::{Reply, Request, Run, SFTP, goodbye, hello, is_hello};
pub use site_settings::SiteSettings;
pub use socket::{PACKET_MAX, Socket};
pub use wake_messages::{Verb, progress};

/// Version of the messages, sent with each request.
pub const VERSION: &str = "1";
