"""Slows down whoever guesses passwords in the login form of the admin pages."""

from hashlib import sha256

from django.contrib.admin.forms import AdminAuthenticationForm
from django.core.cache import cache
from django.core.exceptions import ValidationError

ATTEMPTS = 5  # per user name, without a right password between them
MINUTES = 5  # until further attempts are accepted


class ThrottledLoginForm(AdminAuthenticationForm):
    def clean(self):
        name = self.cleaned_data.get("username") or ""
        key = f"login-{sha256(name.encode()).hexdigest()}"
        attempts = cache.get(key, 0)
        if attempts >= ATTEMPTS:
            raise ValidationError(
                f"Too many failed attempts for this user name. Try again in {MINUTES} minutes.",
                code="too_many_attempts",
            )
        # Counted before the password is checked, which takes long enough for other requests.
        cache.set(key, attempts + 1, MINUTES * 60)
        cleaned = super().clean()
        cache.delete(key)
        return cleaned
