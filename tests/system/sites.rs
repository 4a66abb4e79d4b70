//! The pages in `docs/src` for sites, followed to the letter: each command, each line of code and
//! each setting comes out of the page, so that page and test cannot part. Ends in logins.

use crate::harness::{CONFIG, STATE, User, WHOSE, begun, journal, reap, run, text, until, world_alone};
use std::fs;
use std::net::TcpStream;
use std::os::unix::fs::MetadataExt as _;
use std::path::Path;
use std::process::Command;

const CONNECT: &str = "docs/src/connect-your-django-site.md";
const MIGRATE: &str = "docs/src/migrate-from-a-paramiko-gateway.md";
const TOKEN: &str = "/etc/sshbox/token";
const SSHD_CONFIG: &str = "/etc/sshbox/sshd_config";

/// What a reader has that the pages do not tell of: sudo, systemd, and an ssh that knows their key.
/// Of unknown hosts it takes the key, of known ones no other.
const READER: &str = r#"set -euo pipefail
sudo() { "$@"; }
systemctl() { [ "$*" = "reload sshbox-sshd" ] && "$REPO/packaging/demo/without-systemd" reload; }
ssh() {
    command ssh -F /dev/null -o BatchMode=yes -o StrictHostKeyChecking=accept-new -o UserKnownHostsFile=~/.ssh/known_hosts \
        -o LogLevel=ERROR -o IdentitiesOnly=yes -i ~/.ssh/id_ed25519 "$@"
}
"#;

/// A fenced block of the page: what it is, the file that it belongs into, and its lines.
#[derive(Clone)]
struct Block {
    kind: String,
    file: String,
    text: String,
}

/// The blocks below a heading that begins like this.
fn blocks(page: &str, heading: &str) -> Vec<Block> {
    let text = fs::read_to_string(page).unwrap();
    let section = text
        .split("\n## ")
        .find(|section| section.starts_with(heading))
        .unwrap_or_else(|| panic!("{page} has no heading {heading:?}"));
    // Between fences every second part is a block.
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
    assert!(!found.is_empty(), "{heading}: nothing to follow");
    found
}

/// A project of its own that stands in for the site of the world, and what it changes.
struct Site {
    folder: String,
    /// Files of the world as they were.
    before: Vec<(&'static str, Vec<u8>)>,
}

impl Site {
    fn new(name: &str) -> Self {
        let folder = format!("/srv/{name}");
        run("install", &["-d", "-m", "0700", &format!("{folder}/.ssh")]);
        for (from, to) in [("key", "id_ed25519"), ("key.pub", "id_ed25519.pub")] {
            fs::copy(format!("{STATE}/{from}"), format!("{folder}/.ssh/{to}")).unwrap();
        }
        // The wheel, as the page has it copied.
        run("sh", &["-c", &format!("cp target/wheel/django_sshbox-*.whl {folder}")]);
        run("tests/system/web", &["stop"]);
        until("the other site is gone", || TcpStream::connect("127.0.0.1:8000").is_err());
        let before = [CONFIG, TOKEN, SSHD_CONFIG].map(|file| (file, fs::read(file).unwrap())).to_vec();
        Self { folder, before }
    }

    fn path(&self, file: &str) -> String {
        Path::new(&self.folder).join(file).to_str().unwrap().to_owned()
    }

    /// Runs a script as the reader types it; what it printed, and how it ended.
    fn types(&self, script: &str) -> (i32, String) {
        let wheels = fs::canonicalize("target/wheels").unwrap();
        let mut command = Command::new("bash");
        command.args(["-c", &format!("{READER}{script}")]).current_dir(&self.folder).env_clear();
        command.env("PATH", "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin");
        command.env("HOME", &self.folder).env("REPO", std::env::current_dir().unwrap());
        // A world has no network: pip finds here what it would fetch.
        command.env("PIP_NO_INDEX", "1").env("PIP_FIND_LINKS", wheels);
        command.env("PIP_DISABLE_PIP_VERSION_CHECK", "1");
        let output = begun(command, Vec::new()).ends();
        (output.status.code().unwrap(), text(&output.stdout) + &text(&output.stderr))
    }

    fn succeeds(&self, script: &str) -> String {
        let (status, said) = self.types(script);
        assert_eq!(status, 0, "{script}{said}");
        said
    }

    fn manage(&self, script: &str) -> String {
        self.succeeds(&format!("venv/bin/python manage.py shell -v 0 -c \"{script}\""))
    }

    fn follow(&self, blocks: &[Block]) -> String {
        blocks.iter().map(|block| self.follow_one(block)).collect()
    }

    fn follow_one(&self, block: &Block) -> String {
        match block.kind.as_str() {
            "sh" => {
                let said = self.succeeds(&block.text);
                if block.text.contains("reload sshbox-sshd") {
                    until("sshd listens", sshd_listens);
                }
                if block.text.contains("gunicorn mysite.wsgi") {
                    until("the site answers", || TcpStream::connect("127.0.0.1:8000").is_ok());
                }
                return said;
            }
            "console" => self.converse(&block.text),
            "python" | "dockerfile" => {
                let path = self.path(&block.file);
                let before = fs::read_to_string(&path).unwrap_or_default();
                fs::write(path, format!("{before}\n{}", block.text)).unwrap();
            }
            "toml" => configure(&block.file, &block.text),
            // No systemd here that would read it: that it works is seen in a whole machine.
            "ini" => {
                let unit = block.file.split('/').find_map(|part| part.strip_suffix(".d"));
                let unit = unit.unwrap_or_else(|| panic!("{} is no drop-in", block.file));
                assert!(fs::exists(format!("/usr/lib/systemd/system/{unit}")).unwrap(), "{unit}");
            }
            other => panic!("nobody knows how to follow {other:?}"),
        }
        String::new()
    }

    /// Commands behind `$`, each with what it says; `…` stands for anything.
    fn converse(&self, text: &str) {
        for exchange in format!("\n{}", text.trim_end()).split("\n$ ").skip(1) {
            let (command, expected) = exchange.split_once('\n').unwrap();
            let said = self.succeeds(&format!("{command}\n"));
            assert!(is_like(said.trim_end(), expected), "{command}: {said}");
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
        run("sh", &["-c", "docker ps -aq --filter name=scitex-user- | xargs -r docker rm -f; rm -rf /app"]);
        until("the site is gone", || TcpStream::connect("127.0.0.1:8000").is_err());
        run("tests/system/web", &["start"]);
        until("the other site is back", || TcpStream::connect("127.0.0.1:8000").is_ok());
    }
}

/// Whether sshd is at the port of its configuration.
fn sshd_listens() -> bool {
    let config = fs::read_to_string(SSHD_CONFIG).unwrap();
    let port = config.lines().find_map(|line| line.strip_prefix("Port ")).unwrap();
    TcpStream::connect(format!("127.0.0.1:{port}")).is_ok()
}

fn is_like(said: &str, expected: &str) -> bool {
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

/// Sets each key where the file has it, as somebody with an editor does.
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
fn a_fresh_site_is_connected_by_the_page_alone() {
    let _world = world_alone();
    let site = Site::new("fresh");
    for heading in ["A site to try it with", "1.", "2.", "3.", "4.", "5.", "6.", "7."] {
        site.follow(&blocks(CONNECT, heading));
    }
    // What ran is what pip installed, and no source.
    let path = site.manage("import django_sshbox; print(django_sshbox.__file__)");
    assert!(path.starts_with("/srv/fresh/venv/lib/"), "{path}");
    // The site decides.
    site.succeeds("venv/bin/python manage.py sshbox_key remove ada ~/.ssh/id_ed25519.pub");
    assert_eq!(User { name: "ada".to_owned() }.ssh().status("true"), 255);
    assert!(journal().contains(r#"login refused user="ada""#));
}

#[test]
fn a_user_whose_name_is_a_mail_address_logs_in_by_the_page() {
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
    // Whoever had a name keeps it.
    site.follow(&blocks(CONNECT, "7."));
    // One spelling leads to the user, and no other.
    for name in ["Grace-ssh", "Grace+ssh", "grace"] {
        assert_eq!(User { name: name.to_owned() }.ssh().status("true"), 255, "{name}");
    }
    assert_eq!(User { name: "Grace+ssh@example.org".to_owned() }.ssh().status("true"), 255);
    site.manage("from django.contrib.auth.models import User; User.objects.filter(username__contains='@').update(is_active=False)");
    assert_eq!(User { name: "grace-ssh".to_owned() }.ssh().status("true"), 255);
}

/// The site's own past: users, keys, an image, and a container that is in use.
fn with_a_past(site: &Site) {
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
    site.succeeds(
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

/// A site with a past, connected as the page says; and what the page says of adopting.
fn connected_with_a_past(name: &str) -> (Site, Vec<Block>) {
    let site = Site::new(name);
    site.follow(&blocks(CONNECT, "A site to try it with"));
    with_a_past(&site);
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
fn a_site_with_a_past_is_connected_by_the_page_and_its_containers_are_adopted() {
    let _world = world_alone();
    let (site, adoption) = connected_with_a_past("scitex");

    let ada = User { name: "Ada-L".to_owned() };
    let refused = ada.ssh().run("true");
    assert_eq!(refused.status.code(), Some(77), "{refused:?}");
    assert!(text(&refused.stderr).contains("a container that is not yours has the name of your box"));
    let said = site.follow(&adoption);
    assert!(said.contains("1 container would be set aside; nothing was changed\n"), "{said}");
    assert!(said.contains("scitex-user-Ada-L: set aside as scitex-user-Ada-L.before-sshbox-"), "{said}");

    // Her home of old, and hers; a box by the settings.
    assert_eq!(
        ada.says("pwd; cat work/thesis; stat -c %U:%g work/thesis; echo new > work/more"),
        "/home/user\nof old\nuser:1000\n"
    );
    assert_eq!(fs::metadata("/app/data/users/Ada-L/work/more").unwrap().uid(), 1000);
    assert_eq!(fs::read_to_string("/app/data/users/.Ada-L.sshbox-id").unwrap(), "1\n");
    let format = "{{.Config.Image}} {{.HostConfig.NanoCpus}} {{.HostConfig.Memory}} {{.HostConfig.NetworkMode}} {{index .Config.Labels \"sshbox.user\"}}";
    let made = run("docker", &["inspect", "--format", format, "scitex-user-Ada-L"]);
    assert_eq!(made, "scitex-user-workspace:latest 2000000000 8589934592 scitex-users Ada-L\n");
    assert!(text(&reap(&["--dry-run"]).stdout).contains("Ada-L: kept: idle for less than 30m\n"));
    // Somebody new, and somebody whose name is another to the host.
    let grace = User { name: "Grace_2".to_owned() };
    assert_eq!(grace.says(WHOSE), "Grace_2\n");
    assert_eq!(fs::metadata("/app/data/users/Grace_2").unwrap().uid(), 1000);
    assert_eq!(User { name: "ada-l".to_owned() }.ssh().status("true"), 255);
    assert!(!fs::exists("/app/data/users/ada-l").unwrap());
    // As the page says: nobody writes it.
    let used = site.manage(
        "from accounts_app.models import *; print([k.last_used_at for k in WorkspaceSSHKey.objects.all()])",
    );
    assert_eq!(used, "[None, None]\n");
}

#[test]
fn a_gateway_is_replaced_by_the_page_and_nobody_is_warned() {
    let _world = world_alone();
    let (site, _) = connected_with_a_past("gateway");
    // The gateway's key, in the format that paramiko writes; a client that knows it, and no other.
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
    assert_eq!(site.succeeds("ssh -p 2222 Ada-L@127.0.0.1 cat work/trial"), "from ours\n");
    // Nothing new had to be believed.
    assert_eq!(fs::read_to_string(site.path(".ssh/known_hosts")).unwrap(), known);
    let boxes = run("docker", &["ps", "--format", "{{.Names}}", "--filter", "label=sshbox.user"]);
    assert_eq!(boxes, "scitex-user-Ada-L\n");
}
