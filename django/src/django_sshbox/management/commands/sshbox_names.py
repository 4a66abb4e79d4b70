"""`manage.py sshbox_names`: list the login name of each user, or why a user has none."""

from collections import defaultdict

from django.contrib.auth import get_user_model
from django.core.management.base import BaseCommand

from ...names import login_name, reason_for_none


class Command(BaseCommand):
    help = "List the login name of each user, or why the user cannot log in by SSH."

    def add_arguments(self, parser):
        parser.add_argument(
            "--missing", action="store_true", help="list only users who cannot log in by SSH"
        )

    def handle(self, *, missing, **options):
        users = get_user_model()._default_manager.select_related("sshbox_login_name").order_by("pk")
        holders = defaultdict(list)  # login name -> user names
        without = []
        for user in users:
            name = login_name(user)
            if name is None:
                without.append(f"{shown(user)}: {reason_for_none(user)}")
            else:
                holders[name].append(shown(user))
        for name, users_of_name in holders.items():
            if len(users_of_name) > 1:
                without.append(
                    f"{', '.join(users_of_name)}: the login name {name} belongs to several users"
                )
            elif not missing:
                self.stdout.write(f"{name}  {users_of_name[0]}")
        for line in without:
            self.stdout.write(f"-  {line}")


def shown(user):
    text = user.get_username()
    return text if text.isprintable() else ascii(text)
