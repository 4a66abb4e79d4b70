//! For tests of what happens once a descriptor is closed. The tests of a crate are threads of one process,
//! and while one of them starts a program, its child holds a copy of every descriptor until exec(2). So
//! that a descriptor is closed may show a moment later.

use std::thread::sleep;
use std::time::{Duration, Instant};

/// Waits until this is so, and fails after 20 s.
#[track_caller]
pub fn soon(mut is_so: impl FnMut() -> bool) {
    let end = Instant::now() + Duration::from_secs(20);
    while !is_so() {
        assert!(Instant::now() < end, "it does not become so");
        sleep(Duration::from_millis(2));
    }
}
