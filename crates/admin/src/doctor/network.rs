//! The network of the boxes: whether it is one that sshbox filters, and whether the rules are loaded.

use super::report::{CheckResult, Remedy, fail, mend, ok, warn};
use super::{Checked, Doctor};
use crate::network::restored;
use crate::network::rules::{Rules, RulesState};
use host::networks::{CLOSED_NETWORK, OPEN_NETWORK, is_filtered};
use lifecycle::container::ContainerNetwork;
use lifecycle::engine::advice;
use session::exit::chain;
use session::presence::RUN;
use std::fs;
use std::path::Path;

const APPLY: Remedy = Remedy::Run(&["sshbox", "network", "apply"]);

/// `network`: are boxes on networks that sshbox filters?
pub fn network(doctor: &Doctor) -> Checked {
    let (config, engine) = (doctor.config()?, doctor.engine()?);
    let configured = config.container.network.as_str();
    let mut found = Vec::new();
    for name in [configured, CLOSED_NETWORK] {
        let network =
            doctor.wait(engine.network(name)).map_err(|error| fail(chain(&error), "see check docker"))?;
        found.push((name, network));
    }
    let running =
        doctor.wait(engine.running_boxes()).map_err(|error| fail(chain(&error), "see check docker"))?;
    let elsewhere: Vec<_> = running
        .into_iter()
        .filter(|listed| !listed.networks.iter().all(|name| is_filtered(name)))
        .map(|listed| listed.user)
        .collect();
    Ok(judge_networks(&found, &elsewhere))
}

/// `elsewhere`: users whose running box is on a network that is not filtered.
fn judge_networks(found: &[(&str, Option<ContainerNetwork>)], elsewhere: &[String]) -> CheckResult {
    for (name, network) in found {
        let Some(network) = network else { continue };
        if is_filtered(name) && network.bridge.as_deref() != Some(name) {
            return fail(
                format!("the bridge of {name} is not called {name}: no box starts on it"),
                advice::remove_network(name),
            );
        }
        if !network.keeps_containers_apart {
            return fail(format!("{name} lets boxes reach each other"), advice::create_network_again(name));
        }
    }
    match found.first() {
        Some((name, _)) if !is_filtered(name) => fail(
            format!(
                "boxes on {name} reach the host, private networks and metadata services: it is not filtered"
            ),
            format!("set box.network = \"{OPEN_NETWORK}\"; boxes change at their next cold start"),
        ),
        Some(_) if !elsewhere.is_empty() => warn(
            format!(
                "{} running boxes are on a network that is not filtered until their next cold start: {}",
                elsewhere.len(),
                elsewhere.join(" ")
            ),
            "sshbox restart USER, when it suits the user",
        ),
        Some((name, None)) => ok(format!("{name} is not there yet: the first box creates it")),
        Some((name, Some(_))) => ok(format!("{name}, with a bridge of that name")),
        None => fail("there is no network", "set box.network"),
    }
}

/// What to do where nft(8) cannot list the rules.
const NO_NFT: &str =
    "apt install nftables; then sshbox network apply; if it is installed, this kernel lacks nf_tables";

/// `network-rules`: are the rules for packets loaded?
pub fn rules(doctor: &Doctor) -> Checked {
    let rules = Rules::wanted(&doctor.config()?.network, Path::new(RUN))
        .compared(Path::new(RUN))
        .map_err(|error| fail(error, NO_NFT))?;
    Ok(judge_rules(&rules, bridges_are_filtered()))
}

/// Whether the kernel shows the packets of a bridge to the rules for the host, IPv4 and IPv6.
fn bridges_are_filtered() -> bool {
    ["iptables", "ip6tables"].iter().all(|table| {
        let path = format!("/proc/sys/net/bridge/bridge-nf-call-{table}");
        // Not there without the module br_netfilter.
        fs::read_to_string(path).is_ok_and(|value| value.trim() == "1")
    })
}

fn judge_rules(rules: &Rules, bridges_are_filtered: bool) -> CheckResult {
    let noted = rules.noted.clone().unwrap_or_default();
    let bad = |finding: &str| mend(finding, vec![APPLY]);
    match rules.state {
        RulesState::NotLoaded => bad("not loaded since boot: no box starts"),
        RulesState::Missing => {
            bad("removed by another program, as nft flush ruleset does: boxes reach the host")
        }
        RulesState::Changed => bad("changed by another program"),
        RulesState::Outdated => bad("loaded, but configuration or name servers have changed since"),
        RulesState::Loaded if noted.mended.is_some() => warn(
            format!("loaded; restored {}", restored(noted.mended.as_ref())),
            "find out which program removes them (nft flush ruleset, a restart of nftables.service): until the \
             next repair boxes are not filtered",
        ),
        RulesState::Loaded if noted.within_bridges => ok("loaded and unchanged since boot"),
        RulesState::Loaded if bridges_are_filtered => {
            ok("loaded; this kernel cannot filter within a bridge, so the rules of the host keep boxes apart")
        }
        RulesState::Loaded => fail(
            "boxes reach each other: this kernel cannot filter within a bridge (nft_meta_bridge), and shows packets \
             within a bridge to no other rules",
            "modprobe br_netfilter; sysctl -w net.bridge.bridge-nf-call-iptables=1 \
             net.bridge.bridge-nf-call-ip6tables=1, and the same in /etc/modules-load.d and /etc/sysctl.d",
        ),
    }
}

#[cfg(test)]
mod tests {
    use super::super::report::CheckState;
    use super::*;
    use host::network_rules::{LoadedRules, Mended};

    #[test]
    fn a13_a_network_that_is_not_filtered_fails() {
        let own = |bridge: &str| {
            Some(ContainerNetwork { keeps_containers_apart: true, bridge: Some(bridge.to_owned()) })
        };
        let closed = (CLOSED_NETWORK, None);
        for (found, state, says) in [
            (
                vec![(OPEN_NETWORK, own(OPEN_NETWORK)), closed.clone()],
                CheckState::Ok,
                "sshbox0, with a bridge",
            ),
            (vec![(OPEN_NETWORK, None), closed.clone()], CheckState::Ok, "not there yet"),
            (vec![(OPEN_NETWORK, own("br-1")), closed.clone()], CheckState::Fail, "no box starts"),
            (vec![("other", own("br-1")), closed.clone()], CheckState::Fail, "not filtered"),
            (vec![("other", None), closed.clone()], CheckState::Fail, "not filtered"),
            (
                vec![("other", Some(ContainerNetwork::default())), closed],
                CheckState::Fail,
                "reach each other",
            ),
            (
                vec![(OPEN_NETWORK, own(OPEN_NETWORK)), (CLOSED_NETWORK, own("br-2"))],
                CheckState::Fail,
                "sshbox1",
            ),
        ] {
            let result = judge_networks(&found, &[]);
            assert_eq!(result.state, state, "{result:?}");
            assert!(result.finding.contains(says), "{result:?}");
        }
    }

    #[test]
    fn a13_running_boxes_on_another_network_are_named() {
        let found = [(OPEN_NETWORK, None), (CLOSED_NETWORK, None)];
        let result = judge_networks(&found, &["alice".to_owned(), "bob".to_owned()]);
        assert_eq!(result.state, CheckState::Warn);
        assert!(
            result.finding.starts_with("2 running boxes") && result.finding.ends_with("alice bob"),
            "{result:?}"
        );
    }

    #[test]
    fn a13_rules_that_are_not_loaded_fail_and_repairs_are_reported() {
        let judged_where = |state, noted: LoadedRules, bridges_are_filtered| {
            let (script, resolvers) = (String::new(), Vec::new());
            let rules = Rules { state, script, resolvers, noted: Some(noted), is_routed_whole: false };
            judge_rules(&rules, bridges_are_filtered)
        };
        let judged = |state, noted| judged_where(state, noted, true);
        let whole = LoadedRules { within_bridges: true, ..LoadedRules::default() };
        for state in [RulesState::NotLoaded, RulesState::Missing, RulesState::Changed, RulesState::Outdated] {
            let result = judged(state, whole.clone());
            assert_eq!((result.state, result.remedies), (CheckState::Fail, vec![APPLY]), "{state:?}");
        }
        assert_eq!(judged(RulesState::Loaded, whole.clone()).state, CheckState::Ok);
        assert_eq!(judged(RulesState::Loaded, LoadedRules::default()).state, CheckState::Ok);
        let apart = |noted| judged_where(RulesState::Loaded, noted, false).state;
        assert_eq!((apart(whole.clone()), apart(LoadedRules::default())), (CheckState::Ok, CheckState::Fail));
        let mended = Some(Mended { times: 1, last: 1_800_000_000, found: "missing".to_owned() });
        let result = judged(RulesState::Loaded, LoadedRules { mended, ..whole });
        assert_eq!(
            (result.state, &*result.finding),
            (CheckState::Warn, "loaded; restored once since boot; they were missing at 2027-01-15T08:00:00Z")
        );
    }
}
