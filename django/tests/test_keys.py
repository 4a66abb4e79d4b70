import base64
import tempfile
from pathlib import Path

from django.core.exceptions import ValidationError
from django.test import SimpleTestCase

from django_sshbox.keys import parse_public_key

from . import example
from .example import blob_of, built, field, line, mpint, public, text


class Accepted(SimpleTestCase):
    def test_every_type_is_parsed_as_ssh_keygen_parses_it(self):
        lines = {name: public(name) for name in example.REAL}
        lines["sk-ed25519"] = example.sk_ed25519() + " a comment of sk-ed25519\n"
        lines["sk-ecdsa"] = example.sk_ecdsa() + " a comment of sk-ecdsa\n"
        lines["rsa16384"] = example.rsa(16384) + " a comment of rsa16384\n"
        for name, public_key in lines.items():
            with self.subTest(name):
                key = parse_public_key(public_key)
                self.assertEqual(key.fingerprint, example.fingerprint(public_key.strip()))
                self.assertEqual(key.line.split(), public_key.split()[:2])
                self.assertEqual(key.comment, f"a comment of {name}")
                self.assertEqual(key.blob, blob_of(public_key))

    def test_the_parsed_type_is_the_generated_type(self):
        for name, (key_type, _) in example.REAL.items():
            self.assertEqual(parse_public_key(public(name)).type, key_type)

    def test_line_ends_of_a_file_and_spaces_around_do_not_matter(self):
        for around in ("{}", "{}\n", "{}\r\n", "  {}  "):
            with self.subTest(around):
                self.assertEqual(parse_public_key(around.format(line())).line, line())

    def test_without_a_comment(self):
        self.assertEqual(parse_public_key(line()).comment, "")

    def test_a_comment_may_hold_other_scripts_and_any_words(self):
        comment = "Zoë’s laptop, not a PRIVATE KEY, ssh-rsa"
        self.assertEqual(parse_public_key(f"{line()} {comment}").comment, comment)


class Refused(SimpleTestCase):
    def assertRefused(self, public_key, *words):
        with self.assertRaises(ValidationError) as caught:
            parse_public_key(public_key)
        message = " ".join(caught.exception.messages)
        for word in words:
            self.assertIn(word, message)

    def test_private_keys_are_recognised(self):
        for name in ("ed25519", "rsa2048"):
            self.assertRefused(example.pair(name)[0], "private key", "Never")
        self.assertRefused("PuTTY-User-Key-File-3: ssh-ed25519\n", "private key")

    def test_other_formats_come_with_advice_to_convert(self):
        for form in ("RFC4716", "PKCS8", "PEM"):
            with tempfile.TemporaryDirectory() as folder:
                file = Path(folder, "key.pub")
                file.write_text(public("rsa2048"))
                exported = example.keygen("-e", "-m", form, "-f", str(file))
            with self.subTest(form):
                self.assertRefused(exported, "ssh-keygen -i")

    def test_dsa(self):
        self.assertRefused(built("ssh-dss", b"\1", b"\1", b"\1", b"\1"), "DSA", "ed25519")

    def test_certificates(self):
        with tempfile.TemporaryDirectory() as folder:
            authority, key = Path(folder, "ca"), Path(folder, "key.pub")
            authority.write_text(example.pair("ecdsa256")[0])
            authority.chmod(0o600)
            key.write_text(public())
            example.keygen("-q", "-s", str(authority), "-I", "x", "-n", "alice", str(key))
            certificate = Path(folder, "key-cert.pub").read_text()
        self.assertRefused(certificate, "certificate")

    def test_options(self):
        for options in (
            "cert-authority",
            'command="x"',
            'command="two words",no-pty',
            'expiry-time="20300101"',
        ):
            with self.subTest(options):
                self.assertRefused(f"{options} {public()}", "Options")

    def test_several_lines(self):
        for between in ("\n", "\r\n", "\r", "\n\n"):
            with self.subTest(between):
                self.assertRefused(public().strip() + between + public("ecdsa256"), "several")
        self.assertRefused(public() + "\n", "several")
        self.assertRefused("\n" + public(), "several")

    def test_invisible_characters(self):
        for character in "\0\t\x0b\x0c\x1b\x7f\x85\xa0\xad\u200b\u2028\u2029\u202e\ud800":
            with self.subTest(ascii(character)):
                self.assertRefused(f"{line()} com{character}ment", "invisible")
        self.assertRefused(line().replace(" ", "\t"), "tabs")
        self.assertRefused("\ufeff" + line(), "byte order mark")

    def test_nothing(self):
        for nothing in ("", " ", "\n"):
            self.assertRefused(nothing, "no key")
        for key_type in ("ssh-ed25519", "ssh-ed25519 "):
            self.assertRefused(key_type, "nothing follows")

    def test_other_types_than_text(self):
        for thing in (None, line().encode(), 7):
            self.assertRefused(thing, "must be text")

    def test_unknown_types(self):
        for word in ("AAAAC3NzaC1lZDI1NTE5", "SSH-ED25519", "ssh-ed448", "x" * 5000):
            self.assertRefused(f"{word} {line().split()[1]}", word[:40], "ssh-ed25519")

    def test_too_long(self):
        self.assertRefused(line() + " " + "x" * 20000, "too long")

    def test_base64_has_one_encoding(self):
        key_type, word = line("ecdsa256").split()
        self.assertEqual(word[-1:], "=")
        stray = word[:-2] + chr(ord(word[-2]) + 1) + "="
        self.assertEqual(
            base64.b64decode(stray), base64.b64decode(word)
        )  # Python ignores the stray bits
        self.assertRefused(f"{key_type} {stray}", "stray bits")
        for wrong in (
            word[:-1],
            word + "=",
            word[:9] + "-" + word[10:],
            word[:9] + "é" + word[10:],
        ):
            with self.subTest(wrong):
                self.assertRefused(f"{key_type} {wrong}", "invalid characters")

    def test_truncated_blobs_and_trailing_bytes(self):
        keys = [line(name) for name in example.REAL] + [example.sk_ed25519(), example.sk_ecdsa()]
        for public_key in keys:
            key_type, blob = public_key.split()[0], blob_of(public_key)
            for end in range(len(blob)):
                self.assertRefused(text(key_type, blob[:end]), "damaged")
            for tail in (b"\0", b"\0\0\0\0", field(b"x"), blob):
                self.assertRefused(text(key_type, blob + tail), "damaged")

    def test_wrong_field_lengths(self):
        for name in example.REAL:
            blob = bytearray(blob_of(line(name)))
            for wrong in (0, blob[3] - 1, blob[3] + 1, 255):
                blob[3] = wrong
                self.assertRefused(text(line(name).split()[0], bytes(blob)), "damaged")

    def test_inner_type_differs(self):
        point = blob_of(line("ecdsa256"))[-65:]
        self.assertRefused(
            built("ssh-ed25519", b"k" * 32, inner="ssh-rsa"), "the key type in the line differs"
        )
        self.assertRefused(
            built("ecdsa-sha2-nistp384", b"nistp256", point, inner="ecdsa-sha2-nistp256"),
            "the key type in the line differs",
        )

    def test_ed25519_lengths(self):
        for length in (0, 31, 33, 64):
            self.assertRefused(built("ssh-ed25519", b"k" * length), "32 bytes")
            key = built("sk-ssh-ed25519@openssh.com", b"k" * length, b"ssh:")
            self.assertRefused(key, "32 bytes")
        self.assertRefused(built("ssh-ed25519", b"k" * 32, b""), "32 bytes")

    def test_points_and_curves(self):
        kind = "ecdsa-sha2-nistp256"
        self.assertRefused(built(kind, b"nistp384", b"\4" + b"p" * 64), "curve")
        self.assertRefused(built(kind, b"nistp256"), "curve")
        for point in (b"", b"\4" + b"p" * 63, b"\4" + b"p" * 65, b"\2" + b"p" * 32, b"p" * 65):
            self.assertRefused(built(kind, b"nistp256", point), "65 bytes")

    def test_security_keys_name_their_application(self):
        kind = "sk-ssh-ed25519@openssh.com"
        for application in (b"", b"ssh:\0", b"ssh:\xff"):
            self.assertRefused(built(kind, b"k" * 32, application), "application")
        self.assertRefused(built(kind, inner=None), "application")
        self.assertRefused(built(kind, b"k" * 32), "damaged")

    def test_rsa_sizes(self):
        for bits in (1024, 2047):
            self.assertRefused(example.rsa(bits), f"{bits} bits", "2048")
        self.assertRefused(example.rsa(16385), "more than the 16384")
        parse_public_key(example.rsa(2048))

    def test_rsa_numbers(self):
        good = (1 << 2047) + 1
        for exponent in (1, 2, 65536):
            self.assertRefused(example.rsa(2048, exponent), "numbers")
        even = text("ssh-rsa", field(b"ssh-rsa") + mpint(65537) + mpint(good - 1))
        self.assertRefused(even, "numbers")
        modulus = good.to_bytes(257, "big")
        for number in (b"", b"\0", b"\0\3", b"\x83", b"\0\0\x83"):
            self.assertRefused(built("ssh-rsa", number, modulus), "shortest form")
        for number in (modulus[1:], b"\0" + modulus):
            self.assertRefused(built("ssh-rsa", b"\3", number), "shortest form")
        self.assertRefused(built("ssh-rsa", b"\3"), "two numbers")
        self.assertRefused(built("ssh-rsa", b"\3", modulus, b"\3"), "two numbers")
