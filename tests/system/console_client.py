"""A WebSocket client for consoles: frames by Debian's python3-websockets, bytes by the HTTPS client that hides nothing."""

import itertools
import socket
import struct

from websockets.client import ClientConnection
from websockets.frames import OP_CLOSE, OP_TEXT
from websockets.uri import parse_uri

from https_client import Connection, Cut

PATH_HEADERS = {
    "Upgrade": "websocket",
    "Connection": "Upgrade",
    "Sec-WebSocket-Version": "13",
    "Sec-WebSocket-Key": "dGhlIHNhbXBsZSBub25jZQ==",
}


class Refused(AssertionError):
    def __init__(self, status):
        super().__init__(f"the handshake was answered with {status}")
        self.status = status


class Console:
    """One console. Pings and close frames are answered by the library as bytes are read."""

    def __init__(self, agent, target, headers=None):
        self.connection = Connection(agent.port)
        self.protocol = ClientConnection(parse_uri(f"wss://127.0.0.1:{agent.port}{target}"), max_size=None)
        self.text = ""  # all output so far
        self.frames = []  # frames that came, but for text
        self.messages = []  # text messages, one by one
        self.ended = False
        request = self.protocol.connect()
        for name, value in {**agent.headers, **(headers or {})}.items():
            request.headers[name] = value
        self.protocol.send_request(request)
        self.flush()
        while self.protocol.state.name == "CONNECTING" and not self.ended:
            self.response = None
            self.read()
        if self.protocol.handshake_exc:
            raise self.protocol.handshake_exc

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.connection.close()

    def flush(self):
        for data in self.protocol.data_to_send():
            if data:
                self.connection.send(data)

    def read(self):
        """Takes what comes next; False at the end."""
        data = self.connection.receive()
        if not data:
            self.ended = True
            self.protocol.receive_eof()
            return False
        self.protocol.receive_data(data)
        for event in self.protocol.events_received():
            if not hasattr(event, "opcode"):
                self.response = event
            elif event.opcode == OP_TEXT:
                assert event.fin
                message = event.data.decode()  # each one is UTF-8 by itself
                self.messages.append(message)
                self.text += message
            else:
                self.frames.append(event)
        try:
            self.flush()
        except OSError:
            pass  # the agent may have gone after its close frame
        return True

    # ------------------------------------------------------------------------------------------------------ conversation

    def type(self, text):
        self.protocol.send_text(text.encode())
        self.flush()

    def send(self, data):
        self.protocol.send_binary(data)
        self.flush()

    def ping(self, data):
        self.protocol.send_ping(data)
        self.flush()

    def until(self, expected):
        """Reads until the output has this text, and returns the output up to there; the rest stays."""
        while expected not in self.text:
            assert self.read(), f"the console ended: {self.text!r}, {self.closed()}"
        at = self.text.index(expected) + len(expected)
        text, self.text = self.text[:at], self.text[at:]
        return text

    def read_text(self, length):
        """Exactly so many characters."""
        while len(self.text) < length:
            assert self.read(), f"the console ended after {len(self.text)} characters: {self.closed()}"
        text, self.text = self.text[:length], self.text[length:]
        return text

    def until_frame(self, opcode):
        while not any(frame.opcode == opcode for frame in self.frames):
            assert self.read(), "the console ended"
        return next(frame for frame in self.frames if frame.opcode == opcode).data

    def closed(self):
        """Code and reason of the close frame that came, or None."""
        close = self.protocol.close_rcvd
        return close and (close.code, close.reason)

    def wait_close(self):
        """Reads to the end; returns code and reason of the agent's close frame. The output is in text."""
        try:
            while self.read():
                pass
        except Cut as cut:
            raise AssertionError(f"{cut}; close frame: {self.closed()}; output: {self.text!r}") from None
        return self.closed()

    def close(self, code=1000):
        """Closes as a client does, and waits for the agent's answer."""
        self.protocol.send_close(code, "")
        self.flush()
        return self.wait_close()


# ------------------------------------------------------------------------------------------------------------ without the library

_masks = itertools.count(1)


def frame(first, payload=b"", mask=True, length=None):
    """A client's frame, or something like one: first is its first byte, length what it says of its length."""
    length = len(payload) if length is None else length
    bit = 0x80 if mask else 0
    if length < 126:
        head = bytes([first, bit | length])
    elif length < 65536:
        head = bytes([first, bit | 126]) + struct.pack(">H", length)
    else:
        head = bytes([first, bit | 127]) + struct.pack(">Q", length)
    if not mask:
        return head + payload
    key = struct.pack(">I", next(_masks) * 2654435761 % 2**32)
    return head + key + bytes(byte ^ key[index % 4] for index, byte in enumerate(payload))


class RawConsole:
    """A console on which anything can be sent."""

    def __init__(self, agent, target, headers=None):
        self.connection = Connection(agent.port)
        self.connection.send_request("GET", target, {**PATH_HEADERS, **agent.headers, **(headers or {})})
        self.head = self.connection.read_head()
        if self.head.status != 101:
            raise Refused(self.head.status)

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.connection.close()

    def send(self, data):
        self.connection.send(data)

    def reset(self):
        """Ends the connection so that the agent hears of it at once, whatever is still on its way."""
        self.connection.socket.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        self.connection.close()

    def frames(self):
        """What the agent sends, as (first byte, payload), to its end."""
        data = b""
        while True:
            while len(data) >= 2:
                assert not data[1] & 0x80, "a server does not mask"
                length, begin = data[1], 2
                if length == 126 and len(data) >= 4:
                    length, begin = struct.unpack(">H", data[2:4])[0], 4
                elif length >= 126:
                    break
                if len(data) < begin + length:
                    break
                yield data[0], data[begin : begin + length]
                data = data[begin + length :]
            piece = self.connection.receive()
            if not piece:
                assert data == b"", f"a frame was cut: {data!r}"
                return
            data += piece

    def close_code(self):
        """Reads to the agent's end; the code of its close frame, which must be its last frame."""
        first, payload = list(self.frames())[-1]
        assert first == 0x88
        return struct.unpack(">H", payload[:2])[0]
