from django.conf import settings
from django.contrib import admin, messages
from django.contrib.auth import get_user_model

from .account import uses_own_keys
from .models import LoginName, SSHKey
from .names import ALLOCATED, login_name, reason_for_none

USERNAME = f"user__{get_user_model().USERNAME_FIELD}"


@admin.register(SSHKey)
class SSHKeyAdmin(admin.ModelAdmin):
    fields = ["user", "login_name", "title", "public_key", "fingerprint", "key_type", "created_at"]
    readonly_fields = ["login_name", "fingerprint", "key_type", "created_at"]
    raw_id_fields = ["user"]  # a menu would list every user of the site
    list_display = ["user", "login_name", "title", "key_type", "fingerprint", "created_at"]
    list_display_links = ["title", "fingerprint"]
    list_filter = ["key_type"]
    list_select_related = ["user__sshbox_login_name"]
    search_fields = ["title", "fingerprint", USERNAME, "user__sshbox_login_name__name"]

    def login_name(self, key):
        return login_name(key.user) if key.user_id else None

    def has_module_permission(self, request):
        # On a site with its own keys, sshbox never reads the keys entered here.
        return uses_own_keys() and super().has_module_permission(request)

    def save_model(self, request, key, form, change):
        super().save_model(request, key, form, change)
        if login_name(key.user) is None:
            text = f"{key.user} cannot log in by SSH: {reason_for_none(key.user)}."
            messages.warning(request, text)


@admin.register(LoginName)
class LoginNameAdmin(admin.ModelAdmin):
    """Lets an admin choose a name before the app allocates one. Names never change afterwards."""

    fields = ["user", "name", "created_at"]
    readonly_fields = ["created_at"]
    raw_id_fields = ["user"]
    list_display = ["name", "user", "created_at"]
    list_select_related = ["user"]
    search_fields = ["name", USERNAME]

    def has_module_permission(self, request):
        allocated = getattr(settings, "SSHBOX_LOGIN_NAME", None) == ALLOCATED
        return allocated and super().has_module_permission(request)

    def has_change_permission(self, request, obj=None):
        return False

    def has_delete_permission(self, request, obj=None):
        return False
