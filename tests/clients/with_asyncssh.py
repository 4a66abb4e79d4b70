"""Tests asyncssh with the box of $NAME. Exits at the first failure, else prints its version."""

import asyncio
import os

import asyncssh


async def main():
    async with asyncssh.connect(
        "127.0.0.1", 2200, username=os.environ["NAME"], client_keys=[os.environ["KEY"]],
        known_hosts="/root/.ssh/known_hosts", config=None,
    ) as connection:
        # Commands.
        result = await connection.run("cat; echo err >&2; exit 42", input="input\n")
        assert (result.stdout, result.stderr, result.exit_status) == ("input\n", "err\n", 42), result
        result = await connection.run("kill -TERM $$")
        assert result.exit_signal[0] == "TERM", result.exit_signal

        # A terminal, and a change of its size.
        async with connection.create_process(term_type="xterm", term_size=(90, 30)) as process:
            process.stdin.write("PS1=; stty size; tty\n")
            await process.stdout.readuntil("30 90")
            await process.stdout.readuntil("/dev/pts/")
            process.change_terminal_size(123, 45)
            process.stdin.write("stty size\n")
            await process.stdout.readuntil("45 123")
            process.stdin.write("exit 5\n")
            await process.wait()
            assert process.exit_status == 5, process.exit_status

        # Thirty concurrent sessions, of 32 that one connection may have, each with its own output and
        # status. They wait for each other, so
        # that all of them are open at the same time.
        command = "mkdir -p all; : >all/{0}; until [ $(ls all | wc -l) -ge 30 ]; do sleep 0.1; done; echo {0}; exit {0}"
        results = await asyncio.gather(*(connection.run(command.format(number)) for number in range(30)))
        assert [(r.stdout, r.exit_status) for r in results] == [(f"{n}\n", n) for n in range(30)]

        # Files.
        with open("file", "wb") as file:
            file.write(os.urandom(3_000_000))
        os.makedirs("tree/deep", exist_ok=True)
        with open("tree/deep/a name", "w") as file:
            file.write("content\n")
        async with connection.start_sftp_client() as sftp:
            await sftp.put("file", "file", preserve=True)
            await sftp.put("tree", "tree", recurse=True)
            await sftp.get("file", "back")
            await sftp.rename("file", "renamed")
            await sftp.chmod("renamed", 0o640)
            await sftp.symlink("renamed", "link")
            assert await sftp.readlink("link") == "renamed"
            assert (await sftp.stat("link")).permissions & 0o777 == 0o640
            assert await sftp.glob("tree/*/*") == ["tree/deep/a name"]
            assert await sftp.getcwd() == "/home/user"
            assert not await sftp.exists("nosuch")
            await sftp.rmtree("tree")
        await asyncssh.scp("tree", (connection, "."), recurse=True)
        await asyncssh.scp((connection, "renamed"), "again")
        await asyncssh.scp((connection, "tree"), "down", recurse=True)
        assert open("down/deep/a name").read() == "content\n"
        content = open("file", "rb").read()
        assert content == open("back", "rb").read() == open("again", "rb").read()

        # Close the connection while a command is running.
        process = await connection.create_process("echo began; exec sleep 7300")
        assert await process.stdout.readline() == "began\n"


asyncio.run(main())
print(asyncssh.__version__)
