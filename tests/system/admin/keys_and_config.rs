//! `sshbox keys` and `sshbox config`, and the files that come with the command.

use super::{json, output_of, refusal_of, row, sshbox};
use crate::harness::{Changed, STATE, Undo, User, run, until, world, world_alone};
use serde_json::Value;
use std::fs;

#[test]
fn keys_shows_each_step_and_changes_nothing() {
    let _world = world_alone();
    let user = User::new("looked");
    let token = fs::read_to_string(format!("{STATE}/token")).unwrap();
    let cached = "/var/cache/sshbox/looked.json";
    // Before the first login only the web app knows the account, and the command does not change the cache.
    let steps = json(&["keys", &user.name]);
    assert_eq!((&steps["cache"], &steps["serves"]), (&Value::Null, &"answer".into()), "{steps}");
    assert!(!fs::exists(cached).unwrap());
    user.says("true");
    let before = (fs::read(cached).unwrap(), fs::metadata(cached).unwrap().modified().unwrap());
    let steps = json(&["keys", &user.name]);
    assert!(steps["runs_as"].as_str().unwrap().starts_with("sshbox-keys (uid "), "{steps}");
    assert_eq!((&steps["answer"]["is"], &steps["cache"]["serves"]), (&"account".into(), &true.into()));
    let public = fs::read_to_string(format!("{STATE}/key.pub")).unwrap();
    let blob = public.split_whitespace().nth(1).unwrap();
    assert_eq!(
        steps["prints"][0]["line"],
        format!("restrict,pty,port-forwarding,agent-forwarding ssh-ed25519 {blob}")
    );
    let fingerprint = run("ssh-keygen", &["-lf", &format!("{STATE}/key.pub")]);
    assert_eq!(steps["prints"][0]["fingerprint"], fingerprint.split(' ').nth(1).unwrap());
    let said = output_of(&["keys", &user.name]);
    for wanted in ["runs as  sshbox-keys (uid ", "\nuses     the answer", "\nprints   for SHA256:"] {
        assert!(said.contains(wanted), "{said}");
    }
    assert!(!said.contains(token.trim()) && !steps.to_string().contains(token.trim()), "A16");

    // Without the web app the cached answer is used, and an unknown user gets none.
    run("tests/system/web", &["stop"]);
    let back = Undo(|| drop(run("tests/system/web", &["start"])));
    until("the web app has ended", || fs::metadata(format!("{STATE}/web.pid")).is_err());
    let steps = json(&["keys", &user.name]);
    assert_eq!((&steps["answer"]["is"], &steps["serves"]), (&"nothing".into(), &"cache".into()), "{steps}");
    assert_eq!(steps["prints"].as_array().unwrap().len(), 1);
    assert!(output_of(&["keys", "nobody-knows"]).contains("\nuses     nothing: a login would be refused\n"));
    drop(back);
    until("the web app replies", || json(&["keys", "nobody-knows"])["answer"]["is"] == "refusal");
    assert!(output_of(&["keys", "nobody-knows"]).contains("\nanswer   no: HTTP 404 (after "));
    assert_eq!((fs::read(cached).unwrap(), fs::metadata(cached).unwrap().modified().unwrap()), before);

    // The command shows what would make a login fail: here a token that sshbox-keys cannot read.
    let _owner = Undo(|| drop(run("chown", &["sshbox-keys", "/etc/sshbox/token"])));
    run("chown", &["root", "/etc/sshbox/token"]);
    let said = output_of(&["keys", &user.name]);
    assert!(said.contains("answer   none: cannot read /etc/sshbox/token: Permission denied"), "{said}");
}

#[test]
fn config_is_checked_and_shown() {
    let _world = world_alone();
    assert_eq!(output_of(&["config", "check"]), "/etc/sshbox/sshbox.toml is valid\n");
    let list = json(&["config", "show"]);
    let of = |list: &Value, key: &str| {
        list.as_array().unwrap().iter().find(|setting| setting["key"] == key).unwrap().clone()
    };
    assert_eq!(of(&list, "box.limits.memory")["value"], "8GiB");
    {
        let _config = Changed::config("idle_timeout = \"30m\"\n", "");
        let list = json(&["config", "show"]);
        assert_eq!(
            (&of(&list, "reap.idle_timeout")["from"], &of(&list, "reap.grace")["from"]),
            (&"default".into(), &"file".into())
        );
        assert_eq!(row(&output_of(&["config", "show"]), "reap.grace")[1..], ["file", "10s"], "{list}");
    }
    {
        let _config = Changed::config("idle_timeout = \"30m\"", "idel_timeout = \"30m\"");
        let (status, said) = refusal_of(&["config", "check"]);
        assert_eq!(status, 78);
        assert!(said.contains("sshbox.toml is not valid: TOML parse error at line "), "{said}");
        assert!(said.contains(", column 1\n") && said.contains("unknown field `idel_timeout`"), "{said}");
        let output = sshbox(&["config", "check", "--json"]);
        assert_eq!(output.status.code(), Some(78));
        let said: Value = serde_json::from_slice(&output.stdout).unwrap();
        assert_eq!(said["valid"], false);
        assert!(said["error"].as_str().unwrap().contains(", column 1"), "{said}");
        // Every other command prints the same error.
        assert_eq!(refusal_of(&["list"]).0, 78);
    }
    let _config = Changed::config("grace = \"10s\"", "grace = \"10m\"");
    let (status, said) = refusal_of(&["config", "check"]);
    assert_eq!(status, 78);
    assert!(said.contains(", column 1: reap.grace must be 30s at most"), "{said}");
}

#[test]
fn completions_and_manual_pages_are_in_the_standard_directories() {
    let _world = world();
    let completed = "source /usr/share/bash-completion/completions/sshbox; complete -p sshbox";
    assert!(run("bash", &["-c", completed]).contains("sshbox"));
    for path in [
        "/usr/share/zsh/vendor-completions/_sshbox",
        "/usr/share/fish/vendor_completions.d/sshbox.fish",
        "/usr/share/man/man8/sshbox.8.gz",
    ] {
        assert!(fs::exists(path).unwrap(), "{path}");
    }
}
