from django.conf import settings
from django.contrib.auth import get_user_model
from django.core.exceptions import ValidationError
from django.db import models

from .keys import parse_public_key
from .names import LOGIN, RULE


class SSHKey(models.Model):
    """A public key of a user. Stored as `type base64`; what came behind it becomes the title."""

    user = models.ForeignKey(
        settings.AUTH_USER_MODEL, on_delete=models.CASCADE, related_name="sshbox_keys"
    )
    title = models.CharField(
        max_length=100, blank=True, help_text="Left empty, it is the comment of the key."
    )
    public_key = models.TextField(help_text="The one line of the file that ends in .pub.")
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
            return  # the field itself says that it is required
        try:
            self._read_key()
        except ValidationError as error:
            raise ValidationError({"public_key": error.messages}) from None
        if not self.title.isprintable():
            raise ValidationError({"title": "There are control characters in the title."})
        # Forms leave the constraint out, because the fingerprint is not one of their fields.
        same = SSHKey.objects.filter(user_id=self.user_id, fingerprint=self.fingerprint)
        if same.exclude(pk=self.pk).exists():
            raise ValidationError({"public_key": "This user has this key already."})

    def save(self, *args, **kwargs):
        self._read_key()  # also for code that never calls clean()
        super().save(*args, **kwargs)

    def _read_key(self):
        key = parse_public_key(self.public_key)
        self.public_key = key.line
        self.fingerprint = key.fingerprint
        self.key_type = key.type
        self.title = self.title or key.comment[: self._meta.get_field("title").max_length]


class LoginName(models.Model):
    """A login name that was given to a user, where SSHBOX_LOGIN_NAME is `names.Allocated`.

    A row stays when its user goes: the home of that name is still on the host.
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
            raise ValidationError({"name": f"This cannot be a login name: {RULE}."})
        model = get_user_model()
        others = model._default_manager.exclude(pk=self.user_id)
        if others.filter(**{f"{model.USERNAME_FIELD}__iexact": self.name}).exists():
            raise ValidationError({"name": "This is the user name of another user."})
