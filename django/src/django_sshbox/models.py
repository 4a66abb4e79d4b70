from django.conf import settings
from django.contrib.auth import get_user_model
from django.core.exceptions import ValidationError
from django.db import models

from .keys import MAX_KEYS, parse_public_key
from .names import LOGIN, RULE


class SSHKey(models.Model):
    """A public key of a user, stored as `type base64`. The comment becomes the title."""

    user = models.ForeignKey(
        settings.AUTH_USER_MODEL, on_delete=models.CASCADE, related_name="sshbox_keys"
    )
    title = models.CharField(
        max_length=100, blank=True, help_text="Defaults to the comment of the key."
    )
    public_key = models.TextField(help_text="The line of the .pub file.")
    fingerprint = models.CharField(max_length=50, editable=False)
    key_type = models.CharField("type", max_length=40, editable=False)
    created_at = models.DateTimeField("created", auto_now_add=True)

    class Meta:
        verbose_name = "SSH key"
        ordering = ["created_at"]
        constraints = [
            models.UniqueConstraint(fields=["user", "fingerprint"], name="sshbox_one_key_once")
        ]

    def __str__(self):
        return self.title or self.fingerprint

    def clean(self):
        if not self.public_key:
            return  # the field reports that it is required
        try:
            self._parse_key()
        except ValidationError as error:
            raise ValidationError({"public_key": error.messages}) from None
        if not self.title.isprintable():
            raise ValidationError({"title": "The title contains control characters."})
        # A form skips the unique constraint, since the fingerprint is not one of its fields.
        others = SSHKey.objects.filter(user_id=self.user_id).exclude(pk=self.pk)
        if others.filter(fingerprint=self.fingerprint).exists():
            raise ValidationError({"public_key": "This user already has this key."})
        if others.count() >= MAX_KEYS:
            raise ValidationError(
                f"This user already has {MAX_KEYS} keys, which is the maximum. Remove one first."
            )

    def save(self, *args, **kwargs):
        self._parse_key()  # for code that does not call clean()
        super().save(*args, **kwargs)

    def _parse_key(self):
        key = parse_public_key(self.public_key)
        self.public_key = key.line
        self.fingerprint = key.fingerprint
        self.key_type = key.type
        self.title = self.title or key.comment[: self._meta.get_field("title").max_length]


class LoginName(models.Model):
    """A login name allocated to a user, used if SSHBOX_LOGIN_NAME is `names.Allocated`.

    A row outlives its user: the home with this name still exists on the host.
    """

    user = models.OneToOneField(
        settings.AUTH_USER_MODEL,
        on_delete=models.SET_NULL,
        null=True,
        related_name="sshbox_login_name",
    )
    name = models.CharField("login name", max_length=64, unique=True)
    created_at = models.DateTimeField("created", auto_now_add=True)

    class Meta:
        verbose_name = "login name"
        ordering = ["name"]

    def __str__(self):
        return self.name

    def clean(self):
        if not LOGIN.fullmatch(self.name):
            raise ValidationError({"name": f"This is not a valid login name: {RULE}."})
        model = get_user_model()
        others = model._default_manager.exclude(pk=self.user_id)
        if others.filter(**{f"{model.USERNAME_FIELD}__iexact": self.name}).exists():
            raise ValidationError({"name": "Another user has this user name."})
