"""System checks: `manage.py check` reports wrong settings before a login fails."""

from django.contrib.auth import get_user_model
from django.core.checks import Error, Warning, register
from django.core.exceptions import FieldDoesNotExist, ImproperlyConfigured
from django.db.models import CharField, TextField
from django.utils.module_loading import import_string

from .account import key_model, read_token, setting
from .names import Field, scheme

MIN_TOKEN = 32  # characters; `openssl rand -hex 32` gives 64


@register()
def check_settings(app_configs, **kwargs):
    return [*_token(), *_callables(), *_key_model(), *_login_name()]


def _token():
    if not (setting("SSHBOX_TOKEN") or setting("SSHBOX_TOKEN_FILE")):
        hint = "Set one of them. Create a token with: openssl rand -hex 32"
        yield Error(
            "Neither SSHBOX_TOKEN nor SSHBOX_TOKEN_FILE is set.", hint=hint, id="sshbox.E001"
        )
        return
    try:
        token = read_token()
    except ImproperlyConfigured as error:
        # Only a warning: this user may lack the permission that the web server's user has.
        yield Warning(
            str(error), hint="sshbox refuses every login until this is fixed.", id="sshbox.W001"
        )
        return
    if len(token) < MIN_TOKEN:
        hint = "Create a longer one with: openssl rand -hex 32"
        text = f"The token of sshbox has {len(token)} characters, fewer than {MIN_TOKEN}."
        yield Warning(text, hint=hint, id="sshbox.W002")


def _callables():
    for name in ("SSHBOX_KEYS", "SSHBOX_ACCOUNT"):
        try:
            usable = not setting(name) or callable(import_string(setting(name)))
        except (ImportError, AttributeError):
            usable = False
        if not usable:
            hint = 'Set the dotted path of a callable, such as "mysite.ssh.function".'
            yield Error(
                f"{name}: {setting(name)!r} cannot be imported or called.",
                hint=hint,
                id="sshbox.E002",
            )


def _key_model():
    if setting("SSHBOX_KEYS") and setting("SSHBOX_KEY_MODEL"):
        yield Error("SSHBOX_KEYS and SSHBOX_KEY_MODEL are both set.", id="sshbox.E003")
        return
    try:
        for field in ("user", "public_key"):
            key_model()._meta.get_field(field)
    except (LookupError, ValueError, FieldDoesNotExist) as error:
        hint = (
            "Set app_label.Model, a model with the fields user and public_key, or use SSHBOX_KEYS."
        )
        yield Error(f"SSHBOX_KEY_MODEL: {error}", hint=hint, id="sshbox.E004")


def _login_name():
    hint = (
        "Set a unique text field of the user model, or the dotted path of a class with the methods "
        "login_name(user) and users(name)."
    )
    try:
        chosen = scheme()
        problem = _problem_of_field(chosen.name) if isinstance(chosen, Field) else None
        for method in ("login_name", "users"):
            if not callable(getattr(chosen, method, None)):
                problem = f"{setting('SSHBOX_LOGIN_NAME')} has no method {method}"
    except (ImportError, TypeError, FieldDoesNotExist, ImproperlyConfigured) as error:
        problem = str(error)
    if problem:
        yield Error(f"SSHBOX_LOGIN_NAME: {problem}.", hint=hint, id="sshbox.E005")


def _problem_of_field(name):
    options = get_user_model()._meta
    field = options.get_field(name)
    # Django itself checks that user names are unique (auth.E003).
    constraints = [constraint.fields for constraint in options.total_unique_constraints]
    if name != get_user_model().USERNAME_FIELD and not field.unique and (name,) not in constraints:
        return f"the field {name} is not unique: two users could have the same login name"
    if not isinstance(field, (CharField, TextField)):
        return f"the field {name} is not a text field"
    return None
