"""The subjects that are compared, and their containers."""

import copy
import hmac
import socket
import time

from parts.client import Failed, output_of, ssh
from parts.engine import Engine

GATES = ("docker_exec", "python_gate")
SUBJECTS = ("plain", "sshbox", "container_sshd", *GATES)
# Number of users whose boxes wake at the same time; bench/inside creates their accounts.
AT_ONCE = 10
# Port of the first container's sshd; the others follow.
PUBLISHED = 2202
HOST_KEYS = [f"/etc/ssh/ssh_host_{kind}_key" for kind in ("ed25519", "ecdsa", "rsa")]


def box_of(user):
    """Return the name of the container of a user of sshbox: crates/host/src/box_names.rs."""
    with open("/var/lib/sshbox/host-key-secret", "rb") as secret:
        text = b"sshbox container name 1\0" + user.encode()
        return f"sshbox-{hmac.new(secret.read(), text, 'sha256').hexdigest()[:16]}"


class Account:
    """A subject's account and its container; `number` selects one of AT_ONCE, or is empty."""

    def __init__(self, subject, number=""):
        self.subject = subject
        self.number = number
        if subject == "sshbox":
            user = "bench" if number == "" else f"wake{number}"
            self.box, self.options = box_of(user), ["-l", user]
        elif subject == "plain":
            self.box, self.options = f"bench-plain{number}", []
        elif subject == "container_sshd":
            self.port = PUBLISHED if number == "" else PUBLISHED + 1 + number
            self.box, self.options = f"bench-container_sshd{number}", ["-p", str(self.port)]
        else:
            self.box, self.options = f"gate-{subject}{number}", ["-l", f"{subject}{number}"]


class Boxes:
    """Creates and starts containers. With plain sshd and an sshd in a container, no gate starts the
    container: this program does it with the engine's API."""

    def __init__(self):
        self.body = None

    def prepare(self, subjects):
        """Check that each subject reaches its container, and copy the properties of a box."""
        engine = Engine()
        ssh("sshbox", "true")
        box = engine.inspect(Account("sshbox").box)
        # A container like a box of sshbox, but without sshbox in it.
        self.body = {
            "Image": box["Config"]["Image"],
            "User": box["Config"]["User"],
            "Entrypoint": ["sleep"],
            "Cmd": ["infinity"],
            "HostConfig": box["HostConfig"],
        }
        for subject in subjects:
            if subject in ("plain", "container_sshd"):
                account = Account(subject)
                # Left by an earlier run in the same world.
                engine.remove(account.box)
                self.first(account, engine)
            found = output_of(subject, "cat /proc/1/comm")
            box = "sshd" if subject == "container_sshd" else "sleep"
            expected = {"plain": comm_of_1(), "sshbox": "sshbox-init"}.get(subject, box)
            if found != expected:
                raise Failed(f"{subject}: PID 1 is {found}, expected {expected}")

    def body_of(self, account):
        if account.subject == "plain":
            return self.body
        # sshd as root of the container, as in most images, with Docker's default capabilities;
        # limits, image and network as the others.
        body = copy.deepcopy(self.body)
        options = ["-D", "-f", "/opt/bench/sshd_config", "-p", "22"]
        body |= {"User": "0:0", "Entrypoint": ["/usr/sbin/sshd"], "Cmd": options}
        body["ExposedPorts"] = {"22/tcp": {}}
        # All containers share the host's keys, so that the client knows them.
        read_only = [*HOST_KEYS, "/opt/bench/key.pub", "/opt/bench/sshd_config"]
        home = f"/opt/bench/home-{account.subject}{account.number}"
        body["HostConfig"] |= {
            "CapDrop": None,
            "Mounts": [bind(home, "/home/user"), *(bind(path, path, True) for path in read_only)],
            "Tmpfs": body["HostConfig"]["Tmpfs"] | {"/run/sshd": "mode=0755"},
            "PortBindings": {"22/tcp": [{"HostIp": "127.0.0.1", "HostPort": str(account.port)}]},
        }
        return body

    def wake(self, account, engine):
        """Log in to a stopped box. Return the seconds."""
        began = time.perf_counter()
        if account.subject in ("plain", "container_sshd"):
            self.start(account, engine)
        ssh(account.subject, "true", options=account.options)
        return time.perf_counter() - began

    def first(self, account, engine):
        """Log in without an existing box. Return the seconds."""
        body = self.body_of(account) if account.subject in ("plain", "container_sshd") else None
        began = time.perf_counter()
        if body:
            engine.create(account.box, body)
            self.start(account, engine)
        ssh(account.subject, "true", options=account.options)
        return time.perf_counter() - began

    @staticmethod
    def start(account, engine):
        engine.start(account.box)
        if account.subject == "container_sshd":
            until_sshd_answers(account.port)


def until_sshd_answers(port):
    """Wait for the banner: Docker's proxy accepts connections before the container's sshd does."""
    for _ in range(2000):
        with socket.socket() as connection:
            connection.settimeout(5)
            try:
                connection.connect(("127.0.0.1", port))
                if connection.recv(4) == b"SSH-":
                    return
            except OSError:
                pass
        time.sleep(0.005)
    raise Failed(f"no sshd answers on port {port}")


def bind(source, target, read_only=False):
    return {"Type": "bind", "Source": source, "Target": target, "ReadOnly": read_only}


def comm_of_1():
    with open("/proc/1/comm", encoding="ascii") as comm:
        return comm.read().strip()
