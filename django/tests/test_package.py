"""The installed package: whole, and what it says of itself."""

from importlib.metadata import distribution
from pathlib import Path
from unittest import TestCase

import django_sshbox

HERE = Path(__file__).resolve().parent


class Package(TestCase):
    def test_the_sources_are_not_what_is_tested(self):
        self.assertIn("site-packages", Path(django_sshbox.__file__).parts)

    def test_no_file_is_missing(self):
        # Written by django/test, which alone sees the sources.
        sources = (HERE.parent / "sources").read_text().split()
        installed = Path(django_sshbox.__file__).parent.parent
        missing = [name for name in sources if not (installed / name).is_file()]
        self.assertEqual(missing, [])
        self.assertIn("./django_sshbox/migrations/0001_initial.py", sources)

    def test_what_it_says_of_itself(self):
        package = distribution("django-sshbox")
        said = package.metadata
        self.assertEqual(said["License-Expression"], "MIT OR Apache-2.0")
        self.assertEqual(said["Requires-Python"], ">=3.9")
        self.assertEqual(package.requires, ["Django>=3.2"])
        self.assertIn("# django-sshbox", said.get_payload() or said["Description"])
        self.assertEqual(said.get_all("License-File"), ["LICENSE-APACHE", "LICENSE-MIT"])
        for release in ("3.2", "4.2", "5.2"):
            self.assertIn(f"Framework :: Django :: {release}", said.get_all("Classifier"))
