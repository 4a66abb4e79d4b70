"""Login names: which name a user types before the `@`, and which user a login name belongs to.

A login name that leads to the wrong user is an account takeover. So every answer is checked in
both directions, and a name that two users could claim belongs to neither of them.
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
    "a login name is 1 to 64 letters, digits, “_”, “.” or “-” of ASCII and begins with a letter, "
    "a digit or “_”"
)
ALLOCATED = "django_sshbox.names.Allocated"


def login_name(user):
    """The name with which this user logs in by SSH, for your pages; None if there is none."""
    name = scheme().login_name(user)
    return name if isinstance(name, str) and LOGIN.fullmatch(name) else None


def find_user(name):
    """The user with exactly this login name; None if there is none, or more than one."""
    if not LOGIN.fullmatch(name):
        return None
    # A database may compare without case, accents or width; to the host each spelling is a user.
    found = {user.pk: user for user in scheme().users(name) if login_name(user) == name}
    if len(found) > 1:
        ids = ", ".join(map(str, found))
        log.error("login name %s refused: it belongs to several users, with the ids %s", name, ids)
        return None
    return next(iter(found.values()), None)


def reason_for_none(user):
    """Why `login_name` returns None for this user."""
    name = scheme().login_name(user)
    if name is None or name == "":
        return "the site has given it no login name"
    return f"{ascii(name)} cannot be one: {RULE}"


def scheme():
    """The two directions, as SSHBOX_LOGIN_NAME says: `login_name(user)` and `users(name)`."""
    chosen = getattr(settings, "SSHBOX_LOGIN_NAME", None) or get_user_model().USERNAME_FIELD
    if not isinstance(chosen, str):
        raise ImproperlyConfigured("SSHBOX_LOGIN_NAME must be text")
    return import_string(chosen)() if "." in chosen else Field(chosen)


class Field:
    """The login name is a field of the user model, by default the user name."""

    def __init__(self, name):
        self.name = name

    def login_name(self, user):
        return getattr(user, self.name, None)  # an AnonymousUser lacks the fields of the model

    def users(self, name):
        return get_user_model()._default_manager.filter(**{self.name: name})


class Allocated:
    """The app gives each user a login name on first use and keeps it in a table for ever.

    A user name that can be a login name is kept. From any other, such as a mail address, the part
    before the `@` is taken, and a number is added if somebody has that name already.
    """

    def login_name(self, user):
        if user.pk is None:
            return None
        row = getattr(user, "sshbox_login_name", None)
        # A row that was never saved may be refused yet: its name may be another user's.
        return (row if row and row.pk else _allocate(user)).name

    def users(self, name):
        model = get_user_model()
        users = model._default_manager.select_related("sshbox_login_name")
        found = list(users.filter(sshbox_login_name__name=name))
        # Who logged in by user name before there was a table gets that name now.
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
                # Not `user=user`, which would leave a refused row in that object.
                return rows.create(user_id=user.pk, name=name)
        except IntegrityError:
            # Another process was faster, with this user or with this name. The transaction of
            # the caller may not see that name even now.
            tried.add(name)
    raise RuntimeError(f"no login name could be given to the user with the id {user.pk}")


def _free_name(user, rows, tried):
    own = user.get_username()
    if LOGIN.fullmatch(own) and own not in tried and not rows.filter(name=own).exists():
        return own
    stem = _stem(own)
    # Other users' names stay free for them: their homes may date from before this table.
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
    # Short enough for a number behind it.
    return re.sub(r"[^a-z0-9_.-]+", "-", text).strip(".-")[:48] or "user"
