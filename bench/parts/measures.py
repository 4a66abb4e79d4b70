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

from parts import cost
from parts.client import CONFIG, Crowd, Failed, Master, Terminal, first_byte, run, ssh, ssh_to
from parts.engine import Engine
from parts.subjects import AT_ONCE, Boxes, Place

STREAM = 1 << 30
FILE = 256 << 20
SMALL_FILES = 2000
SMALL_FILE = 4096
LOGINS_AT_ONCE = 50
# Sessions whose memory is counted; one is this part of what they take together.
CROWD = 20
# What a container leaves to do for the engine when the client has gone is not to be counted
# against the next subject.
REST = 0.05
# As a fast typist; longer would be truer, and take longer.
BETWEEN_KEYS = 0.01
# A part of the machine's processor time is not ours; this long it is watched before a transfer.
WATCH = 0.5
# What hangs ends the run; nothing measured here takes a quarter of it.
HANGS = 600


class Measure(NamedTuple):
    """`once` gives a value for each of `results`, which are name and unit. `held` is what
    each subject holds open meanwhile. Beside it all there are boxes of other users, and idle
    sessions in the box of each subject."""

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
        # What there is beside at the moment, see grow.
        self.beside = 0
        self.sessions = 0
        self.crowds = []

    def set_up(self):
        self.boxes.look(self.subjects)
        # The gates make their boxes at the first login.
        for subject in self.subjects:
            ssh(subject, "true")
        # Random, so that nothing on the way can make less of it.
        with open(self.file, "wb") as file:
            for _ in range(FILE >> 20):
                file.write(random.randbytes(1 << 20))
        for number in range(SMALL_FILES):
            path = Path(self.tree, str(number // 100), str(number))
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_bytes(random.randbytes(SMALL_FILE))

    # ---- one measure

    def run(self, name):
        """All subjects in each round, so that what drifts meets all alike, and in an order
        that changes, so that none always comes after the same one."""
        measure = MEASURES[name]
        signal.alarm(HANGS)
        self.grow(measure)
        held = dict.fromkeys(self.subjects)
        if measure.held:
            held = {subject: measure.held(self, subject) for subject in self.subjects}
        for subject in self.subjects * measure.warm_up:
            self.once(measure, subject, held)
        values = {subject: [] for subject in self.subjects}
        for _ in range(self.counts[name]):
            for subject in random.sample(self.subjects, len(self.subjects)):
                time.sleep(measure.rest)
                values[subject].append(self.once(measure, subject, held))
        signal.alarm(HANGS)
        for thing in filter(None, held.values()):
            thing.close()
        signal.alarm(0)
        return {
            result: {subject: [one[at] for one in values[subject]] for subject in self.subjects}
            for at, result in enumerate(measure.results)
        }

    def once(self, measure, subject, held):
        signal.alarm(HANGS)
        values = measure.once(self, subject, held[subject])
        signal.alarm(0)
        return values if isinstance(values, tuple) else (values,)

    def grow(self, measure):
        """As many boxes and sessions beside as the measure wants."""
        if measure.sessions != self.sessions:
            for crowd in self.crowds:
                crowd.close()
            wanted = self.subjects if measure.sessions else []
            self.crowds = [Crowd(subject, measure.sessions, self.folder) for subject in wanted]
            self.sessions = measure.sessions
        for number in range(measure.boxes, self.beside):
            self.engine.remove(f"sshbox-beside{number}")
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
    bench.engine.stop(Place(subject).box)
    time.sleep(REST)
    return 1e3 * bench.boxes.wake(Place(subject), bench.engine)


def first_login(bench, subject, _):
    place = Place(subject)
    if subject == "sshbox":
        # A user who never was there: the home is made too.
        user = next(bench.fresh)
        place.box, place.options = f"sshbox-{user}", ["-l", user]
    else:
        bench.engine.remove(place.box)
        time.sleep(REST)
    took = bench.boxes.first(place, bench.engine)
    if subject == "sshbox":
        bench.engine.remove(place.box)
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
        raise Failed(f"{subject}: of {LOGINS_AT_ONCE} logins at once {failed} failed")
    return 1e3 * took


class TenBoxes:
    """Boxes of ten users, which wake at once."""

    def __init__(self, bench, subject):
        self.places = [Place(subject, number) for number in range(AT_ONCE)]
        self.engines = [Engine() for _ in self.places]
        self.boxes = bench.boxes
        for place, engine in zip(self.places, self.engines):
            self.boxes.first(place, engine)

    def wake(self):
        for place, engine in zip(self.places, self.engines):
            engine.stop(place.box)
        time.sleep(REST)
        with ThreadPoolExecutor(AT_ONCE) as threads:
            began = time.perf_counter()
            list(threads.map(self.boxes.wake, self.places, self.engines))
            return time.perf_counter() - began

    def close(self):
        for place, engine in zip(self.places, self.engines):
            engine.remove(place.box)


def wake_at_once(_, __, held):
    return 1e3 * held.wake()


# ---- transfers; in MB/s, and seconds of processor time for a GiB


def download(bench, subject, _):
    reader, writer = os.pipe()
    fcntl.fcntl(writer, fcntl.F_SETPIPE_SZ, bench.pipe_size)
    # Counted in a process of its own that does not touch the bytes: who counts takes
    # processor time from who is measured.
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
        raise Failed(f"{subject}: what was sent down did not arrive whole")
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
            raise Failed(f"{subject}: what was sent up did not arrive whole")
    return values


def transfer(sender, *arguments, **streams):
    """Speed of a STREAM, and the processor time beyond what the machine did before."""
    idle = cost.load(WATCH)
    before = cost.processor()
    took = sender(*arguments, **streams)
    worked = cost.processor() - before - idle * took
    return STREAM / 1e6 / took, worked * (1 << 30) / STREAM


def sftp_put(bench, subject, _):
    return FILE / 1e6 / sftp(bench, subject, f"put {bench.file} bench.file")


def sftp_get(bench, subject, _):
    got = os.path.join(bench.folder, "got")
    took = sftp(bench, subject, f"get bench.file {got}")
    if os.path.getsize(got) != FILE:
        raise Failed(f"{subject}: sftp did not get the file whole")
    os.unlink(got)
    return FILE / 1e6 / took


def sftp(bench, subject, words):
    with tempfile.TemporaryFile() as batch:
        batch.write(words.encode())
        batch.seek(0)
        return run(["sftp", "-q", "-b", "-", "-F", str(CONFIG), subject], stdin=batch)


class Put:
    """The file that sftp_get gets."""

    def __init__(self, bench, subject):
        sftp(bench, subject, f"put {bench.file} bench.file")

    def close(self):
        pass


def rsync(bench, subject, _):
    return FILE / 1e6 / rsync_to(subject, bench.file, "bench.rsync")


def small_files(bench, subject, _):
    return 1e3 * rsync_to(subject, f"{bench.tree}/", "bench.tree")


def rsync_to(subject, source, name):
    # All of it each time, be it there or not.
    how = ["--recursive", "--whole-file", "--ignore-times"]
    return run(["rsync", *how, "--rsh", f"ssh -F {CONFIG}", source, f"{subject}:{name}"])


# ---- memory; in KiB for one session


def session_pss(_, subject, __, options=()):
    sshd_before, between_before = cost.memory()
    crowd = Crowd(subject, CROWD, options=options)
    # What only starts a session shall have gone.
    time.sleep(0.5)
    sshd, between = cost.memory()
    crowd.close()
    # What closes a session too.
    time.sleep(0.5)
    sshd, between = (sshd - sshd_before) / CROWD, (between - between_before) / CROWD
    return between, sshd + between


def session_pss_tty(bench, subject, held):
    return session_pss(bench, subject, held, options=["-tt"])


# ---- all of them, in order


def logins(full, short, quick, **beside):
    return Measure({"": "ms"}, login, full, short, quick, **beside)


def commands(full, short, quick, **beside):
    return Measure({"": "ms"}, command, full, short, quick, held=master, **beside)


def speed(once, full, short, quick, **others):
    return Measure({"": "MB/s"}, once, full, short, quick, warm_up=1, **others)


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
    "login_50_at_once": Measure({"": "ms"}, logins_at_once, 10, 3, 1, warm_up=0),
    "wake_10_at_once": Measure({"": "ms"}, wake_at_once, 10, 3, 1, held=TenBoxes, warm_up=0),
    "login_with_10_sessions": logins(30, 0, 2, sessions=10),
    "command_with_10_sessions": commands(60, 0, 2, sessions=10),
    "login_with_100_sessions": logins(30, 10, 0, sessions=100),
    "command_with_100_sessions": commands(60, 30, 0, sessions=100),
    "login_with_10_boxes": logins(30, 0, 2, boxes=10),
    "command_with_10_boxes": commands(60, 0, 2, boxes=10),
    "login_with_100_boxes": logins(30, 10, 0, boxes=100),
    "command_with_100_boxes": commands(60, 30, 0, boxes=100),
}
# The result that is called as its measure stands first.
for name, measure in MEASURES.items():
    units = {result or name: unit for result, unit in measure.results.items()}
    MEASURES[name] = measure._replace(results=units)


def users(counts):
    """The users of sshbox that a run needs: one who is there already, those who come for the
    first time, those who wake at once, and those who are just there."""
    first = counts.get("first_login", 0) + MEASURES["first_login"].warm_up
    beside = max((MEASURES[name].boxes for name in counts), default=0)
    return [
        "bench",
        *(f"first{number}" for number in range(first)),
        *(f"wake{number}" for number in range(AT_ONCE)),
        *(f"beside{number}" for number in range(beside)),
    ]
