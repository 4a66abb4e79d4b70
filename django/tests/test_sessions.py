"""The rules for `env` and `directory` are those of crates/host/src/account/site_settings.rs; the
values here follow its tests."""

from unittest import TestCase

from django_sshbox.limits import split_extras


class Env(TestCase):
    def test_variables(self):
        pem = "-----BEGIN-----\nAAAA\nä\x1b"
        for env in ({"SITE_TOKEN": "s3cret", "_": "", "PEM": pem}, {}):
            self.assertEqual(split_extras({"env": env}), ({"env": env}, []))
        self.assertEqual(split_extras({"env": None, "directory": None}), ({}, []))

    def test_an_invalid_variable_costs_only_itself_and_no_text_shows_a_value(self):
        valid, problems = split_extras(
            {
                "env": {
                    **{"GOOD": "1", "1BAD": "s3cret", "A\x1b=": "s3cret", "LD_PRELOAD": "s3cret"},
                    **{"PATH": "s3cret", "SSH_AUTH_SOCK": "s3cret", "SSHBOX_X": "s3cret"},
                    **{"NUL": "s3cret\0", "SURROGATE": "s3cret\ud800", "NUMBER": 713},
                    **{"LIST": ["s3cret"], 5: "s3cret", "ä": "s3cret", "A\n": "s3cret"},
                }
            }
        )
        self.assertEqual(valid, {"env": {"GOOD": "1"}})
        name = "expected a name of letters, digits and _, which begins with no digit"
        self.assertEqual(
            problems,
            [
                f"env.'1BAD': {name}",
                f"env.'A\\x1b=': {name}",
                *[f"env.{ours}: the site may not set this variable" for ours in ["LD_PRELOAD", "PATH"]],
                *[f"env.{ours}: the site may not set this variable" for ours in ["SSH_AUTH_SOCK", "SSHBOX_X"]],
                *[f"env.{wrong}: expected a text without NUL" for wrong in ["NUL", "SURROGATE"]],
                *[f"env.{wrong}: expected a text without NUL" for wrong in ["NUMBER", "LIST"]],
                *[f"env.{wrong}: {name}" for wrong in ["5", r"'\xe4'", r"'A\n'"]],
            ],
        )

    def test_names_of_the_session_are_refused(self):
        for name in ("PATH", "HOME", "SHELL", "USER", "LOGNAME", "TERM", "LD_", "SSH_X", "SSHBOX_"):
            self.assertEqual(split_extras({"env": {name: "x"}})[0], {"env": {}}, name)
        for name in ("LANG", "LC_ALL", "http_proxy", "LD", "SSH", "PATHS", "TERM_PROGRAM"):
            self.assertEqual(split_extras({"env": {name: "x"}}), ({"env": {name: "x"}}, []), name)

    def test_what_is_no_dict_or_too_long_is_left_out_as_a_whole(self):
        for wrong in ("s3cret", 713, [["A", "s3cret"]]):
            self.assertEqual(split_extras({"env": wrong}), ({}, ["env is not a dict"]))
        many = {f"N{n}": "x" for n in range(257)}
        (problem,) = split_extras({"env": many})[1]
        self.assertEqual(problem, "env has 257 variables, expected at most 256")
        del many["N0"]
        self.assertEqual(split_extras({"env": many}), ({"env": many}, []))
        longest = {"A": "x" * (32 * 1024 - 7), "BC": ""}
        self.assertEqual(split_extras({"env": longest}), ({"env": longest}, []))
        for long in ({**longest, "BC": "x"}, {"A": "ä" * 12_000}, {"A": "\x01" * 10_000}):
            valid, problems = split_extras({"env": long})
            self.assertEqual((valid, len(problems)), ({}, 1))
            self.assertIn("at most 32 KiB in all, and 48 KiB in JSON", problems[0])


class Directory(TestCase):
    def test_directory(self):
        for value in ("proj/one", "/srv/x y", "x" * 4095, "ä"):
            self.assertEqual(split_extras({"directory": value}), ({"directory": value}, []))
        for value in ("", "x" * 4096, "ä" * 2048, "a\0b", 5, ["x"], "\ud800"):
            valid, problems = split_extras({"directory": value})
            self.assertEqual((valid, len(problems)), ({}, 1))
            self.assertIn("expected a path of 1 to 4095 bytes", problems[0])
