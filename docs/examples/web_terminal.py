"""A terminal in the browser over a user's box. docs/src/web-terminal.md explains it.

Run it beside a Django site with django-sshbox, with the settings of the site:

    DJANGO_SETTINGS_MODULE=mysite.settings python web_terminal.py

WEB_TERMINAL_ORIGIN       the origin of the site's pages, such as https://mysite.example
WEB_TERMINAL_PORT         where to listen on loopback; 8090 by default
WEB_TERMINAL_SSH          HOST:PORT of sshbox; 127.0.0.1:2200 by default
WEB_TERMINAL_KNOWN_HOSTS  file with the host key of sshbox

The browser sends bytes as binary messages, and its size as the text {"columns": 80, "rows": 24}. The
server sends bytes as binary messages, and at the end the text {"exit": 0} or {"error": "…"}.
"""

import asyncio
import json
import os
import signal
from contextlib import suppress
from http.cookies import SimpleCookie
from importlib import import_module

import asyncssh
import django
from asgiref.sync import sync_to_async
from websockets.asyncio.server import serve
from websockets.exceptions import ConnectionClosed

django.setup()
from django.conf import settings
from django.contrib.auth import get_user
from django.core.exceptions import ValidationError
from django.db import close_old_connections
from django.http import HttpRequest
from django_sshbox.models import SSHKey
from django_sshbox.names import login_name

TITLE = "web terminal"
SIZES = range(1, 1001)
SSH_HOST, _, SSH_PORT = os.environ.get("WEB_TERMINAL_SSH", "127.0.0.1:2200").rpartition(":")


@sync_to_async
def add_key(headers):
    """Return the login name of the user of this request, a new key, and its row, or None."""
    close_old_connections()
    cookie = SimpleCookie(headers.get("Cookie", "")).get(settings.SESSION_COOKIE_NAME)
    request = HttpRequest()
    request.session = import_module(settings.SESSION_ENGINE).SessionStore(cookie and cookie.value)
    user = get_user(request)
    name = user.is_authenticated and user.is_active and login_name(user)
    if not name:
        return None
    # Its private half is in the memory of this process only, and the site lists it while the terminal is open.
    key = asyncssh.generate_private_key("ssh-ed25519")
    row = SSHKey(user=user, title=TITLE, public_key=key.export_public_key().decode().strip())
    row.full_clean()
    row.save()
    return name, key, row


@sync_to_async
def remove_keys(**which):
    close_old_connections()
    SSHKey.objects.filter(title=TITLE, **which).delete()


async def terminal(websocket):
    try:
        key_row = await add_key(websocket.request.headers)
    except ValidationError as error:  # The user has as many keys as an account may have.
        await websocket.send(json.dumps({"error": " ".join(error.messages)}))
        return
    if key_row is None:
        await websocket.close(1008, "log in to the site first")
        return
    name, key, row = key_row
    try:
        await websocket.send(json.dumps(await run(websocket, name, key)))
    except ConnectionClosed:
        pass  # The browser has gone: the connection to the box is closed, and its program hung up.
    finally:
        await remove_keys(pk=row.pk)


async def run(websocket, name, key):
    """Connect the browser with a shell in the box; return how it ended."""
    try:
        async with asyncssh.connect(
            SSH_HOST, int(SSH_PORT), username=name, client_keys=[key], agent_path=None, config=None,
            known_hosts=os.environ["WEB_TERMINAL_KNOWN_HOSTS"], keepalive_interval=30,
        ) as connection, connection.create_process(
            term_type="xterm-256color", term_size=(80, 24), encoding=None
        ) as process:
            inward = asyncio.create_task(to_box(websocket, process))
            outward = asyncio.create_task(to_browser(websocket, process))
            try:
                done, _ = await asyncio.wait({inward, outward}, return_when=asyncio.FIRST_COMPLETED)
                for task in done:
                    task.result()
            finally:
                inward.cancel()
                outward.cancel()
            await process.wait_closed()
            return {"exit": process.returncode}
    except (OSError, asyncssh.Error) as error:
        return {"error": f"no connection to your box: {error}"}


async def to_box(websocket, process):
    while True:
        message = await websocket.recv()
        if isinstance(message, bytes):
            with suppress(BrokenPipeError):  # The program has just ended.
                process.stdin.write(message)
                await process.stdin.drain()
        else:
            # A message that is no size changes nothing. 80.0 is in SIZES too, and asyncssh accepts no float.
            with suppress(KeyError, TypeError, ValueError, RecursionError):
                size = json.loads(message)
                columns, rows = size["columns"], size["rows"]
                if type(columns) is type(rows) is int and columns in SIZES and rows in SIZES:
                    process.change_terminal_size(columns, rows)


async def to_browser(websocket, process):
    # A slow browser slows down the program, as a slow ssh client does.
    while data := await process.stdout.read(32 * 1024):
        await websocket.send(data)


async def main():
    # What a killed predecessor has left.
    await remove_keys()
    stop = asyncio.Event()
    asyncio.get_running_loop().add_signal_handler(signal.SIGTERM, stop.set)
    origins = [os.environ["WEB_TERMINAL_ORIGIN"]]
    port = int(os.environ.get("WEB_TERMINAL_PORT", "8090"))
    # Without the check of the origin, any page that a user visits could open the user's terminal.
    async with serve(terminal, "127.0.0.1", port, origins=origins, max_size=64 * 1024):
        await stop.wait()


if __name__ == "__main__":
    asyncio.run(main())
