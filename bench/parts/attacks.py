"""What one user costs the others: logins and keystrokes of a neighbour while a box is attacked from inside, and the
admin's view of many boxes. bench/README.md defines each result."""

import os
import subprocess
import sys
import time
from pathlib import Path

from parts.client import Failed, Terminal, run, ssh, ssh_to
from parts.engine import Engine
from parts.subjects import box_of

PROGRAM = Path(__file__).resolve().parent.parent.parent / "tests" / "attacks" / "attack.py"
ATTACKER = ["-l", "attacker"]
# Each runs alone. `counters` is all that the kernel counts for each user.
ATTACKS = {
    "fork": "fork",
    "memory": "memory",
    "cpu": "cpu",
    "fsync": "fsync",
    "connection": "connection",
    "lock": "lock",
    "pty": "pty",
    "counters": "inflight timers inotify pipes mq keys epoll",
}
# The box of the attacker gets less memory than others, so that a test machine has room for it.
MEMORY = 1 << 30
KEYS_PER_LOGIN = 20
# Of the boxes that exist, this many run.
RUNNING = 20


class Attack:
    """An attack that is at its limit."""

    def __init__(self, name):
        names = ATTACKS[name].split()
        command = ssh_to("sshbox", "exec python3 attack.py " + " ".join(names), options=ATTACKER)
        self.program = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE)
        for _ in names:
            line = self.program.stdout.readline().decode().strip()
            if not line or "ended" in line:
                raise Failed(f"the attack {name} has ended: {line!r}")
            print(f"bench: {line}", file=sys.stderr)

    def close(self):
        self.program.stdin.close()
        try:
            self.program.wait(10)
        except subprocess.TimeoutExpired:
            self.program.kill()
            self.program.wait()
        self.program.stdout.close()
        for _ in range(100):
            try:
                ssh("sshbox", "true", options=ATTACKER)
                return
            except Failed:
                time.sleep(0.2)
        ssh("sshbox", "@restart", options=ATTACKER)


def neighbour(bench, _, count):
    """Measure quiet before each attack, so that a drift affects both alike."""
    prepare(bench.engine)
    logins, keys = {"quiet": []}, {"quiet": []}
    # Opened before, because a user with an open terminal should not notice an attack.
    terminal = Terminal("sshbox")
    each = max(1, count // len(ATTACKS))
    for name in ATTACKS:
        take(terminal, each, logins["quiet"], keys["quiet"])
        attack = Attack(name)
        logins[name], keys[name] = [], []
        failed = take(terminal, count, logins[name], keys[name])
        attack.close()
        if failed:
            print(f"bench: during {name}, {failed} of {count} logins failed", file=sys.stderr)
        # What the attack has left to write must not count as quiet.
        os.sync()
        time.sleep(1)
    terminal.close()
    return {
        "login_under_attack": {name: some for name, some in logins.items() if some},
        "keystroke_under_attack": keys,
    }


def prepare(engine):
    ssh("sshbox", "true", options=ATTACKER)
    update = {"Memory": MEMORY, "MemorySwap": MEMORY}
    engine.call("POST", f"/containers/{box_of('attacker')}/update", update)
    with open(PROGRAM, "rb") as program:
        ssh("sshbox", "cat > attack.py", options=ATTACKER, stdin=program)


def take(terminal, count, logins, keys):
    """Log in `count` times and press keys in between. Return how many logins failed."""
    failed = 0
    for _ in range(count):
        try:
            logins.append(1e3 * ssh("sshbox", "true"))
        except Failed:
            failed += 1
        for _ in range(KEYS_PER_LOGIN):
            time.sleep(0.01)
            keys.append(1e3 * terminal.key())
    return failed


def many_boxes(bench, measure, count):
    """Time `sshbox list` and `sshbox reap --dry-run` with as many boxes, most of them never started."""
    wanted = measure.created
    engine = Engine()
    body = bench.boxes.body
    boxes = engine.call("GET", "/containers/json?all=1&filters=%7B%22label%22%3A%5B%22sshbox.user%22%5D%7D")
    made = []
    for number in range(wanted - len(boxes)):
        name = f"idle{number}"
        labels = {"sshbox.user": name, "sshbox.id": "1", "sshbox.spec": "x"}
        # Under another name, sshbox would rename it.
        engine.create(box_of(name), body | {"Labels": labels})
        made.append(box_of(name))
    values = [
        tuple(1e3 * run(["/usr/sbin/sshbox", *command]) for command in (["list"], ["reap", "--dry-run"]))
        for _ in range(count)
    ]
    for name in made:
        engine.remove(name)
    return {
        result: {"sshbox": [one[at] for one in values]} for at, result in enumerate(measure.results)
    }
