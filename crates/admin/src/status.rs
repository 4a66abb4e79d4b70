//! `sshbox status`: everything known about one box.

use super::output::{self, Format};
use super::{boxes, load_config, parse_login, require_known, with_engine};
use clap::Args;
use identity::Login;
use lifecycle::observe::ObservedBox;
use session::escape::printable;
use session::exit::Failure;
use std::fmt::Write as _;
use std::path::Path;
use std::process::ExitCode;

/// Show one user's box in detail
#[derive(Debug, Args)]
pub struct Arguments {
    /// Login name
    #[arg(value_parser = parse_login)]
    user: Login,
    #[command(flatten)]
    format: Format,
}

/// Runs the command.
pub fn run(arguments: &Arguments, config: &Path) -> Result<ExitCode, Failure> {
    let (config, user) = (load_config(config)?, &arguments.user);
    let found = with_engine(boxes::one(&config, user))?;
    require_known(&config, user, found.is_some())?;
    let found = found.unwrap_or_default();
    if arguments.format.json {
        return output::print_json(&found);
    }
    output::print(&text(&found))
}

/// What the user sees with `@status`, followed by what only the admin needs.
fn text(one: &ObservedBox) -> String {
    let account = match (&one.account, &one.made_for) {
        (Some(now), Some(then)) if now != then => format!("{now}, but the box was made for {then}"),
        (Some(now), _) => now.clone(),
        (None, Some(then)) => format!("{then}, according to the box"),
        (None, None) => output::UNKNOWN.to_owned(),
    };
    let made = match one.out_of_date {
        Some(true) => "out of date: it is recreated at its next cold start",
        Some(false) => "up to date",
        None => output::UNKNOWN,
    };
    let lines = [
        ("container", output::cell(one.container.as_ref())),
        ("account", account),
        ("home", output::cell(one.home.as_ref().map(|home| home.display()))),
        ("made", made.to_owned()),
    ];
    lines.into_iter().fold(one.status.text(), |mut text, (name, value)| {
        // Writing to a String cannot fail.
        let _ = writeln!(text, "{name:<10} {}", printable(value.as_bytes()));
        text
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use insta::assert_snapshot;
    use session::box_status::{Amount, BoxStatus, Cpu, LastStop};

    #[test]
    fn an_admin_sees_what_the_user_sees_and_more() {
        let status = BoxStatus {
            name: "sshbox-alice".to_owned(),
            state: "stopped".to_owned(),
            image: "sshbox-user:latest".to_owned(),
            cpu: Cpu { limit: 2.0, used: None },
            memory: Amount { limit: 8 << 30, used: None },
            idle_timeout_seconds: Some(1800),
            last_stop: Some(LastStop { seconds_ago: 90, reason: "an admin stopped it".to_owned() }),
            ..BoxStatus::default()
        };
        let one = ObservedBox {
            user: "alice".to_owned(),
            status,
            container: Some("4f0c1d9e".to_owned()),
            account: Some("43".to_owned()),
            made_for: Some("42".to_owned()),
            home: Some("/var/lib/sshbox/homes/alice".into()),
            out_of_date: Some(true),
            ..ObservedBox::default()
        };
        assert_snapshot!(text(&one), @"
        box        sshbox-alice
        state      stopped
        image      sshbox-user:latest
        sessions   0, connections 0
        cpu        up to 2 cores
        memory     up to 8.0 GiB
        tasks      up to 0
        idle stop  30m after the last session or connection
        last stop  1m 30s ago: an admin stopped it
        container  4f0c1d9e
        account    43, but the box was made for 42
        home       /var/lib/sshbox/homes/alice
        made       out of date: it is recreated at its next cold start
        ");
        let lines = text(&ObservedBox { made_for: None, out_of_date: None, container: None, ..one });
        assert!(lines.ends_with("made       -\n") && lines.contains("\naccount    43\n"), "{lines}");
    }
}
