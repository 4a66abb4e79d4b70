"""What sessions cost the host: memory of processes, and processor time of the machine."""

import os
import time
from pathlib import Path

# What lives for sessions beside sshd; a name in the kernel has 15 bytes at most. The programs
# that the user runs, the clients and this program are not of it, and neither is the engine,
# which collects its garbage when it likes. The python gate is `docker` by the time that its
# session is up.
BETWEEN = ("sshbox-shell", "sshbox-init", "gate-docker-exe", "docker", "docker-proxy")
HERTZ = os.sysconf("SC_CLK_TCK")


def memory():
    """KiB of all processes of sshd, and of all that stand between it and the user's programs.
    Each page counts for as much as its share among those that have it."""
    sshd = between = 0
    for process in Path("/proc").glob("[0-9]*"):
        try:
            name = (process / "comm").read_text().strip()
            if not name.startswith("sshd") and name not in BETWEEN:
                continue
            rollup = (process / "smaps_rollup").read_text()
        except OSError:  # It has ended.
            continue
        kib = next(int(line.split()[1]) for line in rollup.splitlines() if line[:4] == "Pss:")
        if name.startswith("sshd"):
            sshd += kib
        else:
            between += kib
    return sshd, between


def processor():
    """Seconds that the machine's cores have worked, since boot: programs, kernel, interrupts."""
    with open("/proc/stat", encoding="ascii") as stat:
        user, nice, system, _, _, irq, softirq, *_ = map(int, stat.readline().split()[1:])
    return (user + nice + system + irq + softirq) / HERTZ


def load(seconds):
    """Cores that work while we do not: what the machine does anyway."""
    began, before = time.perf_counter(), processor()
    time.sleep(seconds)
    return (processor() - before) / (time.perf_counter() - began)
