"""Tests docs/examples/web_terminal.py, beside the world's Django site, with the box of $NAME. Exits at the
first failure."""

import asyncio
import json
import os
import signal
import sys

import django
from asgiref.sync import sync_to_async
from websockets.asyncio.client import connect
from websockets.exceptions import ConnectionClosed, InvalidStatus

django.setup()
from django.conf import settings
from django.contrib.auth import BACKEND_SESSION_KEY, HASH_SESSION_KEY, SESSION_KEY, get_user_model
from django.contrib.sessions.backends.db import SessionStore
from django_sshbox.models import SSHKey

NAME, REPOSITORY = os.environ["NAME"], os.environ["REPOSITORY"]
ORIGIN, PORT = "http://127.0.0.1:8000", "8090"


@sync_to_async
def logged_in():
    """Return the cookie of a browser in which the user has logged in to the site."""
    user, session = get_user_model().objects.get(username=NAME), SessionStore()
    session[SESSION_KEY] = str(user.pk)
    session[BACKEND_SESSION_KEY] = "django.contrib.auth.backends.ModelBackend"
    session[HASH_SESSION_KEY] = user.get_session_auth_hash()
    session.create()
    return f"{settings.SESSION_COOKIE_NAME}={session.session_key}"


@sync_to_async
def keys():
    return SSHKey.objects.filter(user__username=NAME, title="web terminal").count()


async def until(ready):
    for _ in range(600):
        if await ready():
            return
        await asyncio.sleep(0.1)
    raise AssertionError("gave up waiting")


async def ssh(command):
    """The output of a command over plain ssh."""
    process = await asyncio.create_subprocess_exec(
        "ssh", f"{NAME}@box", command, stdin=asyncio.subprocess.DEVNULL, stdout=asyncio.subprocess.PIPE
    )
    output = (await process.communicate())[0].decode()
    assert process.returncode == 0, (command, process.returncode, output)
    return output


class Browser:
    def __init__(self, cookie="", origin=ORIGIN):
        self.connection = connect(
            f"ws://127.0.0.1:{PORT}/", origin=origin, additional_headers={"Cookie": cookie}, proxy=None
        )
        self.seen, self.end = "", None

    async def __aenter__(self):
        self.socket = await self.connection
        return self

    async def __aexit__(self, *_):
        await self.socket.close()

    async def types(self, text):
        await self.socket.send(text.encode())

    async def shows(self, text):
        async with asyncio.timeout(60):
            while text not in self.seen:
                message = await self.socket.recv()
                assert isinstance(message, bytes), (message, self.seen)
                self.seen += message.decode(errors="replace")
        self.seen = self.seen.partition(text)[2]

    async def ends(self):
        """The last message."""
        async with asyncio.timeout(60):
            async for message in self.socket:
                if isinstance(message, str):
                    self.end = json.loads(message)
        return self.end


async def checks():
    # Who has not logged in, and who comes from another site, has no terminal.
    for cookie in ("", "sessionid=forged"):
        async with Browser(cookie) as browser:
            try:
                await browser.socket.recv()
                raise AssertionError("a terminal without a login")
            except ConnectionClosed as closed:
                assert (closed.rcvd.code, closed.rcvd.reason) == (1008, "log in to the site first"), closed
    cookie = await logged_in()
    try:
        async with Browser(cookie, origin="http://other.example"):
            raise AssertionError("a terminal for another site")
    except InvalidStatus as refused:
        assert refused.response.status_code == 403, refused
    assert await keys() == 0

    # One box for both: files, processes and the number of sessions.
    assert await ssh("echo from ssh >file") == ""
    async with Browser(cookie) as browser:
        await browser.types("PS1=; stty -echo; stty size; cat file; echo from web >web; tty\n")
        await browser.shows("24 80")
        await browser.shows("from ssh")
        await browser.shows("/dev/pts/")
        assert await keys() == 1
        assert await ssh("cat web") == "from web\n"
        assert "\nsessions   1 of " in await ssh("@status")
        assert "web terminal" in await ssh("@keys")
        await browser.socket.send(json.dumps({"columns": 123, "rows": 45}))
        await browser.types("stty size; seq 20000; printf '\\303\\244\\n'; sleep 7301 & echo $!\n")
        await browser.shows("45 123")
        await browser.shows("20000")
        await browser.shows("ä")
        async with Browser(cookie) as second:
            await second.types("PS1=; echo in $((40 + 2)); exit 7\n")
            await second.shows("in 42")
            assert await second.ends() == {"exit": 7}
        assert await keys() == 1
        await browser.types("kill $!; exec sh -c 'kill -TERM $$'\n")
        assert await browser.ends() == {"exit": -15}
    await until(no_keys)

    # A browser that goes away takes its program along. A key that the site has removed ends the terminal.
    async with Browser(cookie) as browser:
        await browser.types("exec sh -c 'echo $((6 * 7)); exec sleep 7302'\n")
        await browser.shows("42")
    await until(no_keys)
    async with Browser(cookie) as browser:
        await browser.types("echo $((6 * 7))\n")
        await browser.shows("42")
        await sync_to_async(SSHKey.objects.filter(title="web terminal").delete)()
        recheck = await asyncio.create_subprocess_exec("/usr/sbin/sshbox", "recheck", NAME, stdout=asyncio.subprocess.DEVNULL)
        assert await recheck.wait() == 0
        end = await browser.ends()
        assert end and end != {"exit": 0}, end


async def no_keys():
    return await keys() == 0


async def main():
    # As left by a server that was killed.
    await sync_to_async(SSHKey.objects.create)(
        user=await get_user_model().objects.aget(username=NAME),
        title="web terminal",
        public_key="ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIGiCj3c/47lPnyvfCX8YjmNhMkpSBNY9uL7KE/jmmAFU",
    )
    server = await asyncio.create_subprocess_exec(
        sys.executable, f"{REPOSITORY}/docs/examples/web_terminal.py",
        env={
            **os.environ, "WEB_TERMINAL_ORIGIN": ORIGIN, "WEB_TERMINAL_PORT": PORT,
            "WEB_TERMINAL_KNOWN_HOSTS": "/root/.ssh/known_hosts",
        },
    )

    async def listens():
        assert server.returncode is None, "the server has ended"
        try:
            (await asyncio.open_connection("127.0.0.1", PORT))[1].close()
            return True
        except OSError:
            return False

    try:
        await until(listens)
        await checks()
        # A server that ends leaves no key, although a browser is connected.
        async with Browser(await logged_in()) as browser:
            await browser.types("echo $((6 * 7))\n")
            await browser.shows("42")
            server.send_signal(signal.SIGTERM)
            assert await asyncio.wait_for(server.wait(), 60) == 0
        assert await keys() == 0
    finally:
        if server.returncode is None:
            server.kill()
            await server.wait()


asyncio.run(main())
