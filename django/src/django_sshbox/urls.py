from django.urls import path

from .views import account

app_name = "django_sshbox"
urlpatterns = [path("accounts/<str:name>", account, name="account")]
