"""The rules of sshbox for what SSHBOX_ACCOUNT may return; those for `env` and `directory` are in sessions.py.

sshbox ignores an invalid value. This module leaves it out first, so that the log of the site says
why. The rules are those of sshbox (crates/host, limits.rs and account.rs). This module does not know
users or settings.
"""

import re

from .sessions import MAX_DIRECTORY, is_directory, split_env

EXTRAS = ("limits", "idle_timeout", "image", "uid", "internet", "forward", "env", "directory")

_SIZE = re.compile(r"([0-9]+|[0-9]*\.[0-9]+|[0-9]+\.)[ \t]*(b|([kmgtpe])(i?)b?)", re.I | re.A)
_PERCENTAGE = re.compile(r"0*([1-9][0-9]?|100)[ \t]*%")
_UNITS = (
    "nanos|nsec|ns|usec|us|µs|millis|msec|ms|seconds|second|secs|sec|s|minutes|minute|mins|min|m|"
    "hours|hour|hrs|hr|h|days|day|d|weeks|week|wks|wk|w|months|month|M|years|year|yrs|yr|y"
)
_TIME = re.compile(rf"(\s*[0-9][0-9\s]*(\.[0-9\s]+)?({_UNITS})(?![A-Za-z]))+\s*|0|never")
_IMAGE = re.compile(r"[!-~]{1,255}")


def _is_number_of_cpus(value):
    # Not Decimal: in JSON it becomes a text.
    return isinstance(value, (int, float)) and not _is_bool(value) and 0.01 <= value <= 4096


def _is_count(value):
    return isinstance(value, int) and not _is_bool(value) and 0 <= value < 2**32


def _is_weight(value):
    return isinstance(value, int) and not _is_bool(value) and 1 <= value <= 10000


def _is_number_of_terminals(value):
    return _is_count(value) and value > 0


def _is_uid(value):
    # Whether it is one of box.uids is known on the host alone.
    return isinstance(value, int) and not _is_bool(value) and 1 <= value <= 2**32 - 2


def _is_bool(value):
    # An int in Python, but no number in JSON.
    return isinstance(value, bool)


def _is_size(value):
    # No size needs more characters, and int() refuses thousands of digits.
    if not isinstance(value, str) or len(value) > 64:
        return False
    if value.isascii() and value.isdigit():
        return 0 < int(value) < 2**63
    match = _SIZE.fullmatch(value)
    if not match:
        return False
    number, _, letter, binary = match.groups()
    factor = (1024 if binary else 1000) ** " kmgtpe".index(letter.lower()) if letter else 1
    bytes_ = float(number) * factor if "." in number else int(number) * factor
    return 1 <= bytes_ < 2**63


def _is_size_or_percentage(value):
    return _is_size(value) or isinstance(value, str) and bool(_PERCENTAGE.fullmatch(value))


def _is_time(value):
    return isinstance(value, str) and bool(_TIME.fullmatch(value))


def _is_image(value):
    return isinstance(value, str) and bool(_IMAGE.fullmatch(value))


_SIZE_OR_PERCENTAGE = 'a text with a size like "512MiB", or a percentage of memory like "50%"'
# Each field with its rule and the words for what the rule allows.
_FIELDS = {
    "limits.cpus": (_is_number_of_cpus, "an int or float from 0.01 to 4096"),
    "limits.memory": (_is_size, 'a text with a size like "8GiB"'),
    "limits.ptys": (_is_number_of_terminals, "an int from 1 to 4294967295"),
    "limits.pids": (_is_count, "an int from 0 to 4294967295"),
    "limits.sessions": (_is_count, "an int from 0 to 4294967295"),
    "limits.connections": (_is_count, "an int from 0 to 4294967295"),
    "limits.shm": (_is_size_or_percentage, _SIZE_OR_PERCENTAGE),
    "limits.tmp": (_is_size_or_percentage, _SIZE_OR_PERCENTAGE),
    "limits.cpu_weight": (_is_weight, "an int from 1 to 10000"),
    "limits.io_weight": (_is_weight, "an int from 1 to 10000"),
    "limits.disk": (_is_size, 'a text with a size like "50GiB"'),
    "idle_timeout": (_is_time, 'a text with a time like "30m", or "never"'),
    "internet": (_is_bool, "True or False"),
    "forward": (_is_bool, "True or False"),
    "image": (_is_image, "1 to 255 printable ASCII characters without spaces"),
    "uid": (_is_uid, "an int from 1 to 4294967294"),
    "directory": (is_directory, f"a path of 1 to {MAX_DIRECTORY} bytes, without NUL"),
}


def split_extras(extras):
    """Return the extras without invalid values, and one text for each invalid value.

    An invalid `internet` or `forward` becomes False. None means that the value is not set. sshbox ignores limits that it does not know: they stay.
    """
    valid, problems = {}, []

    def take(into, key, field, value):
        is_valid, expected = _FIELDS.get(field, (lambda value: True, ""))
        if value is None:
            return
        if is_valid(value):
            into[key] = value
        else:
            problems.append(f"{field} is {_short(value)}, expected {expected}")
            if field in ("internet", "forward"):
                # It was meant to restrict. Left out, it would allow.
                into[key] = False

    for key, value in extras.items():
        if key == "env" and value is not None:
            variables, of_env = split_env(value)
            problems += of_env
            if variables is not None:
                valid["env"] = variables
        elif key != "limits":
            take(valid, key, key, value)
        elif isinstance(value, dict):
            valid["limits"] = {}
            for name, limit in value.items():
                take(valid["limits"], name, f"limits.{name}", limit)
        elif value is not None:
            problems.append(f"limits is {_short(value)}, expected a dict")
    return valid, problems


def _short(value):
    text = ascii(value)
    return text if len(text) <= 80 else f"{text[:80]}…"
