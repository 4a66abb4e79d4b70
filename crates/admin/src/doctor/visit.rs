//! A visit: a user who exists for the time of these checks logs in through the sshd that runs,
//! gets a box like everybody's, looks around in it, and is gone. Their key lies in a file that only
//! root can make (`presence::invitation`); no web app is asked for them.
//!
//! Their names are chance, so they are nobody else's. Visitors empty their homes themselves: root
//! walks into no home, and removes none that is not empty.

use super::ssh::{door, values};
use super::verdict::{Verdict, fail, ok, skip, warn};
use super::{Doctor, Judged, SMALL};
use host::cache::Cache;
use identity::Login;
use lifecycle::engine::{Engine, EngineError};
use lifecycle::spec::Container;
use session::deadlines::LOGIN;
use session::exit::chain;
use session::presence::{INVITATIONS, LockGuard, RUN, UserRuntimeDir, VISITOR, doctor_lock, reaper_lock};
use session::times::later;
use std::cell::{Cell, OnceCell};
use std::collections::BTreeSet;
use std::fmt::Write as _;
use std::fs::{self, DirBuilder, Permissions};
use std::io::{self, BufRead as _, BufReader, Read as _};
use std::net::{IpAddr, Ipv4Addr, SocketAddr, TcpStream};
use std::os::unix::fs::{DirBuilderExt as _, MetadataExt as _, PermissionsExt as _};
use std::path::{Path, PathBuf};
use std::process::Command;
use std::thread;
use std::time::{Duration, Instant};

/// What the server is called in the list of known hosts.
const ALIAS: &str = "sshbox-doctor";

/// What a visitor looks at: who they are, how they are fenced in, where they are, what is mounted.
const LOOK: &str = "cat /proc/self/status /etc/hosts /proc/net/route /proc/self/mountinfo; \
    printf 'Processors:\\t%s\\n' \"$(getconf _NPROCESSORS_ONLN 2>/dev/null)\"; \
    cat /proc/self/attr/current 2>/dev/null; true";

/// What the name of the second visitor has beyond that of the first.
const SECOND: &str = "-2";

/// What a visitor does last.
const TIDY: &str = "sh -c 'cd && rm -rf -- ..?* .[!.]* *'";

/// Ports of the host that are tried at most.
const PORTS: usize = 12;

/// Where cloud providers keep secrets of the host.
const METADATA: (IpAddr, u16) = (IpAddr::V4(Ipv4Addr::new(169, 254, 169, 254)), 80);

/// All that a visit makes.
pub struct Visit {
    /// One visit at a time on this host.
    _lock: LockGuard,
    /// The visitor who does most, and another one for them to meet.
    names: [Login; 2],
    client: Client,
    /// Visitors of a doctor that was killed: how many are removed, and what could not be.
    swept: (usize, Vec<String>),
    /// What the first login showed.
    seen: OnceCell<Result<String, Verdict>>,
    over: Cell<bool>,
}

/// Logs visitors in.
struct Client {
    /// Keys and known hosts.
    dir: PathBuf,
    address: IpAddr,
    port: u16,
}

/// The visit, prepared by the first who needs it.
fn visit(doctor: &Doctor) -> Result<&Visit, Verdict> {
    doctor.visit.get_or_init(|| begin(doctor)).as_ref().map_err(Clone::clone)
}

fn begin(doctor: &Doctor) -> Result<Visit, Verdict> {
    let (settings, config) = (doctor.settings()?, doctor.config()?);
    let (address, port) = door(settings)?;
    let no_room = |error: io::Error| fail(format!("{RUN}: {error}"), "see directories");
    let lock = doctor_lock(Path::new(RUN)).map_err(no_room)?;
    let lock = lock.ok_or_else(|| skip("another doctor is at work"))?;
    let client = |name: &Login| Client { dir: dir_of(name), address, port };
    // With the lock in hand, whoever is invited was left by a doctor that was killed.
    let found = visitors();
    let unswept: Vec<_> = found.iter().flat_map(|name| remove(doctor, &client(name), name)).collect();
    let swept = (found.len(), unswept);
    let second = format!("{}{SECOND}", doctor.visitor);
    let second = Login::parse(second.as_bytes()).map_err(|error| skip(error.to_string()))?;
    let names = [doctor.visitor.clone(), second];
    for name in &names {
        if Path::new(&config.container.home.fill(name)).exists() {
            return Err(skip(format!("{name} has a home: that name is somebody's")));
        }
    }
    let client = client(&doctor.visitor);
    let visit = Visit { _lock: lock, names, client, swept, seen: OnceCell::new(), over: Cell::new(false) };
    match prepare(doctor, &visit, settings) {
        Ok(()) => Ok(visit),
        Err(verdict) => {
            clear(doctor, &visit);
            Err(verdict)
        }
    }
}

/// Makes keys, invites the visitors, and writes down how the server is known.
fn prepare(doctor: &Doctor, visit: &Visit, settings: &str) -> Result<(), Verdict> {
    let dir = &visit.client.dir;
    let no_room = |error: io::Error| fail(format!("{}: {error}", dir.display()), "see directories and disk");
    for (dir, mode) in [(Path::new(INVITATIONS), 0o755), (dir, 0o700)] {
        DirBuilder::new().recursive(true).mode(mode).create(dir).map_err(no_room)?;
    }
    // Whatever the mask of the admin: sshbox-keys must get there.
    fs::set_permissions(INVITATIONS, Permissions::from_mode(0o755)).map_err(no_room)?;
    for name in ["key", "stranger"] {
        let mut keygen = Command::new("ssh-keygen");
        keygen.args(["-q", "-t", "ed25519", "-N", "", "-C", ALIAS, "-f"]).arg(dir.join(name));
        let ended = doctor.must(&mut keygen, SMALL)?;
        if !ended.status.success() {
            return Err(fail(format!("ssh-keygen: {}", ended.last_words()), "see disk"));
        }
    }
    let mut known = String::new();
    for path in values(settings, "hostkey") {
        let ended = doctor.must(Command::new("ssh-keygen").args(["-y", "-f", path]), SMALL)?;
        if ended.status.success() {
            // Writing to a String cannot fail.
            let _ = writeln!(known, "{ALIAS} {}", ended.out.trim());
        }
    }
    fs::write(dir.join("known"), known).map_err(no_room)?;
    let key = fs::read(dir.join("key.pub")).map_err(no_room)?;
    for name in &visit.names {
        let invitation = Path::new(INVITATIONS).join(name.as_str());
        fs::write(&invitation, &key).map_err(no_room)?;
        fs::set_permissions(invitation, Permissions::from_mode(0o644)).map_err(no_room)?;
    }
    Ok(())
}

/// Where the keys of a visitor are. No login begins with a dot.
fn dir_of(name: &Login) -> PathBuf {
    let name = name.as_str();
    Path::new(INVITATIONS).join(format!(".{}", name.strip_suffix(SECOND).unwrap_or(name)))
}

impl Client {
    /// The client, with this key.
    fn command(&self, program: &str, key: &str) -> Command {
        let mut client = Command::new(program);
        client.args(["-F", "/dev/null", "-i"]).arg(self.dir.join(key));
        let known = format!("UserKnownHostsFile={}", self.dir.join("known").display());
        for option in [
            "BatchMode=yes",
            "IdentitiesOnly=yes",
            "IdentityAgent=none",
            "ControlPath=none",
            "ConnectTimeout=10",
            "LogLevel=ERROR",
            "StrictHostKeyChecking=yes",
            "GlobalKnownHostsFile=/dev/null",
            &format!("HostKeyAlias={ALIAS}"),
            &known,
        ] {
            client.args(["-o", option]);
        }
        client
    }

    fn ssh(&self, name: &Login, key: &str, command: &str) -> Command {
        self.ssh_with(&[], name, key, command)
    }

    fn ssh_with(&self, options: &[&str], name: &Login, key: &str, command: &str) -> Command {
        let mut client = self.command("ssh", key);
        let port = self.port.to_string();
        client.args(options).args(["-p", &port, "-l", name.as_str(), &self.address.to_string()]);
        client.args(["--", command]);
        client
    }
}

/// `port`: does our sshd answer, as itself, and refuse a key that nobody knows?
pub fn port(doctor: &Doctor) -> Judged {
    let visit = visit(doctor)?;
    let door = SocketAddr::new(visit.client.address, visit.client.port);
    let banner = match banner(door) {
        Ok(banner) if banner.starts_with("SSH-2.0-") => banner,
        Ok(other) => {
            return Ok(fail(
                format!("{door} answers '{other}', which is no SSH"),
                "another program has the port: ss -ltnp; set Port in /etc/sshbox/sshd_config",
            ));
        }
        Err(error) => {
            return Ok(fail(
                format!("{door}: {error}"),
                "systemctl enable --now sshbox-sshd; journalctl -u sshbox-sshd says why if it ends",
            ));
        }
    };
    let [name, _] = &visit.names;
    let ended = doctor.must(&mut visit.client.ssh(name, "stranger", "true"), SMALL * 3)?;
    Ok(judge_stranger(door, &banner, ended.status.code(), &ended.last_words()))
}

fn banner(door: SocketAddr) -> io::Result<String> {
    let stream = TcpStream::connect_timeout(&door, SMALL)?;
    stream.set_read_timeout(Some(SMALL))?;
    let mut line = String::new();
    match BufReader::new(stream.take(256)).read_line(&mut line) {
        // Who says nothing has said "".
        Err(error) if error.kind() == io::ErrorKind::WouldBlock => {}
        other => drop(other?),
    }
    Ok(line.trim_end().to_owned())
}

fn judge_stranger(door: SocketAddr, banner: &str, status: Option<i32>, words: &str) -> Verdict {
    match status {
        Some(0) => fail(
            format!("{door} lets in a key that nobody knows"),
            "stop it at once (systemctl stop sshbox-sshd), and see sshd-settings",
        ),
        _ if words.contains("Permission denied") => {
            ok(format!("{door} is {banner}, and refuses an unknown key"))
        }
        _ if words.contains("Host key verification failed") || words.contains("host key") => fail(
            format!("{door} has other host keys than /etc/sshbox/sshd_config says: {words}"),
            "restart it (systemctl restart sshbox-sshd); if another server has the port: ss -ltnp",
        ),
        _ => fail(format!("{door}: {words}"), "journalctl -u sshbox-sshd says what it saw of this login"),
    }
}

/// `login`: does a user get in, with and without a terminal?
pub fn login(doctor: &Doctor) -> Judged {
    let visit = visit(doctor)?;
    let [name, _] = &visit.names;
    let began = Instant::now();
    let looked = doctor.must(&mut visit.client.ssh(name, "key", LOOK), LOGIN)?;
    let took = began.elapsed().as_millis();
    let seen = visit.seen.get_or_init(|| {
        if looked.status.success() {
            Ok(looked.out)
        } else {
            Err(refused(looked.status.code(), &looked.last_words()))
        }
    });
    seen.as_ref().map_err(Clone::clone)?;
    let ended = doctor.must(&mut visit.client.ssh_with(&["-tt"], name, "key", "tty"), SMALL * 3)?;
    if !ended.status.success() {
        let Verdict { seen, fix, .. } = refused(ended.status.code(), &ended.last_words());
        return Ok(fail(format!("with a terminal: {seen}"), fix.unwrap_or_default()));
    }
    Ok(ok(format!("{name} got in and had a box after {took} ms, and a terminal in it")))
}

/// Why a login failed, by the status of the client and its last line.
fn refused(status: Option<i32>, words: &str) -> Verdict {
    let fix = match status {
        _ if words.contains("Permission denied") => {
            "sshbox-keys did not vouch for the key: journalctl -t sshbox-keys, and journalctl -u sshbox-sshd"
        }
        _ if words.contains("(ref ") => {
            "the line with that reference says why: journalctl --grep 'ref=\"...\"'"
        }
        Some(255) => "journalctl -u sshbox-sshd says what it saw of this login",
        _ => "try it by hand as a user of the web app; journalctl -t sshbox-shell -t sshbox-wake",
    };
    fail(words, fix)
}

/// What the first login showed, for checks that look at the box.
pub(super) fn seen(doctor: &Doctor) -> Result<(&Visit, &str), Verdict> {
    let visit = visit(doctor)?;
    if visit.seen.get().is_none() {
        // Its verdict is its own check's to tell.
        drop(login(doctor));
    }
    match visit.seen.get() {
        Some(Ok(seen)) => Ok((visit, seen)),
        _ => Err(skip("nobody got in, see login")),
    }
}

/// `sftp`: can files be carried?
pub fn sftp(doctor: &Doctor) -> Judged {
    let (visit, _) = seen(doctor)?;
    let [name, _] = &visit.names;
    let mut client = visit.client.command("sftp", "key");
    let (address, port) = (visit.client.address, visit.client.port);
    let host = if address.is_ipv6() { format!("[{address}]") } else { address.to_string() };
    client.args(["-b", "-", "-P", &port.to_string(), &format!("{name}@{host}")]);
    let ended = doctor.tool(&mut client, "pwd\n", SMALL * 3).map_err(|error| super::missing(&error))?;
    Ok(if ended.status.success() {
        ok("the image has an sftp-server")
    } else {
        fail(
            ended.last_words(),
            "put openssh-sftp-server into the image: scp, sftp, sshfs and editors need it",
        )
    })
}

/// `box`: is the box fenced in as it should be, seen from inside?
pub fn confined(doctor: &Doctor) -> Judged {
    let owner = doctor.config()?.container.user.uid;
    Ok(judge_box(seen(doctor)?.1, owner))
}

/// A line of what was seen, in the form of `proc_pid_status(5)`; "" when there is none.
pub(super) fn field<'a>(seen: &'a str, name: &str) -> &'a str {
    let of_name = |line: &'a str| line.split_once(":\t").filter(|(key, _)| *key == name);
    seen.lines().find_map(of_name).map_or("", |(_, value)| value)
}

fn judge_box(seen: &str, owner: u32) -> Verdict {
    let field = |name: &str| field(seen, name);
    let mut wrong = Vec::new();
    for (name, wanted, why) in [
        ("CapEff", "0000000000000000", "it has capabilities"),
        ("CapBnd", "0000000000000000", "it can get capabilities"),
        ("NoNewPrivs", "1", "setuid programs work"),
        ("Seccomp", "2", "it may make every system call"),
    ] {
        if field(name) != wanted {
            wrong.push(format!("{name} is '{}': {why}", field(name)));
        }
    }
    let uid = field("Uid").split_whitespace().next().unwrap_or_default();
    if uid != owner.to_string() {
        wrong.push(format!("its user is {uid}, not {owner} (box.user)"));
    }
    if !wrong.is_empty() {
        return fail(
            wrong.join("; "),
            "compare docker inspect of a box with SECURITY.md; a runtime other than runc, or daemon.json, may differ",
        );
    }
    let is_profile =
        |line: &&str| *line == "unconfined" || line.ends_with(" (enforce)") || line.ends_with(" (complain)");
    let profile = seen.lines().rfind(is_profile);
    let shown = profile.map_or(String::new(), |profile| format!(", AppArmor {profile}"));
    let shown = format!("uid {uid}, no capability, no new privileges, seccomp{shown}");
    match profile {
        Some(profile) if !profile.ends_with(" (enforce)") => {
            warn(shown, "AppArmor does not hold boxes back: aa-enforce docker-default; see docker info")
        }
        _ => ok(shown),
    }
}

/// `log-driver`: does what boxes print go nowhere?
pub fn log_driver(doctor: &Doctor) -> Judged {
    let (visit, _) = seen(doctor)?;
    let [name, _] = &visit.names;
    let container = doctor.config()?.container.name.fill(name);
    let driver = doctor.wait(doctor.engine()?.log_driver(&container));
    let driver = driver.map_err(|error| fail(chain(&error), "see docker"))?;
    Ok(judge_driver(&driver, &doctor.about()?.log_driver))
}

fn judge_driver(of_box: &str, default: &str) -> Verdict {
    if of_box == "none" {
        return ok(format!("boxes have none (other containers: {default})"));
    }
    fail(
        format!("a box has log driver '{of_box}': its user can fill the host's disk"),
        "sshbox asks for 'none'; look for what changes it (docker inspect, authorization plugins)",
    )
}

/// `isolation`: what does a box reach that it should not?
pub fn isolation(doctor: &Doctor) -> Judged {
    let (visit, own) = seen(doctor)?;
    let [name, other] = &visit.names;
    let theirs = doctor.must(&mut visit.client.ssh(other, "key", LOOK), LOGIN)?;
    let neighbour = addresses_of(&theirs.out, &doctor.config()?.container.hostname.fill(other));
    if neighbour.is_empty() {
        return Err(skip("the second box has no address to try"));
    }
    let mut targets: Vec<_> = neighbour.iter().map(|address| (*address, 1)).chain([METADATA]).collect();
    let gateway = gateway(own);
    if let Some(gateway) = gateway {
        let table =
            ["/proc/net/tcp", "/proc/net/tcp6"].map(|path| fs::read_to_string(path).unwrap_or_default());
        targets
            .extend(listening(&table.concat(), gateway).into_iter().map(|port| (IpAddr::V4(gateway), port)));
    }
    let mut client = visit.client.ssh(name, "key", "bash -s");
    let ended =
        doctor.tool(&mut client, &script(&targets), SMALL * 3).map_err(|error| super::missing(&error))?;
    if !ended.status.success() {
        return Ok(skip(format!("the image has no bash and timeout to try with: {}", ended.last_words())));
    }
    Ok(judge_reach(&ended.out, &neighbour, gateway))
}

/// What bash in the box runs: all tries at once, each for two seconds at most.
fn script(targets: &[(IpAddr, u16)]) -> String {
    let mut script = r#"
command -v timeout >/dev/null || exit 3
try() {
    words=$(LC_ALL=C timeout 2 bash -c 'exec 3<>"/dev/tcp/$0/$1"' "$1" "$2" 2>&1)
    case $?:$words in
    0:*) echo "$1 $2 open" ;;
    *refused*) echo "$1 $2 refused" ;;
    *) echo "$1 $2 closed" ;;
    esac
}
"#
    .to_owned();
    for (address, port) in targets {
        let _ = writeln!(script, "try {address} {port} &");
    }
    script + "wait\n"
}

/// The addresses of a host by its own `/etc/hosts`, which Docker writes: one, or two with IPv6.
fn addresses_of(seen: &str, name: &str) -> Vec<IpAddr> {
    let of_name = |line: &str| {
        let mut words = line.split_whitespace();
        let address = words.next()?.parse().ok()?;
        words.any(|word| word == name).then_some(address)
    };
    seen.lines().filter_map(of_name).collect()
}

/// The default gateway in a `/proc/net/route`: the host, as its boxes see it.
fn gateway(seen: &str) -> Option<Ipv4Addr> {
    seen.lines().find_map(|line| {
        let words: Vec<_> = line.split_whitespace().collect();
        let [_, "00000000", gateway, ..] = words.as_slice() else {
            return None;
        };
        // In the order of bytes of the machine, which is the network's turned around.
        u32::from_str_radix(gateway, 16)
            .ok()
            .filter(|gateway| *gateway != 0)
            .map(|gateway| Ipv4Addr::from(gateway.to_be()))
    })
}

/// Ports at which programs of the host listen for everybody, or at this address of it, by
/// `/proc/net/tcp`.
fn listening(table: &str, at: Ipv4Addr) -> Vec<u16> {
    let parse = |line: &str| {
        let words: Vec<_> = line.split_whitespace().collect();
        let (local, state) = (words.get(1)?, words.get(3)?);
        let (address, port) = local.split_once(':')?;
        let here =
            address.bytes().all(|digit| digit == b'0') || address == format!("{:08X}", u32::from(at).to_be());
        (*state == "0A" && here).then(|| u16::from_str_radix(port, 16).ok()).flatten()
    };
    let ports: BTreeSet<_> = table.lines().filter_map(parse).collect();
    ports.into_iter().take(PORTS).collect()
}

fn judge_reach(answers: &str, neighbour: &[IpAddr], gateway: Option<Ipv4Addr>) -> Verdict {
    let of_neighbour = |address: &str| neighbour.iter().any(|theirs| theirs.to_string() == address);
    let mut tried = 0;
    let mut reached = Vec::new();
    let mut ports = Vec::new();
    let mut box_reached = false;
    for line in answers.lines() {
        let words: Vec<_> = line.split_whitespace().collect();
        let [address, port, answer] = words.as_slice() else {
            continue;
        };
        // Traffic between boxes is dropped without a word: a refusal has come from there.
        if of_neighbour(address) {
            tried += 1;
            box_reached |= *answer != "closed";
        } else if *answer == "open" && *address == METADATA.0.to_string() {
            reached.push(format!("the metadata service at {address}"));
        } else if *answer == "open" && gateway.is_some_and(|gateway| *address == gateway.to_string()) {
            ports.push((*port).to_owned());
        }
    }
    if let (Some(gateway), false) = (gateway, ports.is_empty()) {
        reached.push(format!("the host at {gateway}, ports {}", ports.join(" ")));
    }
    if box_reached {
        return fail("a box reaches another box", "see network");
    }
    if tried < neighbour.len() {
        return skip("the tries from inside a box gave no answer");
    }
    if reached.is_empty() {
        let host = if gateway.is_some() { ", the host's open ports" } else { "" };
        return ok(format!("another box{host} and 169.254.169.254 are out of reach"));
    }
    warn(
        format!("another box is out of reach; a box reaches {}", reached.join(", and ")),
        "filter what comes from the boxes' bridge: for the host in INPUT, for other places in DOCKER-USER \
         (SECURITY.md, What is not covered)",
    )
}

/// `leftovers`: is all gone that this doctor made, or an earlier one?
pub fn leftovers(doctor: &Doctor) -> Judged {
    // Alone it has an earlier one to look after.
    let visit = visit(doctor)?;
    let (swept, unswept) = &visit.swept;
    Ok(judge_left(&[leave(doctor), unswept.clone()].concat(), *swept))
}

fn judge_left(left: &[String], swept: usize) -> Verdict {
    if !left.is_empty() {
        return warn(left.join("; "), "look at what is named there; the next sshbox doctor tries again");
    }
    match swept {
        0 => ok("nothing is left of the visit"),
        number => {
            ok(format!("nothing is left of the visit; {number} of a doctor that was killed are removed"))
        }
    }
}

/// Ends the visit, if there was one; what could not be removed.
pub fn leave(doctor: &Doctor) -> Vec<String> {
    match doctor.visit.get() {
        Some(Ok(visit)) if !visit.over.replace(true) => clear(doctor, visit),
        _ => Vec::new(),
    }
}

fn clear(doctor: &Doctor, visit: &Visit) -> Vec<String> {
    visit.names.iter().rev().flat_map(|name| remove(doctor, &visit.client, name)).collect()
}

/// Removes all that a visitor has, the invitation last: by it the next doctor knows what is left.
/// Nobody can take it up meanwhile but who has the key, which is root's alone.
fn remove(doctor: &Doctor, client: &Client, name: &Login) -> Vec<String> {
    let mut left = remove_traces(doctor, client, name);
    if left.is_empty() {
        let invitation = Path::new(INVITATIONS).join(name.as_str());
        left.extend(problem(&invitation, fs::remove_file(&invitation)));
        // The two share their keys: who goes last takes them along.
        let first = name.as_str().strip_suffix(SECOND).unwrap_or(name.as_str());
        let invited = |name: &str| Path::new(INVITATIONS).join(name).exists();
        if !invited(first) && !invited(&format!("{first}{SECOND}")) {
            left.extend(problem(&client.dir, fs::remove_dir_all(&client.dir)));
        }
        // It stays while somebody else is invited.
        let _ = fs::remove_dir(INVITATIONS);
    }
    left
}

fn remove_traces(doctor: &Doctor, client: &Client, name: &Login) -> Vec<String> {
    let Ok(config) = doctor.config() else {
        return vec!["the configuration cannot be used, so their boxes are not known".to_owned()];
    };
    let home = PathBuf::from(config.container.home.fill(name));
    if home.exists() {
        // Whatever signal came: this belongs to the end. What it does not do, the last step tells.
        let _ = super::tool::run(&mut client.ssh(name, "key", TIDY), "", LOGIN, None);
    }
    // The reaper would make room for a box that it has seen run.
    let _no_reaper = reaper_lock(Path::new(RUN));
    let runtime_dir = UserRuntimeDir::of(Path::new(RUN), name);
    // A session whose client was killed may be about to have the box started: who gets the right to
    // do so after us finds no account.
    let held = runtime_dir.prepare().and_then(|()| runtime_dir.lock_state(LOGIN));
    let mut left: Vec<_> =
        held.as_ref().err().map(|error| format!("{name} in {RUN}: {error}")).into_iter().collect();
    let container = config.container.name.fill(name);
    match doctor.engine() {
        Ok(engine) => {
            let gone = doctor.wait(remove_box(engine, &container, name));
            left.extend(gone.err().map(|error| format!("container {container}: {}", chain(&error))));
        }
        Err(_) if !home.exists() => {}
        Err(verdict) => left.push(format!("container {container}: {}", verdict.seen)),
    }
    let cache = &config.accounts.cache;
    left.extend(problem(&cache.join(name.as_str()), Cache::new(cache).remove(name)));
    drop(held);
    until_gone(name);
    left.extend(runtime_dir.remove().err().map(|error| format!("{name} in {RUN}: {error}")));
    left.extend(problem(&home, fs::remove_dir(&home)));
    left
}

/// Waits until no session of this visitor is left on the host, for a moment.
fn until_gone(name: &Login) {
    let end = later(Instant::now(), SMALL);
    let theirs = |process: fs::DirEntry| process.metadata().is_ok_and(|meta| meta.uid() == name.uid());
    let here = || fs::read_dir("/proc").into_iter().flatten().flatten().any(theirs);
    while here() && Instant::now() < end {
        thread::sleep(Duration::from_millis(20));
    }
}

async fn remove_box(engine: &Engine, container: &str, name: &Login) -> Result<(), EngineError> {
    let is_theirs =
        |found: &Container| found.labels.as_ref().is_some_and(|labels| labels.user == name.as_str());
    match engine.find(container).await?.filter(is_theirs) {
        Some(found) => {
            engine.stop(&found.id, Duration::ZERO).await?;
            engine.remove(&found.id).await
        }
        None => Ok(()),
    }
}

fn problem(what: &Path, result: io::Result<()>) -> Option<String> {
    let error = result.err().filter(|error| error.kind() != io::ErrorKind::NotFound)?;
    Some(format!("{}: {error}", what.display()))
}

/// All who are invited.
fn visitors() -> BTreeSet<Login> {
    let entries = fs::read_dir(INVITATIONS).into_iter().flatten().flatten();
    entries.filter_map(|entry| visitor(entry.file_name().to_str()?)).collect()
}

/// The visitor whose invitation or keys have this name.
fn visitor(name: &str) -> Option<Login> {
    let name = name.trim_start_matches('.');
    let chance = name.strip_prefix(VISITOR)?;
    session::journal::Reference::parse(chance.strip_suffix(SECOND).unwrap_or(chance))?;
    Login::parse(name.as_bytes()).ok()
}

#[cfg(test)]
mod tests {
    use super::super::verdict::State;
    use super::*;

    fn door() -> SocketAddr {
        "127.0.0.1:2200".parse().unwrap()
    }

    #[test]
    fn an_unknown_key_must_be_refused_by_the_server_that_we_mean() {
        let judge = |status, words| judge_stranger(door(), "SSH-2.0-x", status, words).state;
        assert_eq!(judge(Some(255), "x@127.0.0.1: Permission denied (publickey)."), State::Ok);
        assert_eq!(judge(Some(0), ""), State::Fail);
        assert_eq!(judge(Some(255), "Host key verification failed."), State::Fail);
        assert_eq!(judge(Some(255), "Connection reset by peer"), State::Fail);
    }

    #[test]
    fn a_refusal_is_followed_to_where_it_is_explained() {
        let fix = |status, words| refused(status, words).fix.unwrap();
        assert!(fix(Some(255), "x: Permission denied (publickey).").contains("-t sshbox-keys"));
        assert!(fix(Some(69), "sshbox: no image (ref 01234567)").contains("reference"));
        assert!(fix(Some(255), "Connection closed").contains("-u sshbox-sshd"));
    }

    const SEEN: &str = "Name:\tcat\nUid:\t1000\t1000\t1000\t1000\nCapEff:\t0000000000000000\n\
        CapBnd:\t0000000000000000\nNoNewPrivs:\t1\nSeccomp:\t2\n127.0.0.1\tlocalhost\n172.18.0.2\tvisitor\n\
        Iface\tDestination\tGateway \tFlags\neth0\t00000000\t010012AC\t0003\neth0\t000012AC\t00000000\t0001\n\
        docker-default (enforce)\n";

    #[test]
    fn a_box_is_fenced_in_or_it_is_told() {
        let good = judge_box(SEEN, 1000);
        assert_eq!(
            good.seen,
            "uid 1000, no capability, no new privileges, seccomp, AppArmor docker-default (enforce)"
        );
        for (from, to) in [
            ("CapEff:\t0000", "CapEff:\t0020"),
            ("CapBnd:\t0000", "CapBnd:\t0020"),
            ("NoNewPrivs:\t1", "NoNewPrivs:\t0"),
            ("Seccomp:\t2", "Seccomp:\t0"),
            ("Uid:\t1000", "Uid:\t0"),
        ] {
            assert_eq!(judge_box(&SEEN.replace(from, to), 1000).state, State::Fail, "{to}");
        }
        assert_eq!(judge_box("", 1000).state, State::Fail);
        for open in ["docker-default (complain)", "unconfined"] {
            let verdict = judge_box(&SEEN.replace("docker-default (enforce)", open), 1000);
            assert_eq!(verdict.state, State::Warn, "{verdict:?}");
        }
        assert_eq!(judge_box(&SEEN.replace("docker-default (enforce)\n", ""), 1000).state, State::Ok);
    }

    #[test]
    fn where_a_box_is_and_where_the_host_is() {
        assert_eq!(addresses_of(SEEN, "visitor"), ["172.18.0.2".parse::<IpAddr>().unwrap()]);
        assert_eq!(addresses_of(&format!("{SEEN}fd00::2\tvisitor\n"), "visitor").len(), 2);
        assert_eq!(addresses_of(SEEN, "nobody"), [] as [IpAddr; 0]);
        assert_eq!(gateway(SEEN), Some(Ipv4Addr::new(172, 18, 0, 1)));
        assert_eq!(gateway("eth0\t000012AC\t00000000\t0001\n"), None);
    }

    #[test]
    fn what_the_host_offers_to_boxes() {
        let table = "  sl  local_address rem_address   st\n\
            0: 00000000:0898 00000000:0000 0A\n   1: 0100007F:1F40 00000000:0000 0A\n\
            2: 010012AC:0035 00000000:0000 0A\n   3: 00000000:0016 0100007F:C000 01\n\
            0: 00000000000000000000000000000000:0016 00000000000000000000000000000000:0000 0A\n";
        assert_eq!(listening(table, Ipv4Addr::new(172, 18, 0, 1)), [22, 53, 2200]);
    }

    #[test]
    fn what_a_box_reaches_is_told() {
        let neighbour = ["172.18.0.3".parse().unwrap()];
        let judge = |answers: &str| judge_reach(answers, &neighbour, Some(Ipv4Addr::new(172, 18, 0, 1)));
        let apart = "172.18.0.3 1 closed\n169.254.169.254 80 refused\n172.18.0.1 22 closed\n";
        assert_eq!(judge(apart).state, State::Ok);
        assert_eq!(judge("172.18.0.3 1 refused\n").state, State::Fail);
        // What was not tried is not out of reach.
        assert_eq!(judge("").state, State::Skip);
        let both = [neighbour[0], "fd00::3".parse().unwrap()];
        let judge_both = |answers: &str| judge_reach(answers, &both, None);
        assert_eq!(judge_both("172.18.0.3 1 closed\n").state, State::Skip);
        assert_eq!(judge_both("172.18.0.3 1 closed\nfd00::3 1 refused\n").state, State::Fail);
        assert_eq!(
            judge_both("172.18.0.3 1 closed\nfd00::3 1 closed\n").seen,
            "another box and 169.254.169.254 are out of reach"
        );
        assert_eq!(
            judge("172.18.0.3 1 closed\n169.254.169.254 80 open\n172.18.0.1 22 open\n172.18.0.1 8000 open\n")
                .seen,
            "another box is out of reach; a box reaches the metadata service at 169.254.169.254, and the host at 172.18.0.1, ports 22 8000"
        );
    }

    #[test]
    fn a_box_that_logs_and_things_that_stay_are_told() {
        assert_eq!(judge_driver("none", "json-file").state, State::Ok);
        assert_eq!(judge_driver("json-file", "json-file").state, State::Fail);
        assert_eq!(judge_left(&[], 0).state, State::Ok);
        assert_eq!(judge_left(&["a home".to_owned()], 0).state, State::Warn);
    }

    #[test]
    fn only_visitors_are_taken_for_visitors() {
        for name in ["sshbox-doctor-0123abcd", "sshbox-doctor-0123abcd-2", ".sshbox-doctor-0123abcd"] {
            assert!(visitor(name).is_some(), "{name}");
        }
        for name in ["alice", "sshbox-doctor-", "sshbox-doctor-who", "sshbox-doctor-0123abcd-3", "x.json"] {
            assert_eq!(visitor(name), None, "{name}");
        }
    }
}
