//! Tests of the limits: parsing, ceilings, and what an engine reports.

use super::*;

#[test]
fn a_tmpfs_size_is_absolute_or_a_percentage() {
    let of = |text: &str| text.parse::<TmpfsSize>().map(|size| size.in_bytes(Size(1000)).0);
    assert_eq!((of("64MiB"), of("50%"), of("100 %")), (Ok(64 << 20), Ok(500), Ok(1000)));
    assert_eq!("1%".parse::<TmpfsSize>().unwrap().in_bytes(Size(1)), Size(1));
    for text in ["0", "0%", "101%", "-1%", "50", "%", "half"] {
        assert_eq!(of(text).is_ok(), text == "50", "{text}");
    }
}

#[test]
fn a_request_counts_up_to_the_ceiling_and_a_default_fills_the_gaps() {
    let request = |json: &str| serde_json::from_str::<RequestedLimits>(json).unwrap();
    let resolve = |json: &str| {
        let ceilings = Limits { pids: 100, ..Limits::default() };
        ContainerLimits::resolve(&request(json), &Limits::default(), &ceilings)
    };
    let limits = resolve(r#"{"cpus":1.5,"memory":"1GiB"}"#);
    assert_eq!((limits.cgroup.cpus.nano(), limits.cgroup.memory), (1_500_000_000, Size(1 << 30)));
    assert_eq!((limits.cgroup.pids, limits.shm, limits.tmp), (100, Size(512 << 20), Size(1 << 30)));
    assert_eq!(limits.open_files, OpenFiles { soft: 1024, hard: 65536 });
    assert_eq!(resolve(r#"{"cpus":1.2345678}"#).cgroup.cpus.nano(), 1_234_560_000);
    assert_eq!(resolve(r#"{"pids":0}"#).cgroup.pids, 1);
    assert_eq!([r"{}", r#"{"ptys":1}"#, r#"{"ptys":999}"#].map(|json| resolve(json).ptys), [256, 1, 256]);
    let most = Limits { ptys: NonZeroU32::MAX, ..Limits::default() };
    assert_eq!(ContainerLimits::resolve(&RequestedLimits::default(), &most, &most).ptys, 1 << 20);
    assert_eq!(
        limits.changeable(),
        "cpus 1.5 memory 1073741824 pids 100 cpu_weight 100 io_weight 100 disk 53687091200"
    );
    let ceilings = Limits { sessions: 60, ..Limits::default() };
    let sessions = |json: &str| request(json).sessions(&Limits::default(), &ceilings);
    assert_eq!([r"{}", r#"{"sessions":7}"#].map(sessions), [50, 7]);
    assert_eq!([r#"{"sessions":61}"#, r#"{"sessions":0}"#].map(sessions), [60, 1]);
    let connections = |json: &str| request(json).connections(&Limits::default(), &ceilings);
    assert_eq!([r"{}", r#"{"connections":7}"#].map(connections), [20, 7]);
    assert_eq!([r#"{"connections":21}"#, r#"{"connections":0}"#].map(connections), [20, 1]);
    assert_eq!(resolve(r#"{"memory":"1TiB","shm":"1TiB"}"#).shm, Size(4 << 30));
}

/// `django/tests/test_limits.py` has the same values: django-sshbox leaves out what is rejected here.
#[test]
fn a_request_has_valid_numbers_sizes_and_percentages() {
    let accepted = |name: &str, values: &[&str]| -> Vec<bool> {
        let request =
            |value: &&str| serde_json::from_str::<RequestedLimits>(&format!("{{{name:?}:{value}}}"));
        values.iter().map(|value| request(value).is_ok()).collect()
    };
    let all = |name: &str, expected: bool, values: &[&str]| {
        let results = accepted(name, values);
        assert_eq!(results, vec![expected; values.len()], "{name}: {values:?}");
    };
    all("cpus", true, &["2", "0.01", "1.5", "4096"]);
    all("cpus", false, &["0", "0.001", "-1", "4097", "true", "\"2\"", "[2]", "1e400"]);
    for name in ["cpu_weight", "io_weight"] {
        all(name, true, &["1", "100", "10000"]);
        all(name, false, &["0", "-1", "10001", "65636", "4294967396", "100.0", "true", "\"100\""]);
    }
    all("ptys", true, &["1", "256", "4294967295"]);
    all("ptys", false, &["0", "-1", "4294967296", "256.0", "true", "\"256\""]);
    for name in ["pids", "sessions", "connections"] {
        all(name, true, &["0", "1", "512", "4294967295"]);
        all(name, false, &["-1", "4294967296", "512.0", "true", "\"512\""]);
    }
    let sizes = ["8GiB", "512MiB", "512 mib", "1.5G", "1k", "1Ki", "1.GiB", ".5GiB", "50", "7EiB", "1B"];
    let no_sizes = [
        "",
        "0",
        "0B",
        "0.4B",
        "-1",
        "lots",
        "8 GiBs",
        "8i",
        "8,5GiB",
        "GiB",
        "1.2.3K",
        ".",
        "9223372036854775808",
        "16EiB",
        "1e3",
        "\u{663}GiB",
        "8\u{212a}",
    ];
    for text in sizes {
        assert!(text.parse::<Size>().is_ok() && text.parse::<TmpfsSize>().is_ok(), "{text}");
    }
    for text in no_sizes {
        assert!(text.parse::<Size>().is_err() && text.parse::<TmpfsSize>().is_err(), "{text}");
    }
    for name in ["memory", "disk"] {
        all(name, false, &["8", "true", "\"50%\"", "\"1\\n\""]);
    }
    for name in ["shm", "tmp"] {
        all(name, true, &["\"1%\"", "\"50%\"", "\"100 %\"", "\"007%\""]);
        all(name, false, &["\"0%\"", "\"101%\"", "\"-1%\"", "\"%\"", "\"half\"", "\"1.5%\"", "50"]);
    }
}

#[test]
fn limits_reported_by_an_engine_equal_those_it_was_given() {
    let ours = ContainerLimits::resolve(
        &RequestedLimits { cpus: Some(Cpus(0.07)), ..RequestedLimits::default() },
        &Limits::default(),
        &Limits::default(),
    );
    let CgroupLimits { cpus, memory, pids, .. } = ours.cgroup;
    assert_eq!(CgroupLimits::from_engine(cpus.nano(), memory.signed(), i64::from(pids)), ours.cgroup);
    assert_eq!(CgroupLimits::from_engine(0, 0, -1), CgroupLimits::default());
    assert_eq!(CgroupLimits::default().with_weights(0, 0), CgroupLimits::default());
}
