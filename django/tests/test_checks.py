import tempfile

from django.core.checks import run_checks
from django.test import SimpleTestCase, override_settings


class Checks(SimpleTestCase):
    def found(self, **changed):
        with override_settings(**changed):
            return [check.id for check in run_checks()]

    def test_the_test_settings_are_valid(self):
        self.assertEqual(self.found(), [])

    def test_no_token(self):
        for nothing in (None, ""):
            self.assertEqual(self.found(SSHBOX_TOKEN=nothing), ["sshbox.E001"])

    def test_unusable_token(self):
        self.assertEqual(self.found(SSHBOX_TOKEN="two words"), ["sshbox.W001"])
        found = self.found(SSHBOX_TOKEN=None, SSHBOX_TOKEN_FILE="/does/not/exist")
        self.assertEqual(found, ["sshbox.W001"])

    def test_short_token(self):
        self.assertEqual(self.found(SSHBOX_TOKEN="x" * 31), ["sshbox.W002"])
        self.assertEqual(self.found(SSHBOX_TOKEN="x" * 32), [])
        with tempfile.NamedTemporaryFile("w") as file:
            file.write("short\n")
            file.flush()
            found = self.found(SSHBOX_TOKEN=None, SSHBOX_TOKEN_FILE=file.name)
        self.assertEqual(found, ["sshbox.W002"])

    def test_missing_callables(self):
        for name in ("SSHBOX_KEYS", "SSHBOX_ACCOUNT"):
            for path in (
                "no.such.module",
                "tests.settings.nothing",
                "word",
                "tests.urls.path",
                run_checks,
            ):
                expected = [] if path == "tests.urls.path" else ["sshbox.E002"]
                self.assertEqual(self.found(**{name: path}), expected, (name, path))
            self.assertEqual(self.found(**{name: "tests.settings.SECRET_KEY"}), ["sshbox.E002"])

    def test_key_model(self):
        self.assertEqual(self.found(SSHBOX_KEY_MODEL="site_app.WorkspaceSSHKey"), [])
        for wrong in ("site_app.Nothing", "nothing.Model", "word", "site_app.Member"):
            self.assertEqual(self.found(SSHBOX_KEY_MODEL=wrong), ["sshbox.E004"], wrong)

    def test_two_sources(self):
        both = {"SSHBOX_KEYS": "tests.urls.path", "SSHBOX_KEY_MODEL": "site_app.WorkspaceSSHKey"}
        self.assertEqual(self.found(**both), ["sshbox.E003"])
