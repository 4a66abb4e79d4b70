"""Reads one SSH public key, strictly, with nothing but the standard library.

What passes here is printed to sshd later on. So a key is taken apart down to its last byte and
written anew from its parts; text that sshd might understand in another way is refused.
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
MAX_TEXT = 16 * 1024  # four times the largest RSA key taken here
RSA_BITS = range(2048, 16384 + 1)

BROKEN = "The key is damaged ({}). Copy the whole line of the .pub file again."


class ParsedKey(NamedTuple):
    type: str
    blob: bytes
    comment: str

    @property
    def line(self):
        """The key as sshd reads it, without options and comment."""
        return f"{self.type} {base64.b64encode(self.blob).decode()}"

    @property
    def fingerprint(self):
        """As `ssh-keygen -l` and sshd write it."""
        digest = base64.b64encode(hashlib.sha256(self.blob).digest()).decode()
        return "SHA256:" + digest.rstrip("=")


def parse_public_key(text):
    """The one public key that `text` holds; ValidationError says why it holds none."""
    line = _one_line(text)
    words = line.split(maxsplit=2)
    _check_type(words[0], line)
    if len(words) < 2:
        raise ValidationError(BROKEN.format("nothing follows its type"))
    blob = _decode_base64(words[1])
    _check_blob(words[0], blob)
    return ParsedKey(words[0], blob, words[2] if len(words) == 3 else "")


def _one_line(text):
    if not isinstance(text, str):
        raise ValidationError("A public key must be text.")
    if "PRIVATE KEY-----" in text or text.startswith("PuTTY-User-Key-File"):
        raise ValidationError(
            "This is a private key. Never give it to anybody: make a new pair with ssh-keygen "
            "and enter the line of the file that ends in .pub."
        )
    if len(text) > MAX_TEXT:
        raise ValidationError("This is too long for a public key. Enter one line of a .pub file.")
    if text.lstrip().startswith(("-----BEGIN", "---- BEGIN")):
        raise ValidationError(
            "This key is not in the format of OpenSSH. Convert it with: ssh-keygen -i -f FILE "
            "(add -m PKCS8 or -m PEM if it begins with five dashes)."
        )
    if text.startswith("\ufeff"):
        raise ValidationError(
            "There is a byte order mark before the key. Save the file as plain text without one."
        )
    if text.endswith("\n"):
        text = text[:-2] if text.endswith("\r\n") else text[:-1]
    if "\n" in text or "\r" in text:
        raise ValidationError("These are several lines. Enter one key, on one line.")
    if not text.isprintable():
        raise ValidationError(
            "There are tabs, control or invisible characters in the key. Copy the line again."
        )
    if not text.strip():
        raise ValidationError("There is no key. Enter the line of the file that ends in .pub.")
    return text.strip()


def _check_type(word, line):
    if word in TYPES:
        return
    if word == "ssh-dss":
        raise ValidationError(
            "DSA keys are too weak and no longer work with OpenSSH. Make one with: "
            "ssh-keygen -t ed25519"
        )
    if word.endswith("-cert-v01@openssh.com"):
        raise ValidationError(
            "This is a certificate. Enter the plain public key: the .pub file without -cert."
        )
    # Options may hold quoted spaces, so look for a type anywhere behind the first word.
    if any(f" {known} " in f"{line} " for known in TYPES):
        raise ValidationError(
            "There is text before the type of the key. Options are not taken here: enter the "
            "line from the type on, for example from ssh-ed25519 on."
        )
    raise ValidationError(
        f"The line begins with “{word[:40]}”, which is no type of key taken here. Taken are: "
        + ", ".join(TYPES)
    )


def _decode_base64(word):
    try:
        blob = base64.b64decode(word.encode(), validate=True)
    except binascii.Error:
        raise ValidationError(
            BROKEN.format("its base64 text is cut or has foreign characters")
        ) from None
    # Python overlooks stray bits in the last character; one key must have one spelling only.
    if base64.b64encode(blob) != word.encode():
        raise ValidationError(BROKEN.format("its base64 text has stray bits at the end"))
    return blob


def _check_blob(key_type, blob):
    inner, *fields = _fields(blob)
    if inner != key_type.encode():
        raise ValidationError(BROKEN.format("the type before it is not the type inside it"))
    if key_type.startswith("sk-"):
        fields = _without_application(fields)
    if key_type in ED25519:
        _check_ed25519(fields)
    elif key_type in CURVES:
        _check_point(fields, *CURVES[key_type])
    else:
        _check_rsa(fields)


def _fields(blob):
    """The fields of a blob, each a length of four bytes and as many bytes."""
    fields = []
    while blob:
        end = 4 + int.from_bytes(blob[:4], "big")
        if len(blob) < end:
            raise ValidationError(BROKEN.format("it ends too early or has bytes behind its end"))
        fields.append(blob[4:end])
        blob = blob[end:]
    if not fields:
        raise ValidationError(BROKEN.format("it is empty"))
    return fields


def _without_application(fields):
    """Security keys end with the name of the application they were made for, mostly `ssh:`."""
    application = fields[-1] if fields else b""
    if not application or not all(0x20 <= byte < 0x7F for byte in application):
        raise ValidationError(BROKEN.format("the application of the security key is not text"))
    return fields[:-1]


def _check_ed25519(fields):
    if [len(field) for field in fields] != [32]:
        raise ValidationError(BROKEN.format("an Ed25519 key is one field of 32 bytes"))


def _check_point(fields, curve, length):
    if len(fields) != 2 or fields[0] != curve:
        raise ValidationError(BROKEN.format("an ECDSA key is its curve and one point on it"))
    # 4 marks an uncompressed point, the only form in SSH.
    if len(fields[1]) != length or fields[1][0] != 4:
        raise ValidationError(BROKEN.format(f"a point of {curve.decode()} is {length} bytes"))


def _check_rsa(fields):
    if len(fields) != 2:
        raise ValidationError(BROKEN.format("an RSA key is two numbers"))
    exponent, modulus = (_positive(field) for field in fields)
    # With an even exponent or 1 anybody could sign.
    if exponent < 3 or exponent % 2 == 0 or modulus % 2 == 0:
        raise ValidationError(BROKEN.format("its numbers are not those of an RSA key"))
    bits = modulus.bit_length()
    if bits < RSA_BITS.start:
        raise ValidationError(
            f"This RSA key has {bits} bits, at least {RSA_BITS.start} are needed. Make a key "
            "with: ssh-keygen -t ed25519"
        )
    if bits not in RSA_BITS:
        raise ValidationError(f"This RSA key has {bits} bits, more than {RSA_BITS[-1]}.")


def _positive(field):
    """A positive number in its one shortest form: no sign bit, no zero byte to spare."""
    if not field or field[0] >= 0x80 or (field[0] == 0 and (len(field) == 1 or field[1] < 0x80)):
        raise ValidationError(BROKEN.format("a number in it is not written in its shortest form"))
    return int.from_bytes(field, "big")
