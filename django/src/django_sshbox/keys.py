"""Parses one SSH public key strictly, using only the standard library.

sshd will read the key, so every byte of it is parsed and the key is encoded again from its parts.
Text that sshd could interpret differently is rejected.
"""

import base64
import binascii
import hashlib
from typing import NamedTuple

from django.core.exceptions import ValidationError

# type -> (curve name, length of the point) for the types that hold a point of a NIST curve
CURVES = {
    "ecdsa-sha2-nistp256": (b"nistp256", 65),
    "ecdsa-sha2-nistp384": (b"nistp384", 97),
    "ecdsa-sha2-nistp521": (b"nistp521", 133),
    "sk-ecdsa-sha2-nistp256@openssh.com": (b"nistp256", 65),
}
ED25519 = ("ssh-ed25519", "sk-ssh-ed25519@openssh.com")
TYPES = (*ED25519, *CURVES, "ssh-rsa")
MAX_TEXT = 16 * 1024  # four times the largest RSA key that is accepted
MAX_KEYS = 100  # per user; sshbox uses no more
RSA_BITS = range(2048, 16384 + 1)

BROKEN = "The key is damaged: {}. Copy the whole line of the .pub file again."


class ParsedKey(NamedTuple):
    type: str
    blob: bytes
    comment: str

    @property
    def line(self):
        """The key in the format of authorized_keys, without options and comment."""
        return f"{self.type} {base64.b64encode(self.blob).decode()}"

    @property
    def fingerprint(self):
        """The fingerprint in the format of `ssh-keygen -l`."""
        digest = base64.b64encode(hashlib.sha256(self.blob).digest()).decode()
        return "SHA256:" + digest.rstrip("=")


def parse_public_key(text):
    """Return the public key in `text`. Raise ValidationError if there is not exactly one."""
    line = _one_line(text)
    words = line.split(maxsplit=2)
    _check_type(words[0], line)
    if len(words) < 2:
        raise ValidationError(BROKEN.format("nothing follows the key type"))
    blob = _decode_base64(words[1])
    _check_blob(words[0], blob)
    return ParsedKey(words[0], blob, words[2] if len(words) == 3 else "")


def _one_line(text):
    if not isinstance(text, str):
        raise ValidationError("A public key must be text.")
    if "PRIVATE KEY-----" in text or text.startswith("PuTTY-User-Key-File"):
        raise ValidationError(
            "This is a private key. Never give it to anybody. Create a new key pair with ssh-keygen "
            "and enter the line of its .pub file."
        )
    if len(text) > MAX_TEXT:
        raise ValidationError(
            "This text is too long for a public key. Enter the line of a .pub file."
        )
    if text.lstrip().startswith(("-----BEGIN", "---- BEGIN")):
        raise ValidationError(
            "This key is not in OpenSSH format. Convert it with: ssh-keygen -i -f FILE "
            "(add -m PKCS8 or -m PEM if it begins with five dashes)."
        )
    if text.startswith("\ufeff"):
        raise ValidationError(
            "The file begins with a byte order mark. Save it as plain text without one."
        )
    if text.endswith("\n"):
        text = text[:-2] if text.endswith("\r\n") else text[:-1]
    if "\n" in text or "\r" in text:
        raise ValidationError("The text has several lines. Enter one key on one line.")
    if not text.isprintable():
        raise ValidationError(
            "The key contains tabs, control characters or invisible characters. Copy the line again."
        )
    if not text.strip():
        raise ValidationError("There is no key. Enter the line of a .pub file.")
    return text.strip()


def _check_type(word, line):
    if word in TYPES:
        return
    if word == "ssh-dss":
        raise ValidationError(
            "DSA keys are weak, and OpenSSH no longer supports them. Create a new key with: "
            "ssh-keygen -t ed25519"
        )
    if word.endswith("-cert-v01@openssh.com"):
        raise ValidationError(
            "This is a certificate. Enter the public key: the line of the .pub file without -cert."
        )
    # Options may contain quoted spaces, so look for a key type after every space.
    if any(f" {known} " in f"{line} " for known in TYPES):
        raise ValidationError(
            "There is text before the key type. Options are not accepted: enter the line without "
            "them, so that it begins with the type, such as ssh-ed25519."
        )
    raise ValidationError(
        f"The line begins with “{word[:40]}”, which is not a supported key type. Supported types: "
        + ", ".join(TYPES)
    )


def _decode_base64(word):
    try:
        blob = base64.b64decode(word.encode(), validate=True)
    except binascii.Error:
        raise ValidationError(
            BROKEN.format("its base64 text is truncated or contains invalid characters")
        ) from None
    # Python ignores stray bits in the last character, but each key must have one encoding only.
    if base64.b64encode(blob) != word.encode():
        raise ValidationError(BROKEN.format("its base64 text has stray bits at the end"))
    return blob


def _check_blob(key_type, blob):
    inner, *fields = _fields(blob)
    if inner != key_type.encode():
        raise ValidationError(
            BROKEN.format("the key type in the line differs from the type in the base64 text")
        )
    if key_type.startswith("sk-"):
        fields = _without_application(fields)
    if key_type in ED25519:
        _check_ed25519(fields)
    elif key_type in CURVES:
        _check_point(fields, *CURVES[key_type])
    else:
        _check_rsa(fields)


def _fields(blob):
    """Split a blob into its fields: four bytes of length each, then that many bytes."""
    fields = []
    while blob:
        end = 4 + int.from_bytes(blob[:4], "big")
        if len(blob) < end:
            raise ValidationError(BROKEN.format("it is truncated or has extra bytes at the end"))
        fields.append(blob[4:end])
        blob = blob[end:]
    if not fields:
        raise ValidationError(BROKEN.format("it is empty"))
    return fields


def _without_application(fields):
    """Drop the last field of a security key: its application, usually `ssh:`."""
    application = fields[-1] if fields else b""
    if not application or not all(0x20 <= byte < 0x7F for byte in application):
        raise ValidationError(
            BROKEN.format("the application of the security key is not printable text")
        )
    return fields[:-1]


def _check_ed25519(fields):
    if [len(field) for field in fields] != [32]:
        raise ValidationError(BROKEN.format("an Ed25519 key consists of one field of 32 bytes"))


def _check_point(fields, curve, length):
    if len(fields) != 2 or fields[0] != curve:
        raise ValidationError(BROKEN.format("an ECDSA key consists of its curve and one point"))
    # The byte 4 marks an uncompressed point, the only form that SSH allows.
    if len(fields[1]) != length or fields[1][0] != 4:
        raise ValidationError(BROKEN.format(f"a point on {curve.decode()} has {length} bytes"))


def _check_rsa(fields):
    if len(fields) != 2:
        raise ValidationError(BROKEN.format("an RSA key consists of two numbers"))
    exponent, modulus = (_positive(field) for field in fields)
    # With an even exponent or 1, anybody could forge signatures.
    if exponent < 3 or exponent % 2 == 0 or modulus % 2 == 0:
        raise ValidationError(BROKEN.format("its numbers are not valid for an RSA key"))
    bits = modulus.bit_length()
    if bits < RSA_BITS.start:
        raise ValidationError(
            f"This RSA key has {bits} bits; at least {RSA_BITS.start} are required. Create a new key "
            "with: ssh-keygen -t ed25519"
        )
    if bits not in RSA_BITS:
        raise ValidationError(
            f"This RSA key has {bits} bits, more than the {RSA_BITS[-1]} that are supported."
        )


def _positive(field):
    """Decode a positive number in its shortest form: no sign bit, no superfluous zero byte."""
    if not field or field[0] >= 0x80 or (field[0] == 0 and (len(field) == 1 or field[1] < 0x80)):
        raise ValidationError(BROKEN.format("a number in it is not encoded in its shortest form"))
    return int.from_bytes(field, "big")
