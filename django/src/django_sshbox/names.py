"""Maps users to login names, the names before the `@`, and login names to users.

A login name that maps to the wrong user is an account takeover. Therefore every result is checked
in both directions, and a name that two users could claim belongs to neither.
"""

import logging
import re
import unicodedata

from django.apps import apps
from django.conf import settings
from django.contrib.auth import get_user_model
from django.core.exceptions import ImproperlyConfigured
from django.db import IntegrityError, transaction
from django.utils.module_loading import import_string

log = logging.getLogger(__name__)

LOGIN = re.compile(r"[A-Za-z0-9_][A-Za-z0-9_.-]{0,63}")
RULE = (
    "a login name has 1 to 64 ASCII letters, digits, “_”, “.” or “-” and begins with a letter, a "
    "digit or “_”"
)
ALLOCATED = "django_sshbox.names.Allocated"


def login_name(user):
    """Return the name with which this user logs in by SSH, or None. Your pages may show it."""
    name = scheme().login_name(user)
    return name if isinstance(name, str) and LOGIN.fullmatch(name) else None


def find_user(name):
    """Return the user with exactly this login name, or None if there is not exactly one."""
    if not LOGIN.fullmatch(name):
        return None
    # A database may ignore case, accents or width. On the host each spelling is another user.
    found = {user.pk: user for user in scheme().users(name) if login_name(user) == name}
    if len(found) > 1:
        ids = ", ".join(map(str, found))
        log.error("refused login name %s: it belongs to several users, with the ids %s", name, ids)
        return None
    return next(iter(found.values()), None)


def reason_for_none(user):
    """Return the reason why `login_name` returns None for this user."""
    name = scheme().login_name(user)
    if name is None or name == "":
        return "the site gives this user no login name"
    return f"{ascii(name)} is not a valid login name: {RULE}"


def scheme():
    """Return the object that SSHBOX_LOGIN_NAME selects; it has `login_name` and `users`."""
    chosen = getattr(settings, "SSHBOX_LOGIN_NAME", None) or get_user_model().USERNAME_FIELD
    if not isinstance(chosen, str):
        raise ImproperlyConfigured("SSHBOX_LOGIN_NAME must be a string")
    return import_string(chosen)() if "." in chosen else Field(chosen)


class Field:
    """Takes the login name from a field of the user model, by default the user name."""

    def __init__(self, name):
        self.name = name

    def login_name(self, user):
        return getattr(user, self.name, None)  # an AnonymousUser lacks the model's fields

    def users(self, name):
        return get_user_model()._default_manager.filter(**{self.name: name})


class Allocated:
    """Allocates a login name to each user on first use and keeps it in a table for ever.

    A user name that is a valid login name is used as it is. From any other user name, such as a
    mail address, the part before the `@` is used, with a number if that name is taken.
    """

    def login_name(self, user):
        if user.pk is None:
            return None
        row = getattr(user, "sshbox_login_name", None)
        # An unsaved row does not count: its name may belong to another user.
        return (row if row and row.pk else _allocate(user)).name

    def users(self, name):
        model = get_user_model()
        users = model._default_manager.select_related("sshbox_login_name")
        found = list(users.filter(sshbox_login_name__name=name))
        # A user who logged in by user name before the table existed keeps that name.
        return found or users.filter(**{model.USERNAME_FIELD: name, "sshbox_login_name": None})


def _allocate(user):
    rows = apps.get_model("django_sshbox.LoginName").objects
    tried = set()
    for _ in range(10):
        row = rows.filter(user=user).first()
        if row is not None:
            return row
        name = _free_name(user, rows, tried)
        try:
            with transaction.atomic():
                # Not `user=user`: if this fails, the user object would keep the unsaved row.
                return rows.create(user_id=user.pk, name=name)
        except IntegrityError:
            # Another process allocated a name to this user, or this name, first. The caller's
            # transaction may not see that name yet.
            tried.add(name)
    raise RuntimeError(f"cannot allocate a login name to the user with the id {user.pk}")


def _free_name(user, rows, tried):
    own = user.get_username()
    if LOGIN.fullmatch(own) and own not in tried and not rows.filter(name=own).exists():
        return own
    stem = _stem(own)
    # Never allocate another user's user name: that user's home may be older than this table.
    field = get_user_model().USERNAME_FIELD
    others = get_user_model()._default_manager.exclude(pk=user.pk)
    others = others.filter(**{f"{field}__istartswith": stem}).values_list(field, flat=True)
    allocated = rows.filter(name__istartswith=stem).values_list("name", flat=True)
    taken = {name.lower() for name in (*others, *allocated, *tried)}
    number, name = 1, stem
    while name in taken:
        number += 1
        name = f"{stem}-{number}"
    return name


def _stem(username):
    text = unicodedata.normalize("NFKD", username.partition("@")[0])
    text = text.encode("ascii", "ignore").decode().lower()
    # Leave room for a number.
    return re.sub(r"[^a-z0-9_.-]+", "-", text).strip(".-")[:48] or "user"
