"""Builds the account that sshbox asks for, from the user and the settings.

The view, the system checks and the commands share this module. It does not use HTTP.
"""

import json
import logging

from django.apps import apps
from django.conf import settings
from django.core.exceptions import ImproperlyConfigured, ValidationError
from django.core.serializers.json import DjangoJSONEncoder
from django.utils.encoding import force_bytes
from django.utils.module_loading import import_string

from .keys import MAX_KEYS, parse_public_key
from .limits import EXTRAS, split_extras

log = logging.getLogger(__name__)

MAX_COMMENT = 100  # characters of a key's title that are sent
# Bytes of all keys in JSON. sshbox refuses a user whose answer is longer than 256 KiB.
MAX_BYTES = 200 * 1024
MAX_ANSWER = 248 * 1024  # of keys and extras together


def setting(name):
    return getattr(settings, name, None)


def read_token():
    """Return the token of sshbox. A file is read on every call: a new token needs no restart."""
    source, path = "SSHBOX_TOKEN", setting("SSHBOX_TOKEN_FILE")
    if setting(source):
        token = force_bytes(settings.SSHBOX_TOKEN)
    elif path:
        source = f"SSHBOX_TOKEN_FILE {path}"
        try:
            with open(path, "rb") as file:
                token = file.read()
        except OSError as error:
            raise ImproperlyConfigured(f"{source}: {error.strerror}") from error
    else:
        raise ImproperlyConfigured("neither SSHBOX_TOKEN nor SSHBOX_TOKEN_FILE is set")
    words = token.split()
    if len(words) != 1:
        raise ImproperlyConfigured(f"{source} must contain one word, but contains {len(words)}")
    return words[0]


def account_of(user, name):
    """Return the account as sshbox expects it. An inactive user has no keys."""
    account = {"user": name, "id": user.pk, "active": user.is_active, "keys": []}
    if user.is_active:
        extras = _extras(user, name)
        room = MAX_ANSWER - len(json.dumps(extras, cls=DjangoJSONEncoder))
        account.update(extras, keys=_valid_keys(user, name, min(room, MAX_BYTES)))
    return account


def _extras(user, name):
    if not setting("SSHBOX_ACCOUNT"):
        return {}
    extras = import_string(settings.SSHBOX_ACCOUNT)(user)
    if not set(extras) <= set(EXTRAS):
        unknown = ", ".join(sorted(set(extras) - set(EXTRAS)))
        raise ImproperlyConfigured(
            f"SSHBOX_ACCOUNT returned {unknown}; it may return {sorted(EXTRAS)}"
        )
    valid, problems = split_extras(extras)
    for problem in problems:
        log.warning("leaving out a value of SSHBOX_ACCOUNT for %s: %s", name, problem)
    return valid


def _valid_keys(user, name, room):
    lines = []
    for number, (text, title) in enumerate(_titled_keys(user), start=1):
        if len(lines) == MAX_KEYS:
            log.warning("skipping key %d of %s and all after it: more than %d", number, name, MAX_KEYS)
            break
        try:
            key = parse_public_key(text)
        except ValidationError as error:
            log.warning("skipping key %d of %s: %s", number, name, error.messages)
            continue
        # The comment is only shown in @keys. sshbox skips a line with unprintable characters.
        comment = title if title and title.isprintable() else key.comment
        line = f"{key.line} {comment[:MAX_COMMENT]}".rstrip()
        room -= len(json.dumps(line))
        if room < 0:
            log.warning("skipping key %d of %s and all after it: the keys are too long", number, name)
            break
        lines.append(line)
    return lines


def _titled_keys(user):
    if setting("SSHBOX_KEYS"):
        return ((text, "") for text in import_string(settings.SSHBOX_KEYS)(user))
    keys = key_model()._default_manager.filter(user=user)
    if uses_own_keys():
        return keys.values_list("public_key", "title")
    return ((text, "") for text in keys.values_list("public_key", flat=True))


def key_model():
    return apps.get_model(setting("SSHBOX_KEY_MODEL") or "django_sshbox.SSHKey")


def uses_own_keys():
    """Whether sshbox reads the keys of this app, not those of the site."""
    return not (setting("SSHBOX_KEYS") or setting("SSHBOX_KEY_MODEL"))
