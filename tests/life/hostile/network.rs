//! The network of a box whose init is hostile: what `sshbox-wake` records when it starts one.

use crate::harness::run;
use session::presence::BoxNetwork;
use std::path::Path;
use std::sync::LazyLock;

/// A network namespace with this program as the init of its box.
pub(super) fn of_a_box() -> BoxNetwork {
    static NETWORK: LazyLock<BoxNetwork> = LazyLock::new(|| {
        run("ip", &["netns", "add", "hostile"]);
        let pid = i32::try_from(std::process::id()).unwrap();
        BoxNetwork::of(Path::new("/run/netns/hostile"), pid, &[]).unwrap()
    });
    NETWORK.clone()
}
