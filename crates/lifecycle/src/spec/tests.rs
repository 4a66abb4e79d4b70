//! The description of a box as JSON, its limits and its hash.

use super::*;
use host::account::{AccountReply, ReplyFormat, parse};
use host::config;
use insta::assert_snapshot;

fn login() -> Login {
    Login::parse(b"alice").unwrap()
}

fn account(limits: &str) -> Account {
    let key = "ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIKqtFPPIHmLhfPMcTVcfMeJ1rgwyTgIlHe0v1DoqXsrI";
    let body = format!(r#"{{"user":"alice","id":42,"keys":["{key}"],"limits":{limits}}}"#);
    match parse(&login(), ReplyFormat::Json, body.as_bytes()).unwrap().reply {
        AccountReply::Known(account) => account,
        AccountReply::Refused(reason) => panic!("{reason}"),
    }
}

fn spec_on(limits: &str, features: &HostFeatures) -> BoxSpec {
    let config = config::Config::default().container;
    let host = HostSide {
        user: UidGid { uid: 1_700_000_042, gid: 1_700_000_042 },
        name: "sshbox-00112233aabbccdd",
        home: Path::new("/var/lib/sshbox/homes/alice"),
        run: Path::new("/run/sshbox/boxes/alice"),
        features,
    };
    BoxSpec::new(&config, &login(), &account(limits), host).of_image("sha256:1")
}

fn spec(limits: &str) -> BoxSpec {
    spec_on(limits, &HostFeatures::default())
}

/// A mount in one line.
fn line(mount: &Mount) -> String {
    let Mount { destination, kind, source, options } = mount;
    format!("{} {kind} {} {}", destination.display(), source.display(), options.join(","))
}

fn size_of(spec: &BoxSpec, destination: &str) -> u64 {
    let mount = spec.config.mounts.iter().find(|mount| mount.destination == Path::new(destination));
    let size = mount.unwrap().options.iter().find_map(|option| option.strip_prefix("size="));
    size.unwrap().parse().unwrap()
}

#[test]
fn the_mounts_of_a_box() {
    let mounts: Vec<_> = spec("{}").config.mounts.iter().map(line).collect();
    assert_snapshot!(mounts.join("\n"), @"
    /proc proc proc nosuid,noexec,nodev
    /dev tmpfs tmpfs nosuid,strictatime,mode=755,size=65536k
    /dev/pts devpts devpts nosuid,noexec,newinstance,ptmxmode=0666,mode=0620,gid=5,max=256
    /sys sysfs sysfs nosuid,noexec,nodev,ro
    /sys/fs/cgroup cgroup cgroup ro,nosuid,noexec,nodev
    /dev/mqueue mqueue mqueue nosuid,noexec,nodev
    /dev/shm tmpfs tmpfs rw,nosuid,nodev,noexec,mode=1777,size=4294967296
    /tmp tmpfs tmpfs rw,nosuid,nodev,exec,mode=1777,size=1073741824
    /var/tmp tmpfs tmpfs rw,nosuid,nodev,exec,mode=1777,size=1073741824
    /run tmpfs tmpfs rw,nosuid,nodev,noexec,mode=0755,size=16777216
    /home/user bind /var/lib/sshbox/homes/alice rbind,rprivate,rw
    /sbin/sshbox-init bind /usr/lib/sshbox/sshbox-init rbind,rprivate,ro
    /run/sshbox bind /run/sshbox/boxes/alice rbind,rprivate,ro
    /etc/passwd bind /run/sshbox/boxes/alice/etc-passwd rbind,rprivate,ro
    /etc/group bind /run/sshbox/boxes/alice/etc-group rbind,rprivate,ro
    ");
}

#[test]
fn the_description_of_a_box() {
    let mut spec = spec("{}");
    // These have tests of their own.
    spec.config.mounts.clear();
    spec.config.linux.namespaces.clear();
    spec.config.linux.masked_paths.clear();
    spec.config.linux.readonly_paths.clear();
    assert_snapshot!(serde_json::to_string_pretty(&spec).unwrap(), @r#"
    {
      "version": 4,
      "name": "sshbox-00112233aabbccdd",
      "image": "sshbox-user:latest",
      "image_id": "sha256:1",
      "network": "sshbox0",
      "runtime": "",
      "config": {
        "ociVersion": "1.0.2",
        "process": {
          "terminal": false,
          "user": {
            "uid": 1700000042,
            "gid": 1700000042
          },
          "args": [
            "/sbin/sshbox-init",
            "1024",
            "65536",
            "256"
          ],
          "env": [],
          "cwd": "/",
          "capabilities": {
            "bounding": [],
            "effective": [],
            "inheritable": [],
            "permitted": [],
            "ambient": []
          },
          "rlimits": [
            {
              "type": "RLIMIT_CORE",
              "soft": 0,
              "hard": 0
            }
          ],
          "noNewPrivileges": true
        },
        "root": {
          "path": "rootfs",
          "readonly": true
        },
        "hostname": "box",
        "mounts": [],
        "annotations": {
          "sshbox.id": "42",
          "sshbox.user": "alice"
        },
        "linux": {
          "namespaces": [],
          "resources": {
            "memory": {
              "limit": 8589934592,
              "swap": 8589938688
            },
            "cpu": {
              "shares": 1024,
              "quota": 200000,
              "period": 100000
            },
            "pids": {
              "limit": 512
            }
          },
          "sysctl": {},
          "maskedPaths": [],
          "readonlyPaths": []
        }
      }
    }
    "#);
}

#[test]
fn what_separates_a_box_from_the_kernel_of_its_host() {
    let Linux { namespaces, masked_paths, readonly_paths, .. } = spec("{}").config.linux;
    assert_snapshot!(serde_json::to_string(&namespaces).unwrap(), @r#"[{"type":"pid"},{"type":"network"},{"type":"ipc"},{"type":"uts"},{"type":"mount"},{"type":"cgroup"}]"#);
    assert_snapshot!(serde_json::to_string(&masked_paths).unwrap(), @r#"["/proc/acpi","/proc/asound","/proc/kcore","/proc/keys","/proc/latency_stats","/proc/sched_debug","/proc/scsi","/proc/timer_list","/proc/timer_stats","/sys/firmware"]"#);
    assert_snapshot!(serde_json::to_string(&readonly_paths).unwrap(), @r#"["/proc/bus","/proc/fs","/proc/irq","/proc/sys","/proc/sysrq-trigger"]"#);
}

#[test]
fn what_the_host_has_to_offer_is_in_the_description() {
    let lxcfs = vec![("/var/lib/lxcfs/proc/meminfo".into(), "/proc/meminfo".into())];
    let features = HostFeatures { ipv6: true, lxcfs, io_weight: true, apparmor: true };
    let rich = spec_on(r#"{"cpus":1.5}"#, &features);
    assert_eq!(rich.config.process.apparmor_profile.as_deref(), Some("sshbox-box"));
    assert_snapshot!(line(rich.config.mounts.last().unwrap()), @"/proc/meminfo bind /var/lib/lxcfs/proc/meminfo rbind,rprivate,ro");
    assert_eq!(rich.config.process.env, ["OMP_NUM_THREADS=2"]);
    assert_eq!(rich.config.linux.resources.block_io, Some(BlockIo { weight: 100 }));
    assert_eq!(rich.config.linux.sysctl.get("net.ipv6.conf.lo.disable_ipv6").unwrap(), "0");
}

#[test]
fn a_mount_is_described_as_the_specification_has_it() {
    let spec = spec("{}");
    let home = spec.config.mounts.iter().find(|mount| mount.destination == Path::new("/home/user"));
    assert_snapshot!(serde_json::to_string(home.unwrap()).unwrap(), @r#"{"destination":"/home/user","type":"bind","source":"/var/lib/sshbox/homes/alice","options":["rbind","rprivate","rw"]}"#);
}

#[test]
fn limits_are_the_accounts_up_to_the_ceiling() {
    let limits = |spec: &BoxSpec| {
        let CgroupLimits { cpus, memory, pids, .. } = spec.limits();
        (cpus.nano(), memory.0, pids)
    };
    let small = spec(r#"{"cpus":0.5,"memory":"512MiB","pids":64}"#);
    assert_eq!(limits(&small), (500_000_000, 512 << 20, 64));
    let greedy = spec(r#"{"cpus":64,"memory":"1TiB","pids":100000}"#);
    assert_eq!(greedy, spec("{}"));
    assert_eq!(limits(&greedy), (2_000_000_000, 8 << 30, 512));
    assert_eq!(spec(r#"{"pids":0}"#).config.linux.resources.pids.limit, 1);
    assert_eq!(
        spec(r#"{"cpus":0.01}"#).config.linux.resources.cpu,
        Cpu { shares: 1024, quota: 1000, period: 100_000 }
    );
}

#[test]
fn weights_are_in_the_description_as_far_as_the_host_has_them() {
    let limits = r#"{"cpu_weight":50,"io_weight":5}"#;
    let (without, with) =
        (spec(limits), spec_on(limits, &HostFeatures { io_weight: true, ..Default::default() }));
    assert_eq!(
        (without.config.linux.resources.cpu.shares, without.config.linux.resources.block_io),
        (512, None)
    );
    assert_eq!(with.config.linux.resources.block_io, Some(BlockIo { weight: 10 }));
    // The default is also the ceiling.
    assert_eq!(spec(r#"{"cpu_weight":101}"#), spec("{}"));
}

#[test]
fn shm_and_tmp_are_parts_of_the_boxs_memory_up_to_the_ceiling() {
    let sizes = |limits: &str| {
        let spec = spec(limits);
        assert_eq!(size_of(&spec, "/tmp"), size_of(&spec, "/var/tmp"));
        (size_of(&spec, "/dev/shm"), size_of(&spec, "/tmp"))
    };
    assert_eq!(sizes("{}"), (4 << 30, 1 << 30));
    assert_eq!(sizes(r#"{"memory":"100MiB"}"#), (50 << 20, 1 << 30));
    assert_eq!(sizes(r#"{"shm":"64MiB","tmp":"1%"}"#), (64 << 20, 85_899_345));
    assert_eq!(sizes(r#"{"memory":"100MiB","shm":"100%","tmp":"1TiB"}"#), (50 << 20, 1 << 30));
}

#[test]
fn every_part_of_a_spec_counts() {
    let base = spec("{}");
    let with = |change: fn(&mut BoxSpec)| {
        let mut other = base.clone();
        change(&mut other);
        other
    };
    let others = [
        with(|spec| drop(spec.config.annotations.insert(LABEL_ACCOUNT.to_owned(), String::new()))),
        with(|spec| spec.config.hostname.push('x')),
        with(|spec| spec.network.push('x')),
        with(|spec| spec.config.process.user.uid += 1),
        base.clone().of_image("sha256:2"),
        spec(r#"{"memory":"1GiB"}"#),
        spec(r#"{"shm":"1MiB"}"#),
        spec(r#"{"cpu_weight":99}"#),
        spec_on("{}", &HostFeatures { ipv6: true, ..HostFeatures::default() }),
        spec_on("{}", &HostFeatures { io_weight: true, ..HostFeatures::default() }),
        spec(r#"{"ptys":7}"#),
        spec_on("{}", &HostFeatures { apparmor: true, ..HostFeatures::default() }),
        base.clone().on_runtime(EngineRuntime::Crun),
        with(|spec| {
            let home = spec.config.mounts.iter_mut().find(|mount| mount.kind == "bind");
            home.unwrap().source.push("other");
        }),
    ];
    for other in &others {
        assert_ne!(base.hash(), other.hash());
    }
    assert_eq!(base.hash().len(), 32);
}
