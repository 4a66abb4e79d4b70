"""The rules for limits are those of crates/host/src/limits.rs; the values here follow its tests."""

from decimal import Decimal
from unittest import TestCase

from django_sshbox.limits import split_extras


class Limits(TestCase):
    def check(self, name, valid, invalid):
        for value in valid:
            with self.subTest(name, value=value):
                extras = {"limits": {name: value}}
                self.assertEqual(split_extras(extras), (extras, []))
        for value in invalid:
            with self.subTest(name, value=value):
                left, problems = split_extras({"limits": {name: value}})
                self.assertEqual((left, len(problems)), ({"limits": {}}, 1))
                self.assertIn(f"limits.{name} is ", problems[0])

    def test_cpus(self):
        nan = float("nan")
        wrong = [0, 0.001, -1, 4097, True, "2", Decimal(2), nan, float("inf"), [2], 10**400]
        self.check("cpus", [2, 0.01, 1.5, 4096], wrong)

    def test_pids_and_sessions(self):
        for name in ("pids", "sessions", "connections"):
            self.check(name, [0, 1, 512, 2**32 - 1], [-1, 2**32, 512.0, True, "512", Decimal(512)])

    def test_weights(self):
        for name in ["cpu_weight", "io_weight"]:
            wrong = [0, -1, 10001, 65636, 2**32 + 100, 100.0, True, "100", Decimal(100)]
            self.check(name, [1, 100, 10000], wrong)

    def test_ptys(self):
        self.check("ptys", [1, 256, 2**32 - 1], [0, -1, 2**32, 256.0, True, "256", Decimal(256)])

    # Not sizes, zero bytes, or more bytes than fit.
    NO_SIZES = [
        *["", "0", "0B", "0.4B", "-1", "lots", "8 GiBs", "8i", "8,5GiB", "GiB", "1.2.3K", "."],
        *["9223372036854775808", "16EiB", "1e3", "\u0663GiB", "8\u212a", "1\n", "9" * 5000],
        *[8, 8 << 30, True, ["8GiB"]],
    ]
    SIZES = ["8GiB", "512MiB", "512 mib", "1.5G", "1k", "1Ki", "1.GiB", ".5GiB", "50", "7EiB", "1B"]

    def test_memory_and_disk(self):
        for name in ("memory", "disk"):
            self.check(name, self.SIZES, [*self.NO_SIZES, "50%"])

    def test_shm_and_tmp(self):
        for name in ("shm", "tmp"):
            self.check(
                name,
                [*self.SIZES, "1%", "50%", "100 %", "007%"],
                [*self.NO_SIZES, "0%", "101%", "-1%", "%", "half", "1.5%", "50%%"],
            )

    def test_unknown_limits_stay_and_none_is_not_set(self):
        extras = {"limits": {"later": 7, "cpus": None}, "image": None, "idle_timeout": None}
        self.assertEqual(split_extras(extras), ({"limits": {"later": 7}}, []))
        self.assertEqual(split_extras({"limits": None}), ({}, []))

    def test_limits_that_are_no_dict(self):
        for wrong in ([2], "2", 2):
            left, problems = split_extras({"limits": wrong, "image": "big:1"})
            self.assertEqual((left, len(problems)), ({"image": "big:1"}, 1))
            self.assertTrue(problems[0].endswith(", expected a dict"))

    def test_the_text_of_a_problem_is_short_ascii(self):
        (problem,) = split_extras({"image": "ä\n" * 1000})[1]
        self.assertTrue(problem.startswith(r"image is '\xe4\n\xe4\n"))
        self.assertLess(len(problem), 160)


class IdleTimeoutImageAndUid(TestCase):
    def check(self, name, valid, invalid):
        for value in valid:
            with self.subTest(name, value=value):
                self.assertEqual(split_extras({name: value}), ({name: value}, []))
        for value in invalid:
            with self.subTest(name, value=value):
                left, problems = split_extras({name: value})
                self.assertEqual((left, len(problems)), ({}, 1))

    def test_idle_timeout(self):
        self.check(
            "idle_timeout",
            ["30m", "24h", "2d 3h", "1h30m", "90 minutes", "1.5h", "1 000s", "0", "never", "9years"],
            ["", "30", "Never", "half an hour", "30 Minutes", "-5m", "1h30", 30, True, "m"],
        )

    def test_uid(self):
        invalid = [0, -1, 2**32 - 1, 2**64, 1.5, "1700000001", True, [1]]
        self.check("uid", [1, 1000, 1_700_000_001, 2**32 - 2], invalid)

    def test_internet_and_forward(self):
        for name in ("internet", "forward"):
            for value in (True, False):
                self.assertEqual(split_extras({name: value}), ({name: value}, []))
            self.assertEqual(split_extras({name: None}), ({}, []))
            for wrong in ("no", "false", 0, 1, [], {}):
                (valid, problems) = split_extras({name: wrong})
                self.assertEqual((valid, len(problems)), ({name: False}, 1))

    def test_image(self):
        valid = ["big:1", "registry.example:5000/box@sha256:0123", "x" * 255]
        self.check("image", valid, ["", "x" * 256, "big 1", "big\n", "bïg", 1, ["big"]])
