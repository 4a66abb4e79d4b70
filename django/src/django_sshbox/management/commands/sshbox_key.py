"""`manage.py sshbox_key`: add, list or remove SSH keys of a user."""

import sys

from django.contrib.auth import get_user_model
from django.core.exceptions import ValidationError
from django.core.management.base import BaseCommand, CommandError
from django.db import transaction

from ...account import uses_own_keys
from ...keys import parse_public_key
from ...models import SSHKey
from ...names import find_user, login_name, reason_for_none


class Command(BaseCommand):
    help = "Add, list or remove SSH keys of a user."

    def add_arguments(self, parser):
        actions = parser.add_subparsers(dest="action", metavar="ACTION", required=True)
        add = actions.add_parser("add", help="add a key")
        add.add_argument("user", metavar="USER")
        add.add_argument(
            "file",
            metavar="FILE",
            nargs="?",
            default="-",
            help=".pub file; - reads stdin (default)",
        )
        add.add_argument("--title", default="", help="title; defaults to the comment of the key")
        add.add_argument("--create-user", action="store_true", help="create the user if missing")
        show = actions.add_parser("list", help="list fingerprint, type and title of each key")
        show.add_argument("user", metavar="USER")
        remove = actions.add_parser("remove", help="remove a key")
        remove.add_argument("user", metavar="USER")
        remove.add_argument("key", metavar="FILE|FINGERPRINT", help=".pub file or SHA256:…")

    def handle(self, *, action, user, **options):
        if not uses_own_keys():
            raise CommandError(
                "This site keeps its keys elsewhere: SSHBOX_KEYS or SSHBOX_KEY_MODEL is set. "
                "Change them there."
            )
        if not user.isprintable():
            raise CommandError(f"{ascii(user)} contains unprintable characters.")
        getattr(self, action)(user, **options)

    @transaction.atomic  # an invalid key also undoes --create-user
    def add(self, username, *, file, title, create_user, **options):
        key = read_key(file)
        if create_user and user_of(username) is None:
            create(username)
        user = existing(username)
        name = name_of(user)
        if SSHKey.objects.filter(user=user, fingerprint=key.fingerprint).exists():
            self.stdout.write(f"{username} already has {key.fingerprint}.")
        else:
            save(SSHKey(user=user, title=title, public_key=f"{key.line} {key.comment}"))
            self.stdout.write(f"{username} now has {key.fingerprint}.")
        if name != username:
            self.stdout.write(f"The login name of {username} is {name}.")

    def list(self, username, **options):
        keys = SSHKey.objects.filter(user=existing(username))
        width = max((len(key.key_type) for key in keys), default=0)
        for key in keys:
            self.stdout.write(f"{key.fingerprint}  {key.key_type:{width}}  {key.title}".rstrip())

    def remove(self, username, *, key, **options):
        user = existing(username)
        fingerprint = key if key.startswith("SHA256:") else read_key(key).fingerprint
        count, _ = SSHKey.objects.filter(user=user, fingerprint=fingerprint).delete()
        if not count:
            raise CommandError(f"{username} has no key {fingerprint}.")
        self.stdout.write(f"{username} no longer has {fingerprint}.")


def read_key(path):
    try:
        if path == "-":
            text = sys.stdin.read()
        else:
            with open(path, encoding="utf-8") as file:
                text = file.read()
        return parse_public_key(text)
    except OSError as error:
        raise CommandError(f"{path}: {error.strerror}") from error
    except UnicodeDecodeError as error:
        raise CommandError(f"{path}: not a UTF-8 text file") from error
    except ValidationError as error:
        raise CommandError(f"{path}: {' '.join(error.messages)}") from error


def user_of(username):
    """Return the user with exactly this user name, or None."""
    model = get_user_model()
    users = model._default_manager.filter(**{model.USERNAME_FIELD: username})
    # A database may ignore case.
    return next((user for user in users if user.get_username() == username), None)


def existing(username):
    user = user_of(username)
    if user is None:
        raise CommandError(f"There is no user {username}. User names are case-sensitive.")
    return user


def name_of(user):
    username, name = user.get_username(), login_name(user)
    if name is None:
        raise CommandError(f"{username} cannot log in by SSH: {reason_for_none(user)}.")
    if find_user(name) != user:
        raise CommandError(
            f"{username} cannot log in by SSH: the login name {name} also belongs to another user, "
            "or SSHBOX_LOGIN_NAME does not map it back to {username}."
        )
    return name


def create(username):
    model = get_user_model()
    user = model(**{model.USERNAME_FIELD: username})
    user.set_unusable_password()
    save(user)


def save(row):
    try:
        row.full_clean()
    except ValidationError as error:
        raise CommandError(" ".join(error.messages)) from error
    row.save()
