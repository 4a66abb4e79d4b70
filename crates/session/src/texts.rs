//! Every sentence that a user of a box reads, in one place; the tests hold each as a snapshot. Knows no
//! terminal, no socket and no clock.
//!
//! Users read "box" for their container, and "the container engine" for whatever runs it.

mod refusals;
mod special_commands;
mod start_and_stop;
mod terminal;

pub use refusals::*;
pub use special_commands::*;
pub use start_and_stop::*;
pub use terminal::*;
