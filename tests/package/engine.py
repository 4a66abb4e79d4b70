#!/usr/bin/env python3
"""tests/package/engine.py SOCKET OLDEST NEWEST: a fake Docker engine with one box, that of alice, which
has an earlier name, and has exited just after it was listed.

It supports the API versions from OLDEST to NEWEST (such as 1.44), rejects others with Docker's error
messages, and treats a request without a version as NEWEST. It runs until its parent kills it.
"""

import http.server
import json
import re
import socketserver
import sys

LABELS = {"sshbox.user": "alice", "sshbox.id": "1", "sshbox.spec": "0"}
ALICE = {
    "Id": "c1",
    "Name": "/sshbox-alice",
    "Config": {"Labels": LABELS, "Image": "sshbox-user:latest"},
    "State": {"Status": "exited", "StartedAt": "2026-01-01T00:00:00Z", "FinishedAt": "0001-01-01T00:00:00Z"},
}


def number(text):
    major, minor = text.split(".")
    return int(major), int(minor)


class Engine(http.server.BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"

    def do_GET(self):
        found = re.match(r"/v(\d+\.\d+)(/.*)", self.path)
        asked, path = (found[1], found[2]) if found else (NEWEST, self.path)
        path = path.split("?")[0]
        if number(asked) < number(OLDEST):
            self.reply(400, {"message": f"client version {asked} is too old. Minimum supported API version is {OLDEST}"})
        elif number(asked) > number(NEWEST):
            self.reply(400, {"message": f"client version {asked} is too new. Maximum supported API version is {NEWEST}"})
        elif path == "/_ping":
            self.reply(200, "OK")
        elif path == "/containers/json":
            # In this list, State is a string; in a container's details it is an object.
            self.reply(200, [{"Id": "c1", "Names": ["/sshbox-alice"], "Labels": LABELS, "State": "running"}])
        elif path == "/containers/c1/json":
            self.reply(200, ALICE)
        else:
            self.reply(404, {"message": "page not found"})

    def reply(self, status, content):
        body = json.dumps(content).encode()
        self.send_response(status)
        self.send_header("Content-Type", "application/json")
        self.send_header("Api-Version", NEWEST)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    # A Unix socket has no client address.
    def address_string(self):
        return "unix"

    def log_message(self, *_):
        pass


SOCKET, OLDEST, NEWEST = sys.argv[1:]
socketserver.ThreadingUnixStreamServer(SOCKET, Engine).serve_forever()
