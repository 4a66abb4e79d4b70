"""The subjects: what is compared, and the containers behind each."""

import copy
import socket
import time

from parts.client import Failed, output_of, ssh
from parts.engine import Engine

SUBJECTS = ("plain", "sshbox", "container_sshd", "docker_exec", "python_gate")
# Users whose boxes wake at once; bench/inside makes their accounts.
AT_ONCE = 10
# Where the sshd of a container is published; the next ports are those of AT_ONCE more.
PUBLISHED = 2202
HOST_KEYS = [f"/etc/ssh/ssh_host_{kind}_key" for kind in ("ed25519", "ecdsa", "rsa")]


class Place:
    """A subject's account and its box; `number` is of one of AT_ONCE, or empty."""

    def __init__(self, subject, number=""):
        self.subject = subject
        self.number = number
        if subject == "sshbox":
            user = "bench" if number == "" else f"wake{number}"
            self.box, self.options = f"sshbox-{user}", ["-l", user]
        elif subject == "plain":
            self.box, self.options = f"bench-plain{number}", []
        elif subject == "container_sshd":
            self.port = PUBLISHED if number == "" else PUBLISHED + 1 + number
            self.box, self.options = f"bench-container_sshd{number}", ["-p", str(self.port)]
        else:
            self.box, self.options = f"gate-{subject}{number}", ["-l", f"{subject}{number}"]


class Boxes:
    """Makes, starts and stops what the subjects need. Plain sshd and the sshd of a container
    have nobody who does it for them: there it is this program, by the engine's API."""

    def __init__(self):
        self.body = None

    def look(self, subjects):
        """Makes sure that each subject leads to where it should, and learns what a box is."""
        engine = Engine()
        ssh("sshbox", "true")
        box = engine.inspect(Place("sshbox").box)
        # Just such a one as sshbox makes, with nothing of sshbox in it.
        self.body = {
            "Image": box["Config"]["Image"],
            "User": box["Config"]["User"],
            "Entrypoint": ["sleep"],
            "Cmd": ["infinity"],
            "HostConfig": box["HostConfig"],
        }
        for subject in subjects:
            if subject in ("plain", "container_sshd"):
                place = Place(subject)
                # Of a run before, where somebody looks around in the world.
                engine.remove(place.box)
                self.first(place, engine)
            first = output_of(subject, "cat /proc/1/comm")
            box = "sshd" if subject == "container_sshd" else "sleep"
            wanted = {"plain": comm_of_1(), "sshbox": "sshbox-init"}.get(subject, box)
            if first != wanted:
                raise Failed(f"{subject} leads to a place whose first process is {first}")

    def body_of(self, place):
        if place.subject == "plain":
            return self.body
        # sshd as root of the container, as most images have it, with the capabilities that
        # Docker gives by default; limits, image and network as the others.
        body = copy.deepcopy(self.body)
        options = ["-D", "-f", "/opt/bench/sshd_config", "-p", "22"]
        body |= {"User": "0:0", "Entrypoint": ["/usr/sbin/sshd"], "Cmd": options}
        body["ExposedPorts"] = {"22/tcp": {}}
        # sshd keeps its host keys to root; one for all, so that the client knows them.
        read_only = [*HOST_KEYS, "/opt/bench/key.pub", "/opt/bench/sshd_config"]
        home = f"/opt/bench/home-{place.subject}{place.number}"
        body["HostConfig"] |= {
            "CapDrop": None,
            "Mounts": [bind(home, "/home/user"), *(bind(path, path, True) for path in read_only)],
            "Tmpfs": body["HostConfig"]["Tmpfs"] | {"/run/sshd": "mode=0755"},
            "PortBindings": {"22/tcp": [{"HostIp": "127.0.0.1", "HostPort": str(place.port)}]},
        }
        return body

    def wake(self, place, engine):
        """A login into a box that is stopped; its seconds."""
        began = time.perf_counter()
        if place.subject in ("plain", "container_sshd"):
            self.start(place, engine)
        ssh(place.subject, "true", options=place.options)
        return time.perf_counter() - began

    def first(self, place, engine):
        """A login where there is no box; its seconds."""
        body = self.body_of(place) if place.subject in ("plain", "container_sshd") else None
        began = time.perf_counter()
        if body:
            engine.create(place.box, body)
            self.start(place, engine)
        ssh(place.subject, "true", options=place.options)
        return time.perf_counter() - began

    @staticmethod
    def start(place, engine):
        engine.start(place.box)
        if place.subject == "container_sshd":
            until_sshd_answers(place.port)


def until_sshd_answers(port):
    """Docker's proxy takes connections before the container's sshd does, and drops them."""
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
