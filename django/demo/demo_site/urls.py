from django.contrib import admin
from django.contrib.staticfiles.views import serve
from django.http import HttpResponse
from django.urls import include, path

from .login import ThrottledLoginForm

admin.site.login_form = ThrottledLoginForm

INDEX = """<!doctype html>
<html lang="en">
<title>sshbox demo</title>
<h1>sshbox demo</h1>
<p>A small site whose users log in by SSH, each into a container of their own.</p>
<p>Edit users and their keys in the <a href="/admin/">admin pages</a>. sshbox fetches them with
its token from <code>/sshbox/accounts/USER</code>.</p>
</html>
"""

urlpatterns = [
    path("", lambda request: HttpResponse(INDEX)),
    path("admin/", admin.site.urls),
    path("sshbox/", include("django_sshbox.urls")),
    # `insecure` means slow and not hardened; that is good enough for style sheets on loopback.
    path("static/<path:path>", serve, {"insecure": True}),
]
