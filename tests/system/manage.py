"""Django's command line as one process, for the tests of whole logins.

Each line on standard input is a JSON list: the arguments of one `manage.py` call. Each line on
standard output answers it: a JSON list of the exit status and what the command printed. Python and
Django take most of a second to start; a command takes milliseconds.
"""

import contextlib
import io
import json
import os
import sys
import traceback

sys.path.insert(0, "django/demo")
os.environ["DJANGO_SETTINGS_MODULE"] = "demo_site.settings"

from django.core.management import ManagementUtility  # noqa: E402  (needs the settings)


def call(arguments):
    """Exit status and output of one command."""
    printed = io.StringIO()
    with contextlib.redirect_stdout(printed), contextlib.redirect_stderr(printed):
        try:
            ManagementUtility(["manage.py", *arguments]).execute()
            status = 0
        except SystemExit as ended:
            status = ended.code if isinstance(ended.code, int) else int(ended.code is not None)
        except Exception:
            traceback.print_exc()
            status = 1
    return status, printed.getvalue()


for line in sys.stdin:
    print(json.dumps(call(json.loads(line))), flush=True)
