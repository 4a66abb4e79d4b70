"""The one question sshbox asks: who is this user, and which keys are theirs?"""

import hmac
import logging

from django.core.exceptions import ImproperlyConfigured
from django.http import JsonResponse
from django.views.decorators.cache import never_cache
from django.views.decorators.http import require_safe

from .account import account_of, read_token
from .names import find_user

log = logging.getLogger(__name__)


# never_cache says `private` too: a cache of the whole site would else serve it without a token.
@never_cache
@require_safe
def account(request, name):
    try:
        token = read_token()
    except ImproperlyConfigured as error:
        log.error("no account is served: %s", error)
        return _error(503, "this site has no token for sshbox, see its log")
    if not _has_token(request, token):
        response = _error(401, "a valid Bearer token is needed")
        response["WWW-Authenticate"] = 'Bearer realm="sshbox"'
        return response
    user = find_user(name)
    if user is None:
        return _error(404, "no such user")
    return JsonResponse(account_of(user, name))


# For LoginRequiredMiddleware (Django 5.1 and later): sshbox shows its token, it has no session.
account.login_required = False


def _has_token(request, token):
    scheme, _, word = request.META.get("HTTP_AUTHORIZATION", "").partition(" ")
    # Headers arrive decoded as latin-1: this gives back the bytes that were sent.
    sent = word.strip().encode("latin-1", "replace")
    return hmac.compare_digest(sent, token) and scheme.lower() == "bearer"


def _error(status, text):
    return JsonResponse({"error": text}, status=status)
