import os
import tempfile

from django.conf import settings
from django.core.exceptions import ImproperlyConfigured
from django.test import TestCase, override_settings

from django_sshbox.models import SSHKey

from .example import line, public, rsa
from .site_app.models import Member, WorkspaceSSHKey

TOKEN = settings.SSHBOX_TOKEN
BEARER = f"Bearer {TOKEN}"


def no_keys(user):
    return ()


def endless_keys(user):
    while True:
        yield public()


def largest_keys(user):
    # Each character of the comment takes twelve bytes in JSON.
    return [f"{rsa(16384)} {chr(0x1F511) * 100}"] * 100


def key_of_name(user):
    return [f"{line()} {user.username}"]


def long_comment(user):
    return [f"{line()} {'x' * 10_000}"]


def broken_source(user):
    raise RuntimeError("the database is gone")


def two_cpus(user):
    return {
        "limits": {"cpus": 2, "shm": "50%", "sessions": user.pk},
        "idle_timeout": "30m",
        "image": "big:1",
    }


def invalid_values(user):
    return {
        "limits": {"cpus": "two", "memory": "lots", "pids": 512, "tmp": None},
        "idle_timeout": 30,
        "image": "big:1",
    }


def for_sessions(user):
    return {"env": {"SITE_TOKEN": f"s3cret-{user.pk}", "PATH": "s3cret"}, "directory": "proj"}


def the_longest(user):
    return {"env": {"A": "x" * 32_000}, "directory": "\x01" * 4000}


def another_id(user):
    return {"id": 0}


class AccountCase(TestCase):
    @classmethod
    def setUpTestData(cls):
        cls.alice = Member.objects.create_user("Alice-B.c")

    def ask(self, name="Alice-B.c", token=BEARER, method="get", **headers):
        if token is not None:
            headers["HTTP_AUTHORIZATION"] = token
        return getattr(self.client, method)(f"/sshbox/accounts/{name}", **headers)


class Reply(AccountCase):
    def test_a_user_with_keys(self):
        SSHKey.objects.create(user=self.alice, public_key=public())
        SSHKey.objects.create(user=self.alice, public_key=public("ecdsa256"))
        SSHKey.objects.create(user=Member.objects.create_user("bob"), public_key=public("ecdsa384"))
        with self.assertNumQueries(2):
            reply = self.ask()
        self.assertEqual(reply.status_code, 200)
        self.assertEqual(reply["Content-Type"], "application/json")
        self.assertIn("no-store", reply["Cache-Control"])
        self.assertEqual(
            reply.json(),
            {
                "user": "Alice-B.c",
                "id": self.alice.pk,
                "active": True,
                "keys": [public().strip(), public("ecdsa256").strip()],
            },
        )
        self.assertFalse(reply.cookies)

    def test_p3_the_answer_is_never_too_long_for_sshbox(self):
        for source, count, reason in (
            ("endless_keys", 100, "skipping key 101 of Alice-B.c and all after it: more than 100"),
            ("largest_keys", None, "the keys are too long"),
        ):
            with override_settings(SSHBOX_KEYS=f"tests.test_account.{source}"):
                with self.assertLogs("django_sshbox.account", "WARNING") as logged:
                    reply = self.ask()
            self.assertLess(len(reply.content), 256 * 1024, source)
            self.assertIn(reason, logged.output[0])
            self.assertEqual(len(logged.output), 1)
            if count:
                self.assertEqual(len(reply.json()["keys"]), count)
            else:
                self.assertGreater(len(reply.json()["keys"]), 40)

    def test_the_comment_of_a_key_is_its_title(self):
        SSHKey.objects.create(user=self.alice, public_key=public())
        self.assertEqual(self.ask().json()["keys"], [f"{line()} a comment of ed25519"])
        SSHKey.objects.update(title="the old desk")
        self.assertEqual(self.ask().json()["keys"], [f"{line()} the old desk"])
        # Stored without validation. sshbox would skip a line with this comment.
        SSHKey.objects.update(title="two\nlines")
        self.assertEqual(self.ask().json()["keys"], [line()])

    @override_settings(SSHBOX_KEYS="tests.test_account.long_comment")
    def test_a_comment_never_makes_a_line_too_long(self):
        self.assertEqual(self.ask().json()["keys"], [f"{line()} {'x' * 100}"])

    def test_a_user_without_keys(self):
        self.assertEqual(self.ask().json()["keys"], [])

    def test_inactive(self):
        SSHKey.objects.create(user=self.alice, public_key=public())
        Member.objects.update(is_active=False)
        with self.assertNumQueries(1), override_settings(SSHBOX_ACCOUNT="tests.test_account.x"):
            reply = self.ask()
        self.assertEqual(reply.status_code, 200)
        self.assertEqual(
            reply.json(), {"user": "Alice-B.c", "id": self.alice.pk, "active": False, "keys": []}
        )

    def test_unknown(self):
        with self.assertNumQueries(1):
            reply = self.ask("nobody")
        self.assertEqual((reply.status_code, reply.json()), (404, {"error": "no such user"}))
        self.assertIn("no-store", reply["Cache-Control"])

    def test_names_are_case_sensitive_even_if_the_database_is_not(self):
        self.assertTrue(Member.objects.filter(username="alice-b.C").exists())
        for name in ("alice-b.c", "ALICE-B.C", "Alice-b.c"):
            self.assertEqual(self.ask(name).status_code, 404, name)

    def test_names_that_cannot_log_in(self):
        for name in ("alice@host", "-x", ".x", "x" * 65, "Zoë"):
            Member.objects.create_user(name)
            self.assertEqual(self.ask(name).status_code, 404, name)
        for name in ("%00", "Alice-B.c%0A", "Alice-B.c%20", "a%2F..%2FAlice-B.c"):
            self.assertEqual(self.ask(name).status_code, 404, name)
        Member.objects.create_user("x" * 64)
        self.assertEqual(self.ask("x" * 64).status_code, 200)

    def test_methods(self):
        reply = self.ask(method="head")
        self.assertEqual((reply.status_code, reply.content), (200, b""))
        for method in ("post", "put", "patch", "delete", "options"):
            self.assertEqual(self.ask(method=method).status_code, 405, method)


class Token(AccountCase):
    def test_every_refusal_is_the_same(self):
        replies = [
            self.ask(token=token)
            for token in (
                None,
                "",
                "Bearer",
                "Bearer ",
                TOKEN,
                f"Basic {TOKEN}",
                f"Bearer {TOKEN[:-1]}",
                f"Bearer {TOKEN}x",
                f"Bearer {TOKEN} {TOKEN}",
                f"Bearer {TOKEN.upper()}",
                "Bearer \xff\xfe",
                "Bearer \u20ac\U0001f511",
            )
        ]
        replies.append(self.ask("nobody", token=None))
        for reply in replies:
            self.assertEqual(reply.status_code, 401)
            self.assertEqual(reply["WWW-Authenticate"], 'Bearer realm="sshbox"')
            self.assertEqual(reply.content, replies[0].content)
            self.assertIn("no-store", reply["Cache-Control"])

    def test_nothing_is_looked_up_without_a_token(self):
        with self.assertNumQueries(0):
            self.ask(token=None)

    def test_the_scheme_is_case_insensitive(self):
        self.assertEqual(self.ask(token=f"bearer {TOKEN}").status_code, 200)

    def test_a_cache_of_the_site_does_not_leak_the_reply(self):
        self.assertIn("django.middleware.cache.FetchFromCacheMiddleware", settings.MIDDLEWARE)
        self.assertEqual(self.ask().status_code, 200)
        self.assertEqual(self.ask(token=None).status_code, 401)

    def test_a_token_with_non_ascii_characters(self):
        with override_settings(SSHBOX_TOKEN="schlüssel" * 4):
            sent = ("schlüssel" * 4).encode().decode("latin-1")
            self.assertEqual(self.ask(token=f"Bearer {sent}").status_code, 200)
            self.assertEqual(self.ask().status_code, 401)

    def test_from_a_file_that_may_change(self):
        with tempfile.TemporaryDirectory() as folder:
            path = os.path.join(folder, "token")
            with override_settings(SSHBOX_TOKEN=None, SSHBOX_TOKEN_FILE=path):
                for token in ("a" * 40, "b" * 40):
                    with open(path, "w") as file:
                        file.write(token + "\n")
                    self.assertEqual(self.ask(token=f"Bearer {token}").status_code, 200)
                    self.assertEqual(self.ask().status_code, 401)

    def test_no_usable_token_means_no_service(self):
        with tempfile.NamedTemporaryFile() as empty:
            for wrong in (
                {"SSHBOX_TOKEN": None},
                {"SSHBOX_TOKEN": ""},
                {"SSHBOX_TOKEN": "two words"},
                {"SSHBOX_TOKEN": " "},
                {"SSHBOX_TOKEN": None, "SSHBOX_TOKEN_FILE": "/does/not/exist"},
                {"SSHBOX_TOKEN": None, "SSHBOX_TOKEN_FILE": empty.name},
            ):
                with self.subTest(wrong), override_settings(**wrong):
                    for token in (None, "Bearer ", "Bearer None", BEARER):
                        with self.assertLogs("django_sshbox.views", "ERROR"):
                            reply = self.ask(token=token)
                        self.assertEqual(reply.status_code, 503)
                        self.assertIn("no-store", reply["Cache-Control"])


class SiteKeys(AccountCase):
    @override_settings(SSHBOX_KEY_MODEL="site_app.WorkspaceSSHKey")
    def test_a_model_of_the_site(self):
        SSHKey.objects.create(user=self.alice, public_key=public("ecdsa384"))
        bob = Member.objects.create_user("bob")
        for number, (user, text) in enumerate(
            [(self.alice, public()), (self.alice, public("rsa2048")), (bob, public("ecdsa256"))]
        ):
            WorkspaceSSHKey.objects.create(user=user, public_key=text, fingerprint=str(number))
        with self.assertNumQueries(2):
            reply = self.ask()
        self.assertEqual(reply.json()["user"], "Alice-B.c")
        self.assertEqual(reply.json()["keys"], [public().strip(), public("rsa2048").strip()])

    @override_settings(SSHBOX_KEY_MODEL="site_app.WorkspaceSSHKey")
    def test_invalid_keys_are_skipped_and_logged(self):
        texts = [f'command="x" {line()}', rsa(1024), "", line(), f"{line()}\n{line('ecdsa256')}"]
        for number, text in enumerate(texts):
            WorkspaceSSHKey.objects.create(
                user=self.alice, public_key=text, fingerprint=str(number)
            )
        with self.assertLogs("django_sshbox.account", "WARNING") as logged:
            reply = self.ask()
        self.assertEqual(reply.json()["keys"], [line()])
        self.assertEqual(len(logged.output), 4)
        self.assertIn("skipping key 1 of Alice-B.c", logged.output[0])
        self.assertIn("Options", logged.output[0])

    def test_a_callable(self):
        with override_settings(SSHBOX_KEYS="tests.test_account.key_of_name"):
            self.assertEqual(self.ask().json()["keys"], [f"{line()} Alice-B.c"])
        SSHKey.objects.create(user=self.alice, public_key=public())
        with override_settings(SSHBOX_KEYS="tests.test_account.no_keys"):
            self.assertEqual(self.ask().json()["keys"], [])

    @override_settings(SSHBOX_KEYS="tests.test_account.broken_source")
    def test_a_failing_source_is_not_an_empty_list(self):
        # An empty list would lock the user out; after a 500, sshbox uses its cached account.
        self.client.raise_request_exception = False
        with self.assertLogs("django.request", "ERROR"):
            self.assertEqual(self.ask().status_code, 500)


class Extras(AccountCase):
    @override_settings(SSHBOX_ACCOUNT="tests.test_account.two_cpus")
    def test_limits_and_more(self):
        reply = self.ask().json()
        self.assertEqual(reply["limits"], {"cpus": 2, "shm": "50%", "sessions": self.alice.pk})
        self.assertEqual((reply["idle_timeout"], reply["image"]), ("30m", "big:1"))
        self.assertEqual((reply["user"], reply["keys"]), ("Alice-B.c", []))

    @override_settings(SSHBOX_ACCOUNT="tests.test_account.invalid_values")
    def test_invalid_values_are_left_out_and_logged(self):
        SSHKey.objects.create(user=self.alice, public_key=public())
        with self.assertLogs("django_sshbox.account", "WARNING") as logged:
            reply = self.ask().json()
        self.assertEqual((reply["limits"], reply["image"]), ({"pids": 512}, "big:1"))
        self.assertNotIn("idle_timeout", reply)
        self.assertEqual(reply["keys"], [public().strip()])
        begin = "leaving out a value of SSHBOX_ACCOUNT for Alice-B.c: "
        self.assertEqual(
            [record.getMessage() for record in logged.records],
            [
                begin + "limits.cpus is 'two', expected an int or float from 0.01 to 4096",
                begin + "limits.memory is 'lots', expected a text with a size like \"8GiB\"",
                begin + 'idle_timeout is 30, expected a text with a time like "30m", or "never"',
            ],
        )

    @override_settings(SSHBOX_ACCOUNT="tests.test_account.for_sessions")
    def test_variables_and_directory_of_sessions(self):
        with self.assertLogs("django_sshbox.account", "WARNING") as logged:
            reply = self.ask().json()
        self.assertEqual(reply["env"], {"SITE_TOKEN": f"s3cret-{self.alice.pk}"})
        self.assertEqual(reply["directory"], "proj")
        (record,) = logged.records
        self.assertIn("env.PATH: the site may not set this variable", record.getMessage())
        self.assertNotIn("s3cret", record.getMessage())

    @override_settings(
        SSHBOX_ACCOUNT="tests.test_account.the_longest", SSHBOX_KEYS="tests.test_account.largest_keys"
    )
    def test_the_longest_variables_and_keys_fit_into_one_answer(self):
        with self.assertLogs("django_sshbox.account", "WARNING"):
            response = self.ask()
        self.assertLessEqual(len(response.content), 256 * 1024)
        self.assertEqual(len(response.json()["env"]["A"]), 32_000)

    @override_settings(SSHBOX_ACCOUNT="tests.test_account.another_id")
    def test_extras_cannot_change_the_id(self):
        with self.assertRaisesMessage(ImproperlyConfigured, "returned id"):
            self.ask()
