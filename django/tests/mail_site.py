"""The demo, configured as a site whose user names are mail addresses."""

from demo_site.settings import *  # noqa: F403

SSHBOX_LOGIN_NAME = "django_sshbox.names.Allocated"
