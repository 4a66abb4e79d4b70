"""The endpoint that sshbox queries at each login: a user's account and keys."""

import hmac
import logging

from django.core.exceptions import ImproperlyConfigured
from django.http import JsonResponse
from django.views.decorators.cache import never_cache
from django.views.decorators.http import require_safe

from .account import account_of, read_token
from .names import find_user

log = logging.getLogger(__name__)


# never_cache also sends `private`: a cache of the site must not serve this without a token.
@never_cache
@require_safe
def account(request, name):
    try:
        token = read_token()
    except ImproperlyConfigured as error:
        log.error("cannot serve accounts: %s", error)
        return _error(503, "the token of sshbox is not configured; see the log of this site")
    if not _has_token(request, token):
        response = _error(401, "a valid Bearer token is needed")
        response["WWW-Authenticate"] = 'Bearer realm="sshbox"'
        return response
    user = find_user(name)
    if user is None:
        return _error(404, "no such user")
    return JsonResponse(account_of(user, name))


# For LoginRequiredMiddleware (Django 5.1 and later): sshbox sends a token and has no session.
account.login_required = False


def _has_token(request, token):
    scheme, _, word = request.META.get("HTTP_AUTHORIZATION", "").partition(" ")
    # Headers arrive decoded as latin-1; encoding restores the bytes that the client sent.
    sent = word.strip().encode("latin-1", "replace")
    return hmac.compare_digest(sent, token) and scheme.lower() == "bearer"


def _error(status, text):
    return JsonResponse({"error": text}, status=status)
