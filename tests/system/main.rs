//! Complete logins without fakes: OpenSSH, Docker, Django and the installed package, in a world of
//! its own. `make test` runs these tests; see `tests/system/world` and `boot`.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    clippy::arithmetic_side_effects,
    clippy::disallowed_methods,
    reason = "a test stops at the first surprise, its helpers too"
)]

mod accounts;
mod admin;
mod adopt;
mod agent;
mod audit;
mod description;
mod doctor;
mod engine;
mod environment;
mod escape;
mod files;
mod forwarding;
mod harness;
mod host;
mod host_changes;
mod identity;
mod image;
mod inner_sshd;
mod isolation;
mod limits;
mod names;
mod network;
mod proxies;
mod quota;
mod reaper;
mod revoked;
mod sessions;
mod site_settings;
mod sites;
mod slots;
mod special_commands;
mod stopping;
mod streams;
mod terminal;
mod tools;
mod uids;
mod vanish;
mod versions;
mod waiting;
