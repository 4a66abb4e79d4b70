//! The resource usage of boxes, from two readings of the kernel's counters. Asking the engine would take a
//! second for each box.

use super::ObservedBox;
use host::sys::cgroup;
use session::box_status::Usage;
use std::collections::HashMap;
use std::time::{Duration, Instant};

/// Time between the two readings of [`measure_now`].
const SAMPLE: Duration = Duration::from_millis(200);

/// The counters of boxes at one moment, by the id of their container.
pub struct UsageReading {
    at: Instant,
    usage: HashMap<String, Usage>,
}

impl UsageReading {
    /// Reads the counters of these boxes.
    ///
    /// It needs `/proc/PID/cgroup` of another user's process. Under `ProtectProc=invisible`, as
    /// `sshbox-wake` runs, the kernel shows that to the group root.
    #[must_use]
    pub fn take(boxes: &[ObservedBox]) -> Self {
        let usage = boxes.iter().filter_map(|one| Some((one.container.clone()?, cgroup::usage(one.init?)?)));
        Self { usage: usage.collect(), at: Instant::now() }
    }
}

/// Fills in what the boxes used between two readings. The usage of a box that has only one reading stays
/// unknown.
pub fn measure(boxes: &mut [ObservedBox], before: &UsageReading, now: &UsageReading) {
    for one in boxes {
        let Some(id) = &one.container else { continue };
        if let (Some(usage_before), Some(usage_now)) = (before.usage.get(id), now.usage.get(id)) {
            let between = now.at.saturating_duration_since(before.at);
            one.status.measured(usage_before, usage_now, between);
        }
    }
}

/// Measures what the boxes use now, which takes a fifth of a second.
pub async fn measure_now(boxes: &mut [ObservedBox]) {
    let before = UsageReading::take(boxes);
    if !before.usage.is_empty() {
        tokio::time::sleep(SAMPLE).await;
        measure(boxes, &before, &UsageReading::take(boxes));
    }
}
