//! Follows the pages in `docs/src` for sites literally: each command, line of code and setting comes from the page, so
//! that page and test cannot diverge. Each test ends with logins.

use crate::harness::{
    CONFIG, SSHD_CONFIG, STATE, User, WHOSE, begun, journal, reap, run, text, until, world_alone,
};
use std::fs;
use std::net::TcpStream;
use std::os::unix::fs::MetadataExt as _;
use std::path::Path;
use std::process::Command;
use std::sync::atomic::{AtomicU32, Ordering};

const CONNECT: &str = "docs/src/connect-your-django-site.md";
const MIGRATE: &str = "docs/src/migrate-from-a-paramiko-gateway.md";
const TOKEN: &str = "/etc/sshbox/token";

/// What the pages expect of the reader's machine: sudo, systemd, and an ssh that knows the user's key. It accepts the
/// key of an unknown host, and no other key of a known host.
const READER: &str = r#"set -euo pipefail
sudo() { "$@"; }
systemctl() { [ "$*" = "reload sshbox-sshd" ] && "$REPO/packaging/demo/without-systemd" reload; }
ssh() {
    command ssh -F /dev/null -o BatchMode=yes -o StrictHostKeyChecking=accept-new -o UserKnownHostsFile=~/.ssh/known_hosts \
        -o LogLevel=ERROR -o IdentitiesOnly=yes -i ~/.ssh/id_ed25519 "$@"
}
"#;

/// A fenced block of a page: its kind, the file that it belongs to, and its lines.
#[derive(Clone)]
struct Block {
    kind: String,
    file: String,
    text: String,
}

/// The blocks below the heading that begins with this text.
fn blocks(page: &str, heading: &str) -> Vec<Block> {
    let text = fs::read_to_string(page).unwrap();
    let section = text
        .split("\n## ")
        .find(|section| section.starts_with(heading))
        .unwrap_or_else(|| panic!("{page} has no heading {heading:?}"));
    // Fences split the section; every second part is a block.
    let found: Vec<_> = section
        .split("\n```")
        .skip(1)
        .step_by(2)
        .map(|block| {
            let (head, text) = block.split_once('\n').unwrap();
            let (kind, file) = head.split_once(' ').unwrap_or((head, ""));
            Block { kind: kind.to_owned(), file: file.to_owned(), text: format!("{text}\n") }
        })
        .collect();
    assert!(!found.is_empty(), "{heading}: no block");
    found
}

/// A new Django project that replaces the world's site during the test, and the files that the test changes.
struct Site {
    folder: String,
    /// Original content of these files.
    before: Vec<(&'static str, Vec<u8>)>,
}

/// The number of sites so far.
static SITES: AtomicU32 = AtomicU32::new(0);

impl Site {
    fn new(name: &str) -> Self {
        let folder = format!("/srv/{name}");
        run("install", &["-d", "-m", "0700", &format!("{folder}/.ssh")]);
        for (from, to) in [("key", "id_ed25519"), ("key.pub", "id_ed25519.pub")] {
            fs::copy(format!("{STATE}/{from}"), format!("{folder}/.ssh/{to}")).unwrap();
        }
        // The page asks the reader to copy the wheel.
        run("sh", &["-c", &format!("cp target/wheel/django_sshbox-*.whl {folder}")]);
        run("tests/system/web", &["stop"]);
        until("the world's site has ended", || TcpStream::connect("127.0.0.1:8000").is_err());
        let before = [CONFIG, TOKEN, SSHD_CONFIG].map(|file| (file, fs::read(file).unwrap())).to_vec();
        // Its users have the same numbers as those of the world's site.
        let number = SITES.fetch_add(1, Ordering::Relaxed);
        let config = fs::read_to_string(CONFIG).unwrap();
        let range = format!("{0}00000-{0}99999", 16_000 + number);
        fs::write(CONFIG, config.replace("1700000000-1799999999", &range)).unwrap();
        Self { folder, before }
    }

    fn path(&self, file: &str) -> String {
        Path::new(&self.folder).join(file).to_str().unwrap().to_owned()
    }

    /// Runs a script as the reader would. Returns exit status and output.
    fn run_script(&self, script: &str) -> (i32, String) {
        let wheels = fs::canonicalize("target/wheels").unwrap();
        let mut command = Command::new("bash");
        command.args(["-c", &format!("{READER}{script}")]).current_dir(&self.folder).env_clear();
        command.env("PATH", "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin");
        command.env("HOME", &self.folder).env("REPO", std::env::current_dir().unwrap());
        // A world has no network: pip installs from this directory.
        command.env("PIP_NO_INDEX", "1").env("PIP_FIND_LINKS", wheels);
        command.env("PIP_DISABLE_PIP_VERSION_CHECK", "1");
        let output = begun(command, Vec::new()).ends();
        (output.status.code().unwrap(), text(&output.stdout) + &text(&output.stderr))
    }

    fn run_successfully(&self, script: &str) -> String {
        let (status, said) = self.run_script(script);
        assert_eq!(status, 0, "{script}{said}");
        said
    }

    fn manage(&self, script: &str) -> String {
        self.run_successfully(&format!("venv/bin/python manage.py shell -v 0 -c \"{script}\""))
    }

    fn follow(&self, blocks: &[Block]) -> String {
        blocks.iter().map(|block| self.follow_one(block)).collect()
    }

    fn follow_one(&self, block: &Block) -> String {
        match block.kind.as_str() {
            "sh" => {
                let said = self.run_successfully(&block.text);
                if block.text.contains("reload sshbox-sshd") {
                    until("sshd listens", sshd_listens);
                }
                if block.text.contains("gunicorn mysite.wsgi") {
                    until("the site replies", || TcpStream::connect("127.0.0.1:8000").is_ok());
                }
                return said;
            }
            "console" => self.run_transcript(&block.text),
            "python" | "dockerfile" => {
                let path = self.path(&block.file);
                let before = fs::read_to_string(&path).unwrap_or_default();
                fs::write(path, format!("{before}\n{}", block.text)).unwrap();
            }
            "toml" => configure(&block.file, &block.text),
            // No systemd runs here to read it; tests/vm tests the unit.
            "ini" => {
                let unit = block.file.split('/').find_map(|part| part.strip_suffix(".d"));
                let unit = unit.unwrap_or_else(|| panic!("{} is no drop-in", block.file));
                assert!(fs::exists(format!("/usr/lib/systemd/system/{unit}")).unwrap(), "{unit}");
            }
            other => panic!("unknown kind of block: {other:?}"),
        }
        String::new()
    }

    /// Runs the commands after `$` and compares their output; `…` stands for any text.
    fn run_transcript(&self, text: &str) {
        for exchange in format!("\n{}", text.trim_end()).split("\n$ ").skip(1) {
            let (command, expected) = exchange.split_once('\n').unwrap();
            let said = self.run_successfully(&format!("{command}\n"));
            assert!(matches_pattern(said.trim_end(), expected), "{command}: {said}");
        }
    }
}

impl Drop for Site {
    fn drop(&mut self) {
        let pid = fs::read_to_string(self.path("mysite.pid"));
        if let Some(pid) = pid.ok().and_then(|pid| pid.trim().parse().ok()) {
            let _ =
                nix::sys::signal::kill(nix::unistd::Pid::from_raw(pid), nix::sys::signal::Signal::SIGTERM);
        }
        for (file, before) in &self.before {
            fs::write(file, before).unwrap();
        }
        run("packaging/demo/without-systemd", &["reload"]);
        until("sshd listens", sshd_listens);
        // Homes with uids of this site, which the doctor would report, and those below /app. A box that went on without
        // its home would be that of the next site's user of the same name.
        let homes = "find /var/lib/sshbox/homes -mindepth 1 -maxdepth 1 -uid +1599999999 -uid -1699999999";
        let forget = "docker ps -aq --filter label=sshbox.user=${home##*/} | xargs -r docker rm -f
            rm -rf $home /var/lib/sshbox/known-homes/${home##*/}";
        run("sh", &["-c", &format!("for home in $({homes}); do {forget}; done")]);
        run("sh", &["-c", "grep -rl ^/app /var/lib/sshbox/known-homes | xargs -r rm"]);
        run("sh", &["-c", "docker ps -aq --filter name=scitex-user- | xargs -r docker rm -f; rm -rf /app"]);
        until("the site has ended", || TcpStream::connect("127.0.0.1:8000").is_err());
        run("tests/system/web", &["start"]);
        until("the world's site replies", || TcpStream::connect("127.0.0.1:8000").is_ok());
    }
}

/// Whether sshd listens on the port of its configuration.
fn sshd_listens() -> bool {
    let config = fs::read_to_string(SSHD_CONFIG).unwrap();
    let port = config.lines().find_map(|line| line.strip_prefix("Port ")).unwrap();
    TcpStream::connect(format!("127.0.0.1:{port}")).is_ok()
}

fn matches_pattern(said: &str, expected: &str) -> bool {
    let mut parts = expected.split('…');
    let Some(mut rest) = parts.next().and_then(|first| said.strip_prefix(first)) else {
        return false;
    };
    let mut last = "";
    for part in parts {
        let Some((_, behind)) = rest.split_once(part) else {
            return false;
        };
        (rest, last) = (behind, part);
    }
    rest.is_empty() || (expected.contains('…') && last.is_empty())
}

/// Replaces the line of each key in the file, as with an editor.
fn configure(file: &str, keys: &str) {
    let mut lines: Vec<String> = fs::read_to_string(file).unwrap().lines().map(str::to_owned).collect();
    let mut section = 0;
    for line in keys.lines().filter(|line| !line.is_empty()) {
        if line.starts_with('[') {
            section = lines.iter().position(|there| there == line).unwrap();
            continue;
        }
        let key = line.split_once('=').unwrap().0;
        let end = lines[section + 1..]
            .iter()
            .position(|line| line.starts_with('['))
            .unwrap_or(lines.len() - section - 1);
        let place = lines[section..=section + end].iter().position(|there| there.starts_with(key));
        let place = place.unwrap_or_else(|| panic!("{file} does not show {key}"));
        line.clone_into(&mut lines[section + place]);
    }
    fs::write(file, lines.join("\n") + "\n").unwrap();
}

#[test]
fn a_new_site_is_connected_by_following_the_page() {
    let _world = world_alone();
    let site = Site::new("fresh");
    for heading in ["A site to try it with", "1.", "2.", "3.", "4.", "5.", "6.", "7."] {
        site.follow(&blocks(CONNECT, heading));
    }
    // The site used the installed package, not the sources.
    let path = site.manage("import django_sshbox; print(django_sshbox.__file__)");
    assert!(path.starts_with("/srv/fresh/venv/lib/"), "{path}");
    // Removing the key in the site takes effect.
    site.run_successfully("venv/bin/python manage.py sshbox_key remove ada ~/.ssh/id_ed25519.pub");
    assert_eq!(User { name: "ada".to_owned() }.ssh().status("true"), 255);
    assert!(journal().contains(r#"login refused user="ada""#));
}

#[test]
fn a_user_named_by_a_mail_address_can_log_in_by_following_the_page() {
    let _world = world_alone();
    let site = Site::new("mail");
    for heading in ["A site to try it with", "1.", "2.", "3.", "4."] {
        site.follow(&blocks(CONNECT, heading));
    }
    let mail = blocks(CONNECT, "User names that are mail addresses");
    let (logins, before): (Vec<_>, Vec<_>) =
        mail.into_iter().partition(|block| block.text.contains("ssh -p 2200"));
    assert_eq!((before.len(), logins.len()), (2, 1));
    site.follow(&before);
    site.follow(&[blocks(CONNECT, "5."), blocks(CONNECT, "6.")].concat());
    site.follow(&logins);
    // Users who already had a login name keep it.
    site.follow(&blocks(CONNECT, "7."));
    // Only one spelling of the name is accepted.
    for name in ["Grace-ssh", "Grace+ssh", "grace"] {
        assert_eq!(User { name: name.to_owned() }.ssh().status("true"), 255, "{name}");
    }
    assert_eq!(User { name: "Grace+ssh@example.org".to_owned() }.ssh().status("true"), 255);
    site.manage("from django.contrib.auth.models import User; User.objects.filter(username__contains='@').update(is_active=False)");
    assert_eq!(User { name: "grace-ssh".to_owned() }.ssh().status("true"), 255);
}

/// Adds what an existing site has: users, keys, an image, and a container in use.
fn add_existing_users(site: &Site) {
    fs::create_dir(site.path("accounts_app")).unwrap();
    for file in ["__init__.py", "models.py"] {
        fs::copy(format!("tests/system/accounts_app/{file}"), site.path(&format!("accounts_app/{file}")))
            .unwrap();
    }
    let settings = "INSTALLED_APPS += ['accounts_app']\nAUTH_USER_MODEL = 'accounts_app.User'\n";
    site.follow_one(&Block {
        kind: "python".to_owned(),
        file: "mysite/settings.py".to_owned(),
        text: settings.to_owned(),
    });
    site.run_successfully(
        "venv/bin/python manage.py makemigrations accounts_app && venv/bin/python manage.py migrate",
    );
    let image = "docker run --name past --network none --user 0:0 sshbox-user:latest rm /sbin/sshbox-init
        docker commit --change 'USER 1000:1000' --change 'CMD [\"/bin/bash\", \"-l\"]' past scitex-user-workspace:latest
        docker rm past
        install -d -m 0755 /app /app/data
        install -d -m 0700 /app/data/users
        install -d -m 0755 -o 1000 -g 1000 /app/data/users/Ada-L
        docker run --detach --init --network none --restart unless-stopped --cpus 2 --memory 8g \
            --name scitex-user-Ada-L --volume /app/data/users/Ada-L:/home/user \
            scitex-user-workspace:latest sleep infinity
        docker exec scitex-user-Ada-L sh -c 'mkdir ~/work && echo of old > ~/work/thesis'";
    run("bash", &["-euc", image]);
}

/// An existing site, connected by following the page; and the page's blocks about adoption.
fn connect_existing_site(name: &str) -> (Site, Vec<Block>) {
    let site = Site::new(name);
    site.follow(&blocks(CONNECT, "A site to try it with"));
    add_existing_users(&site);
    site.follow(&[blocks(CONNECT, "1."), blocks(CONNECT, "2.")].concat());
    let steps = blocks(CONNECT, "A site that has keys, boxes and homes already");
    let adoption = steps.iter().position(|block| block.text.contains("sshbox adopt")).unwrap();
    site.follow(&steps[..adoption]);
    site.manage(
        "import os
from accounts_app.models import *; from accounts_app.ssh import fields_of
for name in ('Ada-L', 'Grace_2'):
    key = fields_of(open(os.path.expanduser('~/.ssh/id_ed25519.pub')).read())
    key['fingerprint'] += name  # unique in this model, and both have the same key here
    WorkspaceSSHKey.objects.create(user=User.objects.create_user(name), title='laptop', **key)",
    );
    site.follow(&blocks(CONNECT, "5.")[..1]);
    (site, steps[adoption..].to_vec())
}

#[test]
fn an_existing_site_is_connected_by_following_the_page_and_its_containers_are_adopted() {
    let _world = world_alone();
    let (site, adoption) = connect_existing_site("scitex");
    let ada = User { name: "Ada-L".to_owned() };
    let refused = ada.ssh().run("true");
    assert_eq!(refused.status.code(), Some(77), "{refused:?}");
    assert!(text(&refused.stderr).contains("a container that is not yours has the name of your box"));
    let said = site.follow(&adoption);
    assert!(said.contains("1 container would be set aside; nothing was changed\n"), "{said}");
    assert!(said.contains("scitex-user-Ada-L: set aside as scitex-user-Ada-L.before-sshbox-"), "{said}");
    // The user has her old home and owns it; her box has the settings of the site.
    assert_eq!(
        ada.says("pwd; cat work/thesis; stat -c %U:%g work/thesis; echo new > work/more"),
        "/home/user\nof old\nAda-L:1000\n"
    );
    assert_eq!(fs::metadata("/app/data/users/Ada-L/work/more").unwrap().uid(), 1000);
    assert_eq!(fs::read_to_string("/app/data/users/.Ada-L.sshbox-id").unwrap(), "1\n");
    let format = "{{.Config.Image}} {{.HostConfig.NanoCpus}} {{.HostConfig.Memory}} {{.HostConfig.NetworkMode}} {{index .Config.Labels \"sshbox.user\"}}";
    let made = "scitex-user-workspace:latest 2000000000 8589934592 sshbox0 Ada-L\n";
    assert_eq!(run("docker", &["inspect", "--format", format, "scitex-user-Ada-L"]), made);
    assert!(text(&reap(&["--dry-run"]).stdout).contains("Ada-L: kept: idle for less than 30m\n"));
    // A new user, and a name that differs in case.
    let grace = User { name: "Grace_2".to_owned() };
    assert_eq!(grace.says(WHOSE), "Grace_2\n");
    assert_eq!(fs::metadata("/app/data/users/Grace_2").unwrap().uid(), 1000);
    assert_eq!(User { name: "ada-l".to_owned() }.ssh().status("true"), 255);
    assert!(!fs::exists("/app/data/users/ada-l").unwrap());
    // As the page says, nothing writes this field.
    let used = site.manage(
        "from accounts_app.models import *; print([k.last_used_at for k in WorkspaceSSHKey.objects.all()])",
    );
    assert_eq!(used, "[None, None]\n");
}

#[test]
fn a_gateway_is_replaced_by_following_the_page_without_a_host_key_warning() {
    let _world = world_alone();
    let (site, _) = connect_existing_site("gateway");
    // The gateway's host key in paramiko's format, and a client that accepts only this key.
    fs::create_dir("/app/gateway").unwrap();
    run("ssh-keygen", &["-q", "-t", "rsa", "-m", "PEM", "-N", "", "-f", "/app/gateway/host_rsa.key"]);
    assert!(
        fs::read_to_string("/app/gateway/host_rsa.key").unwrap().starts_with("-----BEGIN RSA PRIVATE KEY")
    );
    let key = fs::read_to_string("/app/gateway/host_rsa.key.pub").unwrap();
    let known = format!("[127.0.0.1]:2222 {key}");
    fs::write(site.path(".ssh/known_hosts"), &known).unwrap();

    let in_old = |command: &str| run("docker", &["exec", "scitex-user-Ada-L", "sh", "-c", command]);
    site.follow(&blocks(MIGRATE, "Side by side"));
    let ada = User { name: "Ada-L".to_owned() };
    assert_eq!(ada.says("cat work/thesis; echo from ours > work/trial"), "of old\n");
    assert_eq!(in_old("cat ~/work/trial"), "from ours\n");
    site.follow(&blocks(MIGRATE, "Host key"));
    let said = site.follow(&blocks(MIGRATE, "Cut over"));
    assert!(said.contains("scitex-user-Ada-L: set aside as "), "{said}");
    assert_eq!(site.run_successfully("ssh -p 2222 Ada-L@127.0.0.1 cat work/trial"), "from ours\n");
    // The client has accepted no new host key.
    assert_eq!(fs::read_to_string(site.path(".ssh/known_hosts")).unwrap(), known);
    let boxes = run("docker", &["ps", "--format", "{{.Names}}", "--filter", "label=sshbox.user"]);
    assert_eq!(boxes, "scitex-user-Ada-L\n");
    site.follow(&blocks(MIGRATE, "Weeks later"));
    reap(&[]);
    assert_eq!(ada.inspect("{{index .Config.Labels \"sshbox.user\"}}"), "Ada-L");
    assert!(ada.container().starts_with("sshbox-") && !ada.container().contains("Ada"));
    run("docker", &["rm", "--force", &ada.container()]);
}
