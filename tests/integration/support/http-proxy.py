#!/usr/bin/python3
# SPDX-License-Identifier: GPL-2.0-or-later
"""http-proxy.py DIRECTORY ADDRESS LOG: an HTTP proxy for which http://packages.invalid/ is DIRECTORY and all else is not there.

ADDRESS is the path of a Unix socket, or "tcp": then the port is chosen, and written to LOG's first line. LOG gets a line
for each request."""
import http.server
import os
import socketserver
import sys

directory, address, log_path = sys.argv[1:]
log = open(log_path, "w", buffering=1)
prefix = "http://packages.invalid/"


class Proxy(http.server.SimpleHTTPRequestHandler):
    protocol_version = "HTTP/1.1"

    def __init__(self, *arguments):
        super().__init__(*arguments, directory=directory)

    def do_GET(self):
        log.write(self.path + "\n")
        if not self.path.startswith(prefix):
            return self.send_error(502)
        self.path = "/" + self.path[len(prefix):]
        return super().do_GET()

    def address_string(self):
        return "client"

    def log_message(self, *_):
        pass


class UnixServer(socketserver.ThreadingMixIn, socketserver.UnixStreamServer):
    daemon_threads = True


if address == "tcp":
    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Proxy)
    log.write(f"{server.server_address[1]}\n")
else:
    server = UnixServer(address + ".new", Proxy)
    os.rename(address + ".new", address)
server.serve_forever()
