import io
import os
import tempfile
from unittest import mock

from django.core.management import call_command
from django.core.management.base import CommandError
from django.test import TestCase, override_settings

from django_sshbox.models import SSHKey

from . import example
from .example import fingerprint, line, public
from .site_app.models import Member


class Command(TestCase):
    @classmethod
    def setUpTestData(cls):
        cls.alice = Member.objects.create_user("alice")

    def run_it(self, *args, stdin=""):
        out = io.StringIO()
        with mock.patch("sys.stdin", io.StringIO(stdin)):
            call_command("sshbox_key", *args, stdout=out)
        return out.getvalue()

    def fails(self, message, *args, stdin=""):
        with self.assertRaisesMessage(CommandError, message):
            self.run_it(*args, stdin=stdin)

    def file(self, content):
        file = tempfile.NamedTemporaryFile(delete=False)
        self.addCleanup(os.unlink, file.name)
        with file:
            file.write(content)
        return file.name

    def test_add_from_stdin_and_from_a_file(self):
        self.assertIn("now has SHA256:", self.run_it("add", "alice", stdin=public()))
        self.run_it("add", "alice", "-", stdin=public("ecdsa256"))
        self.run_it("add", "alice", self.file(public("ecdsa384").encode()), "--title", "office")
        titles = list(SSHKey.objects.order_by("pk").values_list("title", flat=True))
        self.assertEqual(titles, ["a comment of ed25519", "a comment of ecdsa256", "office"])

    def test_add_again_changes_nothing(self):
        self.run_it("add", "alice", stdin=public())
        self.assertIn("already", self.run_it("add", "alice", stdin=line() + " other"))
        self.assertEqual(SSHKey.objects.get().title, "a comment of ed25519")

    def test_create_user(self):
        self.fails("There is no user Bob", "add", "Bob", stdin=public())
        self.run_it("add", "Bob", "--create-user", stdin=public())
        self.run_it("add", "Bob", "--create-user", stdin=public())
        bob = Member.objects.get(username="Bob")
        self.assertTrue(bob.is_active)
        self.assertFalse(bob.has_usable_password())
        self.assertEqual(bob.sshbox_keys.count(), 1)

    def test_no_user_is_created_for_an_invalid_key(self):
        self.fails("Options", "add", "carol", "--create-user", stdin=f"no-pty {line()}")
        self.fails(
            "100 char", "add", "carol", "--create-user", "--title=" + "x" * 101, stdin=line()
        )
        self.fails("control", "add", "carol", "--create-user", "--title=\x1b[2J", stdin=line())
        self.assertFalse(Member.objects.filter(username="carol").exists())

    def test_no_user_is_created_that_differs_only_in_case(self):
        self.fails("already exists", "add", "Alice", "--create-user", stdin=public())

    def test_p3_a_hundred_keys_are_the_maximum(self):
        SSHKey.objects.bulk_create(
            SSHKey(user=self.alice, public_key="x", fingerprint=str(number)) for number in range(100)
        )
        self.fails("already has 100 keys, which is the maximum", "add", "alice", stdin=public())
        SSHKey.objects.first().delete()
        self.run_it("add", "alice", stdin=public())

    def test_list_is_aligned(self):
        self.assertEqual(self.run_it("list", "alice"), "")
        self.run_it("add", "alice", stdin=public())
        self.run_it("add", "alice", stdin=line("ecdsa256"))
        self.assertEqual(
            self.run_it("list", "alice"),
            f"{fingerprint(line())}  ssh-ed25519          a comment of ed25519\n"
            f"{fingerprint(line('ecdsa256'))}  ecdsa-sha2-nistp256\n",
        )

    def test_remove_by_fingerprint_and_by_file(self):
        bob = Member.objects.create_user("bob")
        SSHKey.objects.create(user=bob, public_key=public())
        for key in (fingerprint(line()), self.file(public().encode())):
            self.run_it("add", "alice", stdin=public())
            self.assertIn("no longer has SHA256:", self.run_it("remove", "alice", key))
            self.assertEqual(self.alice.sshbox_keys.count(), 0)
            self.fails("alice has no key SHA256:", "remove", "alice", key)
        self.assertEqual(bob.sshbox_keys.count(), 1)

    def test_errors_are_explained(self):
        self.fails("No such file", "add", "alice", "/does/not/exist")
        self.fails("UTF-8", "add", "alice", self.file(public().encode("utf-16")))
        self.fails("byte order mark", "add", "alice", self.file(b"\xef\xbb\xbf" + line().encode()))
        self.fails("private key", "add", "alice", stdin=example.pair("ed25519")[0])
        self.fails("There is no user Alice. User names are case-sensitive", "list", "Alice")
        self.fails("There is no user nobody", "remove", "nobody", "SHA256:x")
        self.fails("cannot log in", "add", "bob@host", "--create-user", stdin=public())
        self.fails("ACTION", "give", "alice")
        self.fails("required")

    @override_settings(SSHBOX_KEY_MODEL="site_app.WorkspaceSSHKey")
    def test_refuses_where_the_site_keeps_its_own_keys(self):
        self.fails("keeps its keys elsewhere", "add", "alice", stdin=public())
        self.assertFalse(SSHKey.objects.exists())
