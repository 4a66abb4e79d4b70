"""Login names that differ from user names: the mapping in both directions."""

import io
import subprocess
import sys
from unittest import mock

from django.contrib.auth.models import AnonymousUser
from django.core.checks import run_checks
from django.core.exceptions import ValidationError
from django.core.management import call_command
from django.core.management.base import CommandError
from django.test import TestCase, override_settings

from django_sshbox import names
from django_sshbox.models import LoginName, SSHKey
from django_sshbox.names import LOGIN, find_user, login_name

from .example import public
from .site_app.models import Member
from .test_account import BEARER
from .test_demo import DEMO, Site

ALLOCATED = override_settings(SSHBOX_LOGIN_NAME="django_sshbox.names.Allocated")
OF_FIELD = override_settings(SSHBOX_LOGIN_NAME="ssh_name")

# Names that a database, Python or a careless comparison may consider equal to `kai`.
LOOKALIKES = (
    "Kai",
    "KAI",
    "\u212aai",  # KELVIN SIGN, whose lower case is k
    "ka\u0130",  # I with a dot above
    "ka\u0131",  # i without a dot
    "\uff4b\uff41\uff49",  # full-width letters
    "kai\0",
    "kai\n",
    "\nkai",
    "kai ",
    "ka\u200bi",
    "ka\u0456",  # Cyrillic
)


class MailLocalPart:
    """A site of one organisation, whose user ada@example.org logs in as ada."""

    def login_name(self, user):
        name, _, domain = user.username.rpartition("@")
        return name if domain == "example.org" else None

    def users(self, name):
        return Member.objects.filter(username=f"{name}@example.org")


class Careless:
    """Broken on purpose: `users` returns every user for every name."""

    def login_name(self, user):
        return user.nickname

    def users(self, name):
        return Member.objects.all()


class OneWay:
    def login_name(self, user):
        return "ada"

    def users(self, name):
        return []


class Lacking:
    def login_name(self, user):
        return "ada"


class NameCase(TestCase):
    def ask(self, name):
        return self.client.get(f"/sshbox/accounts/{name}", HTTP_AUTHORIZATION=BEARER)

    def ids(self, *asked):
        """Return the id of the account that is served for each name, or None."""
        return [self.ask(name).json().get("id") for name in asked]

    def run_it(self, command, *args, stdin=""):
        out = io.StringIO()
        with mock.patch("sys.stdin", io.StringIO(stdin)):
            call_command(command, *args, stdout=out)
        return out.getvalue()

    def assertOnlyExactName(self, user):
        """Check that `kai` is this user, and that no lookalike is any user."""
        self.assertEqual(find_user("kai"), user)
        for name in LOOKALIKES:
            self.assertIsNone(find_user(name), ascii(name))


class UserNameAsLoginName(NameCase):
    def test_only_the_exact_name_finds_the_user(self):
        kai = Member.objects.create_user("kai")
        self.assertOnlyExactName(kai)

    def test_lookalikes_have_no_login_name_and_block_none(self):
        kai = Member.objects.create_user("kai")
        for name in LOOKALIKES[2:]:
            # create_user would normalize them.
            self.assertIsNone(login_name(Member.objects.create(username=name)), ascii(name))
        self.assertOnlyExactName(kai)

    def test_an_anonymous_user_has_no_name(self):
        self.assertIsNone(login_name(AnonymousUser()))
        self.assertIsNone(login_name(Member()))


@OF_FIELD
class OfField(NameCase):
    def test_a_mail_address_logs_in_by_its_field(self):
        ada = Member.objects.create_user("ada+ssh@example.org", ssh_name="Ada")
        SSHKey.objects.create(user=ada, public_key=public())
        self.assertEqual(login_name(ada), "Ada")
        with self.assertNumQueries(2):
            reply = self.ask("Ada")
        expected = {"user": "Ada", "id": ada.pk, "active": True, "keys": [public().strip()]}
        self.assertEqual(reply.json(), expected)
        replies = [self.ask(name) for name in ("ada", "ADA", "ada+ssh@example.org", "nobody")]
        for reply in replies:
            self.assertEqual((reply.status_code, reply.content), (404, replies[0].content))

    def test_only_the_exact_name_finds_the_user(self):
        kai = Member.objects.create_user("someone", ssh_name="kai")
        for number, name in enumerate(LOOKALIKES[2:]):
            user = Member.objects.create_user(f"another{number}", ssh_name=name)
            self.assertIsNone(login_name(user), ascii(name))
        self.assertOnlyExactName(kai)

    def test_the_user_name_finds_no_user(self):
        ada = Member.objects.create_user("ada", ssh_name="grace")
        grace = Member.objects.create_user("grace", ssh_name="ada")
        Member.objects.create_user("nameless")
        self.assertEqual(self.ids("ada", "grace", "nameless"), [grace.pk, ada.pk, None])

    @override_settings(SSHBOX_LOGIN_NAME="nickname")
    def test_a_name_of_two_users_finds_neither(self):
        for name in ("ada@example.org", "ada@example.net"):
            Member.objects.create_user(name, nickname="ada")
        with self.assertLogs("django_sshbox.names", "ERROR") as logged:
            self.assertEqual(self.ask("ada").status_code, 404)
        first, second = Member.objects.order_by("pk")
        self.assertIn(f"ids {first.pk}, {second.pk}", logged.output[0])
        with self.assertLogs("django_sshbox.names", "ERROR"):
            with self.assertRaisesMessage(CommandError, "also belongs to another user"):
                self.run_it("sshbox_key", "add", "ada@example.org", stdin=public())
        self.assertFalse(SSHKey.objects.exists())
        said = self.run_it("sshbox_names")
        self.assertIn("ada@example.org, ada@example.net: the login name ada belongs to", said)

    def test_migration_from_the_user_name(self):
        for name in ("ada", "Grace_2", "alan@example.org"):
            Member.objects.create_user(name)
        with override_settings(SSHBOX_LOGIN_NAME=None):
            before = self.ids("ada", "Grace_2", "alan@example.org")
        self.assertEqual(self.ids("ada", "Grace_2"), [None, None])
        # The steps of the README.
        for user in Member.objects.all():
            user.ssh_name = user.get_username() if LOGIN.fullmatch(user.get_username()) else None
            user.save()
        self.assertEqual(self.ids("ada", "Grace_2", "alan@example.org"), before)


class OfClass(NameCase):
    @override_settings(SSHBOX_LOGIN_NAME="tests.test_names.MailLocalPart")
    def test_both_directions(self):
        ada = Member.objects.create_user("ada@example.org")
        self.assertEqual(login_name(ada), "ada")
        with self.assertNumQueries(2):
            self.assertEqual(self.ask("ada").json()["user"], "ada")
        # The test database ignores case and finds the user, but the login name differs.
        self.assertEqual(MailLocalPart().users("ADA").get(), ada)
        Member.objects.create_user("ada@example.net")
        Member.objects.create_user("a+b@example.org")
        self.assertEqual(self.ids("ADA", "ada", "a", "b"), [None, ada.pk, None, None])

    @override_settings(SSHBOX_LOGIN_NAME="tests.test_names.Careless")
    def test_candidates_are_checked(self):
        ada = Member.objects.create_user("x", nickname="ada")
        Member.objects.create_user("y")
        Member.objects.create_user("z", nickname="-ada")
        self.assertEqual(self.ids("ada", "y", "-ada", "None"), [ada.pk, None, None, None])

    @override_settings(SSHBOX_LOGIN_NAME="tests.test_names.OneWay")
    def test_a_name_that_does_not_map_back_is_reported(self):
        Member.objects.create_user("ada@example.org")
        with self.assertRaisesMessage(CommandError, "does not map it back"):
            self.run_it("sshbox_key", "add", "ada@example.org", stdin=public())


@ALLOCATED
class OfTable(NameCase):
    def names_of(self, *usernames):
        return [login_name(Member.objects.create_user(name)) for name in usernames]

    def test_allocated_names(self):
        for username, name in (
            ("ada@example.org", "ada"),
            ("Ada@example.net", "ada-2"),
            ("ada@example.com", "ada-3"),
            ("grace.hopper+ssh@example.org", "grace.hopper-ssh"),
            ("-x@example.org", "x"),
            ("Zoë@example.org", "zoe"),
            ("名前@example.org", "user"),
            ("@", "user-2"),
            ("\u212aai\0\n@example.org", "kai"),
            ("\uff4b\uff41\uff49@example.org", "kai-2"),
            ("o" * 100 + "@example.org", "o" * 48),
            ("o" * 101 + "@example.org", "o" * 48 + "-2"),
        ):
            user = Member.objects.create(username=username)
            self.assertEqual(login_name(user), name)
            self.assertEqual(login_name(Member.objects.get(pk=user.pk)), name)
            self.assertEqual(find_user(name), user)

    def test_a_look_up_allocates_no_name(self):
        Member.objects.create_user("ada@example.org")
        self.assertEqual(self.ids("ada", "ada@example.org", "nobody"), [None, None, None])
        self.assertFalse(LoginName.objects.exists())

    def test_a_look_up_takes_two_queries(self):
        ada = Member.objects.create_user("ada@example.org")
        self.assertEqual(login_name(ada), "ada")
        with self.assertNumQueries(2):
            self.assertEqual(self.ids("ada"), [ada.pk])
        with self.assertNumQueries(2):
            self.assertEqual(self.ids("nobody"), [None])
        self.assertOnlyExactName(None)

    def test_migration_from_the_user_name(self):
        usernames = ("bob", "Ada", "a" * 64)
        for name in usernames:
            Member.objects.create_user(name)
        with override_settings(SSHBOX_LOGIN_NAME=None):
            before = self.ids(*usernames)
        # No command has to be run first.
        self.assertEqual(self.ids("bob", "BOB", "Bob", "ada"), [before[0], None, None, None])
        # In any order: the user names of others are never allocated, whatever their case.
        self.assertEqual(self.names_of("bob@example.org", "ada@example.org"), ["bob-2", "ada-2"])
        self.assertEqual(self.ids(*usernames), before)

    def test_the_user_name_of_another_user_is_not_allocated(self):
        bob, ada = (Member.objects.create_user(name) for name in ("bob", "Ada"))
        self.assertEqual(self.names_of("bob@example.org", "ada@example.org"), ["bob-2", "ada-2"])
        self.assertEqual(self.ids("bob", "Ada"), [bob.pk, ada.pk])

    def test_a_user_name_that_was_allocated_earlier(self):
        self.assertEqual(self.names_of("bob@example.org", "bob"), ["bob", "bob-2"])
        self.assertEqual(find_user("bob").username, "bob@example.org")

    def test_a_name_is_never_reused(self):
        ada = Member.objects.create_user("ada@example.org")
        self.assertEqual(login_name(ada), "ada")
        ada.delete()
        self.assertEqual(self.ids("ada"), [None])
        Member.objects.create_user("ada")
        self.assertEqual(self.ids("ada"), [None])
        self.assertEqual(self.names_of("ada@example.org"), ["ada-3"])

    def test_a_name_stays_when_the_mail_address_changes(self):
        ada = Member.objects.create_user("ada@example.org")
        login_name(ada)
        Member.objects.update(username="lovelace@example.org")
        self.assertEqual(login_name(Member.objects.get()), "ada")

    def test_another_process_takes_the_name_first(self):
        ada = Member.objects.create_user("ada@example.org")
        other = Member.objects.create_user("ada@example.net")
        honest = names._free_name

        def late(user, *args):
            free = honest(user, *args)
            LoginName.objects.get_or_create(user=other, defaults={"name": free})
            return free

        with mock.patch("django_sshbox.names._free_name", late):
            self.assertEqual([login_name(ada), login_name(ada)], ["ada-2", "ada-2"])
        self.assertEqual((find_user("ada"), find_user("ada-2")), (other, ada))

    def test_another_process_allocates_a_name_to_the_same_user_first(self):
        ada = Member.objects.create_user("ada@example.org")

        def late(user, *args):
            LoginName.objects.create(user_id=user.pk, name="first")
            return "second"

        with mock.patch("django_sshbox.names._free_name", late):
            self.assertEqual([login_name(ada), login_name(ada)], ["first", "first"])
        self.assertEqual(LoginName.objects.get().user, ada)

    def test_an_unsaved_user_gets_no_name(self):
        self.assertIsNone(login_name(AnonymousUser()))
        self.assertIsNone(login_name(Member(username="ada")))
        self.assertFalse(LoginName.objects.exists())

    def test_a_name_that_an_admin_chooses(self):
        ada = Member.objects.create_user("ada@example.org")
        Member.objects.create_user("Bob")
        for wrong in ("-x", "x" * 65, "ada\n", "ad\u0131", "a@b", "", "bob"):
            with self.assertRaises(ValidationError, msg=ascii(wrong)):
                LoginName(user=ada, name=wrong).full_clean()
        self.client.force_login(Member.objects.create_superuser("root"))
        page = "/admin/django_sshbox/loginname/"
        self.client.post(f"{page}add/", {"user": ada.pk, "name": "countess"})
        self.assertEqual(login_name(ada), "countess")
        self.assertContains(self.client.get(page + "?q=example"), "countess")
        row = LoginName.objects.get()
        self.assertEqual(self.client.post(f"{page}{row.pk}/delete/").status_code, 403)
        self.assertEqual(self.client.post(f"{page}{row.pk}/change/").status_code, 403)
        self.assertContains(self.client.get("/admin/"), f"{page}add/")
        with override_settings(SSHBOX_LOGIN_NAME=None):
            self.assertNotContains(self.client.get("/admin/"), f"{page}add/")


class Shown(NameCase):
    """Where admins read a user's login name, or why there is none."""

    @ALLOCATED
    def test_by_the_key_command(self):
        args = ("sshbox_key", "add", "ada@example.org", "--create-user")
        for said in ("now has SHA256:", "already"):
            out = self.run_it(*args, stdin=public())
            self.assertIn(said, out)
            self.assertIn("The login name of ada@example.org is ada.\n", out)
        self.assertIn("SHA256:", self.run_it("sshbox_key", "list", "ada@example.org"))
        with self.assertRaisesMessage(CommandError, "There is no user ada. User names"):
            self.run_it("sshbox_key", "list", "ada")

    @OF_FIELD
    def test_a_key_needs_a_login_name(self):
        Member.objects.create_user("ada@example.org")
        for args in (["ada@example.org"], ["bob@example.org", "--create-user"]):
            with self.assertRaisesMessage(CommandError, "the site gives this user no login name"):
                self.run_it("sshbox_key", "add", *args, stdin=public())
        self.assertFalse(SSHKey.objects.exists())
        self.assertEqual(Member.objects.count(), 1)

    def test_names_with_control_characters_are_escaped(self):
        for action in (["add", "a\x1b[2J"], ["list", "a\n"], ["remove", "a\0", "SHA256:x"]):
            with self.assertRaisesMessage(CommandError, ascii(action[1])):
                self.run_it("sshbox_key", *action, stdin=public())

    def test_by_the_list_of_names(self):
        for name in ("ada", "x" * 65, "Zoë", "-x", "a\n\x1b[2J"):
            Member.objects.create_user(name)
        said = self.run_it("sshbox_names").splitlines()
        self.assertEqual(said[0], "ada  ada")
        self.assertEqual(said[1:], self.run_it("sshbox_names", "--missing").splitlines())
        self.assertEqual(len(said), 5)
        for told, shown in zip(said[1:], ("x" * 65, "Zoë", "-x", r"'a\n\x1b[2J'")):
            self.assertTrue(told.startswith(f"-  {shown}: "), told)
            self.assertIn("is not a valid login name: a login name has 1 to 64", told)

    @ALLOCATED
    def test_the_list_allocates_a_name_to_every_user(self):
        for name in ("ada@example.org", "bob", "ada@example.net"):
            Member.objects.create_user(name)
        expected = "ada  ada@example.org\nbob  bob\nada-2  ada@example.net\n"
        self.assertEqual(self.run_it("sshbox_names"), expected)
        self.assertEqual(self.run_it("sshbox_names", "--missing"), "")

    @OF_FIELD
    def test_by_the_admin_pages(self):
        ada = Member.objects.create_user("ada@example.org", ssh_name="countess")
        bob = Member.objects.create_user("bob@example.org")
        self.client.force_login(Member.objects.create_superuser("root"))
        page = "/admin/django_sshbox/sshkey/"
        for user, warned in ((ada, False), (bob, True)):
            data = {"user": user.pk, "title": "", "public_key": public()}
            reply = self.client.post(f"{page}add/", data, follow=True)
            self.assertEqual("cannot log in by SSH" in reply.content.decode(), warned)
        self.assertContains(self.client.get(page), "countess")
        key = SSHKey.objects.get(user=ada)
        self.assertContains(self.client.get(f"{page}{key.pk}/change/"), "countess")
        self.assertContains(self.client.get(f"{page}add/"), "Login name")


class Checks(NameCase):
    def found(self, setting):
        with override_settings(SSHBOX_LOGIN_NAME=setting):
            return [(check.id, check.msg) for check in run_checks()]

    def test_valid_settings(self):
        for setting in (None, "", "username", "ssh_name", f"{__name__}.OneWay", names.ALLOCATED):
            self.assertEqual(self.found(setting), [], setting)

    def test_invalid_settings(self):
        for setting, said in (
            ("nickname", "not unique: two users could have the same login name"),
            ("number", "is not a text field"),
            ("groups", "not unique"),
            ("ssh__name", "no field named"),
            ("no.such.path", "No module named"),
            (f"{__name__}.Nothing", "does not define"),
            (f"{__name__}.Lacking", "has no method users"),
            (f"{__name__}.LOOKALIKES", "not callable"),
            ("tests.settings.SECRET_KEY", "not callable"),
            (7, "must be a string"),
        ):
            found = self.found(setting)
            self.assertEqual([check for check, _ in found], ["sshbox.E005"], setting)
            self.assertIn(said, found[0][1])

    def test_a_broken_setting_is_a_server_error(self):
        # After a 404, sshbox would forget the user; after a 500, it uses its cached account.
        self.client.raise_request_exception = False
        for setting in ("no_such_field", "no.such.path"):
            with override_settings(SSHBOX_LOGIN_NAME=setting):
                with self.assertLogs("django.request", "ERROR"):
                    self.assertEqual(self.ask("ada").status_code, 500)


class AtOnce(Site):
    """Several processes allocate names to the same users at the same time."""

    SETTINGS = "tests.mail_site"
    PROCESSES = 6
    USERS = 20

    def test_no_two_users_share_a_name(self):
        create = (
            "from django.contrib.auth.models import User\n"
            f"for n in range({self.USERS}): User.objects.create_user(f'ada@host{{n}}.example')"
        )
        self.manage("shell", "-c", create)
        allocate = (
            "import time\nfrom django.contrib.auth.models import User\n"
            "from django_sshbox.names import login_name\n"
            "users = list(User.objects.filter(username__startswith='ada@'))\n"
            "input()\n"
            "print('allocated', *[f'{u.pk}={login_name(u)}' for u in users])"
        )
        processes = [
            subprocess.Popen(
                [sys.executable, "manage.py", "shell", "-c", allocate],
                cwd=DEMO,
                env=self.environ,
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=subprocess.PIPE,
                text=True,
            )
            for _ in range(self.PROCESSES)
        ]
        for process in processes:
            process.stdin.write("\n")
            process.stdin.flush()
        outputs = [process.communicate() for process in processes]
        allocated = {out.split("allocated ")[-1].strip() for out, _ in outputs}
        self.assertEqual(len(allocated), 1, outputs)
        pairs = dict(pair.split("=") for pair in allocated.pop().split())
        self.assertEqual(len(set(pairs.values())), self.USERS)
