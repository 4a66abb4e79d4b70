"""Turns measured values into statistics, targets and a table."""

import math
import os
import statistics
import subprocess
from datetime import datetime, timezone

from parts.client import CONFIG

# (promise, result and what it is about if not sshbox, field, limit, whether the limit is a minimum)
TARGETS = [
    ("login", "login", "ratio", 1.03, False),
    ("command over an open connection", "command_over_controlmaster", "difference", 3, False),
    ("echo of a key, 99 of 100", "keystroke", "p99_difference", 0.3, False),
    ("download", "download", "ratio", 0.97, True),
    ("upload", "upload", "ratio", 0.97, True),
    ("memory of a session beyond sshd", "session_pss", "median", 1536, False),
    ("memory of a session with a terminal beyond sshd", "session_pss_tty", "median", 1536, False),
    ("login that wakes a box", "wake", "ratio", 1.15, False),
    ("first login", "first_login", "ratio", 1.2, False),
    ("download through -L", "forward_download", "ratio", 0.97, True),
    ("first byte through -L", "forward_first_byte", "ratio", 1.03, False),
    ("login while another box flushes, 99 of 100", "login_under_attack/fsync", "p99_ratio", 2, False),
]


def more_is_better(unit):
    return unit == "MB/s"


def result(unit, values):
    """Return the statistics of one result; `values` has a list for each subject. The 99th
    percentile is at the bad end: the speed that 99 of 100 reach. Of fewer than 100 values it is
    the worst."""
    subjects = {}
    for subject, some in values.items():
        worst_last = sorted(some, reverse=more_is_better(unit))
        subjects[subject] = {
            "n": len(worst_last),
            "median": round(statistics.median(worst_last), 3),
            "p99": round(worst_last[math.ceil(0.99 * len(worst_last)) - 1], 3),
            "unit": unit,
        }
    base = "quiet" if "quiet" in subjects else "plain"
    plain = subjects.get(base)
    for subject, one in subjects.items():
        if plain and subject != base:
            # A ratio to almost nothing says nothing.
            meaningful = plain["median"] > (100 if unit == "KiB" else 0)
            one["ratio"] = round(one["median"] / plain["median"], 3) if meaningful else None
            one["difference"] = round(one["median"] - plain["median"], 3)
            one["p99_difference"] = round(one["p99"] - plain["p99"], 3)
            one["p99_ratio"] = round(one["p99"] / plain["p99"], 3) if meaningful else None
    return subjects


def targets(results):
    """Return the targets of sshbox that this run has results for."""
    found = []
    for promise, name, field, limit, is_minimum in TARGETS:
        name, _, about_whom = name.partition("/")
        one = results.get(name, {}).get(about_whom or "sshbox", {})
        value = one.get(field)
        if value is None:
            continue
        found.append(
            {
                "target": promise,
                "result": name,
                "of": unit_of(field, one["unit"]),
                "at_least" if is_minimum else "at_most": limit,
                "value": value,
                "met": value >= limit if is_minimum else value <= limit,
            }
        )
    return found


def unit_of(field, unit):
    if field.endswith("ratio"):
        return "× quiet" if field == "p99_ratio" else "× plain"
    return unit + " beyond plain" if field.endswith("difference") else unit


def text(about, results):
    lines = ["\n".join(f"{name}: {value}" for name, value in about.items()), table(results)]
    reached = targets(results)
    if reached:
        lines.append("Targets of sshbox:\n" + "\n".join(map(target_line, reached)))
    lines.append("bench/README.md defines each measurement.")
    return "\n\n".join(lines) + "\n"


def target_line(target):
    bound, sign = ("at_least", "≥") if "at_least" in target else ("at_most", "≤")
    met = "met   " if target["met"] else "missed"
    value = f"{target['value']:.3f}".rstrip("0").rstrip(".")
    return f"  {met}  {target['target']}: {value} (target {sign} {target[bound]} {target['of']})"


def table(results):
    lines = [["", "median", "p99", "× plain", "− plain", "p99 ×"]]
    for name, subjects in results.items():
        any_one = next(iter(subjects.values()))
        lines.append([f"{name}, {any_one['unit']}, n = {any_one['n']}", "", "", "", "", ""])
        for subject, one in subjects.items():
            ratio, difference, worst = (one.get(key) for key in ("ratio", "difference", "p99_ratio"))
            lines.append(
                [
                    f"  {subject}",
                    figure(one["median"]),
                    figure(one["p99"]),
                    "" if ratio is None else f"{ratio:.2f}",
                    "" if difference is None else "+" * (difference > 0) + figure(difference),
                    "" if worst is None else f"{worst:.2f}",
                ]
            )
    width = max(len(line[0]) for line in lines)
    rows = (line[0].ljust(width) + "".join(cell.rjust(10) for cell in line[1:]) for line in lines)
    return "\n".join(row.rstrip() for row in rows)


def figure(value):
    digits = 2 if abs(value) < 10 else 1 if abs(value) < 100 else 0
    return f"{value:.{digits}f}"


def about():
    """Return the versions of the programs and the machine."""

    def printed(*command, stream="stdout"):
        outcome = subprocess.run(command, capture_output=True, text=True, check=True)
        return getattr(outcome, stream).strip()

    login = ["ssh", "-v", "-F", str(CONFIG), "-o", "LogLevel=DEBUG", "sshbox", "true"]
    debug = printed(*login, stream="stderr")
    cipher = next(
        line.split("cipher: ")[1].split()[0]
        for line in debug.splitlines()
        if "server->client cipher: " in line
    )
    with open("/proc/cpuinfo", encoding="utf-8") as cpuinfo:
        models = [line.split(": ")[1].strip() for line in cpuinfo if line.startswith("model name")]
    rsync = printed("rsync", "--version").split()[2]
    sdk = printed("/opt/bench/venv/bin/python", "-c", "import docker; print(docker.__version__)")
    rsync_of_box = printed("ssh", "-F", str(CONFIG), "sshbox", "rsync --version").split()[2]
    return {
        "sshbox": printed("dpkg-query", "--show", "--showformat", "${Version}", "sshbox"),
        "ssh": printed("ssh", "-V", stream="stderr"),
        "cipher": cipher,
        "rsync": f"{rsync} on the host, {rsync_of_box} in the boxes",
        "docker": printed("docker", "version", "--format", "{{.Server.Version}}"),
        "docker_sdk": sdk,
        "kernel": os.uname().release,
        "machine": ", ".join([f"{len(os.sched_getaffinity(0))} cores", *models[:1]]),
        "load_before": round(os.getloadavg()[0], 2),
        "began": f"{datetime.now(timezone.utc):%Y-%m-%d %H:%M} UTC",
    }
