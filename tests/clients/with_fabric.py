"""Tests fabric with the box of $NAME. Exits at the first failure, else prints its version."""

import io
import os

import fabric
from invoke.exceptions import UnexpectedExit

# Host, port and key come from ~/.ssh/config.
with fabric.Connection("box", user=os.environ["NAME"]) as connection:
    result = connection.run("echo out; echo err >&2", hide=True)
    assert (result.stdout, result.stderr, result.exited) == ("out\n", "err\n", 0), result
    assert connection.run("exit 42", warn=True, hide=True).exited == 42
    try:
        connection.run("exit 3", hide=True)
        raise SystemExit("the exit status 3 raised no exception")
    except UnexpectedExit as failure:
        assert failure.result.exited == 3
    assert "/dev/pts/" in connection.run("tty", pty=True, hide=True).stdout
    assert connection.run("cat", in_stream=io.StringIO("input\n"), hide=True).stdout == "input\n"
    with connection.cd("/tmp"), connection.prefix("export WORD=there"):
        assert connection.run("echo $PWD $WORD", hide=True).stdout == "/tmp there\n"
    content = os.urandom(1_000_000)
    with open("file", "wb") as file:
        file.write(content)
    os.chmod("file", 0o750)
    connection.put("file", remote="there")
    assert connection.run("stat -c '%a %s' there", hide=True).stdout == "750 1000000\n"
    connection.get("there", local=os.path.abspath("back"))
    assert open("back", "rb").read() == content
    memory = io.BytesIO()
    connection.get("there", local=memory)
    assert memory.getvalue() == content
print(fabric.__version__)
