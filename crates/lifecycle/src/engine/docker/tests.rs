//! Tests of the translation for Docker, in both directions.

use super::*;
use crate::spec::HostSide;
use host::config::{ContainerConfig, UidGid};
use host::features::HostFeatures;
use identity::Login;
use insta::assert_snapshot;
use std::path::Path;

fn spec() -> BoxSpec {
    let account = serde_json::from_str(r#"{"user":"alice","id":42,"keys":[]}"#).unwrap();
    let lxcfs = vec![("/var/lib/lxcfs/proc/meminfo".into(), "/proc/meminfo".into())];
    let features = HostFeatures { ipv6: true, lxcfs, io_weight: true, apparmor: true };
    let host = HostSide {
        user: UidGid { uid: 1_700_000_042, gid: 1_700_000_042 },
        name: "sshbox-00112233aabbccdd",
        home: Path::new("/var/lib/sshbox/homes/alice"),
        run: Path::new("/run/sshbox/boxes/alice"),
        features: &features,
    };
    let login = Login::parse(b"alice").unwrap();
    BoxSpec::new(&ContainerConfig::default(), &login, &account, host).of_image("sha256:1")
}

#[test]
fn a_box_as_docker_creates_it() {
    let spec = spec();
    // By way of a Value, which sorts the keys of the maps.
    let mut body = serde_json::to_value(create_body(&spec)).unwrap();
    // They have a test of their own.
    body["HostConfig"]["Mounts"].take();
    let text = serde_json::to_string_pretty(&body).unwrap();
    assert_snapshot!(text.replace(&spec.hash(), "HASH"), @r#"
    {
      "Cmd": [
        "1024",
        "65536",
        "256"
      ],
      "Entrypoint": [
        "/sbin/sshbox-init"
      ],
      "Env": [
        "OMP_NUM_THREADS=2"
      ],
      "HostConfig": {
        "BlkioWeight": 100,
        "CapAdd": [],
        "CapDrop": [
          "ALL"
        ],
        "CgroupnsMode": "private",
        "CpuShares": 1024,
        "Init": false,
        "IpcMode": "private",
        "LogConfig": {
          "Type": "none"
        },
        "Memory": 8589934592,
        "MemorySwap": 8589938688,
        "Mounts": null,
        "NanoCpus": 2000000000,
        "NetworkMode": "sshbox0",
        "PidsLimit": 512,
        "Privileged": false,
        "ReadonlyRootfs": true,
        "RestartPolicy": {
          "Name": "no"
        },
        "SecurityOpt": [
          "no-new-privileges",
          "apparmor=sshbox-box"
        ],
        "ShmSize": 4294967296,
        "Sysctls": {
          "net.ipv6.conf.lo.disable_ipv6": "0"
        },
        "Tmpfs": {
          "/run": "rw,nosuid,nodev,noexec,mode=0755,size=16777216",
          "/tmp": "rw,nosuid,nodev,exec,mode=1777,size=1073741824",
          "/var/tmp": "rw,nosuid,nodev,exec,mode=1777,size=1073741824"
        },
        "Ulimits": [
          {
            "Hard": 0,
            "Name": "core",
            "Soft": 0
          }
        ]
      },
      "Hostname": "box",
      "Image": "sshbox-user:latest",
      "Labels": {
        "sshbox.id": "42",
        "sshbox.spec": "HASH",
        "sshbox.user": "alice"
      },
      "Tty": false,
      "User": "1700000042:1700000042",
      "WorkingDir": "/"
    }
    "#);
}

#[test]
fn f9_an_update_names_only_what_changes() {
    let current = spec().limits();
    let json = |wanted| serde_json::to_value(update_body(wanted, current)).unwrap();
    assert_eq!(json(current), serde_json::json!({}));
    let wanted = CgroupLimits { pids: 99, ..current };
    assert_eq!(json(wanted), serde_json::json!({"PidsLimit": 99}));
    let wanted = CgroupLimits::from_engine(1_500_000_000, 1 << 30, 512);
    let expected =
        serde_json::json!({"NanoCpus": 1_500_000_000, "Memory": 1 << 30, "MemorySwap": (1 << 30) + 4096});
    assert_eq!(json(wanted), expected);
}

#[test]
fn the_mounts_as_docker_makes_them() {
    let mounts = create_body(&spec()).host_config.unwrap().mounts.unwrap();
    let line = |mount: &Mount| {
        if mount.typ == Some(MountType::VOLUME) {
            let options = mount.volume_options.as_ref().unwrap();
            let driver = options.driver_config.as_ref().unwrap().options.as_ref().unwrap();
            assert_eq!((options.no_copy, &*driver["type"]), (Some(true), "devpts"));
            return format!("{} {}", mount.target.as_ref().unwrap(), driver["o"]);
        }
        let access = if mount.read_only == Some(true) { "ro" } else { "rw" };
        format!("{} {} {access}", mount.target.as_ref().unwrap(), mount.source.as_ref().unwrap())
    };
    assert_snapshot!(mounts.iter().map(line).collect::<Vec<_>>().join("\n"), @"
    /dev/pts nosuid,noexec,newinstance,ptmxmode=0666,mode=0620,gid=5,max=256
    /home/user /var/lib/sshbox/homes/alice rw
    /sbin/sshbox-init /usr/lib/sshbox/sshbox-init ro
    /run/sshbox /run/sshbox/boxes/alice ro
    /etc/passwd /run/sshbox/boxes/alice/etc-passwd ro
    /etc/group /run/sshbox/boxes/alice/etc-group ro
    /proc/meminfo /var/lib/lxcfs/proc/meminfo ro
    ");
}

#[test]
fn what_docker_adds_by_itself_is_all_that_is_left_out() {
    let oci::Config { mounts, linux, process, .. } = spec().config;
    let left_out: Vec<_> = mounts
        .iter()
        .filter(|mount| bind_mount(mount).is_none() && terminals(mount).is_none() && tmpfs(mount).is_none())
        .map(|mount| mount.destination.to_str().unwrap())
        .collect();
    assert_eq!(left_out, ["/proc", "/dev", "/sys", "/sys/fs/cgroup", "/dev/mqueue", SHM]);
    let binds = mounts.iter().filter(|mount| mount.kind == "bind");
    assert!(binds.clone().count() > 3);
    for bind in binds {
        assert!(["rbind,rprivate,ro", "rbind,rprivate,rw"].contains(&&*bind.options.join(",")));
    }
    assert_eq!((linux.namespaces.len(), linux.resources.cpu.period), (6, 100_000));
    assert_eq!(process.capabilities, oci::Capabilities::default());
}
