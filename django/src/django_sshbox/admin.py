from django.contrib import admin
from django.contrib.auth import get_user_model

from .account import keys_are_ours
from .models import SSHKey


@admin.register(SSHKey)
class SSHKeyAdmin(admin.ModelAdmin):
    fields = ["user", "title", "public_key", "fingerprint", "key_type", "created_at"]
    readonly_fields = ["fingerprint", "key_type", "created_at"]
    raw_id_fields = ["user"]  # a site may have more users than a menu can show
    list_display = ["user", "title", "key_type", "fingerprint", "created_at"]
    list_display_links = ["title", "fingerprint"]
    list_filter = ["key_type"]
    list_select_related = ["user"]
    search_fields = ["title", "fingerprint", f"user__{get_user_model().USERNAME_FIELD}"]

    def has_module_permission(self, request):
        # A site with its own keys shall not invite to enter some that nobody reads.
        return keys_are_ours() and super().has_module_permission(request)
