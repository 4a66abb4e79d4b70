from django.conf import settings
from django.contrib.auth.models import AbstractUser
from django.core.validators import RegexValidator
from django.db import models
from django.db.models.functions import Lower


class User(AbstractUser):
    username = models.CharField(
        max_length=39, unique=True, validators=[RegexValidator(r"\A[A-Za-z0-9_-]{1,39}\Z")]
    )

    class Meta:
        constraints = [models.UniqueConstraint(Lower("username"), name="one_name_whatever_its_case")]


class WorkspaceSSHKey(models.Model):
    user = models.ForeignKey(settings.AUTH_USER_MODEL, on_delete=models.CASCADE)
    title = models.CharField(max_length=100)
    public_key = models.TextField()
    fingerprint = models.CharField(max_length=100, unique=True)
    key_type = models.CharField(max_length=50)
    created_at = models.DateTimeField(auto_now_add=True)
    last_used_at = models.DateTimeField(null=True, blank=True)
