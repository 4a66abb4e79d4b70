//! The disk of a home: an ext4 file system in a file, or a project quota of the file system of the homes.
//! `service` is `sshbox-disk`, which prepares homes for boxes that start; `convert` gives a limit to a home
//! that exists, for an admin. Which backend is used and how large a home may be, `host::quota` decides.
//!
//! Nothing here reads what is in a home, except `convert`. Knows no engine and no network.

#![cfg_attr(
    test,
    allow(
        clippy::arithmetic_side_effects,
        clippy::disallowed_methods,
        reason = "a test stops at the first surprise"
    )
)]

pub mod convert;
pub mod error;
pub mod service;

mod growth;
mod home_dir;
mod image;
mod images_dir;
mod mounting;
mod prepare;
mod prepared;
mod project;
mod superblock;
mod tools;
