"""Test keys: real ones from ssh-keygen, and blobs built by hand."""

import base64
import functools
import subprocess
import tempfile
from pathlib import Path

REAL = {
    "ed25519": ("ssh-ed25519", []),
    "ecdsa256": ("ecdsa-sha2-nistp256", ["-t", "ecdsa", "-b", "256"]),
    "ecdsa384": ("ecdsa-sha2-nistp384", ["-t", "ecdsa", "-b", "384"]),
    "ecdsa521": ("ecdsa-sha2-nistp521", ["-t", "ecdsa", "-b", "521"]),
    "rsa2048": ("ssh-rsa", ["-t", "rsa", "-b", "2048"]),
    "rsa3072": ("ssh-rsa", ["-t", "rsa", "-b", "3072"]),
}


def keygen(*args, text=None):
    done = subprocess.run(["ssh-keygen", *args], input=text, capture_output=True, text=True)
    if done.returncode:
        raise AssertionError(f"ssh-keygen {args}: {done.stderr}")
    return done.stdout


def fingerprint(line):
    """Return the fingerprint that ssh-keygen computes."""
    return keygen("-lf", "-", text=line + "\n").split()[1]


@functools.cache
def pair(name):
    """Return the contents of a private and a public key file of ssh-keygen."""
    args = REAL[name][1] or ["-t", "ed25519"]
    with tempfile.TemporaryDirectory() as folder:
        file = Path(folder, "key")
        keygen("-q", "-N", "", "-C", f"a comment of {name}", "-f", str(file), *args)
        return file.read_text(), file.with_suffix(".pub").read_text()


def public(name="ed25519"):
    return pair(name)[1]


def line(name="ed25519"):
    """Return a public key without its comment."""
    return " ".join(public(name).split()[:2])


def blob_of(text):
    return base64.b64decode(text.split()[1])


def field(data):
    return len(data).to_bytes(4, "big") + data


def mpint(number):
    return field(number.to_bytes(number.bit_length() // 8 + 1, "big"))


def text(key_type, blob):
    return f"{key_type} {base64.b64encode(blob).decode()}"


def built(key_type, *fields, inner=None):
    """Build a key line from the contents of its fields."""
    return text(key_type, b"".join(map(field, [(inner or key_type).encode(), *fields])))


def rsa(bits, exponent=65537):
    # Not a product of two primes, but odd and of the right length, which is all that is checked.
    return text("ssh-rsa", field(b"ssh-rsa") + mpint(exponent) + mpint((1 << (bits - 1)) + 1))


def sk_ed25519():
    return built("sk-ssh-ed25519@openssh.com", blob_of(public())[-32:], b"ssh:")


def sk_ecdsa():
    point = blob_of(public("ecdsa256"))[-65:]
    return built("sk-ecdsa-sha2-nistp256@openssh.com", b"nistp256", point, b"ssh:")
