"""A minimal site with django-sshbox, for the loopback interface only.

SSHBOX_DEMO_DATA    directory of the database and the secret key
SSHBOX_TOKEN_FILE   file with the token that sshbox sends
"""

import os
from pathlib import Path

import django
from django.core.exceptions import ImproperlyConfigured
from django.core.management.utils import get_random_secret_key

if not os.environ.get("SSHBOX_DEMO_DATA"):
    raise ImproperlyConfigured("Set SSHBOX_DEMO_DATA to a directory for the demo's data.")
DATA = Path(os.environ["SSHBOX_DEMO_DATA"]).absolute()
DATA.mkdir(mode=0o700, parents=True, exist_ok=True)


def secret_key(path):
    """Create the key once. The hard link keeps a second worker from reading a partial file."""
    if not path.exists():
        new = path.with_name(f"{path.name}.{os.getpid()}")
        with open(os.open(new, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "w") as file:
            file.write(get_random_secret_key())
        try:
            os.link(new, path)
        except FileExistsError:
            pass  # another worker created it first
        new.unlink()
    return path.read_text()


SECRET_KEY = secret_key(DATA / "secret_key")
DEBUG = False
ALLOWED_HOSTS = ["localhost", "127.0.0.1"]

SSHBOX_TOKEN_FILE = os.environ.get("SSHBOX_TOKEN_FILE")

INSTALLED_APPS = [
    "django_sshbox",
    "django.contrib.admin",
    "django.contrib.auth",
    "django.contrib.contenttypes",
    "django.contrib.sessions",
    "django.contrib.messages",
    "django.contrib.staticfiles",
]
MIDDLEWARE = [
    "django.middleware.security.SecurityMiddleware",
    "django.contrib.sessions.middleware.SessionMiddleware",
    "django.middleware.common.CommonMiddleware",
    "django.middleware.csrf.CsrfViewMiddleware",
    "django.contrib.auth.middleware.AuthenticationMiddleware",
    "django.contrib.messages.middleware.MessageMiddleware",
    "django.middleware.clickjacking.XFrameOptionsMiddleware",
]
TEMPLATES = [
    {
        "BACKEND": "django.template.backends.django.DjangoTemplates",
        "APP_DIRS": True,
        "OPTIONS": {
            "context_processors": [
                "django.template.context_processors.request",
                "django.contrib.auth.context_processors.auth",
                "django.contrib.messages.context_processors.messages",
            ]
        },
    }
]
ROOT_URLCONF = "demo_site.urls"
WSGI_APPLICATION = "demo_site.wsgi.application"
DATABASES = {"default": {"ENGINE": "django.db.backends.sqlite3", "NAME": DATA / "db.sqlite3"}}
if django.VERSION >= (5, 1):
    # Reads continue during a write, and a second writer waits instead of failing. Earlier versions
    # lack these options.
    DATABASES["default"]["OPTIONS"] = {
        "init_command": "PRAGMA journal_mode=WAL",
        "transaction_mode": "IMMEDIATE",
        "timeout": 20,
    }
# Failed logins, counted for all workers of the web server; see login.py.
CACHES = {
    "default": {
        "BACKEND": "django.core.cache.backends.filebased.FileBasedCache",
        "LOCATION": DATA / "cache",
        "OPTIONS": {"MAX_ENTRIES": 10_000},
    }
}
AUTH_PASSWORD_VALIDATORS = [
    {"NAME": "django.contrib.auth.password_validation.MinimumLengthValidator"},
    {"NAME": "django.contrib.auth.password_validation.CommonPasswordValidator"},
]
STATIC_URL = "/static/"
TIME_ZONE = "UTC"
USE_TZ = True
