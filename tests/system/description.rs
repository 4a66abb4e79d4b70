//! A running box beside its description in `lifecycle::spec`. The engine adds a part of it by itself:
//! namespaces, the file systems of the kernel, masked and read-only paths.

use crate::harness::{CONFIG, User, text, world};
use host::cache::Cache;
use host::config;
use host::features;
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
    let (home, features) = (user.home(), features::offers());
    let host = HostSide { home: Path::new(&home), run: Path::new(&run), features: &features };
    BoxSpec::new(&config.container, &login, &account, host).of_image(&user.inspect("{{.Image}}"))
}

/// The line of `/proc/PID/mountinfo` for what is mounted last at this path, if there is one:
/// the mount's options, the type of the file system, and the file system's options.
fn mounted<'a>(table: &'a str, path: &Path) -> Option<[&'a str; 3]> {
    let lines = table.lines().map(|line| line.split(' ').collect::<Vec<_>>());
    lines.filter(|fields| Path::new(fields[4]) == path).last().map(|fields| {
        let separator = fields.iter().position(|field| *field == "-").unwrap();
        [fields[5], fields[separator + 1], fields[separator + 3]]
    })
}

fn compare(table: &str, Mount { destination, kind, source: _, options }: &Mount) {
    let [flags, found_kind, super_options] = mounted(table, destination)
        .unwrap_or_else(|| panic!("nothing at {}:\n{table}", destination.display()));
    // With version 1 of cgroups it is a tmpfs with one of them below it for each controller.
    let is_kind = match &**kind {
        "bind" => true,
        "cgroup" => ["cgroup", "cgroup2", "tmpfs"].contains(&found_kind),
        kind => kind == found_kind,
    };
    assert!(is_kind, "{}: {found_kind}", destination.display());
    let has = |options: &str, option: &str| options.split(',').any(|one| one == option);
    for option in options {
        let kept = match &**option {
            "ro" | "rw" | "nosuid" | "nodev" | "noexec" => has(flags, option),
            option => match option.strip_prefix("size=").and_then(|size| size.parse::<u64>().ok()) {
                Some(size) => has(super_options, &format!("size={}k", size / 1024)),
                None => true,
            },
        };
        assert!(kept, "{}: {option} is not in {flags} {super_options}", destination.display());
    }
}

#[test]
fn a_running_box_is_what_its_description_says() {
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
    mounts.iter().for_each(|mount| compare(&table, mount));
    let here: Vec<_> = masked_paths.iter().filter(|path| path.exists()).collect();
    assert!(here.len() > 2, "{here:?}");
    for path in here {
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
    assert_eq!(read("cmdline"), args.iter().map(|argument| format!("{argument}\0")).collect::<String>());
    env.iter().for_each(|variable| assert!(read("environ").split('\0').any(|one| one == variable)));
    let limits = read("limits");
    let core = limits.lines().find(|line| line.starts_with("Max core file size")).unwrap();
    assert_eq!((rlimits.len(), &*rlimits[0].kind), (1, "RLIMIT_CORE"));
    assert_eq!(core.split_ascii_whitespace().rev().nth(1), Some(&*rlimits[0].hard.to_string()), "{core}");

    assert_eq!(user.says("hostname"), format!("{hostname}\n"));
    for (name, value) in sysctl {
        assert_eq!(user.says(&format!("cat /proc/sys/{}", name.replace('.', "/"))), format!("{value}\n"));
    }
}
