"""An HTTPS client that hides nothing: what is sent, when an answer's head came, how a body ended.

TLS runs over memory buffers, because Python's TLS sockets can neither close one direction nor tell a close_notify from a lost
connection: here the first is an end (b""), the second raises Cut.
"""

import socket
import ssl

from waiting import DEADLINE


class Cut(AssertionError):
    """The connection ended without close_notify, or in the middle of something."""

    def __init__(self, why, partial=b""):
        super().__init__(why)
        self.partial = partial


def tls_context():
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.check_hostname = False
    context.verify_mode = ssl.CERT_NONE
    return context


class Head:
    """The head of an answer; header names compare without case."""

    def __init__(self, text):
        lines = text.decode("latin-1").split("\r\n")
        version, status, *reason = lines[0].split(" ", 2)
        assert version == "HTTP/1.1", lines[0]
        self.status, self.reason = int(status), "".join(reason)
        self.headers = [tuple(part.strip() for part in line.split(":", 1)) for line in lines[1:] if line]

    def all(self, name):
        return [value for key, value in self.headers if key.lower() == name.lower()]

    def get(self, name):
        """The only value of a header, or None. Two are an error."""
        values = self.all(name)
        assert len(values) < 2, f"{name} came {len(values)} times: {values}"
        return values[0] if values else None


class Connection:
    """One TLS connection to the agent."""

    def __init__(self, port, host="127.0.0.1", seconds=DEADLINE):
        self.socket = socket.create_connection((host, port), seconds)
        self.socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self.incoming, self.outgoing = ssl.MemoryBIO(), ssl.MemoryBIO()
        self.tls = tls_context().wrap_bio(self.incoming, self.outgoing)
        self.held = b""  # plaintext that was received and not used
        self.ended = False
        self.method = None
        while True:
            try:
                self.tls.do_handshake()
                break
            except ssl.SSLWantReadError:
                self._flush()
                self._fill()
        self._flush()

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.close()

    # ---------------------------------------------------------------------------------------------------- bytes

    def _flush(self):
        data = self.outgoing.read()
        if data:
            self.socket.sendall(data)

    def _fill(self):
        try:
            data = self.socket.recv(65536)
        except ConnectionError as error:
            raise Cut(f"the connection was reset: {error}") from None
        if not data:
            raise Cut("the connection ended without close_notify")
        self.incoming.write(data)

    def send(self, data):
        for at in range(0, len(data), 16384):
            self.tls.write(data[at : at + 16384])
            self._flush()

    def receive(self):
        """Some bytes; b"" once the other end said that no more will come."""
        if self.held:
            data, self.held = self.held, b""
            return data
        while not self.ended:
            try:
                data = self.tls.read(65536)
                if data:
                    return data
                self.ended = True
            except ssl.SSLWantReadError:
                self._flush()  # answers to key updates and the like
                self._fill()
            except ssl.SSLZeroReturnError:
                self.ended = True
        return b""

    def end_output(self):
        """Says that no more will be sent (close_notify), and goes on receiving."""
        try:
            self.tls.unwrap()
        except ssl.SSLWantReadError:
            pass
        self._flush()

    def set_timeout(self, seconds):
        self.socket.settimeout(seconds)

    def close(self):
        """Just closes, as a client does that goes away."""
        self.socket.close()

    # ----------------------------------------------------------------------------------------------------- HTTP

    def send_request(self, method, target, headers=None, body=None, version="HTTP/1.1"):
        """Sends a head, and a body of known length when there is one."""
        headers = {"Host": "agent", **(headers or {})}
        if body is not None and "Content-Length" not in headers:
            headers["Content-Length"] = len(body)
        lines = [f"{method} {target} {version}", *(f"{name}: {value}" for name, value in headers.items())]
        self.method = method
        self.send("\r\n".join([*lines, "", ""]).encode("latin-1") + (body or b""))

    def read_head(self, interim=False):
        """The next head; 1xx ones are skipped, but for 101, or all shown with interim=True."""
        while True:
            data = b""
            while b"\r\n\r\n" not in data:
                piece = self.receive()
                if not piece:
                    raise Cut("the connection ended before an answer's head was whole", data)
                data += piece
            text, self.held = data.split(b"\r\n\r\n", 1)
            head = Head(text)
            if head.status >= 200 or head.status == 101 or interim:
                return head

    def _read_line(self):
        while b"\r\n" not in self.held:
            held = self.held
            self.held = b""
            piece = self.receive()
            if not piece:
                raise Cut("the connection ended within a chunked body", held)
            self.held = held + piece
        line, self.held = self.held.split(b"\r\n", 1)
        return line

    def pieces(self, head):
        """The body's pieces as they come. Raises Cut when it ends too early."""
        if self.method == "HEAD" or head.status in (204, 304):
            return
        if (head.get("Transfer-Encoding") or "").lower() == "chunked":
            while size := int(self._read_line(), 16):
                while size:
                    data = self.receive()
                    if not data:
                        raise Cut("the connection ended within a chunk")
                    self.held = data[size:]
                    yield data[:size]
                    size -= len(data[:size])
                assert self._read_line() == b""
            while self._read_line():  # trailers
                pass
        elif head.get("Content-Length") is not None:
            left = int(head.get("Content-Length"))
            while left:
                data = self.receive()
                if not data:
                    raise Cut(f"{left} bytes of the body are missing")
                self.held = data[left:]
                yield data[:left]
                left -= len(data[:left])
        else:
            while data := self.receive():
                yield data

    def read_body(self, head):
        body = bytearray()
        try:
            for piece in self.pieces(head):
                body += piece
        except Cut as cut:
            cut.partial = bytes(body)
            raise
        return bytes(body)


class Answer:
    def __init__(self, head, body):
        self.status, self.head, self.body = head.status, head, body

    def get(self, name):
        return self.head.get(name)

    def json(self):
        import json

        return json.loads(self.body)


class Client:
    """Requests with fixed headers (the signature), each on a connection of its own."""

    def __init__(self, port, headers, host="127.0.0.1", seconds=DEADLINE):
        self.port, self.headers, self.host, self.seconds = port, headers, host, seconds

    def connect(self):
        return Connection(self.port, self.host, self.seconds)

    def start(self, method, target, headers=None, body=None):
        """Sends a request and returns its connection; the answer is not read yet."""
        connection = self.connect()
        connection.send_request(method, target, {**self.headers, **(headers or {})}, body)
        return connection

    def request(self, method, target, headers=None, body=None):
        with self.start(method, target, headers, body) as connection:
            head = connection.read_head()
            return Answer(head, connection.read_body(head))
