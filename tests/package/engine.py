#!/usr/bin/env python3
"""tests/package/engine.py SOCKET OLDEST NEWEST: an engine with one box, alice's, that ended a moment after it was listed.

It speaks the versions of the API from OLDEST to NEWEST (as 1.44), refuses others in Docker's
words, and takes a request without one as of its newest. Ends with its parent's signal.
"""

import http.server
import json
import re
import socketserver
import sys

ALICE = {
    "Id": "c1",
    "Labels": {"sshbox.user": "alice"},
    "Config": {"Labels": {"sshbox.user": "alice"}, "Image": "sshbox-user:latest"},
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
            self.say(400, {"message": f"client version {asked} is too old. Minimum supported API version is {OLDEST}"})
        elif number(asked) > number(NEWEST):
            self.say(400, {"message": f"client version {asked} is too new. Maximum supported API version is {NEWEST}"})
        elif path == "/_ping":
            self.say(200, "OK")
        elif path == "/containers/json":
            # The newer form of State there is a word.
            self.say(200, [{"Id": "c1", "Labels": ALICE["Labels"], "State": "running"}])
        elif path in ("/containers/c1/json", "/containers/sshbox-alice/json"):
            self.say(200, ALICE)
        else:
            self.say(404, {"message": "page not found"})

    def say(self, status, what):
        body = json.dumps(what).encode()
        self.send_response(status)
        self.send_header("Content-Type", "application/json")
        self.send_header("Api-Version", NEWEST)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    # A unix socket has no address to name.
    def address_string(self):
        return "unix"

    def log_message(self, *_):
        pass


SOCKET, OLDEST, NEWEST = sys.argv[1:]
socketserver.ThreadingUnixStreamServer(SOCKET, Engine).serve_forever()
