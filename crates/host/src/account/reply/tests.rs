//! Tests of the parser of replies: what is an account, what is left out, what is no answer.

use super::*;
use crate::config::IdleTimeout;
use crate::limits::Size;

const KEY: &str = "ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIKqtFPPIHmLhfPMcTVcfMeJ1rgwyTgIlHe0v1DoqXsrI";

fn json(body: &str) -> Result<ParsedReply, InvalidReply> {
    parse(&Login::parse(b"alice").unwrap(), ReplyFormat::Json, body.as_bytes())
}

fn known(body: &str) -> Account {
    match json(body).unwrap().reply {
        AccountReply::Known(account) => account,
        AccountReply::Refused(reason) => panic!("refused: {reason}"),
    }
}

#[test]
fn an_account_as_the_contract_shows_it() {
    let account = known(&format!(
        r#"{{"user":"alice","id":42,"active":true,"keys":["{KEY} laptop"],
            "limits":{{"cpus":2,"memory":"8GiB","pids":512,"disk":"50GiB","sessions":20}},
            "idle_timeout":"30m","image":"x:y","uid":1700000007,"internet":false,"forward":false,
            "env":{{"SITE_TOKEN":"s3cret"}},"directory":"proj","later":[1]}}"#
    ));
    assert_eq!(account.id.as_deref(), Some("42"));
    assert_eq!(account.keys, [format!("{KEY} laptop")]);
    assert_eq!(account.limits.memory, Some(Size(8 << 30)));
    assert_eq!(account.uid, Some(1_700_000_007));
    assert_eq!(account.idle_timeout.unwrap().0.unwrap().as_secs(), 1800);
    assert_eq!((account.internet, account.forward), (Some(false), Some(false)));
    let settings = account.site_settings();
    assert_eq!(settings.variables, [(b"SITE_TOKEN".to_vec(), b"s3cret".to_vec())]);
    assert_eq!(settings.directory.as_deref(), Some(&b"proj"[..]));
    assert!(!format!("{account:?}").contains("s3cret"));
    assert!(!serde_json::to_string(&account.clone().shown()).unwrap().contains("s3cret"));
    // What the cache writes is read again by the same rule.
    assert_eq!(known(&serde_json::to_string(&account).unwrap()), account);
}

#[test]
fn f35_a_time_that_is_too_long_is_bounded_and_reported() {
    let parsed = |time: &str| {
        json(&format!(r#"{{"user":"alice","keys":["{KEY}"],"idle_timeout":"{time}"}}"#)).unwrap()
    };
    let longest = IdleTimeout(Some(IdleTimeout::LONGEST.0));
    for time in ["9999y", "10y 1ns", "99999999999999999999y", "18446744073709551615s 1s"] {
        let ParsedReply { reply, bounded, .. } = parsed(time);
        assert!(
            matches!(reply, AccountReply::Known(account) if account.idle_timeout == Some(longest)),
            "{time}"
        );
        assert_eq!(bounded.unwrap(), "idle_timeout is too long and counts as 10years", "{time}");
    }
    for (time, expected) in [("10y", longest), ("never", IdleTimeout(None))] {
        let ParsedReply { reply, bounded, .. } = parsed(time);
        let AccountReply::Known(account) = reply else { panic!("{time}") };
        assert_eq!((account.idle_timeout, bounded), (Some(expected), None), "{time}");
        assert_eq!(known(&serde_json::to_string(&account).unwrap()), account);
    }
    for nonsense in ["soon", "Never", "-1s", ""] {
        let ParsedReply { reply, ignored, .. } = parsed(nonsense);
        assert!(
            matches!(reply, AccountReply::Known(account) if account.idle_timeout.is_none()),
            "{nonsense}"
        );
        assert!(ignored.len() == 1 && ignored[0].starts_with("idle_timeout: "), "{ignored:?}");
    }
}

#[test]
fn optional_fields_are_optional() {
    let account = known(&format!(r#"{{"user":"alice","id":"8f-1","keys":["{KEY}"]}}"#));
    assert!(account.active && account.image.is_none() && account.limits == RequestedLimits::default());
}

#[test]
fn inactive_users_and_users_without_keys_are_refused() {
    for (body, reason) in [
        (format!(r#"{{"user":"alice","id":1,"active":false,"keys":["{KEY}"]}}"#), "inactive"),
        (r#"{"user":"alice","id":1,"keys":[]}"#.to_owned(), "no keys"),
        (r#"{"user":"alice","id":1,"keys":["ssh-ed25519 AAAA"]}"#.to_owned(), "no keys"),
    ] {
        assert_eq!(json(&body).unwrap().reply, AccountReply::Refused(reason));
    }
}

#[test]
fn a3_bodies_that_are_no_answer() {
    for body in [
        "",
        "[]",
        "null",
        "{}",
        "42",
        &format!(r#"["alice",1,true,["{KEY}"]]"#),
        "\"alice\"",
        "{\"user\":\"alice\"}",
        "\u{feff}{}",
        "{\"user\":\"alice\",",
        &format!(r#"{{"user":"mallory","id":1,"keys":["{KEY}"]}}"#),
        &format!(r#"{{"user":"Alice","id":1,"keys":["{KEY}"]}}"#),
        &format!(r#"{{"user":"alice\u0000","id":1,"keys":["{KEY}"]}}"#),
        &format!(r#"{{"user":"alice","id":1,"keys":"{KEY}"}}"#),
        &format!(r#"{{"user":"alice","id":1,"active":"yes","keys":["{KEY}"]}}"#),
        &format!(r#"{{"user":"alice","id":[1],"keys":["{KEY}"]}}"#),
        &format!(r#"{{"user":"alice","id":"a\nb","keys":["{KEY}"]}}"#),
        &"[".repeat(100_000),
    ] {
        assert!(json(body).is_err(), "{body:.80}");
    }
}

#[test]
fn p3_an_invalid_value_is_left_out_and_the_rest_is_used() {
    let defaults = known(&format!(r#"{{"user":"alice","id":1,"keys":["{KEY}"]}}"#));
    for (field, message) in [
        (r#""limits":{"cpus":0}"#, "limits.cpus: expected 0.01 to 4096 cores"),
        (r#""limits":{"cpus":-1}"#, "limits.cpus: expected 0.01 to 4096 cores"),
        (r#""limits":{"memory":"lots"}"#, "limits.memory: expected a size like \"8GiB\" or \"512MiB\""),
        (r#""limits":{"pids":"512"}"#, "limits.pids: invalid type: string \"512\", expected u32"),
        (r#""limits":[2]"#, "limits: "),
        (r#""limits":"none""#, "limits: "),
        (r#""idle_timeout":30"#, "idle_timeout: invalid type: integer `30`, expected a string"),
        (r#""env":"s3cret""#, "env: expected an object"),
        (r#""env":{"PATH":"/bin"}"#, "env.PATH: the site may not set this variable"),
        (r#""directory":"""#, "directory: expected a path of 1 to 4095 bytes, without NUL"),
        (r#""image":["x"]"#, "image: invalid type: sequence, expected a string"),
        (r#""uid":0"#, "uid: "),
        (r#""uid":4294967295"#, "uid: "),
        (r#""uid":-1"#, "uid: "),
        (r#""uid":"1700000001""#, "uid: "),
        (r#""image":"-v /:/x""#, "image is not 1 to 255 characters of printable ASCII"),
    ] {
        let body = format!(r#"{{"user":"alice","id":1,{field},"keys":["{KEY}"]}}"#);
        let ParsedReply { reply, ignored, .. } = json(&body).unwrap();
        assert_eq!(reply, AccountReply::Known(defaults.clone()), "{field}");
        assert!(ignored.len() == 1 && ignored[0].starts_with(message), "{field}: {ignored:?}");
    }
    let without_internet = json(&format!(r#"{{"user":"alice","keys":["{KEY}"],"internet":"no"}}"#)).unwrap();
    assert_eq!(without_internet.ignored, ["internet: expected true or false; counts as false"]);
    let AccountReply::Known(account) = without_internet.reply else { panic!("refused") };
    assert_eq!(account.internet, Some(false));
    let without_forwarding = json(&format!(r#"{{"user":"alice","keys":["{KEY}"],"forward":1}}"#)).unwrap();
    assert_eq!(without_forwarding.ignored, ["forward: expected true or false; counts as false"]);
    let AccountReply::Known(account) = without_forwarding.reply else { panic!("refused") };
    assert_eq!((account.internet, account.forward), (None, Some(false)));
    // The other limits count.
    let parsed = json(&format!(
        r#"{{"user":"alice","keys":["{KEY}"],"limits":{{"cpus":0,"pids":7,"tmp":"0","memory":"1GiB"}}}}"#
    ))
    .unwrap();
    let AccountReply::Known(account) = parsed.reply else { panic!("{parsed:?}") };
    assert_eq!((account.limits.pids, account.limits.memory), (Some(7), Some(Size(1 << 30))));
    assert_eq!((account.limits.cpus, account.limits.tmp, parsed.ignored.len()), (None, None, 2));
    // Null is no value.
    let nulls = r#""limits":{"cpus":null},"idle_timeout":null,"image":null,"env":null,"directory":null"#;
    let parsed = json(&format!(r#"{{"user":"alice","id":1,{nulls},"keys":["{KEY}"]}}"#)).unwrap();
    assert_eq!((parsed.reply, parsed.ignored), (AccountReply::Known(defaults), vec![]));
}

#[test]
fn p3_a_key_that_is_no_text_costs_only_itself() {
    let parsed = json(&format!(r#"{{"user":"alice","keys":[42,"{KEY}",null,["{KEY}"]]}}"#)).unwrap();
    assert!(matches!(parsed.reply, AccountReply::Known(account) if account.keys == [KEY]));
    let numbers: Vec<_> = parsed.left_out.iter().map(|reason| &reason[..5]).collect();
    assert_eq!(numbers, ["key 1", "key 3", "key 4"]);
}

#[test]
fn a_bad_key_costs_only_itself() {
    let parsed =
        json(&format!(r#"{{"user":"alice","id":1,"keys":["command=\"x\" {KEY}","{KEY}","x\n{KEY}",""]}}"#))
            .unwrap();
    assert_eq!(parsed.left_out.len(), 3);
    assert!(matches!(parsed.reply, AccountReply::Known(account) if account.keys == [KEY]));
}

#[test]
fn a_hundred_keys_are_enough() {
    let keys = vec![format!("\"{KEY}\""); 150].join(",");
    let parsed = json(&format!(r#"{{"user":"alice","id":1,"keys":[{keys}]}}"#)).unwrap();
    assert!(matches!(parsed.reply, AccountReply::Known(account) if account.keys.len() == 100));
    assert_eq!(parsed.left_out, ["key 101 and after: more than 100"]);
}

#[test]
fn a_reply_of_key_lines_is_an_account() {
    let login = Login::parse(b"alice").unwrap();
    let body = format!("# keys of alice\n\n{KEY} a@b\r\n{KEY}\nnonsense\n");
    let parsed = parse(&login, ReplyFormat::KeyLines, body.as_bytes()).unwrap();
    let keys = [format!("{KEY} a@b"), KEY.to_owned()];
    assert!(matches!(parsed.reply, AccountReply::Known(account) if account.keys == keys));
    assert_eq!(parsed.left_out.len(), 1);
    assert!(parse(&login, ReplyFormat::KeyLines, b"\xff").is_err());
    let empty = parse(&login, ReplyFormat::KeyLines, b"").unwrap();
    assert_eq!(empty.reply, AccountReply::Refused("no keys"));
}
