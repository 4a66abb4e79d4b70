"""What sessions cost the host: memory of processes and CPU time of the machine."""

import os
import time
from pathlib import Path

# The processes that serve sessions beside sshd, by their names in the kernel (at most 15 bytes).
# Not included: the users' programs, the clients, this program, and dockerd, whose garbage
# collection would distort the figures. The Python gate has become `docker` once its session is up.
GATE_PROCESSES = ("sshbox-shell", "sshbox-init", "gate-docker-exe", "docker", "docker-proxy")
HERTZ = os.sysconf("SC_CLK_TCK")


def memory():
    """Return the proportional set size in KiB of sshd's processes, and of those between sshd and
    the users' programs."""
    sshd = gate = 0
    for process in Path("/proc").glob("[0-9]*"):
        try:
            name = (process / "comm").read_text().strip()
            if not name.startswith("sshd") and name not in GATE_PROCESSES:
                continue
            rollup = (process / "smaps_rollup").read_text()
        except OSError:  # The process has ended.
            continue
        kib = next(int(line.split()[1]) for line in rollup.splitlines() if line[:4] == "Pss:")
        if name.startswith("sshd"):
            sshd += kib
        else:
            gate += kib
    return sshd, gate


def processor():
    """Return the CPU seconds of all cores since boot: programs, kernel and interrupts."""
    with open("/proc/stat", encoding="ascii") as stat:
        user, nice, system, _, _, irq, softirq, *_ = map(int, stat.readline().split()[1:])
    return (user + nice + system + irq + softirq) / HERTZ


def load(seconds):
    """Return how many cores the machine keeps busy while the bench is idle."""
    began, before = time.perf_counter(), processor()
    time.sleep(seconds)
    return (processor() - before) / (time.perf_counter() - began)
