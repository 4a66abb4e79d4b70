"""The installed package is complete, and its metadata is right."""

from importlib.metadata import distribution
from pathlib import Path
from unittest import TestCase

import django_sshbox

HERE = Path(__file__).resolve().parent


class Package(TestCase):
    def test_the_installed_package_is_tested(self):
        self.assertIn("site-packages", Path(django_sshbox.__file__).parts)

    def test_no_file_is_missing(self):
        # django/test wrote this list; the tests run without the sources.
        sources = (HERE.parent / "sources").read_text().split()
        installed = Path(django_sshbox.__file__).parent.parent
        missing = [name for name in sources if not (installed / name).is_file()]
        self.assertEqual(missing, [])
        self.assertIn("./django_sshbox/migrations/0001_initial.py", sources)

    def test_metadata(self):
        package = distribution("django-sshbox")
        metadata = package.metadata
        self.assertEqual(metadata["License-Expression"], "MIT OR Apache-2.0")
        self.assertEqual(metadata["Requires-Python"], ">=3.9")
        self.assertEqual(package.requires, ["Django>=3.2"])
        self.assertIn("# django-sshbox", metadata.get_payload() or metadata["Description"])
        self.assertEqual(metadata.get_all("License-File"), ["LICENSE-APACHE", "LICENSE-MIT"])
        for release in ("3.2", "4.2", "5.2"):
            self.assertIn(f"Framework :: Django :: {release}", metadata.get_all("Classifier"))
