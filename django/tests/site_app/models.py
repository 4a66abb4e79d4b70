"""Models that a site may have before it installs django-sshbox."""

from django.conf import settings
from django.contrib.auth.models import AbstractUser
from django.db import models


class Member(AbstractUser):
    # NOCASE ignores case, as MySQL and SQL Server do by default.
    username = models.CharField(max_length=150, unique=True, db_collation="NOCASE")
    ssh_name = models.CharField(
        max_length=150, unique=True, null=True, blank=True, db_collation="NOCASE"
    )
    nickname = models.CharField(max_length=150, null=True, blank=True)
    number = models.IntegerField(unique=True, null=True, blank=True)


class WorkspaceSSHKey(models.Model):
    # The key model of an existing site, as in tests/system/accounts_app.
    user = models.ForeignKey(settings.AUTH_USER_MODEL, on_delete=models.CASCADE)
    title = models.CharField(max_length=100)
    public_key = models.TextField()
    fingerprint = models.CharField(max_length=100, unique=True)
    key_type = models.CharField(max_length=50)
    created_at = models.DateTimeField(auto_now_add=True)
    last_used_at = models.DateTimeField(null=True, blank=True)
