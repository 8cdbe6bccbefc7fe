"""Bodies, upgrades, aborts and broken engines: what comes is passed on at once, what breaks is never made to look whole."""

import hashlib
import os
import socket
import threading
import time

import pytest

from agent import is_sanitized
from https_client import Cut
from waiting import wait_until

AT_ONCE = 1.0 if is_sanitized() else 0.1  # seconds until the engine's side is closed after a client went away
PROXY_MESSAGE = "Unable to proxy the request via the Docker socket"
RAW = "application/vnd.docker.raw-stream"


def raw_upgrade(exchange):
    exchange.head(101, {"Content-Type": RAW, "Connection": "Upgrade", "Upgrade": "tcp"}, "UPGRADED")


def start_upgrade(agent, target="/exec/1/start", body=b'{"Detach":false}', upgrade=True, **headers):
    if upgrade:
        headers |= {"Connection": "Upgrade", "Upgrade": "tcp"}
    return agent.client().start("POST", target, {"Content-Type": "application/json", **headers}, body)


# ------------------------------------------------------------------------------------------------------------------ bodies


@pytest.mark.quick
def test_an_answers_head_comes_before_its_body(agent, scripted):
    """The docker CLI waits for the head of /wait before it starts the container."""
    go_on = threading.Event()

    def wait(exchange):
        exchange.head(200, {"Content-Type": "application/json", "Transfer-Encoding": "chunked"})
        go_on.wait(20)
        exchange.chunk(b'{"StatusCode":0}')
        exchange.send(b"0\r\n\r\n")

    scripted.on("POST", "/containers/x/wait", wait)
    with agent.client().start("POST", "/containers/x/wait") as connection:
        head = connection.read_head()
        assert head.status == 200
        assert head.get("Transfer-Encoding") == "chunked" and head.get("Content-Length") is None
        go_on.set()
        assert connection.read_body(head) == b'{"StatusCode":0}'


@pytest.mark.quick
@pytest.mark.parametrize("framing", ["chunked", "length", "close"])
def test_pieces_are_passed_on_one_by_one(agent, scripted, framing):
    """The engine sends a piece only after the client has the one before."""
    steps = [threading.Event() for _ in range(5)]

    def stream(exchange):
        headers = {"chunked": {"Transfer-Encoding": "chunked"}, "length": {"Content-Length": 10}, "close": {"Connection": "close"}}
        exchange.head(200, headers[framing])
        for number, step in enumerate(steps):
            assert step.wait(20)
            piece = b"%d\n" % number
            exchange.chunk(piece) if framing == "chunked" else exchange.send(piece)
        if framing == "chunked":
            exchange.send(b"0\r\n\r\n")

    scripted.on("GET", "/stream", stream)
    with agent.client().start("GET", "/stream") as connection:
        head = connection.read_head()
        pieces = connection.pieces(head)
        for number, step in enumerate(steps):
            step.set()
            assert next(pieces) == b"%d\n" % number
        assert list(pieces) == []


@pytest.mark.quick
def test_a_request_body_is_passed_on_piece_by_piece(agent, scripted):
    """An upload that pauses: the engine has each piece before the next is sent, and may answer before the end."""
    got = []

    def upload(exchange):
        for _ in range(3):
            size = int(exchange._read_line(), 16)
            got.append(exchange.read_exactly(size))
            exchange.read_exactly(2)
        exchange.read_exactly(5)
        exchange.answer(200, b"done")

    scripted.on("POST", "/images/load", upload)
    with agent.client().start("POST", "/images/load", {"Transfer-Encoding": "chunked"}) as connection:
        for number in range(3):
            connection.send(b"6\r\npart %d\r\n" % number)
            wait_until("the piece is at the engine", lambda: len(got) == number + 1)
        connection.send(b"0\r\n\r\n")
        head = connection.read_head()
        assert connection.read_body(head) == b"done"
    assert got == [b"part 0", b"part 1", b"part 2"]


@pytest.mark.quick
def test_a_body_of_no_bytes_is_over_at_once(agent, scripted):
    """Go's clients send Content-Length: 0 with a POST that has no body: connections on both sides are kept all the same."""
    scripted.on("POST", "/containers/x/start", lambda exchange: exchange.answer(204) or True)
    connects = agent.status()["actors"]["docker"]["connects"]
    with agent.client().connect() as connection:
        for _ in range(5):
            connection.send_request("POST", "/containers/x/start", {**agent.headers, "Content-Length": 0})
            head = connection.read_head()
            assert (head.status, head.get("Connection")) == (204, None)
            connection.send_request("POST", "/browse/put?volumeID=v", {**agent.headers, "Content-Length": 0})
            head = connection.read_head()
            assert (head.status, head.get("Connection")) == (400, None)
            connection.read_body(head)
    assert agent.status()["actors"]["docker"]["connects"] - connects <= 1


@pytest.mark.quick
@pytest.mark.parametrize("framing", ["length", "chunked"])
def test_large_bodies_both_ways(agent, scripted, framing):
    data = os.urandom(6_000_000)

    def echo(exchange):
        body = exchange.read_body()
        if framing == "length":
            exchange.answer(200, body)
        else:
            exchange.head(200, {"Transfer-Encoding": "chunked"})
            for at in range(0, len(body), 50_000):
                exchange.chunk(body[at : at + 50_000])
            exchange.send(b"0\r\n\r\n")
        return True

    scripted.on("POST", "/echo", echo)
    with agent.client().connect() as connection:
        for _ in range(2):
            headers = {**agent.headers}
            if framing == "length":
                connection.send_request("POST", "/echo", headers, data)
            else:
                connection.send_request("POST", "/echo", {**headers, "Transfer-Encoding": "chunked"})
                for at in range(0, len(data), 100_000):
                    piece = data[at : at + 100_000]
                    connection.send(b"%x\r\n%s\r\n" % (len(piece), piece))
                connection.send(b"0\r\n\r\n")
            head = connection.read_head()
            body = connection.read_body(head)
            assert hashlib.sha256(body).digest() == hashlib.sha256(data).digest()
    assert agent.status()["payload"]["used"] <= agent.status()["payload"]["total"]


@pytest.mark.quick
def test_a_client_that_does_not_read_holds_the_engine_back(agent, scripted):
    """Memory stays flat: the engine's socket fills up, and what was sent arrives once the client reads."""
    total, sent, chunk = 64 * 1024 * 1024, [0], bytes(65536)

    def pour(exchange):
        exchange.head(200, {"Content-Length": total})
        while sent[0] < total:
            exchange.send(chunk)
            sent[0] += len(chunk)

    scripted.on("GET", "/pour", pour)
    with agent.client().start("GET", "/pour") as connection:
        head = connection.read_head()
        before = -1

        def stands_still():
            nonlocal before
            before, last = sent[0], before
            time.sleep(0.2)
            return sent[0] == before == last and sent[0] > 0

        wait_until("the engine is held back", stands_still)
        assert sent[0] < 24 * 1024 * 1024  # the kernel's buffers on the way, and one window
        assert agent.status()["payload"]["used"] <= 1024 * 1024
        assert sum(map(len, connection.pieces(head))) == total


@pytest.mark.quick
def test_pipelined_requests_are_answered_in_order(agent, scripted):
    scripted.on("GET", "/slow", lambda exchange: (time.sleep(0.05), exchange.answer(200, b"slow")) and True)
    scripted.on("GET", "/fast", lambda exchange: exchange.answer(200, b"fast") or True)
    fields = "".join(f"{name}: {value}\r\n" for name, value in agent.headers.items())
    with agent.client().connect() as connection:
        text = "".join(f"GET {path} HTTP/1.1\r\nHost: x\r\n{fields}\r\n" for path in ("/slow", "/fast", "/ping", "/slow"))
        connection.send(text.encode())
        bodies = []
        for _ in range(4):
            head = connection.read_head()
            bodies.append((head.status, connection.read_body(head)))
        assert bodies == [(200, b"slow"), (200, b"fast"), (204, b""), (200, b"slow")]


@pytest.mark.quick
def test_expect_100_continue_after_auth_and_credit(agent, scripted, keys):
    def upload(exchange):
        exchange.answer(200, exchange.read_body())

    scripted.on("POST", "/load", upload)
    expect = {"Expect": "100-continue", "Content-Length": 5}
    with agent.client().start("POST", "/load", expect) as connection:
        assert connection.read_head(interim=True).status == 100
        connection.send(b"hello")
        head = connection.read_head()
        assert head.status == 200 and connection.read_body(head) == b"hello"
    with agent.client(keys.b).start("POST", "/load", expect) as connection:
        assert connection.read_head(interim=True).status == 403
    assert scripted.wait_seen("/load").get("Expect") is None


@pytest.mark.quick
@pytest.mark.parametrize("status", [204, 304])
def test_answers_without_a_body(agent, scripted, status):
    scripted.on("GET", "/none", lambda exchange: exchange.head(status, {"Etag": "x"}) or True)
    with agent.client().start("GET", "/none") as connection:
        head = connection.read_head()
        assert (head.status, head.get("Etag"), head.get("Transfer-Encoding")) == (status, "x", None)
        connection.read_body(head)
        connection.send_request("GET", "/ping")
        assert connection.read_head().status == 204


@pytest.mark.quick
def test_http_1_0(agent, scripted):
    """No chunks for a client of 1996: the end of the connection ends the body."""

    def stream(exchange):
        exchange.head(200, {"Transfer-Encoding": "chunked"})
        exchange.chunk(b"one")
        exchange.chunk(b"two")
        exchange.send(b"0\r\n\r\n")

    scripted.on("GET", "/stream", stream)
    with agent.client().connect() as connection:
        connection.send_request("GET", "/stream", agent.headers, version="HTTP/1.0")
        head = connection.read_head()
        assert head.get("Transfer-Encoding") is None
        assert connection.read_body(head) == b"onetwo"


# ---------------------------------------------------------------------------------------------------------------- upgrades


@pytest.mark.quick
@pytest.mark.parametrize("way", ["101", "200"])
def test_a_hijacked_stream_flows_both_ways(agent, scripted, way):
    """With Upgrade headers the engine answers 101, without them 200 without a length. The request has a body of its own."""

    def start(exchange):
        assert exchange.read_body() == b'{"Detach":false}'
        raw_upgrade(exchange) if way == "101" else exchange.head(200, {"Content-Type": RAW})
        while data := exchange.receive():
            exchange.send(data.upper())

    scripted.on("POST", "/exec/1/start", start)
    with start_upgrade(agent, upgrade=way == "101") as connection:
        head = connection.read_head()
        assert head.status == int(way)
        assert head.get("Content-Type") == RAW
        if way == "101":
            assert head.get("Upgrade") == "tcp" and head.get("Connection") == "Upgrade"
        assert head.get("Content-Length") is None and head.get("Transfer-Encoding") is None
        for text in (b"hello", b"\x00\xff binary", b"GET / HTTP/1.1\r\n\r\n"):
            connection.send(text)
            data = b""
            while len(data) < len(text):
                data += connection.receive()
            assert data == text.upper()
        connection.end_output()
        assert connection.receive() == b""
    assert agent.status()["actors"]["docker"]["upgrades"] == 1
    request = scripted.wait_seen("/exec/1/start")
    assert request.get("Upgrade") == ("tcp" if way == "101" else None)


@pytest.mark.quick
def test_the_clients_half_close_reaches_the_engine_and_the_answer_goes_on(agent, scripted):
    def attach(exchange):
        exchange.read_body()
        raw_upgrade(exchange)
        data = b""
        while piece := exchange.receive():
            data += piece
        exchange.send(b"after your end: " + data)  # only now, with the client's direction closed

    scripted.on("POST", "/containers/x/attach", attach)
    with start_upgrade(agent, "/containers/x/attach", b"") as connection:
        assert connection.read_head().status == 101
        connection.send(b"input")
        connection.end_output()
        data = b"".join(iter(connection.receive, b""))
        assert data == b"after your end: input"


@pytest.mark.quick
def test_the_engines_half_close_reaches_the_client_and_input_goes_on(agent, scripted):
    got = []

    def attach(exchange):
        exchange.read_body()
        raw_upgrade(exchange)
        exchange.send(b"all I have to say")
        exchange.connection.shutdown(socket.SHUT_WR)
        while piece := exchange.receive():
            got.append(piece)

    scripted.on("POST", "/containers/x/attach", attach)
    with start_upgrade(agent, "/containers/x/attach", b"") as connection:
        assert connection.read_head().status == 101
        assert b"".join(iter(connection.receive, b"")) == b"all I have to say"
        for number in range(3):
            connection.send(b"%d" % number)
            wait_until("input arrives", lambda: b"".join(got).endswith(b"%d" % number))
        connection.end_output()
    agent.wait_quiet()
    assert b"".join(got) == b"012"


@pytest.mark.quick
def test_bytes_that_come_with_an_upgrade_request_are_held_until_it_is_decided(agent, scripted):
    """An eager client: its first raw bytes come in one piece with the head."""
    decide = threading.Event()

    def session(exchange):
        exchange.read_body()
        assert decide.wait(20)
        exchange.head(101, {"Connection": "Upgrade", "Upgrade": "h2c"}, "Switching")
        exchange.send(b"you said " + exchange.read_exactly(5))

    scripted.on("POST", "/session", session)
    fields = "".join(f"{name}: {value}\r\n" for name, value in agent.headers.items())
    with agent.client().connect() as connection:
        connection.send(f"POST /session HTTP/1.1\r\nHost: x\r\n{fields}Connection: Upgrade\r\nUpgrade: h2c\r\n\r\nearly".encode())
        scripted.wait_seen("/session")
        decide.set()
        assert connection.read_head().status == 101
        assert b"".join(iter(connection.receive, b"")) == b"you said early"


@pytest.mark.quick
def test_a_refused_upgrade_is_an_ordinary_answer(agent, scripted):
    scripted.on("POST", "/exec/1/start", lambda exchange: exchange.read_body() and exchange.answer(404, b'{"message":"No such exec"}'))
    with start_upgrade(agent) as connection:
        head = connection.read_head()
        assert head.status == 404
        assert connection.read_body(head) == b'{"message":"No such exec"}'


@pytest.mark.quick
def test_an_upgraded_stream_outlives_the_limits_of_idleness(make_agent, scripted):
    """Nothing cuts a living stream: an idle connection, whose time is measured, is closed while the stream stays."""
    agent = make_agent(scripted.path, "--idle-time", "300ms", "--header-time", "300ms")
    done = threading.Event()

    def attach(exchange):
        exchange.read_body()
        raw_upgrade(exchange)
        assert done.wait(20)
        exchange.send(b"still here")

    scripted.on("POST", "/containers/x/attach", attach)
    with start_upgrade(agent, "/containers/x/attach", b"") as connection:
        assert connection.read_head().status == 101
        for _ in range(2):
            with agent.client().start("GET", "/ping") as idle:
                assert idle.read_head().status == 204
                assert idle.receive() == b""  # closed for being idle
        done.set()
        assert b"".join(iter(connection.receive, b"")) == b"still here"


# ------------------------------------------------------------------------------------------------------------------ aborts


def expect_gone_at_once(gone, begun):
    wait_until("the engine's side is closed", lambda: gone)
    assert gone[0] - begun <= AT_ONCE, f"after {gone[0] - begun:.3f} s"


@pytest.mark.quick
@pytest.mark.parametrize("how", ["fin", "reset"])
@pytest.mark.parametrize("what", ["before the head", "download", "held back", "upload", "upgraded"])
def test_a_client_that_goes_away_ends_the_engines_request(agent, scripted, what, how):
    gone, ready = [], threading.Event()

    def route(exchange):
        if what == "download":
            exchange.head(200, {"Transfer-Encoding": "chunked"})
            exchange.chunk(b"some")
        elif what == "held back":
            exchange.head(200, {"Content-Length": 10**9})
            exchange.connection.settimeout(0.3)
            try:
                while True:
                    exchange.send(bytes(65536))
            except TimeoutError:
                exchange.connection.settimeout(None)
        elif what == "upgraded":
            exchange.read_body()
            raw_upgrade(exchange)
        elif what == "upload":
            exchange.read_exactly(4)
        ready.set()
        if what == "held back":  # nothing is read here, so only a failing send tells
            try:
                while True:
                    exchange.send(bytes(65536))
            except OSError:
                gone.append(time.monotonic())
        else:
            gone.append(exchange.wait_gone())

    scripted.on("POST", "/containers/x/attach", route)
    headers = {"Connection": "Upgrade", "Upgrade": "tcp"} if what == "upgraded" else {}
    if what == "upload":
        headers["Content-Length"] = 100
    connection = agent.client().start("POST", "/containers/x/attach", headers)
    if what == "upload":
        connection.send(b"some")
    elif what != "before the head":
        assert connection.read_head().status in (200, 101)
    assert ready.wait(20)
    if how == "reset":
        connection.socket.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, b"\1\0\0\0\0\0\0\0")
    begun = time.monotonic()
    connection.close()
    expect_gone_at_once(gone, begun)
    agent.wait_quiet()


@pytest.mark.quick
def test_a_tls_end_without_close_notify_is_no_half_close(agent, scripted):
    """shutdown() below TLS: a lost connection, so the engine's request ends although the answer could still be sent."""
    gone = []

    def attach(exchange):
        exchange.read_body()
        raw_upgrade(exchange)
        gone.append(exchange.wait_gone())

    scripted.on("POST", "/containers/x/attach", attach)
    with start_upgrade(agent, "/containers/x/attach", b"") as connection:
        assert connection.read_head().status == 101
        begun = time.monotonic()
        connection.socket.shutdown(socket.SHUT_WR)
        expect_gone_at_once(gone, begun)
        with pytest.raises(Cut):
            while connection.receive():
                pass


# ----------------------------------------------------------------------------------------------------------- broken engines


def bad_gateway(answer, *words):
    assert answer.status == 502
    assert answer.get("Content-Type") == "application/json"
    assert answer.json()["message"] == PROXY_MESSAGE
    for word in words:
        assert word in answer.json()["details"]


@pytest.mark.quick
@pytest.mark.parametrize(
    "bytes_, words",
    [
        (b"", ("closed the connection", "before it answered")),
        (b"HTTP/1.1 200 OK\r\nContent-", ("closed the connection", "answer's head")),
        (b"nonsense\r\n\r\n", ("malformed",)),
        (b"\x00\x01\x02\x03\r\n\r\n", ("malformed",)),
        (b"HTTP/2 200 OK\r\n\r\n", ("malformed",)),
        (b"HTTP/1.1 200 OK\r\nContent-Length: 5\r\nContent-Length: 6\r\n\r\nhello", ("malformed",)),
        (b"HTTP/1.1 200 OK\r\nContent-Length: 5\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n", ("malformed",)),
        (b"HTTP/1.1 200 OK\r\nA: " + 200_000 * b"x" + b"\r\n\r\n", ("malformed",)),
    ],
    ids=["nothing", "mid-head", "nonsense", "binary", "version", "two lengths", "length and chunked", "long head"],
)
def test_an_engine_that_answers_nonsense_or_closes(agent, scripted, bytes_, words):
    scripted.on("GET", "/broken", lambda exchange: exchange.send(bytes_))
    bad_gateway(agent.get("/broken"), *words)
    agent.wait_status("the engine is known again", lambda status: status["ready"])
    assert agent.get("/_ping").status == 200


@pytest.mark.quick
@pytest.mark.parametrize("framing", ["chunked", "mid-chunk", "length"])
def test_an_engine_that_closes_in_mid_body_makes_a_cut_answer(agent, scripted, framing):
    def cut(exchange):
        exchange.head(200, {"Content-Length": 100} if framing == "length" else {"Transfer-Encoding": "chunked"})
        exchange.send({"length": b"half", "chunked": b"4\r\nhalf\r\n", "mid-chunk": b"64\r\nhalf"}[framing])

    scripted.on("GET", "/cut", cut)
    with agent.client().start("GET", "/cut") as connection:
        head = connection.read_head()
        assert head.status == 200
        with pytest.raises(Cut) as cut_answer:
            connection.read_body(head)
        assert cut_answer.value.partial == b"half"  # what came is the client's
        assert "close_notify" in str(cut_answer.value) or "reset" in str(cut_answer.value)


@pytest.mark.quick
def test_malformed_chunks_of_the_engine_make_a_cut_answer(agent, scripted):
    def cut(exchange):
        exchange.head(200, {"Transfer-Encoding": "chunked"})
        exchange.send(b"4\r\nhalf\r\nXYZ\r\n")

    scripted.on("GET", "/cut", cut)
    with agent.client().start("GET", "/cut") as connection:
        head = connection.read_head()
        with pytest.raises(Cut):
            connection.read_body(head)


@pytest.mark.quick
def test_an_engine_that_refuses_connections(make_agent, folder):
    path = folder / "engine.sock"
    with socket.socket(socket.AF_UNIX) as dead:
        dead.bind(str(path))
    agent = make_agent(path, ready=False)
    bad_gateway(agent.get("/_ping"), f"cannot connect to {path}: Connection refused")


@pytest.mark.quick
def test_a_dead_connection_of_the_pool_is_replaced_for_a_get(agent, scripted):
    """The engine closes its kept connection just as the next request comes."""
    taken = []

    def drop(exchange):
        taken.append(exchange.request)
        if len(taken) == 1:
            return None  # closes without an answer
        exchange.answer(200, b"second try")
        return True

    assert agent.get("/_ping").status == 200
    agent.wait_status("a connection is kept", lambda status: status["actors"]["docker"]["idle"] > 0)
    scripted.on("GET", "/drop", drop)
    answer = agent.get("/drop")
    assert (answer.status, answer.body) == (200, b"second try")
    assert agent.status()["actors"]["docker"]["retried"] == 1


@pytest.mark.quick
def test_a_post_is_never_sent_twice(agent, scripted):
    taken = []
    scripted.on("POST", "/containers/create", lambda exchange: taken.append(exchange.read_body()))
    assert agent.get("/_ping").status == 200
    agent.wait_status("a connection is kept", lambda status: status["actors"]["docker"]["idle"] > 0)
    bad_gateway(agent.client().request("POST", "/containers/create", body=b"{}"), "before it answered")
    assert taken == [b"{}"]


@pytest.mark.limit(120)
def test_an_engine_that_hangs(agent, scripted):
    """A request may take as long as it likes, unless the engine is silent to /_ping as well: then 504."""
    over = threading.Event()
    for path in ("/hang", "/_ping"):
        scripted.on("GET", path, lambda exchange: over.wait(100) and None)
    try:
        with agent.client().connect() as connection:
            connection.set_timeout(90)
            connection.send_request("GET", "/hang", agent.headers)
            head = connection.read_head()
            body = connection.read_body(head)
        assert head.status == 504
        assert PROXY_MESSAGE.encode() in body
        assert agent.client({}).request("GET", "/ping").status == 204
    finally:
        over.set()
