"""The measurements. bench/README.md defines each result."""

import fcntl
import os
import random
import signal
import subprocess
import tempfile
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Callable, NamedTuple, Optional

from parts import attacks, cost, forwards
from parts.client import CONFIG, Crowd, Failed, Master, Terminal, first_byte, run, ssh, ssh_to
from parts.engine import Engine
from parts.subjects import AT_ONCE, GATES, Account, Boxes, box_of

STREAM = 1 << 30
FILE = 256 << 20
SMALL_FILES = 2000
SMALL_FILE = 4096
LOGINS_AT_ONCE = 50
# Number of sessions whose memory is measured together; the result is for one session.
CROWD = 20
# The engine may still be busy after a client has exited; the next subject must not pay for it.
REST = 0.05
# Faster than people type, to keep the run short.
BETWEEN_KEYS = 0.01
# How long the machine's idle CPU usage is measured before a transfer, in seconds.
WATCH = 0.5
# A measurement that takes this many seconds hangs, and the run fails. None takes a quarter of it.
TIMEOUT = 600


class Measure(NamedTuple):
    """`once` measures a subject and returns a value for each of `results` (names and units). `held`
    opens what each subject keeps open during the measure. `boxes` boxes of other users and
    `sessions` idle sessions of each subject exist meanwhile. `whole` measures all in place of rounds, if
    it is about sshbox alone; `created` is the number of boxes for it. `without` names the subjects that cannot do it."""

    results: dict
    once: Callable
    full: int
    short: int
    quick: int
    held: Optional[Callable] = None
    warm_up: int = 3
    rest: float = REST
    boxes: int = 0
    sessions: int = 0
    whole: Optional[Callable] = None
    created: int = 0
    without: tuple = ()


class Bench:
    def __init__(self, subjects, counts):
        self.subjects = subjects
        self.counts = counts
        self.engine = Engine()
        self.boxes = Boxes()
        self.fresh = iter(name for name in users(counts) if name.startswith("first"))
        self.folder = tempfile.mkdtemp(prefix="bench.")
        self.pipe_size = int(Path("/proc/sys/fs/pipe-max-size").read_text())
        self.file = os.path.join(self.folder, "file")
        self.tree = os.path.join(self.folder, "tree")
        # The boxes and sessions that exist beside the measured ones, see grow.
        self.beside = 0
        self.sessions = 0
        self.crowds = []

    def set_up(self):
        self.boxes.prepare(self.subjects)
        # The gates create their containers at the first login.
        for subject in self.subjects:
            ssh(subject, "true")
        # Random bytes cannot be compressed on the way.
        with open(self.file, "wb") as file:
            for _ in range(FILE >> 20):
                file.write(random.randbytes(1 << 20))
        for number in range(SMALL_FILES):
            path = Path(self.tree, str(number // 100), str(number))
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_bytes(random.randbytes(SMALL_FILE))

    # ---- running one measure

    def run(self, name):
        """Measure every subject in each round, so that drift affects all alike. The order is random,
        so that none always follows the same one."""
        measure = MEASURES[name]
        signal.alarm(TIMEOUT)
        self.grow(measure)
        if measure.whole:
            signal.alarm(2 * TIMEOUT)
            results = measure.whole(self, measure, self.counts[name])
            signal.alarm(0)
            return results
        subjects = [subject for subject in self.subjects if subject not in measure.without]
        held = dict.fromkeys(subjects)
        if measure.held:
            held = {subject: measure.held(self, subject) for subject in subjects}
        for subject in subjects * measure.warm_up:
            self.once(measure, subject, held)
        values = {subject: [] for subject in subjects}
        for _ in range(self.counts[name]):
            for subject in random.sample(subjects, len(subjects)):
                time.sleep(measure.rest)
                values[subject].append(self.once(measure, subject, held))
        signal.alarm(TIMEOUT)
        for resource in filter(None, held.values()):
            resource.close()
        signal.alarm(0)
        return {
            result: {subject: [one[at] for one in values[subject]] for subject in subjects}
            for at, result in enumerate(measure.results)
        }

    def once(self, measure, subject, held):
        signal.alarm(TIMEOUT)
        values = measure.once(self, subject, held[subject])
        signal.alarm(0)
        return values if isinstance(values, tuple) else (values,)

    def grow(self, measure):
        """Create or remove boxes and sessions until there are as many as the measure needs."""
        if measure.sessions != self.sessions:
            for crowd in self.crowds:
                crowd.close()
            subjects = self.subjects if measure.sessions else []
            self.crowds = [Crowd(subject, measure.sessions, self.folder) for subject in subjects]
            self.sessions = measure.sessions
        for number in range(measure.boxes, self.beside):
            self.engine.remove(box_of(f"beside{number}"))
        with ThreadPoolExecutor(AT_ONCE) as threads:
            more = [["-l", f"beside{number}"] for number in range(self.beside, measure.boxes)]
            list(threads.map(lambda options: ssh("sshbox", "true", options=options), more))
        self.beside = measure.boxes


# ---- logins and commands; in ms


def login(_, subject, __):
    return 1e3 * ssh(subject, "true")


def master(bench, subject):
    return Master(subject, bench.folder)


def command(_, subject, held):
    return 1e3 * ssh(subject, "true", options=held.path)


def first_byte_of_echo(_, subject, held):
    return 1e3 * first_byte(subject, "echo", options=held.path)


def terminal(_, subject):
    return Terminal(subject)


def key(_, __, held):
    return 1e3 * held.key()


def wake(bench, subject, _):
    bench.engine.stop(Account(subject).box)
    time.sleep(REST)
    return 1e3 * bench.boxes.wake(Account(subject), bench.engine)


def first_login(bench, subject, _):
    account = Account(subject)
    if subject == "sshbox":
        # A user without a home, so that the home is created too.
        user = next(bench.fresh)
        account.box, account.options = box_of(user), ["-l", user]
    else:
        bench.engine.remove(account.box)
        time.sleep(REST)
    took = bench.boxes.first(account, bench.engine)
    if subject == "sshbox":
        bench.engine.remove(account.box)
    return 1e3 * took


def logins_at_once(_, subject, __):
    began = time.perf_counter()
    programs = [
        subprocess.Popen(ssh_to(subject, "true"), stdin=subprocess.DEVNULL)
        for _ in range(LOGINS_AT_ONCE)
    ]
    failed = sum(program.wait() != 0 for program in programs)
    took = time.perf_counter() - began
    if failed:
        raise Failed(f"{subject}: {failed} of {LOGINS_AT_ONCE} concurrent logins failed")
    return 1e3 * took


class TenBoxes:
    """The boxes of ten users, which wake at the same time."""

    def __init__(self, bench, subject):
        self.accounts = [Account(subject, number) for number in range(AT_ONCE)]
        self.engines = [Engine() for _ in self.accounts]
        self.boxes = bench.boxes
        for account, engine in zip(self.accounts, self.engines):
            self.boxes.first(account, engine)

    def wake(self):
        for account, engine in zip(self.accounts, self.engines):
            engine.stop(account.box)
        time.sleep(REST)
        with ThreadPoolExecutor(AT_ONCE) as threads:
            began = time.perf_counter()
            list(threads.map(self.boxes.wake, self.accounts, self.engines))
            return time.perf_counter() - began

    def close(self):
        for account, engine in zip(self.accounts, self.engines):
            engine.remove(account.box)


def wake_at_once(_, __, held):
    return 1e3 * held.wake()


# ---- transfers; in MB/s, and CPU seconds per GiB


def download(bench, subject, _):
    reader, writer = os.pipe()
    fcntl.fcntl(writer, fcntl.F_SETPIPE_SZ, bench.pipe_size)
    # A process of its own counts the bytes without copying them, since counting takes CPU time from
    # what is measured.
    counter = os.fork()
    if counter == 0:
        os.close(writer)
        os._exit(0 if swallow(reader) == STREAM else 1)
    os.close(reader)
    try:
        values = transfer(ssh, subject, f"head -c {STREAM} /dev/zero", stdout=writer)
    finally:
        os.close(writer)
        _, status = os.waitpid(counter, 0)
    if status != 0:
        raise Failed(f"{subject}: the download is incomplete")
    return values


def swallow(reader):
    count = 0
    with open(os.devnull, "wb", buffering=0) as null:
        while moved := os.splice(reader, null.fileno(), 1 << 20):
            count += moved
    return count


def upload(_, subject, __):
    with tempfile.TemporaryFile() as output:
        source = subprocess.Popen(["head", "-c", str(STREAM), "/dev/zero"], stdout=subprocess.PIPE)
        values = transfer(ssh, subject, "wc -c", stdin=source.stdout, stdout=output)
        source.stdout.close()
        source.wait()
        output.seek(0)
        if output.read().strip() != str(STREAM).encode():
            raise Failed(f"{subject}: the upload is incomplete")
    return values


def transfer(sender, *arguments, **streams):
    """Return the speed of a stream, and the CPU time beyond the machine's idle usage."""
    idle = cost.load(WATCH)
    before = cost.processor()
    took = sender(*arguments, **streams)
    cpu_time = cost.processor() - before - idle * took
    return STREAM / 1e6 / took, cpu_time * (1 << 30) / STREAM


def sftp_put(bench, subject, _):
    return FILE / 1e6 / sftp(bench, subject, f"put {bench.file} bench.file")


def sftp_get(bench, subject, _):
    got = os.path.join(bench.folder, "got")
    took = sftp(bench, subject, f"get bench.file {got}")
    if os.path.getsize(got) != FILE:
        raise Failed(f"{subject}: sftp downloaded an incomplete file")
    os.unlink(got)
    return FILE / 1e6 / took


def sftp(bench, subject, commands):
    with tempfile.TemporaryFile() as batch:
        batch.write(commands.encode())
        batch.seek(0)
        return run(["sftp", "-q", "-b", "-", "-F", str(CONFIG), subject], stdin=batch)


class Put:
    """Uploads the file that sftp_get downloads."""

    def __init__(self, bench, subject):
        sftp(bench, subject, f"put {bench.file} bench.file")

    def close(self):
        pass


def rsync(bench, subject, _):
    return FILE / 1e6 / rsync_to(subject, bench.file, "bench.rsync")


def small_files(bench, subject, _):
    return 1e3 * rsync_to(subject, f"{bench.tree}/", "bench.tree")


def rsync_to(subject, source, name):
    # Send all data each time, even if the file exists.
    how = ["--recursive", "--whole-file", "--ignore-times"]
    return run(["rsync", *how, "--rsh", f"ssh -F {CONFIG}", source, f"{subject}:{name}"])


# ---- memory; in KiB for one session


def session_pss(_, subject, __, options=()):
    sshd_before, gate_before = cost.memory()
    crowd = Crowd(subject, CROWD, options=options)
    # Wait until the processes that only start a session have exited.
    time.sleep(0.5)
    sshd, gate = cost.memory()
    crowd.close()
    # The same for those that close one.
    time.sleep(0.5)
    sshd, gate = (sshd - sshd_before) / CROWD, (gate - gate_before) / CROWD
    return gate, sshd + gate


def session_pss_tty(bench, subject, held):
    return session_pss(bench, subject, held, options=["-tt"])


# ---- all measures, in order


def logins(full, short, quick, **beside):
    return Measure({"": "ms"}, login, full, short, quick, **beside)


def commands(full, short, quick, **beside):
    return Measure({"": "ms"}, command, full, short, quick, held=master, **beside)


def speed(once, full, short, quick, **others):
    return Measure({"": "MB/s"}, once, full, short, quick, warm_up=1, **others)


def forward(results, once, full, short, quick, **others):
    # The gates forward to the host.
    return Measure(
        results, once, full, short, quick, held=forwards.Forward, without=GATES, **others
    )


def many(created, full, short, quick):
    results = {f"list_{created}": "ms", f"reap_{created}": "ms"}
    # Without the box that exists anyway.
    boxes = min(created, attacks.RUNNING) - 1
    whole = attacks.many_boxes
    return Measure(results, None, full, short, quick, whole=whole, created=created, boxes=boxes)


MEASURES = {
    "login": logins(100, 30, 5),
    "command_over_controlmaster": commands(300, 60, 20),
    "first_byte": Measure({"": "ms"}, first_byte_of_echo, 100, 30, 10, held=master),
    "keystroke": Measure(
        {"": "ms"}, key, 3000, 1000, 200, held=terminal, rest=BETWEEN_KEYS, warm_up=20
    ),
    "wake": Measure({"": "ms"}, wake, 30, 10, 2),
    "first_login": Measure({"": "ms"}, first_login, 30, 10, 2),
    "download": Measure({"": "MB/s", "cpu_per_gib_down": "s"}, download, 20, 5, 1, warm_up=1),
    "upload": Measure({"": "MB/s", "cpu_per_gib_up": "s"}, upload, 20, 5, 1, warm_up=1),
    "sftp_put": speed(sftp_put, 20, 5, 1),
    "sftp_get": speed(sftp_get, 20, 5, 1, held=Put),
    "rsync": speed(rsync, 20, 5, 1),
    "small_files": Measure({"": "ms"}, small_files, 20, 5, 1, warm_up=1),
    "session_pss": Measure(
        {"": "KiB", "session_pss_with_sshd": "KiB"}, session_pss, 5, 3, 1, warm_up=0
    ),
    "session_pss_tty": Measure(
        {"": "KiB", "session_pss_tty_with_sshd": "KiB"}, session_pss_tty, 5, 3, 1, warm_up=0
    ),
    "forward_download": forward({"": "MB/s"}, forwards.download, 20, 5, 1, warm_up=1),
    "forward_first_byte": forward(
        {"": "ms"}, forwards.first_byte, 1000, 300, 50, warm_up=20, rest=BETWEEN_KEYS
    ),
    "forward_100_at_once": forward(
        {"forward_100_first_bytes": "ms", "": "ms"}, forwards.at_once, 20, 10, 2, warm_up=1
    ),
    "connection_pss": Measure({"": "KiB"}, forwards.connection_pss, 5, 3, 1, warm_up=1),
    "login_50_at_once": Measure({"": "ms"}, logins_at_once, 10, 3, 1, warm_up=0),
    "wake_10_at_once": Measure({"": "ms"}, wake_at_once, 10, 3, 1, held=TenBoxes, warm_up=0),
    "login_with_10_sessions": logins(30, 0, 2, sessions=10),
    "command_with_10_sessions": commands(60, 0, 2, sessions=10),
    "login_with_100_sessions": logins(30, 10, 0, sessions=100),
    "command_with_100_sessions": commands(60, 30, 0, sessions=100),
    "neighbour": Measure(
        {"login_under_attack": "ms", "keystroke_under_attack": "ms"},
        None,
        100,
        20,
        3,
        whole=attacks.neighbour,
    ),
    "with_1_box": many(1, 10, 5, 1),
    "with_10_boxes": many(10, 10, 5, 1),
    "with_100_boxes": many(100, 10, 5, 0),
    "with_1000_boxes": many(1000, 10, 0, 0),
    "login_with_10_boxes": logins(30, 0, 2, boxes=10),
    "command_with_10_boxes": commands(60, 0, 2, boxes=10),
    "login_with_100_boxes": logins(30, 10, 0, boxes=100),
    "command_with_100_boxes": commands(60, 30, 0, boxes=100),
}
# An empty name stands for the name of the measure.
for name, measure in MEASURES.items():
    units = {result or name: unit for result, unit in measure.results.items()}
    MEASURES[name] = measure._replace(results=units)


def users(counts):
    """Return the sshbox users that a run needs: one with a box, those for first logins, those for
    concurrent wakes, those whose boxes just exist, and one who attacks."""
    first = counts.get("first_login", 0) + MEASURES["first_login"].warm_up
    beside = max((MEASURES[name].boxes for name in counts), default=0)
    return [
        "bench",
        *(f"first{number}" for number in range(first)),
        *(f"wake{number}" for number in range(AT_ONCE)),
        *(f"beside{number}" for number in range(beside)),
        "attacker",
    ]
