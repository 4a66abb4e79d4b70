"""What one box can do to the others, to be run in a box: attack.py NAME…

Each attack takes what it can get, prints a line once it has all, and goes on until standard input ends. Several
names run as several processes. tests/life/neighbours.rs and bench/parts/attacks.py use it.
"""

import array
import ctypes
import errno
import fcntl
import glob
import os
import select
import signal
import socket
import struct
import sys
import time

libc = ctypes.CDLL(None, use_errno=True)
HOME = os.path.expanduser("~")
# No attack takes longer to reach its limit.
PATIENCE = 20


def reached(what):
    """Report once that the attack has all that it can get."""
    os.write(1, f"{what}\n".encode())


def until_refused(take, most=1 << 20):
    """Repeat until the kernel refuses, or for PATIENCE seconds. Return how often it worked, and why not again."""
    taken, end = [], time.monotonic() + PATIENCE
    while len(taken) < most and time.monotonic() < end:
        try:
            taken.append(take(len(taken)))
        except OSError as error:
            return taken, errno.errorcode.get(error.errno, str(error))
        except MemoryError:
            return taken, "ENOMEM"
    return taken, "no limit reached"


def hold(what, take, most=1 << 20):
    """Take until refused, report, and keep it."""
    taken, why = until_refused(take, most)
    reached(f"{what}: {len(taken)}, {why}")
    rest()
    return taken


def rest():
    while True:
        time.sleep(60)


def check(result):
    if result == -1:
        number = ctypes.get_errno()
        raise OSError(number, os.strerror(number))
    return result


def more_files():
    """Raise the soft limit on open files to the hard limit."""
    import resource

    hard = resource.getrlimit(resource.RLIMIT_NOFILE)[1]
    resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
    return hard


def in_processes(count, work):
    """Run `work` in `count` processes, none of which returns."""
    for _ in range(count):
        if os.fork() == 0:
            try:
                work()
            finally:
                os._exit(0)


def die_first(score=1000):
    """If the box runs out of memory, the kernel chooses this process, so that others of the attack go on."""
    with open("/proc/self/oom_score_adj", "w", encoding="ascii") as file:
        file.write(str(score))


# ---- what is shared by cgroup or disk


def fork():
    reached("fork: every process forks")
    while True:
        try:
            os.fork()
        except OSError:
            pass


def memory():
    def grow():
        blocks = []
        while True:
            blocks.append(bytearray(b"x" * (4 << 20)))

    reached("memory: a process grows until it is killed, again and again")
    while True:
        try:
            pid = os.fork()
        except OSError:
            continue
        if pid == 0:
            die_first()
            grow()
        os.waitpid(pid, 0)


def cpu():
    def burn():
        while True:
            pass

    in_processes(4 * os.cpu_count(), burn)
    reached("cpu: four busy processes for each core")
    rest()


def fsync():
    def write():
        path = f"{HOME}/.attack-{os.getpid()}"
        file = os.open(path, os.O_CREAT | os.O_WRONLY | os.O_TRUNC, 0o600)
        os.unlink(path)
        block = os.urandom(1 << 18)
        while True:
            os.pwrite(file, block, 0)
            os.fsync(file)

    in_processes(8, write)
    reached("fsync: eight processes flush")
    rest()


def files():
    """Make files where a box may, then write them full."""
    count = 0
    end = time.monotonic() + 2
    while time.monotonic() < end and count < 100_000:
        try:
            os.close(os.open(f"/tmp/attack-{count}", os.O_CREAT | os.O_WRONLY, 0o600))
        except OSError:
            break
        count += 1
    for path in ("/dev/shm/attack", "/tmp/attack"):
        # These files count as memory of the box: the kernel kills the writer, not this process.
        pid = os.fork()
        if pid == 0:
            die_first()
            file = os.open(path, os.O_CREAT | os.O_WRONLY, 0o600)
            until_refused(lambda _, file=file: os.write(file, b"x" * (1 << 20)), most=1 << 12)
            os._exit(0)
        os.waitpid(pid, 0)
    # A box without any memory ends the attack, and with it the test.
    os.truncate("/dev/shm/attack", os.path.getsize("/dev/shm/attack") - (64 << 20))
    reached(f"files: {count} in /tmp, /tmp and /dev/shm full")
    rest()


def connection():
    """Open connections to what other boxes need: the login port of the host."""
    more_files()
    with open("/proc/net/route") as routes:
        fields = [line.split() for line in routes]
    gateway = next(field[2] for field in fields if field[1] == "00000000")
    address = socket.inet_ntoa(struct.pack("<I", int(gateway, 16)))
    held, refused = [], 0

    def connect():
        one = socket.socket()
        one.setblocking(False)
        one.connect_ex((address, 2200))
        held.append(one)

    end = time.monotonic() + 2
    while time.monotonic() < end and len(held) < 2000:
        connect()
    reached(f"connection: {len(held)} to {address}:2200")
    while True:
        # What sshd drops is opened again.
        held.pop(0).close()
        connect()
        time.sleep(0.002)


# ---- what the kernel counts for each user


def lock():
    file = os.open(f"/tmp/attack-lock-{os.getpid()}", os.O_CREAT | os.O_RDWR, 0o600)

    def take(number):
        fcntl.lockf(file, fcntl.LOCK_EX | fcntl.LOCK_NB, 1, 2 * number)

    hold("lock", take, most=300_000)


def pty():
    more_files()
    hold("pty", lambda _: os.open("/dev/ptmx", os.O_RDWR | os.O_NOCTTY))


def inflight():
    more_files()
    null = os.open("/dev/null", os.O_RDONLY)
    pairs, message = [], array.array("i", [null] * 250).tobytes()

    def send(number):
        if number % 200 == 0:
            pairs.append(socket.socketpair(socket.AF_UNIX, socket.SOCK_DGRAM))
        pair = pairs[-1]
        pair[0].setblocking(False)
        try:
            pair[0].sendmsg([b"x"], [(socket.SOL_SOCKET, socket.SCM_RIGHTS, message)])
        except BlockingIOError:
            pairs.append(socket.socketpair(socket.AF_UNIX, socket.SOCK_DGRAM))

    # Each message has 250 descriptors.
    hold("inflight", send)


def timers():
    timer = ctypes.c_void_p()
    hold("timers", lambda _: check(libc.timer_create(1, None, ctypes.byref(timer))))


def inotify():
    more_files()
    hold("inotify", lambda _: check(libc.inotify_init1(0)))


def pipes():
    more_files()

    def make(_):
        reader, writer = os.pipe()
        try:
            fcntl.fcntl(writer, fcntl.F_SETPIPE_SZ, 1 << 20)
        except PermissionError:
            # Beyond the user's share each pipe gets two pages, then one.
            pass
        return reader, writer

    hold("pipes", make, most=20_000)


def mq():
    class Attributes(ctypes.Structure):
        _fields_ = [(name, ctypes.c_long) for name in ("flags", "maxmsg", "msgsize", "curmsgs")] + [
            ("reserved", ctypes.c_long * 4)
        ]

    attributes = Attributes(0, 10, 8192, 0)

    def make(number):
        name = f"/attack-{os.getpid()}-{number}".encode()
        flags = os.O_CREAT | os.O_RDWR
        return check(libc.mq_open(name, flags, ctypes.c_uint(0o600), ctypes.byref(attributes)))

    hold("mq", make)


def keys():
    def add(number):
        name = f"attack-{os.getpid()}-{number}".encode()
        # add_key(2) to the session's keyring.
        check(libc.syscall(248, b"user", name, b"x" * 1000, 1000, ctypes.c_int(-3)))

    hold("keys", add)


def epoll():
    hard = more_files()
    events = [check(libc.eventfd(0, 0)) for _ in range(min(hard // 2, 8000))]
    sets = []

    def watch(number):
        if number % len(events) == 0:
            sets.append(select.epoll())
        sets[-1].register(events[number % len(events)], 0)

    hold("epoll", watch, most=4_000_000)


# All attacks on what the kernel counts for each user.
COUNTERS = (pty, inflight, timers, inotify, pipes, mq, keys, epoll)
ATTACKS = {attack.__name__: attack for attack in (fork, memory, cpu, fsync, files, connection, lock, *COUNTERS)}


def main(names):
    # In a group of its own, which ends with it. The leader of a session has one.
    if os.getpgid(0) != os.getpid():
        os.setpgid(0, 0)
    for name in names:
        if os.fork() == 0:
            os.close(0)
            # Before the session, after what the attack itself gives away.
            die_first(500)
            try:
                ATTACKS[name]()
            except BaseException as error:  # Whatever it is, the test must see it.
                reached(f"{name}: ended, {error!r}")
            os._exit(1)
    sys.stdin.read()
    # What is in memory as files stays when its maker ends.
    for path in [*glob.glob("/dev/shm/attack*"), *glob.glob("/tmp/attack*"), *glob.glob("/dev/mqueue/attack*")]:
        os.unlink(path)
    os.killpg(0, signal.SIGKILL)


if __name__ == "__main__":
    main(sys.argv[1:])
