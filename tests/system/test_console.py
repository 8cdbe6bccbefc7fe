"""Consoles over WebSocket, before a real engine: what the contract (5.6) says, what people do in a shell, and what hostile clients try."""

import contextlib
import hashlib
import json
import re
import signal
import struct
import subprocess
import time

import pytest
from websockets.frames import OP_PONG

from across import Across, RealEngine, target
from agent import BINARY, is_sanitized
from conftest import own_only, raise_engine, show_logs_of
from console_client import PATH_HEADERS, Console, RawConsole, frame
from docker_cli import DOCKER, Running
from https_client import Connection
from swarm import run
from waiting import wait_until

IMAGE = "lab/busybox"
TOKEN = "a-users-login-token"


@pytest.fixture(scope="module")
def away():
    """A node of a real Swarm that serves consoles, in a cluster with an agent that is asked for them."""
    with raise_engine() as folder:
        socket = folder / "docker.sock"
        run([DOCKER, "-H", f"unix://{socket}", "swarm", "init", "--advertise-addr", "127.0.0.1"])
        across = Across()
        try:
            yield across.entry, across.add(engine=RealEngine(socket)), socket
        finally:
            across.close()


class Node:
    """Containers to have consoles in, and the consoles: entry is asked for them, agent serves them."""

    def __init__(self, entry, agent, sdk, target):
        self.entry, self.agent, self.sdk, self.target = entry, agent, sdk, target
        self.before = self.counters()

    def run(self, *command, tty=False):
        container = self.sdk.create_container(IMAGE, list(command), tty=tty, stdin_open=True, host_config=self.sdk.create_host_config())
        self.sdk.start(container["Id"])
        return container["Id"]

    def create_exec(self, container, *command, tty=True):
        return self.sdk.exec_create(container, list(command), stdin=True, tty=tty)["Id"]

    def open(self, target, kind=Console, headers=None):
        return kind(self.entry, target, {**self.target, **(headers or {})})

    def exec(self, container, *command, prefix="", kind=Console, tty=True):
        made = self.create_exec(container, *command, tty=tty)
        return self.open(f"{prefix}/websocket/exec?id={made}&endpointId=1&nodeName=none&token={TOKEN}", kind)

    def attach(self, container, kind=Console, prefix=""):
        return self.open(f"{prefix}/websocket/attach?id={container}&token={TOKEN}", kind)

    def raw(self, container):
        """A shell's exec, for a client that sends anything."""
        return self.exec(container, "cat", kind=RawConsole)

    def request(self, method, target):
        return self.entry.client().request(method, target, self.target)

    def counters(self):
        actors = self.agent.status()["actors"]
        return {**actors["console"], "upgrades": actors["docker"]["upgrades"]}

    def counted(self, name):
        """How often since the test began."""
        return self.counters()[name] - self.before[name]

    def wait_over(self):
        """No console is left here, nor anything it held."""
        self.agent.wait_status("no console", lambda status: status["actors"]["console"]["consoles"] == 0)
        self.agent.wait_quiet()
        self.entry.wait_quiet()


@pytest.fixture
def node(request, where):
    docker = __import__("docker")
    if where == "own":
        socket, agent = (request.getfixturevalue(name) for name in ("engine", "real_agent"))
        entry, headers = agent, {}
    else:
        entry, other, socket = request.getfixturevalue("away")
        agent, headers = other.agent, target(other)
        show_logs_of(request, entry, agent)
    with contextlib.closing(docker.APIClient(base_url=f"unix://{socket}", version="auto")) as sdk:
        yield Node(entry, agent, sdk, headers)
        for container in sdk.containers(all=True):
            sdk.remove_container(container["Id"], force=True, v=True)
    for one in {entry, agent}:
        assert TOKEN not in one.log()
    if not agent.ended:
        agent.wait_status("no console", lambda status: status["actors"]["console"]["consoles"] == 0)


@pytest.fixture
def container(node):
    return node.run("sleep", "1000")


@contextlib.contextmanager
def flat_memory(agent, most=8 << 20):
    """The agent grows by less than so many bytes meanwhile. A sanitizer keeps what was freed: there nothing is judged."""

    def rss():
        status = open(f"/proc/{agent.process.pid}/status").read()
        return int(re.search(r"VmRSS:\s+(\d+)", status)[1]) * 1024

    before = rss()
    yield
    assert is_sanitized() or rss() - before < most


def tell(console, script):
    """Has a raw terminal run a script, in which nothing is echoed and nothing changed, and waits for its begin."""
    console.until("# ")
    console.type(f"stty raw -echo; echo be''gins; {script}\r")
    console.until("begins\n")


# ----------------------------------------------------------------------------------------------------------------- the handshake


@pytest.mark.quick
@pytest.mark.parametrize("kind", ["exec", "attach"])
def test_refused_handshakes(agent, scripted, kind, keys):
    """Each row of the contract's table: status, body and headers, in the order of the checks."""
    path = f"/websocket/{kind}"
    missing = {"message": "Invalid query parameter: id", "details": "Missing query parameter"}
    hexadecimal = dict.fromkeys(("message", "details"), "Invalid query parameter: id (must be hexadecimal identifier)")
    asked = {**PATH_HEADERS, "X-Test": "console"}

    def ask(target, headers=asked, client=agent.client()):
        return client.request("GET", target, headers)

    for target, error in [(path, missing), (f"{path}?id=", missing), (f"{path}?endpointId=1", missing)]:
        answer = ask(target)
        assert (answer.status, answer.json(), answer.get("Content-Type")) == (400, error, "application/json")
        assert ask(target, {}).json() == error  # looked at before the handshake
    for wrong in ("xyz", "ab/../cd", "ab%20", "0x12", "-1", "a" * 1000):
        answer = ask(f"{path}?id={wrong}")
        assert (answer.status, answer.json()) == (400, hexadecimal)

    def without(*names, **more):
        return {**{name: value for name, value in asked.items() if name not in names}, **more}

    for headers, word in [
        ({}, "Upgrade"),
        (without("Upgrade"), "Upgrade"),
        (without("Connection"), "Upgrade"),
        ({**asked, "Connection": "keep-alive"}, "Upgrade"),
        ({**asked, "Upgrade": "h2c"}, "Upgrade"),
        (without("Sec-WebSocket-Version"), "Sec-WebSocket-Version"),
        ({**asked, "Sec-WebSocket-Version": "12"}, "Sec-WebSocket-Version"),
        (without("Sec-WebSocket-Key"), "Sec-WebSocket-Key"),
        ({**asked, "Sec-WebSocket-Key": "short"}, "Sec-WebSocket-Key"),
    ]:
        answer = ask(f"{path}?id=ab", headers)
        assert answer.status == 400
        assert answer.get("Content-Type") == "text/plain; charset=utf-8"
        assert answer.get("Sec-WebSocket-Version") == "13"
        assert answer.get("Portainer-Agent") == "2.19.0"
        assert word in answer.body.decode()
    answer = agent.client({}).request("GET", path, asked)
    assert (answer.status, answer.json()["message"]) == (403, "Missing request signature headers")
    for method in ("POST", "HEAD", "PUT", "DELETE"):
        answer = agent.client().request(method, f"{path}?id=ab", asked)
        assert (answer.status, answer.get("Allow"), answer.body) == (405, "GET", b"")
    assert not scripted.seen(X_Test="console")
    assert agent.status()["actors"]["console"]["opened"] == 0


@pytest.mark.quick
def test_origin(agent, scripted):
    """exec compares it with Host; attach does not look."""

    def status(path, **headers):
        connection = Connection(agent.port)
        with connection:
            connection.send_request("GET", f"{path}?id=ab", {**PATH_HEADERS, **agent.headers, **headers})
            head = connection.read_head()
            if head.status == 403:
                assert head.get("Sec-WebSocket-Version") == "13" and b"Origin" in connection.read_body(head)
            return head.status

    assert status("/websocket/exec", Host="shoal.example:9001", Origin="https://shoal.example:9001") == 101
    assert status("/websocket/exec", Host="Shoal.example", Origin="http://shoal.EXAMPLE") == 101
    assert status("/websocket/exec", Host="shoal.example:9001", Origin="https://shoal.example") == 403
    assert status("/websocket/exec", Host="shoal.example", Origin="https://evil.example") == 403
    assert status("/websocket/exec", Host="shoal.example", Origin="null") == 403
    assert status("/websocket/exec", Host="shoal.example") == 101
    assert status("/websocket/attach", Host="shoal.example", Origin="https://evil.example") == 101


def test_the_101_has_what_it_needs_and_no_more(node, container):
    made = node.create_exec(container, "true")
    headers = {"Sec-WebSocket-Protocol": "chat", "Sec-WebSocket-Extensions": "permessage-deflate"}
    with node.open(f"/websocket/exec?id={made}", RawConsole, headers) as console:
        head = console.head
        assert head.get("Sec-WebSocket-Accept") == "s3pPLMBiTxaQ9kYGzzhZRbK+xOo="
        assert (head.get("Upgrade"), head.get("Connection").lower()) == ("websocket", "upgrade")
        assert head.get("Sec-WebSocket-Protocol") is None and head.get("Sec-WebSocket-Extensions") is None
        assert not [name for name, _ in head.headers if name.lower().startswith("portainer-agent")]


# -------------------------------------------------------------------------------------------------------------------------- exec


def test_a_shell_under_every_prefix(node, container):
    for prefix in ("", "/v1", "/v2", "/v1.41"):
        with node.exec(container, "sh", prefix=prefix) as console:
            console.until("# ")
            console.type("echo $((6 * 7)) here\r")
            console.until("42 here\r\n")
            console.type("exit 3\r")
            assert console.wait_close() == (1000, "")
    node.wait_over()


def test_resize_while_it_is_open(node, container):
    made = node.create_exec(container, "sh")
    with node.open(f"/websocket/exec?id={made}") as console:
        console.until("# ")
        for rows, columns in ((31, 97), (50, 132)):
            answer = node.request("POST", f"/exec/{made}/resize?h={rows}&w={columns}")
            assert answer.status in (200, 201)
            console.type("stty size\r")
            console.until(f"{rows} {columns}\r\n")
        assert console.close() == (1000, "")


def test_binary_input_arrives_as_it_is(node, container):
    data = bytes(reversed(range(256))) * 20  # ^P^Q, in this order, would detach
    with node.exec(container, "sh") as console:
        tell(console, f"head -c {len(data)} | md5sum; exit")
        for at in range(0, len(data), 700):
            console.send(data[at : at + 700])
        console.until(hashlib.md5(data).hexdigest())
        assert console.wait_close() == (1000, "")


def test_a_megabyte_pasted_through_cat(node, container):
    """In one message of a megabyte; all of it comes back, and the agent holds no more than its windows."""
    text = "".join(f"{line:06d} the quick brown fish\n" for line in range(1 << 15))[: 1 << 20]
    with node.exec(container, "sh") as console:
        tell(console, f"head -c {len(text)} | cat")
        with flat_memory(node.agent):
            console.type(text)
            assert console.read_text(len(text)) == text
        console.close()
    node.wait_over()


def test_input_that_nobody_reads_waits(node, container):
    """The engine stops taking it, so the agent does, so the client stops: nothing grows."""
    with node.exec(container, "sh", kind=RawConsole) as console:
        console.send(frame(0x81, b"stty raw -echo; echo be''gins; sleep 1000\r"))
        frames, text = console.frames(), b""
        while b"begins" not in text:
            text += next(frames)[1]
        message = frame(0x82, bytes(60000))
        console.connection.set_timeout(1)
        sent = 0
        with pytest.raises(TimeoutError):
            while sent < 64 << 20:
                console.send(message)
                sent += len(message)
        assert node.counters()["waiting_bytes"] <= 512 * 1024
        assert node.agent.status()["payload"]["used"] <= 2 << 20
        console.reset()  # a plain FIN would stand behind the bytes that nobody reads
    node.wait_over()


def test_characters_split_over_reads_are_joined(node, container):
    with node.exec(container, "sh", "-c", r"printf 'a\360\237'; sleep 0.3; printf '\220'; sleep 0.3; printf '\237z\303'; sleep 0.3; printf '\251\377!'") as console:
        assert console.wait_close() == (1000, "")
        assert console.text == "a\U0001f41fz\u00e9!"


def test_quick_commands_show_all_their_output(node, container):
    for number in range(10):
        with node.exec(container, "sh", "-c", f"echo done {number}") as console:
            assert console.wait_close() == (1000, "")
            assert console.text == f"done {number}\r\n"
    with node.exec(container, "sh", "-c", "seq 1 20000") as console:
        assert console.wait_close() == (1000, "")
        assert console.text == "".join(f"{number}\r\n" for number in range(1, 20001))


def test_an_exec_without_a_terminal(node, container):
    """The engine goes by the start, which asks for one: no frames of the engine's are in the text."""
    with node.exec(container, "sh", "-c", "echo text", tty=False) as console:
        assert console.wait_close() == (1000, "")
        assert console.text == "text\n"


def test_the_engines_refusal_is_the_reason(node, container):
    with node.open("/websocket/exec?id=abcdef") as console:
        assert console.wait_close() == (1011, "No such exec instance: abcdef")
    with node.open("/websocket/attach?id=abcdef") as console:
        assert console.wait_close() == (1011, "No such container: abcdef")
    with node.exec(container, "no-such-program") as console:  # the engine says it as output
        assert console.wait_close()[0] == 1000
        assert "no-such-program" in console.text
    made = node.create_exec(container, "true")
    node.sdk.pause(container)
    for console in (node.attach(container), node.open(f"/websocket/exec?id={made}")):
        with console:
            code, reason = console.wait_close()
            assert code == 1011 and "is paused" in reason
    node.sdk.unpause(container)
    node.wait_over()


def test_killing_the_container_ends_the_console(node, container):
    with node.exec(container, "sh") as console:
        console.until("# ")
        node.sdk.kill(container)
        assert console.wait_close()[0] == 1000
    node.wait_over()


def test_the_clients_close_is_answered_and_ends_the_engines_side(node, container):
    for number, code in enumerate((1000, 1001, 4321)):
        with node.exec(container, "cat") as console:
            console.type("x")
            console.until("x")
            assert console.close(code)[0] == code
            assert node.counted("client_closed") == number + 1
        node.wait_over()


def test_a_client_that_goes_away_ends_the_engines_side(node, container):
    with node.exec(container, "cat") as console:
        console.type("x")
        console.until("x")
    node.wait_over()
    with node.exec(container, "cat") as console:  # TLS is closed, the WebSocket is not
        console.connection.end_output()
        assert console.wait_close() == (1001, "the client's connection ended")
    node.wait_over()


def test_pings_are_answered(node, container):
    with node.exec(container, "cat") as console:
        console.ping(b"are you there?")
        assert console.until_frame(OP_PONG) == b"are you there?"
        assert console.close() == (1000, "")


def test_many_at_once(node, container):
    with contextlib.ExitStack() as stack:
        consoles = [stack.enter_context(node.exec(container, "cat")) for _ in range(20)]
        for number, console in enumerate(consoles):
            console.type(f"number {number}.\r")
        for number, console in enumerate(consoles):
            console.until(f"number {number}.")
        assert node.counters()["consoles"] == 20
        for console in consoles:
            assert console.close() == (1000, "")
    node.wait_over()


# ------------------------------------------------------------------------------------------------------------------------ attach


def test_attach_with_a_terminal(node):
    container = node.run("sh", tty=True)
    with node.attach(container) as console:
        console.type("echo $((6 * 7)) here\r")
        console.until("42 here\r\n")
        answer = node.request("POST", f"/containers/{container}/resize?h=33&w=99")
        assert answer.status == 200
        console.type("stty size\r")
        console.until("33 99\r\n")
        console.type("exit\r")
        assert console.wait_close() == (1000, "")
    node.wait_over()


def test_attach_without_a_terminal(node):
    """Output and errors come without the engine's frames."""
    container = node.run("sh", "-c", "while read line; do echo out:$line; echo err:$line >&2; done")
    with node.attach(container, prefix="/v2") as console:
        for word in ("one", "two", "h\u00e9"):
            console.type(f"{word}\n")
            while console.text.count("\n") < 2:
                assert console.read()
            lines, console.text = console.text, ""
            assert sorted(lines.split()) == [f"err:{word}", f"out:{word}"]
        node.sdk.stop(container, timeout=0)
        assert console.wait_close()[0] == 1000
    node.wait_over()


def test_attach_before_the_start(node):
    """The engine lets one wait for a container that does not run yet."""
    container = node.sdk.create_container(IMAGE, ["echo", "first words"], stdin_open=True)["Id"]
    with node.attach(container) as console:
        wait_until("attached", lambda: node.counted("upgrades") == 1)
        node.sdk.start(container)
        assert console.wait_close() == (1000, "")
        assert console.text == "first words\n"


# ------------------------------------------------------------------------------------------------------------------- what is shown


@own_only
def test_the_token_is_shown_nowhere(node, container):
    tap = Running([str(BINARY), "tap", "--control", str(node.agent.control), "--json"], node.agent.environment, None)
    with tap:
        node.agent.wait_status("the tap is there", lambda status: status["actors"]["tap"]["watchers"] == 1)
        with node.exec(container, "true") as console:
            assert console.wait_close() == (1000, "")
        seen = []
        while not seen or json.loads(seen[-1])["type"] != "abort" or json.loads(seen[-1])["to"] != "ingress":
            seen.append(tap.line())
    assert TOKEN not in "".join(seen)
    messages = [message for message in map(json.loads, seen) if message["stream"]]
    actors = {(message["from"], message["to"], message["type"]) for message in messages}
    assert {("router", "console", "request"), ("console", "docker", "request"), ("docker", "console", "response"), ("console", "ingress", "response")} <= actors
    assert len({message["trace"] for message in messages}) == 1  # one trace from client to engine
    assert TOKEN not in node.agent.log()


# ------------------------------------------------------------------------------------------------------------------------ the end


@own_only
def test_stopping_says_so(node, container):
    with node.exec(container, "cat") as console:
        console.type("x")
        console.until("x")
        node.agent.signal(signal.SIGTERM)
        assert console.wait_close() == (1001, "the agent stops")
    assert node.agent.wait() == 0


def test_an_engine_that_goes_ends_consoles(make_agent, scripted):
    """Before its answer: the cause is the reason."""
    agent = make_agent(scripted.path)
    scripted.on("POST", "/exec/ab/start", lambda exchange: None)
    with Console(agent, "/websocket/exec?id=ab") as console:
        code, reason = console.wait_close()
        assert code == 1011 and "the engine closed the connection before it answered" in reason
    agent.wait_quiet()


# ------------------------------------------------------------------------------------------------------------- hostile clients


VIOLATIONS = {
    "not masked": frame(0x81, b"ls\r", mask=False),
    "a ping not masked": frame(0x89, mask=False),
    "reserved bit 1": frame(0xC1, b"x"),
    "reserved bit 2": frame(0xA1, b"x"),
    "reserved bit 3": frame(0x91, b"x"),
    "reserved opcode": frame(0x83, b"x"),
    "reserved control opcode": frame(0x8B, b"x"),
    "an oversized ping": frame(0x89, bytes(126)),
    "an oversized close": frame(0x88, b"\x03\xe8" + b"x" * 200),
    "a ping in fragments": frame(0x09, b"x"),
    "a continuation of nothing": frame(0x80, b"x"),
    "a message in a message": frame(0x01, b"x") + frame(0x81, b"x"),
    "a length over 2^63": b"\x82\xff" + b"\xff" * 12,
    "a length that is too long": b"\x82\xfe\x00\x05" + bytes(9),
    "half a close code": frame(0x88, b"\x03"),
    "a close code for nobody": frame(0x88, struct.pack(">H", 1005)),
    "an HTTP request": b"GET / HTTP/1.1\r\nHost: agent\r\n\r\n" * 3,
    "zeros": bytes(3000),
}


def test_violations_close_with_1002(node, container):
    for number, (name, data) in enumerate(VIOLATIONS.items()):
        with node.raw(container) as console:
            console.send(data)
            assert console.close_code() == 1002, name
        assert node.counted("protocol_errors") == number + 1, name
    node.wait_over()


def test_text_that_is_none_closes_with_1007(node, container):
    with node.raw(container) as console:
        console.send(frame(0x81, b"\xff\xfe"))
        assert console.close_code() == 1007


def test_frames_byte_by_byte(node, container):
    with node.raw(container) as console:
        for byte in frame(0x01, b"sl") + frame(0x89, b"?") + frame(0x80, b"ow\r"):
            console.send(bytes([byte]))
        pongs, text = [], b""
        for first, payload in console.frames():
            if first == 0x8A:
                pongs.append(payload)
            else:
                text += payload
            if b"slow" in text and pongs:
                break
        assert pongs == [b"?"]
    node.wait_over()


def test_half_a_frame_and_gone(node, container):
    for part in (1, 2, 5, 8):
        with node.raw(container) as console:
            console.send(frame(0x82, b"never whole")[:part])
        node.wait_over()


def test_a_promise_of_a_huge_message_costs_nothing(node, container):
    with node.raw(container) as console:
        with flat_memory(node.agent, 4 << 20):
            console.send(frame(0x82, b"x", length=1 << 62))
            console.send(b"y" * 100)
            assert node.entry.get("/ping").status == 204
    node.wait_over()


def test_a_flood_of_pings_to_a_client_that_does_not_read(node, container):
    with node.raw(container) as console:
        console.connection.set_timeout(2)
        with flat_memory(node.agent), contextlib.suppress(TimeoutError):
            for _ in range(200):
                console.send(frame(0x89, bytes(125)) * 200)
        assert node.entry.get("/ping").status == 204
    node.wait_over()


def test_output_for_a_client_that_does_not_read(node, container):
    with node.exec(container, "yes", kind=RawConsole), flat_memory(node.agent):
        wait_until("output waits", lambda: node.counters()["waiting_bytes"] > 0)
        assert node.counters()["waiting_bytes"] <= 256 * 1024
        assert node.agent.status()["payload"]["used"] <= 2 << 20
        assert node.entry.get("/ping").status == 204
    node.wait_over()
