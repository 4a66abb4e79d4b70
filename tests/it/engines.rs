//! Fake engines, old and new: one whose newest API version is that of Debian 12, and one whose oldest is that of
//! Docker 29. Both refuse an unsupported version with the real error message.

use crate::fake_engine::FakeEngine;
use host::account::Account;
use host::config;
use host::features::HostFeatures;
use lifecycle::container::{Container, ContainerState};
use lifecycle::engine::{Engine, EngineError};
use lifecycle::image_accounts::ImageAccounts;
use lifecycle::spec::{BoxSpec, HostSide};
use std::path::Path;
use std::time::Duration;

/// Oldest and newest version of the API, and how its answers look.
struct Kind {
    name: &'static str,
    oldest: (u32, u32),
    newest: (u32, u32),
    inspected: &'static str,
    image: &'static str,
}

/// Each leaves out what its version does not have.
const KINDS: [Kind; 3] = [
    Kind {
        name: "20.10, Debian 12",
        oldest: (1, 12),
        newest: (1, 41),
        inspected: r#""GraphDriver":{"Data":null,"Name":"overlay2"},"ResolvConfPath":"""#,
        image: r#""Id":"sha256:01","ContainerConfig":{"Image":""},"VirtualSize":1,"Size":1"#,
    },
    Kind {
        name: "26.1, Debian 13",
        oldest: (1, 24),
        newest: (1, 45),
        inspected: r#""GraphDriver":{"Data":{},"Name":"overlay2"},"Platform":"linux""#,
        image: r#""Id":"sha256:01","Size":1"#,
    },
    Kind {
        name: "29, docker-ce",
        oldest: (1, 44),
        newest: (1, 52),
        inspected: r#""Storage":{"RootFS":{"Snapshot":{"Name":"overlayfs"}}},"ImageManifestDescriptor":{"mediaType":"application/vnd.oci.image.manifest.v1+json","digest":"sha256:02","size":1}"#,
        image: r#""Id":"sha256:01","Descriptor":{"mediaType":"application/vnd.oci.image.index.v1+json","digest":"sha256:01","size":1},"Identity":{}"#,
    },
];

fn fake(kind: &'static Kind) -> FakeEngine {
    FakeEngine::new(kind.newest, |request| answer(kind, request))
}

/// A version that the path asks for, and the rest of it.
fn version(path: &str) -> Option<((u32, u32), &str)> {
    let (version, rest) = path.strip_prefix("/v")?.split_once('/')?;
    let (major, minor) = version.split_once('.')?;
    Some(((major.parse().ok()?, minor.parse().ok()?), rest))
}

fn answer(kind: &Kind, request: &str) -> (u16, String) {
    let mut words = request.split(' ');
    let (method, target) = (words.next().unwrap(), words.next().unwrap());
    let path = target.split('?').next().unwrap();
    let path = match version(path) {
        Some((asked, _)) if asked < kind.oldest => {
            return refusal(asked, "old. Minimum", kind.oldest);
        }
        Some((asked, _)) if asked > kind.newest => {
            return refusal(asked, "new. Maximum", kind.newest);
        }
        Some((_, rest)) => format!("/{rest}"),
        None => path.to_owned(),
    };
    let none = String::new();
    match (method, &*path) {
        ("GET", "/_ping") => (200, "OK".to_owned()),
        ("GET", "/containers/json") => {
            (200, r#"[{"Id":"c1","Labels":{"sshbox.user":"alice"},"State":"running"}]"#.to_owned())
        }
        ("GET", "/containers/c1/json" | "/containers/sshbox-alice/json") => (
            200,
            format!(
                r#"{{"Id":"c1",{},"State":{{"Status":"running","ExitCode":0,"OOMKilled":false,"StartedAt":"2026-11-24T10:00:00Z","FinishedAt":"0001-01-01T00:00:00Z"}},"Config":{{"Image":"sshbox-user","Labels":{{"sshbox.user":"alice","sshbox.id":"42","sshbox.spec":"x"}}}},"HostConfig":{{"NanoCpus":2000000000,"Memory":8,"PidsLimit":512}}}}"#,
                kind.inspected
            ),
        ),
        ("GET", "/containers/c1/archive") if target.contains("passwd") => (200, "archive".to_owned()),
        ("GET", "/images/sshbox-user/json") => (200, format!("{{{}}}", kind.image)),
        ("GET", "/networks/sshbox0") => (
            200,
            r#"{"Name":"sshbox0","Id":"n1","Driver":"bridge","Options":{"com.docker.network.bridge.name":"sshbox0"}}"#
                .to_owned(),
        ),
        ("POST", "/networks/create") => (201, r#"{"Id":"n2","Warning":""}"#.to_owned()),
        ("POST", "/containers/create") => (201, r#"{"Id":"c1","Warnings":[]}"#.to_owned()),
        (
            "POST",
            "/containers/c1/start" | "/containers/c1/stop" | "/containers/c1/kill" | "/containers/c1/unpause",
        )
        | ("DELETE", "/containers/c1") => (204, none),
        _ => (404, r#"{"message":"page not found"}"#.to_owned()),
    }
}

fn refusal(asked: (u32, u32), how: &str, bound: (u32, u32)) -> (u16, String) {
    let text = format!(
        "client version {}.{} is too {how} supported API version is {}.{}, please upgrade your client to a newer version",
        asked.0, asked.1, bound.0, bound.1
    );
    (400, format!(r#"{{"message":"{text}"}}"#))
}

fn now<T>(future: impl Future<Output = T>) -> T {
    tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap().block_on(future)
}

/// All that sshbox ever asks an engine.
async fn everything(fake: &FakeEngine) -> Result<Container, EngineError> {
    let engine =
        Engine::connect(&config::EngineConfig { socket: fake.socket(), ..Default::default() }).await?;
    let account: Account = serde_json::from_str(r#"{"user":"alice","id":42,"keys":[]}"#).unwrap();
    let login = identity::Login::parse(b"alice").unwrap();
    let features = HostFeatures::default();
    let host = HostSide {
        user: config::UidGid { uid: 1_700_000_042, gid: 1_700_000_042 },
        name: "sshbox-00112233aabbccdd",
        home: Path::new("/homes/alice"),
        run: Path::new("/run/alice"),
        features: &features,
    };
    let spec = BoxSpec::new(&config::ContainerConfig::default(), &login, &account, host);
    assert_eq!(engine.running_boxes().await?[0].user, "alice");
    assert_eq!(engine.image_id("sshbox-user").await?.as_deref(), Some("sha256:01"));
    assert_eq!(engine.image_id("missing").await?, None);
    assert_eq!(engine.network("sshbox0").await?.unwrap().bridge.as_deref(), Some("sshbox0"));
    assert_eq!(engine.network("missing").await?, None);
    engine.create_network("other").await?;
    let paths = ["/etc/passwd", "/etc/group"];
    let archives = engine.files_of_image("sha256:01", paths, 7).await?;
    assert_eq!(archives, [Some(b"archive".to_vec()), None]);
    assert_eq!(engine.files_of_image("sha256:01", paths, 6).await?, [None, None]);
    let run = tempfile::tempdir().unwrap();
    let asked = fake.asked().len();
    let accounts = ImageAccounts::of(&engine, "sha256:01", run.path()).await.unwrap();
    assert!(fake.asked().len() > asked);
    // The second box of this image asks for nothing.
    let asked = fake.asked().len();
    assert_eq!(ImageAccounts::of(&engine, "sha256:01", run.path()).await.unwrap(), accounts);
    assert_eq!(fake.asked().len(), asked);
    assert_eq!(engine.create(&spec).await?, "c1");
    engine.start("c1").await?;
    engine.signal_init("c1").await?;
    engine.unpause("c1").await?;
    assert_eq!(engine.boxes().await?[0].id, "c1");
    engine.stop("c1", Duration::from_secs(1)).await?;
    engine.remove("c1").await?;
    assert_eq!(engine.find("missing").await?, None);
    Ok(engine.find("sshbox-alice").await?.unwrap())
}

#[test]
fn every_engine_from_debian_12_to_docker_29_is_supported() {
    for kind in &KINDS {
        let fake = fake(kind);
        let found = now(everything(&fake)).unwrap_or_else(|error| panic!("{}: {error:?}", kind.name));
        let limits = (found.limits.cpus.nano(), found.limits.memory.0, found.limits.pids);
        assert_eq!(
            (found.state, limits),
            (ContainerState::Running, (2_000_000_000, 8, 512)),
            "{}",
            kind.name
        );
        assert_eq!(found.labels.unwrap().account, "42", "{}", kind.name);
        let asked = fake.asked();
        // No version is sent, so each engine takes its own newest one.
        assert!(
            asked.iter().all(|request| version(request.split(' ').nth(1).unwrap()).is_none()),
            "{asked:?}"
        );
        assert!(asked.len() >= 15, "{asked:?}");
    }
}

#[test]
fn a_version_that_an_engine_does_not_support_is_refused() {
    let ask = |kind: &Kind, path: &str| answer(kind, &format!("GET {path} HTTP/1.1"));
    let [debian, _, newest] = &KINDS;
    assert_eq!(ask(newest, "/v1.41/_ping").0, 400);
    assert!(
        ask(newest, "/v1.41/_ping")
            .1
            .contains("client version 1.41 is too old. Minimum supported API version is 1.44")
    );
    assert_eq!(ask(debian, "/v1.44/_ping").0, 400);
    assert_eq!(ask(debian, "/v1.41/_ping").0, 200);
}
