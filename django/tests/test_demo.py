import http.cookiejar
import json
import os
import re
import stat
import subprocess
import sys
import tempfile
import unittest
import urllib.error
import urllib.parse
import urllib.request
from pathlib import Path

from .example import public

DEMO = Path(__file__).resolve().parent.parent / "demo"
TOKEN = "f" * 64


class Site(unittest.TestCase):
    """Sets up a directory, a token and a database for the demo."""

    SETTINGS = "demo_site.settings"

    @classmethod
    def setUpClass(cls):
        folder = tempfile.TemporaryDirectory()
        cls.addClassCleanup(folder.cleanup)
        cls.data = Path(folder.name, "data")
        token = Path(folder.name, "token")
        token.write_text(TOKEN + "\n")
        # The settings may be a module of these tests.
        path = [str(DEMO.parent), *filter(None, [os.environ.get("PYTHONPATH")])]
        cls.environ = {
            **os.environ,
            "PYTHONPATH": os.pathsep.join(path),
            "SSHBOX_DEMO_DATA": str(cls.data),
            "SSHBOX_TOKEN_FILE": str(token),
            "DJANGO_SETTINGS_MODULE": cls.SETTINGS,
        }
        cls.manage("migrate", "--verbosity=0")

    @classmethod
    def manage(cls, *args, stdin=""):
        done = subprocess.run(
            [sys.executable, "manage.py", *args],
            cwd=DEMO,
            env=cls.environ,
            input=stdin,
            capture_output=True,
            text=True,
        )
        if done.returncode:
            raise AssertionError(f"manage.py {args}: {done.stderr}")
        return done.stdout


class Demo(Site):
    """Runs the demo with the command line of its README and sends HTTP requests to it."""

    @classmethod
    def setUpClass(cls):
        super().setUpClass()
        cls.manage("sshbox_key", "add", "Alice", "--create-user", stdin=public())
        cls.start()

    @classmethod
    def start(cls):
        # Port 0: the kernel chooses a port, and gunicorn logs it.
        args = ["--chdir", str(DEMO), "demo_site.wsgi", "-b", "127.0.0.1:0", "--no-control-socket"]
        server = subprocess.Popen(
            [sys.executable, "-m", "gunicorn", *args],
            env=cls.environ,
            stderr=subprocess.PIPE,
            text=True,
        )
        cls.addClassCleanup(server.stderr.close)
        cls.addClassCleanup(server.wait)
        cls.addClassCleanup(server.terminate)
        for logged in server.stderr:
            if found := re.search(r"Listening at: (http://127\.0\.0\.1:\d+)", logged):
                cls.site = found[1]
                return
        raise AssertionError("gunicorn did not start")

    def get(self, path, **headers):
        request = urllib.request.Request(self.site + path, headers=headers)
        try:
            with urllib.request.urlopen(request, timeout=20) as reply:
                return reply.status, reply.read().decode()
        except urllib.error.HTTPError as error:
            with error:
                return error.code, error.read().decode()

    def test_pages(self):
        for path, words in (
            ("/", "sshbox demo"),
            ("/admin/login/", "password"),
            ("/static/admin/css/base.css", "body"),
        ):
            status, body = self.get(path)
            self.assertEqual(status, 200, path)
            self.assertIn(words, body)
        for path in ("/nothing", "/static/nothing"):
            self.assertEqual(self.get(path)[0], 404, path)

    def test_account(self):
        status, body = self.get("/sshbox/accounts/Alice", Authorization=f"Bearer {TOKEN}")
        self.assertEqual(status, 200)
        self.assertEqual(
            json.loads(body), {"user": "Alice", "id": 1, "active": True, "keys": [public().strip()]}
        )
        self.assertEqual(self.get("/sshbox/accounts/Alice")[0], 401)
        self.assertEqual(self.get("/sshbox/accounts/Alice", Authorization="Bearer é")[0], 401)

    def log_in(self, name, password):
        """Return the page after an attempt to log in to the admin pages."""
        cookies = http.cookiejar.CookieJar()
        opener = urllib.request.build_opener(urllib.request.HTTPCookieProcessor(cookies))
        opener.open(f"{self.site}/admin/login/", timeout=20).close()
        token = next(cookie.value for cookie in cookies if cookie.name == "csrftoken")
        form = {"username": name, "password": password, "csrfmiddlewaretoken": token}
        data = urllib.parse.urlencode({**form, "next": "/admin/"}).encode()
        with opener.open(f"{self.site}/admin/login/", data, timeout=20) as reply:
            return reply.read().decode()

    def test_who_guesses_passwords_must_wait(self):
        script = """if True:
            from django.contrib.auth.models import User
            for name in ("Root", "Other"):
                User.objects.create_superuser(name, password="right")"""
        self.manage("shell", "-c", script)
        self.assertIn("Site administration", self.log_in("Root", "right"))
        for _ in range(5):
            self.assertIn("Please enter the correct", self.log_in("Root", "wrong"))
        for password in ("wrong", "right"):
            self.assertIn("Too many failed attempts", self.log_in("Root", password))
        # Other users are not affected, and a right password resets the count.
        for password in ("wrong", "right") * 3:
            page = self.log_in("Other", password)
            self.assertEqual("Site administration" in page, password == "right")

    def test_the_secret_key_stays_the_same_and_private(self):
        path = self.data / "secret_key"
        before = path.read_text()
        self.assertGreaterEqual(len(before), 50)
        self.assertEqual(stat.S_IMODE(path.stat().st_mode), 0o600)
        self.manage("check")
        self.assertEqual(path.read_text(), before)
        self.assertEqual(sorted(path.parent.glob("secret_key*")), [path])

    def test_checks_and_migrations_are_clean(self):
        self.assertIn("no issues", self.manage("check"))
        self.assertIn("No changes", self.manage("makemigrations", "--check", "--dry-run"))
