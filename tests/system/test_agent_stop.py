"""Stopping: living requests finish within the grace time, endless streams end in order, what is unfinished is cut and looks so."""

import contextlib
import signal
import socket
import threading
import time

import pytest

from agent import is_sanitized
from https_client import Cut
from waiting import wait_until

GRACE = "1s"
SOON = 4.0 if is_sanitized() else 1.0  # seconds, where nothing is waited for


def begin_stop(agent):
    """SIGTERM, and the agent has begun to stop."""
    agent.signal(signal.SIGTERM)
    wait_until("no new connections", lambda: not agent.listens())


class Slow:
    """A route that answers half, and the rest when told."""

    def __init__(self, scripted, framing, path="/slow"):
        self.go_on, self.framing = threading.Event(), framing
        scripted.on("GET", path, self)

    def __call__(self, exchange):
        headers = {"chunked": {"Transfer-Encoding": "chunked"}, "length": {"Content-Length": 8}, "close": {"Connection": "close"}}
        exchange.head(200, {"Content-Type": "application/json", **headers[self.framing]})
        send = exchange.chunk if self.framing == "chunked" else exchange.send
        send(b"half")
        while not self.go_on.wait(0.01):
            with contextlib.suppress(BlockingIOError):
                if not exchange.connection.recv(1, socket.MSG_DONTWAIT | socket.MSG_PEEK):
                    return  # the agent closed
        send(b"half")
        if self.framing == "chunked":
            exchange.send(b"0\r\n\r\n")


@pytest.mark.quick
@pytest.mark.parametrize("framing", ["length", "chunked", "close"])
def test_a_living_request_finishes(make_agent, scripted, framing):
    agent = make_agent(scripted.path)
    slow = Slow(scripted, framing)
    with agent.client().start("GET", "/slow") as connection:
        head = connection.read_head()
        pieces = connection.pieces(head)
        assert next(pieces) == b"half"
        begin_stop(agent)
        assert agent.process.poll() is None
        slow.go_on.set()
        assert b"".join(pieces) == b"half"
        assert connection.receive() == b""  # then the connection ends, in order
    begun = time.monotonic()
    assert agent.wait() == 0
    assert time.monotonic() - begun < SOON  # not only after the whole grace time


@pytest.mark.quick
def test_a_request_without_an_answer_yet_is_living(make_agent, scripted):
    agent = make_agent(scripted.path)
    go_on = threading.Event()
    scripted.on("GET", "/think", lambda exchange: go_on.wait(20) and exchange.answer(200, b"thought"))
    with agent.client().start("GET", "/think") as connection:
        scripted.wait_seen("/think")
        begin_stop(agent)
        go_on.set()
        head = connection.read_head()
        assert head.get("Connection") == "close"
        assert connection.read_body(head) == b"thought"
    assert agent.wait() == 0


@pytest.mark.quick
def test_an_upload_under_way_is_living(make_agent, scripted):
    agent = make_agent(scripted.path)
    scripted.on("POST", "/load", lambda exchange: exchange.answer(200, exchange.read_body()))
    with agent.client().start("POST", "/load", {"Content-Length": 8}) as connection:
        connection.send(b"half")
        scripted.wait_seen("/load")
        begin_stop(agent)
        connection.send(b"half")
        head = connection.read_head()
        assert (head.status, connection.read_body(head)) == (200, b"halfhalf")
    assert agent.wait() == 0


@pytest.mark.quick
def test_idle_connections_are_closed(make_agent, scripted):
    """Kept alive, in mid-head, before and within the handshake: none of them is living."""
    agent = make_agent(scripted.path, "--grace-time", "60s")
    with contextlib.ExitStack() as stack:
        idle = stack.enter_context(agent.client().start("GET", "/ping"))
        assert idle.read_head().status == 204
        unfinished = stack.enter_context(agent.client().connect())
        unfinished.send(b"GET /_ping HTTP/1.1\r\nHo")
        silent = stack.enter_context(socket.create_connection(("127.0.0.1", agent.port), 20))
        begun_tls = stack.enter_context(socket.create_connection(("127.0.0.1", agent.port), 20))
        begun_tls.sendall(b"\x16\x03\x01")
        agent.wait_status("all are connected", lambda status: status["actors"]["ingress"]["connections"] >= 4)
        agent.wait_status("mid-head", lambda status: status["actors"]["ingress"]["unfinished_head_bytes"] > 0)
        begun = time.monotonic()
        agent.signal(signal.SIGTERM)
        assert idle.receive() == b""
        assert unfinished.receive() == b""
        for raw in (silent, begun_tls):
            with contextlib.suppress(ConnectionResetError):
                assert raw.recv(1) == b""
    assert agent.wait() == 0
    assert time.monotonic() - begun < 2 * SOON


@pytest.mark.quick
@pytest.mark.parametrize("path", ["/events", "/containers/x/logs?follow=1", "/containers/x/stats"])
def test_an_endless_stream_ends_in_order(make_agent, scripted, path):
    agent = make_agent(scripted.path, "--grace-time", GRACE)
    Slow(scripted, "chunked", path.split("?")[0])
    with agent.client().start("GET", path) as connection:
        head = connection.read_head()
        pieces = connection.pieces(head)
        assert next(pieces) == b"half"
        begin_stop(agent)
        assert list(pieces) == []  # with its final chunk
        assert connection.receive() == b""  # and close_notify
    assert agent.wait() == 0


@pytest.mark.parametrize("framing", ["length", "chunked", "close"])
def test_an_unfinished_download_is_cut_after_the_grace_time(make_agent, scripted, framing):
    """Ended in order it would look whole."""
    agent = make_agent(scripted.path, "--grace-time", GRACE)
    Slow(scripted, framing)
    with agent.client().start("GET", "/slow") as connection:
        head = connection.read_head()
        begin_stop(agent)
        begun = time.monotonic()
        with pytest.raises(Cut) as cut:
            connection.read_body(head)
        assert cut.value.partial == b"half"
        assert time.monotonic() - begun > 0.3  # the grace time was granted
    assert agent.wait() == 0


@pytest.mark.quick
def test_events_until_are_not_endless(make_agent, scripted):
    agent = make_agent(scripted.path, "--grace-time", GRACE)
    Slow(scripted, "chunked", "/events")
    with agent.client().start("GET", "/events?until=99999999999") as connection:
        head = connection.read_head()
        begin_stop(agent)
        with pytest.raises(Cut):
            connection.read_body(head)
    assert agent.wait() == 0


@pytest.mark.quick
def test_an_upgraded_stream_ends_in_order(make_agent, scripted):
    agent = make_agent(scripted.path, "--grace-time", GRACE)

    def attach(exchange):
        exchange.read_body()
        exchange.head(101, {"Connection": "Upgrade", "Upgrade": "tcp"})
        exchange.send(b"before")
        exchange.wait_gone()

    scripted.on("POST", "/containers/x/attach", attach)
    headers = {"Connection": "Upgrade", "Upgrade": "tcp"}
    with agent.client().start("POST", "/containers/x/attach", headers) as connection:
        assert connection.read_head().status == 101
        begin_stop(agent)
        assert b"".join(iter(connection.receive, b"")) == b"before"
    assert agent.wait() == 0


@pytest.mark.quick
@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_a_second_signal_stops_at_once(make_agent, scripted, number):
    agent = make_agent(scripted.path, "--grace-time", "60s")
    Slow(scripted, "length")
    with agent.client().start("GET", "/slow") as connection:
        head = connection.read_head()
        begin_stop(agent)
        begun = time.monotonic()
        agent.signal(number)
        assert agent.wait() == 0
        assert time.monotonic() - begun < SOON
        with pytest.raises(Cut):
            connection.read_body(head)


@pytest.mark.quick
def test_status_and_ping_while_stopping(make_agent, scripted):
    agent = make_agent(scripted.path)
    slow = Slow(scripted, "length")
    with agent.client().start("GET", "/slow") as connection:
        head = connection.read_head()
        begin_stop(agent)
        assert agent.run("ping").returncode == 0
        ready = agent.run("ping", "--ready")
        assert (ready.returncode, ready.stderr) == (1, "shoal: not ready: the agent is stopping\n")
        status = agent.status()
        assert status["actors"]["ingress"]["listening"] is False
        assert status["actors"]["ingress"]["streams"] == 1
        slow.go_on.set()
        connection.read_body(head)
    assert agent.wait() == 0


@pytest.mark.quick
def test_sigint_stops_like_sigterm(make_agent, scripted):
    agent = make_agent(scripted.path)
    agent.signal(signal.SIGINT)
    assert agent.wait() == 0
    assert "stopped" in agent.log()


@pytest.mark.quick
def test_stop_under_load(make_agent, scripted):
    """What the engine answered, a client got whole: no living request is cut."""
    agent = make_agent(scripted.path)
    answered, whole, lock = [0], [0], threading.Lock()
    body = b"x" * 20_000

    def work(exchange):
        exchange.answer(200, body)
        with lock:
            answered[0] += 1
        return True

    scripted.on("GET", "/work", work)

    def client():
        with contextlib.suppress(Cut, OSError), agent.client().connect() as connection:
            while True:
                connection.send_request("GET", "/work", agent.headers)
                head = connection.read_head()
                assert connection.read_body(head) == body
                with lock:
                    whole[0] += 1
                if head.get("Connection") == "close":
                    return

    threads = [threading.Thread(target=client) for _ in range(16)]
    for thread in threads:
        thread.start()
    wait_until("the load is on", lambda: whole[0] >= 100)
    agent.signal(signal.SIGTERM)
    assert agent.wait() == 0
    for thread in threads:
        thread.join(20)
    assert answered[0] == whole[0] > 100
