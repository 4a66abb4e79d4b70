"""The rules of sshbox for `env` and `directory` of an account: what a site gives to each session.

sshbox ignores an invalid value. This module leaves it out first, so that the log of the site says
why. The values of variables may be secrets: no text here shows one. The rules are those of sshbox
(crates/host, account/site_settings.rs). This module does not know users or settings.
"""

import json
import re

MAX_VARIABLES = 256
MAX_BYTES = 32 * 1024  # of all variables, each as NAME=VALUE with a NUL
# Bytes of all variables in JSON, where a character takes up to six. The keys need the rest of the answer.
MAX_JSON = 48 * 1024
MAX_DIRECTORY = 4095  # bytes

_NAME = re.compile(r"[A-Za-z_][A-Za-z0-9_]*")
_OF_SESSION = ("PATH", "HOME", "SHELL", "USER", "LOGNAME", "TERM")
_RESERVED = ("LD_", "SSH_", "SSHBOX_")


def split_env(env):
    """Return the valid variables, or None if there are none to send, and one text for each problem."""
    if not isinstance(env, dict):
        return None, ["env is not a dict"]
    if len(env) > MAX_VARIABLES:
        return None, [f"env has {len(env)} variables, expected at most {MAX_VARIABLES}"]
    valid, problems = {}, []
    for name, value in env.items():
        problem = _problem_of_name(name) or _problem_of_value(value)
        if problem:
            problems.append(f"env.{_short(name)}: {problem}")
        else:
            valid[name] = value
    length = sum(len(name) + len(value.encode()) + 2 for name, value in valid.items())
    if length > MAX_BYTES or len(json.dumps(valid)) > MAX_JSON:
        limits = f"{MAX_BYTES // 1024} KiB in all, and {MAX_JSON // 1024} KiB in JSON"
        return None, [*problems, f"env is too long, expected at most {limits}"]
    return valid, problems


def is_directory(value):
    return _is_text(value) and 1 <= len(value.encode()) <= MAX_DIRECTORY


def _problem_of_name(name):
    if not isinstance(name, str) or not _NAME.fullmatch(name):
        return "expected a name of letters, digits and _, which begins with no digit"
    if name in _OF_SESSION or name.startswith(_RESERVED):
        return "the site may not set this variable"
    return None


def _problem_of_value(value):
    return None if _is_text(value) else "expected a text without NUL"


def _is_text(value):
    """Whether this is a text that UTF-8 and an environment can hold."""
    try:
        return isinstance(value, str) and b"\0" not in value.encode()
    except UnicodeEncodeError:
        return False


def _short(name):
    text = name if isinstance(name, str) and _NAME.fullmatch(name) else ascii(name)
    return text if len(text) <= 80 else f"{text[:80]}…"
