from django.core.exceptions import ValidationError
from django.db import IntegrityError
from django.test import TestCase

from django_sshbox.models import SSHKey

from . import example
from .example import line, public
from .site_app.models import Member


class Model(TestCase):
    @classmethod
    def setUpTestData(cls):
        cls.alice = Member.objects.create_user("alice")

    def test_stored_fields(self):
        key = SSHKey.objects.create(user=self.alice, public_key=public())
        key.refresh_from_db()
        self.assertEqual(key.public_key, line())
        self.assertEqual(key.fingerprint, example.fingerprint(line()))
        self.assertEqual(key.key_type, "ssh-ed25519")
        self.assertEqual(key.title, "a comment of ed25519")
        self.assertEqual(str(key), key.title)

    def test_a_given_title_is_kept(self):
        key = SSHKey.objects.create(user=self.alice, title="laptop", public_key=public())
        self.assertEqual(key.title, "laptop")

    def test_a_long_comment_is_truncated(self):
        key = SSHKey(user=self.alice, public_key=line() + " " + "x" * 500)
        key.full_clean()
        self.assertEqual(key.title, "x" * 100)

    def test_another_key_changes_the_fingerprint(self):
        key = SSHKey.objects.create(user=self.alice, public_key=public())
        key.public_key = public("ecdsa256")
        key.full_clean()
        key.save()
        self.assertEqual(key.fingerprint, example.fingerprint(line("ecdsa256")))
        self.assertEqual(key.key_type, "ecdsa-sha2-nistp256")

    def test_a_key_may_keep_its_text(self):
        key = SSHKey.objects.create(user=self.alice, public_key=public())
        key.title = "office"
        key.full_clean()
        key.save()

    def test_invalid_values_are_rejected(self):
        with self.assertRaises(ValidationError):
            SSHKey.objects.create(user=self.alice, public_key=f"no-pty {line()}")
        key = SSHKey(user=self.alice, public_key=line(), title="\x1b[2J")
        with self.assertRaisesMessage(ValidationError, "control characters"):
            key.full_clean()

    def test_p3_a_user_has_a_hundred_keys_at_most(self):
        SSHKey.objects.bulk_create(
            SSHKey(user=self.alice, public_key="x", fingerprint=str(number)) for number in range(99)
        )
        last = SSHKey(user=self.alice, public_key=public())
        last.full_clean()
        last.save()
        with self.assertRaisesMessage(ValidationError, "already has 100 keys"):
            SSHKey(user=self.alice, public_key=public("ecdsa256")).full_clean()
        # A key that is there may be changed, and another user may add one.
        last.public_key = public("ecdsa384")
        last.full_clean()
        bob = Member.objects.create_user("bob")
        key = SSHKey(user=bob, public_key=public("ecdsa256"))
        key.full_clean()
        key.save()
        key.user = self.alice
        with self.assertRaisesMessage(ValidationError, "already has 100 keys"):
            key.full_clean()

    def test_a_user_cannot_have_a_key_twice(self):
        SSHKey.objects.create(user=self.alice, public_key=public())
        SSHKey.objects.create(user=Member.objects.create_user("bob"), public_key=public())
        again = SSHKey(user=self.alice, public_key=line() + " other comment")
        with self.assertRaisesMessage(ValidationError, "already"):
            again.full_clean()
        with self.assertRaises(IntegrityError):
            again.save()
