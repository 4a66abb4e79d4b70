//! Compares a running box with its description in `lifecycle::spec`. The engine adds some parts of the
//! description by itself: namespaces, kernel file systems, masked and read-only paths.

use crate::harness::{CONFIG, User, text, world};
use host::cache::Cache;
use host::config;
use host::features::HostFeatures;
use identity::Login;
use lifecycle::oci::{Config, Linux, Mount, Process};
use lifecycle::spec::{BoxSpec, HostSide};
use std::fs;
use std::path::Path;

fn spec_of(user: &User) -> BoxSpec {
    let config = config::load(Path::new(CONFIG)).unwrap();
    let login = Login::parse(user.name.as_bytes()).unwrap();
    let account = Cache::new(&config.accounts.cache).read(&login).unwrap().account;
    let run = format!("/run/sshbox/boxes/{login}");
    let (home, features) = (user.home(), HostFeatures::detect());
    let host = HostSide { home: Path::new(&home), run: Path::new(&run), features: &features };
    BoxSpec::new(&config.container, &login, &account, host)
        .on_runtime(config.engine.runtime)
        .of_image(&user.inspect("{{.Image}}"))
}

/// The last mount at this path in `/proc/PID/mountinfo`, if any: mount options, file system type, and
/// file system options.
fn mounted<'a>(table: &'a str, path: &Path) -> Option<[&'a str; 3]> {
    let mut lines = table.lines().map(|line| line.split(' ').collect::<Vec<_>>());
    lines.rfind(|fields| Path::new(fields[4]) == path).map(|fields| {
        let separator = fields.iter().position(|field| *field == "-").unwrap();
        [fields[5], fields[separator + 1], fields[separator + 3]]
    })
}

fn assert_mounted(table: &str, Mount { destination, kind, source: _, options }: &Mount) {
    let [flags, found_kind, super_options] = mounted(table, destination)
        .unwrap_or_else(|| panic!("nothing at {}:\n{table}", destination.display()));
    if (&**kind, found_kind) == ("cgroup", "tmpfs") {
        return assert_cgroups_v1_mounted(table, destination, options);
    }
    let is_kind = match &**kind {
        "bind" => true,
        "cgroup" => found_kind == "cgroup2",
        kind => kind == found_kind,
    };
    assert!(is_kind, "{}: {found_kind}", destination.display());
    assert_options(destination, options, flags, super_options);
}

/// With version 1 of cgroups the engine mounts a tmpfs, and below it each controller with the options
/// that are described.
fn assert_cgroups_v1_mounted(table: &str, destination: &Path, options: &[String]) {
    let of_cgroup = |line: &&str| line.contains(" - cgroup ");
    let controllers: Vec<_> =
        table.lines().filter(of_cgroup).map(|line| Path::new(line.split(' ').nth(4).unwrap())).collect();
    assert!(controllers.len() > 2, "{table}");
    for controller in controllers {
        assert!(controller.starts_with(destination), "{}", controller.display());
        let [flags, _, super_options] = mounted(table, controller).unwrap();
        assert_options(controller, options, flags, super_options);
    }
}

fn assert_options(at: &Path, options: &[String], flags: &str, super_options: &str) {
    let has = |options: &str, option: &str| options.split(',').any(|one| one == option);
    for option in options {
        let found = match &**option {
            "ro" | "rw" | "nosuid" | "nodev" | "noexec" => has(flags, option),
            option => match option.strip_prefix("size=").and_then(|size| size.parse::<u64>().ok()) {
                Some(size) => has(super_options, &format!("size={}k", size / 1024)),
                None => true,
            },
        };
        assert!(found, "{}: {option} is not in {flags} {super_options}", at.display());
    }
}

#[test]
fn a_running_box_matches_its_description() {
    let _world = world();
    let user = User::new("described");
    user.says("true");
    let spec = spec_of(&user);
    assert_eq!(user.inspect(r#"{{index .Config.Labels "sshbox.spec"}}"#), spec.hash());
    let Config { process, hostname, mounts, linux, .. } = spec.config;
    let Linux { namespaces, sysctl, masked_paths, readonly_paths, .. } = linux;

    let init = format!("/proc/{}", user.box_processes()[0]);
    let read = |name: &str| text(&fs::read(format!("{init}/{name}")).unwrap());
    let table = read("mountinfo");
    assert!(mounts.len() > 12);
    // The kernel lists mount points without symbolic links, such as `/sbin` of the image.
    let paths: Vec<_> = mounts.iter().map(|mount| mount.destination.to_str().unwrap()).collect();
    let resolved = user.says(&format!("readlink -f {}", paths.join(" ")));
    assert_eq!(resolved.lines().count(), mounts.len(), "{resolved}");
    for (mount, destination) in mounts.into_iter().zip(resolved.lines()) {
        assert_mounted(&table, &Mount { destination: destination.into(), ..mount });
    }
    let existing: Vec<_> = masked_paths.iter().filter(|path| path.exists()).collect();
    assert!(existing.len() > 2, "{existing:?}");
    for path in existing {
        assert!(mounted(&table, path).is_some(), "{} is not masked:\n{table}", path.display());
    }
    for path in readonly_paths.iter().filter(|path| path.exists()) {
        let flags = mounted(&table, path).map(|[flags, ..]| flags).unwrap_or_default();
        assert!(flags.split(',').any(|flag| flag == "ro"), "{} can be written:\n{table}", path.display());
    }
    for namespace in namespaces {
        let name = match &*namespace.kind {
            "network" => "net",
            "mount" => "mnt",
            kind => kind,
        };
        let link = |process: &str| fs::read_link(format!("{process}/ns/{name}")).unwrap();
        assert_ne!(link(&init), link("/proc/self"), "{name}");
    }

    let Process { user: owner, args, env, capabilities, rlimits, no_new_privileges, .. } = process;
    let status = read("status");
    let field = |name: &str| {
        let line = status.lines().find_map(|line| line.strip_prefix(name)).unwrap();
        line.trim_start_matches(':').trim().to_owned()
    };
    assert_eq!(field("Uid").split('\t').next().unwrap(), owner.uid.to_string());
    assert_eq!(field("Gid").split('\t').next().unwrap(), owner.gid.to_string());
    assert!(capabilities.bounding.is_empty());
    for set in ["CapInh", "CapPrm", "CapEff", "CapBnd", "CapAmb"] {
        assert_eq!(u64::from_str_radix(&field(set), 16), Ok(0), "{set}");
    }
    assert_eq!(field("NoNewPrivs"), u8::from(no_new_privileges).to_string());
    assert_eq!(read("cmdline"), args.join("\0") + "\0");
    for variable in &env {
        assert!(read("environ").split('\0').any(|found| found == variable), "{variable}");
    }
    let limits = read("limits");
    let core = limits.lines().find(|line| line.starts_with("Max core file size")).unwrap();
    assert_eq!((rlimits.len(), &*rlimits[0].kind), (1, "RLIMIT_CORE"));
    assert_eq!(core.split_ascii_whitespace().rev().nth(1), Some(&*rlimits[0].hard.to_string()), "{core}");

    assert_eq!(user.says("hostname"), format!("{hostname}\n"));
    for (name, value) in sysctl {
        assert_eq!(user.says(&format!("cat /proc/sys/{}", name.replace('.', "/"))), format!("{value}\n"));
    }
}
