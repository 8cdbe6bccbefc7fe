"""A Docker engine that does what a test tells it: an HTTP/1.1 server on a Unix socket that records what it saw.

Each connection has a thread. A route is a method, a path (without query; a final `*` stands for any rest) and a function that gets an
Exchange. What nobody routed is answered as the vectors' engine did, 200 to everything; the agent's own questions are answered like a
standalone engine does.
"""

import contextlib
import json
import os
import select
import socket
import threading
import time
from pathlib import Path

from waiting import DEADLINE, wait_until

VERSION = {"ApiVersion": "1.41", "MinAPIVersion": "1.12", "Version": "20.10.0-scripted"}
INFO = {"Name": "scripted", "Swarm": {"NodeID": "", "ControlAvailable": False}}


class Gone(Exception):
    """The agent closed the connection."""


class Request:
    def __init__(self, text):
        lines = text.decode("latin-1").split("\r\n")
        self.method, self.target, self.version = lines[0].split(" ")
        self.headers = [tuple(part.strip() for part in line.split(":", 1)) for line in lines[1:] if line]
        self.path = self.target.split("?")[0]
        self.body = b""

    def all(self, name):
        return [value for key, value in self.headers if key.lower() == name.lower()]

    def get(self, name):
        values = self.all(name)
        assert len(values) < 2, f"the engine got {name} {len(values)} times"
        return values[0] if values else None


class Exchange:
    """A request in the hands of a route."""

    def __init__(self, connection, request, held):
        self.connection, self.request, self.held = connection, request, held

    def send(self, data):
        self.connection.sendall(data)

    def head(self, status=200, headers=None, reason="Scripted"):
        fields = "".join(f"{name}: {value}\r\n" for name, value in (headers or {}).items())
        self.send(f"HTTP/1.1 {status} {reason}\r\n{fields}\r\n".encode("latin-1"))

    def answer(self, status=200, body=b"", headers=None):
        fields = {"Content-Type": "application/json", **(headers or {})}
        if status >= 200 and status not in (204, 304):
            fields["Content-Length"] = len(body)
        self.head(status, fields)
        if self.request.method != "HEAD":
            self.send(body)

    def chunk(self, data):
        self.send(b"%x\r\n%s\r\n" % (len(data), data))

    def receive(self):
        """Bytes that follow the head; b"" when the agent ended its direction."""
        if self.held:
            data, self.held = self.held, b""
            return data
        try:
            return self.connection.recv(65536)
        except ConnectionError:
            return b""

    def _need(self):
        data = self.receive()
        if not data:
            raise Gone
        return data

    def read_exactly(self, length):
        data = b""
        while len(data) < length:
            data += self._need()
        self.held = data[length:]
        return data[:length]

    def _read_line(self):
        data = b""
        while b"\r\n" not in data:
            data += self._need()
        line, self.held = data.split(b"\r\n", 1)
        return line

    def read_body(self):
        """The request's body, to its end."""
        if (self.request.get("Transfer-Encoding") or "").lower() == "chunked":
            while size := int(self._read_line(), 16):
                self.request.body += self.read_exactly(size)
                assert self.read_exactly(2) == b"\r\n"
            assert self.read_exactly(2) == b"\r\n"
        else:
            self.request.body += self.read_exactly(int(self.request.get("Content-Length") or 0))
        return self.request.body

    def wait_gone(self, seconds=DEADLINE):
        """Waits until the agent closes, throwing away what it sends; returns when that was (time.monotonic)."""
        end = time.monotonic() + seconds
        while time.monotonic() < end:
            if select.select([self.connection], [], [], 0.5)[0] and not self.receive():
                return time.monotonic()
        raise AssertionError("the agent did not close its connection to the engine")


class ScriptedEngine:
    def __init__(self, path):
        self.path = Path(path)
        self.routes = []
        self.requests = []  # all, in the order they came
        self.errors = []
        self.version, self.info = dict(VERSION), dict(INFO)
        self.lock = threading.Lock()
        self.listener = None
        self.connections, self.threads = set(), []

    # -------------------------------------------------------------------------------------------------- start and end

    def start(self):
        self.listener = socket.socket(socket.AF_UNIX)
        self.listener.bind(str(self.path))
        self.listener.listen(1024)
        thread = threading.Thread(target=self._accept, args=(self.listener,), daemon=True)
        thread.start()
        self.threads.append(thread)
        return self

    def stop(self):
        """Goes away as a killed engine does: every connection ends, the socket's name is gone."""
        if not self.listener:
            return
        with contextlib.suppress(OSError):
            self.path.unlink()
        with contextlib.suppress(OSError):
            self.listener.shutdown(socket.SHUT_RDWR)
        self.listener.close()
        self.listener = None
        with self.lock:
            for connection in self.connections:
                with contextlib.suppress(OSError):
                    connection.shutdown(socket.SHUT_RDWR)
            threads, self.threads = self.threads, []
        for thread in threads:
            thread.join(DEADLINE)

    def close(self):
        """The end of a test; an error within a route is the test's."""
        self.stop()
        assert not self.errors, f"a route of the scripted engine failed: {self.errors}"

    # -------------------------------------------------------------------------------------------------------- routes

    def on(self, method, path, route):
        """route(exchange) answers; when it returns True the connection is kept."""
        self.routes.insert(0, (method, path, route))

    def seen(self, **headers):
        """The requests that carry a header with a value, such as seen(X_Test='1')."""
        name, value = next(iter(headers.items()))
        with self.lock:
            return [request for request in self.requests if request.all(name.replace("_", "-")) == [value]]

    def wait_seen(self, path, count=1):
        """Waits for requests of a path; returns the last one."""

        def look():
            with self.lock:
                found = [request for request in self.requests if request.path == path]
            return found if len(found) >= count else None

        return wait_until(f"{count} requests for {path} at the engine", look)[-1]

    def _find(self, request):
        for method, path, route in self.routes:
            fits = request.path.startswith(path[:-1]) if path.endswith("*") else request.path == path
            if method == request.method and fits:
                return route
        return None

    def _standard(self, exchange):
        request = exchange.request
        exchange.read_body()
        if request.path == "/version":
            exchange.answer(200, json.dumps(self.version).encode())
        elif request.path == "/info":
            exchange.answer(200, json.dumps(self.info).encode())
        elif request.path == f"/containers/{os.uname().nodename}/json":
            exchange.answer(404, b'{"message":"No such container"}')
        else:
            exchange.answer(200, b"{}")
        return True

    # ------------------------------------------------------------------------------------------------------- threads

    def _accept(self, listener):
        while True:
            try:
                connection, _ = listener.accept()
            except OSError:
                return
            thread = threading.Thread(target=self._serve, args=(connection,), daemon=True)
            with self.lock:
                self.connections.add(connection)
                self.threads.append(thread)
            thread.start()

    def _serve(self, connection):
        try:
            held, keep = b"", True
            while keep:
                while b"\r\n\r\n" not in held:
                    data = connection.recv(65536)
                    if not data:
                        return
                    held += data
                text, held = held.split(b"\r\n\r\n", 1)
                exchange = Exchange(connection, Request(text), held)
                with self.lock:
                    self.requests.append(exchange.request)
                route = self._find(exchange.request) or self._standard
                keep = route(exchange) is True
                held = exchange.held
        except (Gone, OSError):
            pass  # the agent went away, which is its right
        except Exception as error:  # an assertion of a route, or a mistake in it: shown at the end of the test
            self.errors.append(repr(error))
        finally:
            with self.lock:
                self.connections.discard(connection)
            connection.close()
