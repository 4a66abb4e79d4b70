from django.conf import settings
from django.core.exceptions import ValidationError
from django.db import models

from .keys import parse_public_key


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
