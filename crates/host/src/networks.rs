//! The container networks that sshbox owns. Each is a bridge with the name of the network, so that the rules
//! for packets can name it before it exists.

/// The network of boxes that may reach the internet.
pub const OPEN_NETWORK: &str = "sshbox0";

/// The network of boxes that may reach nothing but the services that the configuration allows.
pub const CLOSED_NETWORK: &str = "sshbox1";

/// Whether sshbox filters the packets of this network.
#[must_use]
pub fn is_filtered(network: &str) -> bool {
    network == OPEN_NETWORK || network == CLOSED_NETWORK
}
