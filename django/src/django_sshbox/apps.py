from django.apps import AppConfig


class SshboxConfig(AppConfig):
    name = "django_sshbox"
    verbose_name = "SSH access"
    default_auto_field = "django.db.models.BigAutoField"

    def ready(self):
        from . import checks  # noqa: F401 (the import registers the checks)
