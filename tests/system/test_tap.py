"""`shoal tap`: what it shows, what it never shows, and that the agent does not wait for it."""

import base64
import json
import re
import socket
import statistics
import time

import pytest

from agent import BINARY
from docker_cli import Running
from waiting import wait_until

TRACE = "4bf92f3577b34da6a3ce929d0e0e4736"
PARENT = {"traceparent": f"00-{TRACE}-00f067aa0ba902b7-01"}
REDACTED = {  # what a client may send and nobody may see
    "X-Registry-Auth": base64.b64encode(b'{"username":"u","password":"registry-password"}').decode(),
    "Authorization": "Bearer authorization-token",
    "Cookie": "session=cookie-value",
    "X-Unheard-Of": "unknown-header-value",
}
QUERY = "token=query-token&buildargs=build-argument&all=1"


class Tap(Running):
    def __init__(self, agent, *options):
        super().__init__([str(BINARY), "tap", "--control", str(agent.control), *options], agent.environment, None)
        agent.wait_status("the tap is there", lambda status: status["actors"]["tap"]["watchers"] == 1)

    def messages(self, until):
        """The messages (of --json) up to the first for which until(message) is true, which is the last."""
        messages = []
        while not messages or not until(messages[-1]):
            messages.append(json.loads(self.line()))
        return messages


def path(messages):
    return [(message["from"], message["to"], message["type"]) for message in messages]


# ------------------------------------------------------------------------------------------------------------ what it shows


@pytest.mark.quick
def test_a_requests_way_through_the_actors(agent, scripted):
    scripted.on("GET", "/hello", lambda exchange: exchange.answer(200, b"hello") or True)
    with Tap(agent, "--json", "--trace", TRACE) as tap:
        agent.get("/ping")  # another trace: not shown
        assert agent.get("/hello?all=1", **PARENT).get("Shoal-Trace") == TRACE
        messages = tap.messages(lambda message: message["type"] == "end")
    assert path(messages) == [
        ("ingress", "auth", "request"),
        ("auth", "router", "request"),
        ("router", "docker", "request"),
        ("docker", "ingress", "response"),
        ("docker", "ingress", "body"),
        ("docker", "ingress", "end"),
    ]
    assert {message["trace"] for message in messages} == {TRACE}
    assert len({message["stream"] for message in messages}) == 1
    request = messages[0]["fields"]
    assert (request["method"], request["target"]) == ("GET", "/hello?all=1")
    assert request["source"].startswith("127.0.0.1:")
    assert messages[3]["fields"]["status"] == 200 and messages[3]["fields"]["length"] == 5
    assert messages[4]["payload_bytes"] == 5 and "payload" not in messages[4]
    times = [message["time"] for message in messages]
    assert times == sorted(times)


@pytest.mark.quick
def test_a_refused_request_ends_at_auth(agent):
    with Tap(agent, "--json", "--trace", TRACE) as tap:
        assert agent.client({}).request("GET", "/info", PARENT).status == 403
        messages = tap.messages(lambda message: message["type"] == "end")
    assert path(messages)[:2] == [("ingress", "auth", "request"), ("auth", "ingress", "response")]
    assert messages[1]["fields"]["status"] == 403
    assert {message["to"] for message in messages} == {"auth", "ingress"}


@pytest.mark.quick
def test_an_upload_shows_credit_before_body(agent, scripted):
    scripted.on("POST", "/load", lambda exchange: exchange.answer(200, exchange.read_body()) or True)
    with Tap(agent, "--json", "--trace", TRACE) as tap:
        assert agent.client().request("POST", "/load", PARENT, b"12345").status == 200
        messages = tap.messages(lambda message: message["type"] == "end" and message["to"] == "ingress")
    steps = path(messages)
    assert steps.index(("docker", "ingress", "credit")) < steps.index(("ingress", "docker", "body"))
    assert steps.index(("ingress", "docker", "body")) < steps.index(("ingress", "docker", "end"))


@pytest.mark.quick
def test_an_abort_is_seen_everywhere(agent, scripted):
    scripted.on("GET", "/hang", lambda exchange: exchange.wait_gone() and None)
    with Tap(agent, "--json", "--type", "abort") as tap:
        with agent.client().start("GET", "/hang", PARENT):
            scripted.wait_seen("/hang")
        messages = tap.messages(lambda message: message["to"] == "docker")
    assert path(messages)[-1] == ("router", "docker", "abort")
    assert messages[-1]["fields"]["reason"] == "the client ended the connection"


@pytest.mark.quick
def test_filters(agent):
    for options, wanted in {
        ("--actor", "router"): lambda message: "router" in (message["from"], message["to"]),
        ("--actor", "auth,docker"): lambda message: {"auth", "docker"} & {message["from"], message["to"]},
        ("--type", "request"): lambda message: message["type"] == "request",
        ("--type", "response,end"): lambda message: message["type"] in ("response", "end"),
        ("--type", "request", "--actor", "docker"): lambda message: (message["type"], message["to"]) == ("request", "docker"),
        ("--trace", TRACE[:6]): lambda message: message["trace"] == TRACE,
    }.items():
        with Tap(agent, "--json", "--count", "6", *options) as tap:
            for _ in range(6):
                agent.get("/_ping")
                agent.get("/_ping", **PARENT)
            messages = [json.loads(tap.line()) for _ in range(6)]
            assert tap.wait() == 0  # it stops by itself after so many
        assert all(wanted(message) for message in messages), options


@pytest.mark.quick
def test_json_of_everything_parses(agent, scripted):
    """Also names, paths and fields with bytes that JSON and UTF-8 do not like."""
    scripted.on("GET", "/odd*", lambda exchange: exchange.answer(200, b'"\\\x00', {"X-Odd": "\xe4\"\\"}))
    with Tap(agent, "--json", "--payload") as tap:
        answer = agent.get('/odd"\\%01?all="\\&x="', **{"User-Agent": '\xe4"\\\t'})
        assert answer.status == 200
        messages = tap.messages(lambda message: message["type"] == "end")
    assert len([message for message in messages if message["stream"]]) == 6  # the rest is the agent's own talk
    for message in messages:
        assert {"time", "trace", "stream", "sequence", "from", "to", "type"} <= set(message)


@pytest.mark.quick
def test_text_lines(agent):
    with Tap(agent, "--trace", TRACE) as tap:
        agent.get("/info", **PARENT)
        lines = [tap.line() for _ in range(6)]
    for line in lines:
        assert re.match(rf"\+\d+\.\d{{6}} {TRACE[:8]} #\d+ \w+ -> \w+ \w+", line), line
    assert lines[0].startswith("+0.000000 ")
    assert " ingress -> auth request " in lines[0]
    assert " router -> docker request " in lines[2]
    assert " docker -> ingress response " in lines[3]
    assert re.search(r" docker -> ingress body <\d+ bytes>$", lines[4])


@pytest.mark.quick
def test_two_taps_see_the_same(agent):
    with Tap(agent, "--json", "--type", "request") as first:
        second = Running([str(BINARY), "tap", "--control", str(agent.control), "--type", "response"], agent.environment, None)
        with second:
            agent.wait_status("both are there", lambda status: status["actors"]["tap"]["watchers"] == 2)
            agent.get("/_ping")
            assert json.loads(first.line())["type"] == "request"
            assert " response " in second.line()
    agent.wait_status("both are gone", lambda status: status["actors"]["tap"]["watchers"] == 0)


@pytest.mark.quick
@pytest.mark.parametrize("options", [("--actor", "nobody"), ("--type", "nothing"), ("--trace", "0" * 33)])
def test_a_filter_that_fits_nothing_is_refused(agent, options):
    result = agent.run("tap", *options)
    assert result.returncode == 1
    assert "tap refused" in result.stderr
    assert agent.status()["actors"]["tap"]["watchers"] == 0


@pytest.mark.quick
def test_the_end_of_the_agent_ends_the_tap(make_agent, scripted):
    agent = make_agent(scripted.path)
    with Tap(agent) as tap:
        agent.stop()
        assert tap.wait() == 1
        assert b"the agent ended the tap" in tap.process.stderr.read()


# ------------------------------------------------------------------------------------------------------- what it never shows


@pytest.mark.quick
@pytest.mark.parametrize("options", [(), ("--json",), ("--payload=4096",), ("--json", "--payload=4096")], ids=" ".join)
def test_secrets_are_redacted(agent, scripted, keys, options):
    theirs = {"Set-Cookie": "answer-cookie", "Location": "/x?token=location-token", "X-Answer": "answer-header-value"}
    scripted.on("POST", "/build", lambda exchange: exchange.answer(200, exchange.read_body() and b"plain answer", theirs))
    with Tap(agent, *options) as tap:
        assert agent.client().request("POST", f"/build?{QUERY}", REDACTED, b"plain body").status == 200
        assert agent.client(keys.b).request("GET", f"/build?{QUERY}", REDACTED).status == 403
        assert agent.get("/_ping", **{"X-Last": "1", **PARENT}).status == 200
        agent.run("status")
        agent.run("forget")
        shown = ""
        while "forget" not in shown:
            shown += tap.line() + "\n"
    assert "/build?" in shown and "all=1" in shown
    assert ("plain answer" in shown) is ("plain body" in shown) is any("payload" in option for option in options)
    secrets = [*keys.a.values(), *keys.b.values(), *REDACTED.values(), *theirs.values()]
    secrets += ["registry-password", "authorization-token", "cookie-value", "query-token", "build-argument", "location-token"]
    for secret in secrets:
        assert secret not in shown
        assert len(secret) < 60 or secret[20:60] not in shown
    for name in ("X-PortainerAgent-PublicKey", "X-PortainerAgent-Signature", "X-Registry-Auth"):
        assert name.lower() in shown.lower()  # that it was there may be seen


@pytest.mark.quick
@pytest.mark.parametrize("json_", [False, True], ids=["text", "json"])
def test_payload_is_shown_when_asked_for_and_cut(agent, scripted, json_):
    scripted.on("GET", "/data", lambda exchange: exchange.answer(200, b"0123456789\x00\xff" * 10) or True)
    with Tap(agent, "--type", "body", "--payload=12", *(["--json"] if json_ else [])) as tap:
        agent.get("/data")
        line = tap.line()
    shown = "0123456789\\x00\\xff"
    assert (json.loads(line)["payload"] if json_ else line).count("0123456789") == 1
    assert shown in (json.loads(line)["payload"] if json_ else line)


@pytest.mark.quick
def test_a_watcher_who_sees_payloads_is_logged(agent):
    with Tap(agent, "--payload"):
        assert "a watcher came, who sees payloads" in agent.log()


# ----------------------------------------------------------------------------------------------------------- slow watchers


def watch(agent, receive_buffer=4096):
    """A watcher that reads nothing but the greeting."""
    control = socket.socket(socket.AF_UNIX)
    control.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, receive_buffer)
    control.settimeout(20)
    control.connect(str(agent.control))
    control.sendall(b'{"command":"tap","filter":{"format":"json"}}\n')
    greeting = b""
    while not greeting.endswith(b"\n"):
        greeting += control.recv(1)
    assert json.loads(greeting) == {"ok": True}
    return control


def time_requests(agent, count):
    """Median time of a request on one kept connection."""
    times = []
    with agent.client().connect() as connection:
        for _ in range(count):
            begun = time.monotonic()
            connection.send_request("GET", "/_ping", agent.headers)
            head = connection.read_head()
            connection.read_body(head)
            times.append(time.monotonic() - begun)
            assert head.status == 200
    return statistics.median(times)


@pytest.mark.quick
def test_a_tap_that_never_reads_does_not_slow_the_agent_and_learns_what_it_lost(agent, scripted):
    unwatched = time_requests(agent, 300)
    control = watch(agent)
    begun = agent.status()["messages_sent"]
    blocked = time_requests(agent, 1500)
    status = agent.wait_status("messages are lost", lambda status: status["actors"]["tap"]["lost"] > 0)
    assert status["messages_sent"] - begun > 1500 * 6
    assert blocked < 3 * unwatched + 0.002, f"{blocked * 1e6:.0f} µs instead of {unwatched * 1e6:.0f} µs"

    # Now it reads: whole lines only, and before the next message the number of those that it missed.
    held, lines = b"", []

    def read_lines():
        nonlocal held
        control.settimeout(0.2)
        try:
            while data := control.recv(65536):
                held += data
        except TimeoutError:
            pass
        control.settimeout(20)
        *whole, held = held.split(b"\n")
        lines.extend(json.loads(line) for line in whole)

    def told_all():
        agent.get("/_ping")
        read_lines()
        return sum(line["lost"] for line in lines if "lost" in line) == agent.status()["actors"]["tap"]["lost"]

    wait_until("it is told of all that it lost", told_all)
    shown = [line for line in lines if "lost" not in line]
    sequences = [line["sequence"] for line in shown if line["from"] == "ingress"]
    assert sequences == sorted(sequences)
    control.close()
    agent.wait_status("it is gone", lambda status: status["actors"]["tap"]["watchers"] == 0)
    assert agent.get("/_ping").status == 200


@pytest.mark.quick
def test_a_watcher_that_vanishes_leaves_nothing_behind(agent):
    before = agent.status()["descriptors"]["open"]
    for _ in range(20):
        watch(agent).close()
    agent.wait_status("all are gone", lambda status: status["actors"]["tap"]["watchers"] == 0)
    agent.wait_status("all descriptors are back", lambda status: status["descriptors"]["open"] <= before)


@pytest.mark.quick
def test_a_seventeenth_watcher_is_refused(agent):
    watchers = [watch(agent) for _ in range(16)]
    result = agent.run("tap")
    assert result.returncode == 1
    assert "too many watch already" in result.stderr
    for watcher in watchers:
        watcher.close()
