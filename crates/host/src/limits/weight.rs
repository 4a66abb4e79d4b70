//! The share of a container in what it competes for, and how engines write it.

use serde::{Deserialize, Serialize};

/// The share of a container in CPU or disk time while others want it too, as in version 2 of cgroups: 1 to
/// 10000, 100 by default. A container with 200 gets twice as much as one with 100. Nothing is withheld
/// while nobody else wants it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Deserialize, Serialize)]
#[serde(try_from = "u32", into = "u16")]
pub struct Weight(u16);

impl Weight {
    /// As CPU shares of version 1 of cgroups, of which the kernel gives 1024 by default.
    #[must_use]
    pub fn cpu_shares(self) -> u64 {
        (u64::from(self.0) * 1024 + 50) / 100
    }

    pub(super) fn from_cpu_shares(shares: u64) -> Self {
        let weight = shares.saturating_mul(100).saturating_add(512) / 1024;
        let known = u16::try_from(weight).ok().filter(|weight| *weight > 0);
        known.map_or_else(Self::default, |weight| Self(weight.min(MAX_WEIGHT)))
    }

    /// The weight of a container to which an engine has given `block_io`; zero is its word for none.
    pub(super) fn from_block_io(block_io: u16) -> Self {
        if block_io == 0 { Self::default() } else { Self(block_io) }
    }

    /// As a weight of block I/O in the OCI runtime specification, which knows only 10 to 1000.
    #[must_use]
    pub fn block_io(self) -> u16 {
        self.0.clamp(10, 1000)
    }
}

const MAX_WEIGHT: u16 = 10_000;

impl Default for Weight {
    fn default() -> Self {
        Self(100)
    }
}

impl TryFrom<u32> for Weight {
    type Error = &'static str;

    fn try_from(weight: u32) -> Result<Self, Self::Error> {
        match u16::try_from(weight) {
            Ok(weight) if (1..=MAX_WEIGHT).contains(&weight) => Ok(Self(weight)),
            _ => Err("expected a weight of 1 to 10000"),
        }
    }
}

impl From<Weight> for u16 {
    fn from(weight: Weight) -> Self {
        weight.0
    }
}

#[cfg(test)]
mod tests {
    use super::super::{CgroupLimits, ContainerLimits, Limits};
    use super::*;

    #[test]
    fn a_weight_is_translated_to_what_engines_know_and_back() {
        assert_eq!(Weight(100).cpu_shares(), 1024);
        assert_eq!([1, 9, 100, 1001].map(|weight| Weight(weight).block_io()), [10, 10, 100, 1000]);
        for weight in (1..=MAX_WEIGHT).map(Weight) {
            let limits = CgroupLimits::default().with_weights(weight.cpu_shares(), weight.block_io());
            assert_eq!((limits.cpu_weight, limits.io_weight), (weight, Weight(weight.block_io())));
        }
        // Of a container that another program created.
        let foreign = CgroupLimits::default().with_weights(u64::MAX, u16::MAX);
        assert_eq!((foreign.cpu_weight, foreign.io_weight), (Weight::default(), Weight(u16::MAX)));
    }

    #[test]
    fn weights_are_the_accounts_up_to_the_ceiling() {
        let resolve = |json: &str| {
            let request = serde_json::from_str(json).unwrap();
            let ceilings = Limits { cpu_weight: Weight(200), io_weight: Weight(50), ..Limits::default() };
            let limits = ContainerLimits::resolve(&request, &Limits::default(), &ceilings).cgroup;
            (limits.cpu_weight.0, limits.io_weight.0)
        };
        assert_eq!(resolve("{}"), (100, 50));
        assert_eq!(resolve(r#"{"cpu_weight":150,"io_weight":20}"#), (150, 20));
        assert_eq!(resolve(r#"{"cpu_weight":10000,"io_weight":10000}"#), (200, 50));
    }
}
