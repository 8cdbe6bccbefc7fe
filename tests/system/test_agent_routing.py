"""Who answers a request, and what the answer's head says: the contract's routes, headers and errors, with a scripted engine that
records what reached it."""

import json
import re

import pytest

from agent import ROOT
from https_client import Connection

VECTORS = json.loads((ROOT / "tests/data/routing.json").read_text())
STANDALONE = [case for case in VECTORS["cases"] if case["mode"] == "standalone"]


def own_headers(head, bare=False):
    """Each of the agent's own headers comes exactly once; below /key those of the protocol are left out."""
    assert head.get("Portainer-Agent") == (None if bare else "2.19.0")
    assert head.get("Portainer-Agent-API-Version") == (None if bare else "2")
    assert head.get("Portainer-Agent-Platform") == (None if bare else "1")
    assert re.fullmatch(r"\d+\.\d+\.\d+.*", head.get("Shoal-Version"))
    assert re.fullmatch("[0-9a-f]{32}", head.get("Shoal-Trace"))


def is_error(answer, status, message):
    assert answer.status == status
    assert answer.get("Content-Type") == "application/json"
    assert answer.json()["message"] == message
    assert set(answer.json()) <= {"message", "details"}
    assert all(isinstance(value, str) and value for value in answer.json().values())


# ---------------------------------------------------------------------------------------------------------------- vectors


@pytest.mark.quick
@pytest.mark.parametrize("case", STANDALONE, ids=lambda case: f"{case['method']} {case['path']} {' '.join(case['headers'])}")
def test_standalone(agent, scripted, case):
    headers = {**case["headers"], "X-Test": "case"}
    client = agent.client() if case["signed"] else agent.client({})
    answer = client.request(case["method"], case["path"], headers)
    own_headers(answer.head)
    seen = [request.target for request in scripted.seen(X_Test="case")]
    assert answer.status == case["status"]
    wanted = case["engine_saw"].get("node1", [])
    if re.match(r"/v\d", case["path"]):
        wanted = [case["path"]]  # the scripted engine speaks it, so it is kept; the old agent always dropped it
    assert seen == wanted
    if "error" in case:
        is_error(answer, case["status"], case["error"]["message"])
        if not case["error"]["details"].startswith("open /"):  # the system's words are not part of the contract (3.3)
            assert answer.json() == case["error"]


# ---------------------------------------------------------------------------------------------------------- agent's routes


@pytest.mark.quick
@pytest.mark.parametrize("path", ["/ping", "/v2/ping", "/v1.41/ping", "/v1.24/v2/ping", "/ping?x=1", "//ping", "/./ping"])
def test_ping_is_open(agent, path):
    answer = agent.client({}).request("GET", path)
    assert answer.status == 204 and answer.body == b""
    own_headers(answer.head)
    assert answer.get("Content-Type") is None and answer.get("Content-Length") is None


@pytest.mark.quick
@pytest.mark.parametrize("method", ["HEAD", "POST", "PUT", "DELETE", "OPTIONS"])
def test_other_methods_of_ping(agent, method):
    answer = agent.client({}).request(method, "/ping")
    assert answer.status == 405 and answer.body == b""
    assert answer.get("Allow") == "GET"
    own_headers(answer.head)


@pytest.mark.quick
@pytest.mark.parametrize("path", ["/pingx", "/agents/", "/hostx", "/browse", "/browse/nothing", "/websocket", "/kubernetes/x", "/agentsx?y=1"])
def test_what_begins_like_an_agent_route_is_never_the_engines(agent, scripted, path):
    answer = agent.get(path, **{"X-Test": "own"})
    assert answer.status == 404
    assert answer.get("Content-Type") == "text/plain; charset=utf-8"
    assert answer.body == b"404 page not found\n"
    own_headers(answer.head)
    assert not scripted.seen(X_Test="own")


@pytest.mark.quick
@pytest.mark.parametrize(
    "method, path",
    [
        ("POST", "/v2/dockerhub"),
        ("POST", "/v1.41/v2/dockerhub"),
    ],
)
def test_routes_that_later_work_adds(agent, scripted, method, path):
    answer = agent.client().request(method, path, {"X-Test": "later"})
    is_error(answer, 501, "This route is not part of this version of the agent")
    own_headers(answer.head)
    assert not scripted.seen(X_Test="later")
    assert agent.client({}).request(method, path).status == 403


@pytest.mark.quick
@pytest.mark.parametrize("method", ["GET", "POST"])
def test_key_is_for_edge_agents(agent, method):
    answer = agent.client().request(method, "/key")
    is_error(answer, 503, "Edge key management is disabled on non Edge agent")
    own_headers(answer.head, bare=True)


@pytest.mark.quick
@pytest.mark.parametrize("path", ["/v1/ping", "/v2/containers/json", "/v1/images/json", "/v2", "/swarm", "/info", "/grafana", "/volumes/v1"])
def test_what_is_no_agent_route_is_the_engines(agent, scripted, path):
    assert agent.get(path, **{"X-Test": "engine"}).status == 200
    assert [request.target for request in scripted.seen(X_Test="engine")] == [path]


# --------------------------------------------------------------------------------------------------------- headers of all


@pytest.mark.quick
def test_own_headers_on_every_kind_of_answer(agent, scripted, keys):
    scripted.on("GET", "/broken", lambda exchange: exchange.send(b"nonsense"))
    answers = {
        200: agent.get("/_ping"),
        204: agent.get("/ping"),
        403: agent.client(keys.b).request("GET", "/_ping"),
        404: agent.get("/pingx"),
        405: agent.client().request("POST", "/ping"),
        400: agent.get("/websocket/exec"),
        501: agent.client().request("POST", "/v2/dockerhub"),
        502: agent.get("/broken"),
        503: agent.get("/agents"),
    }
    for status, answer in answers.items():
        assert answer.status == status
        own_headers(answer.head)
    with agent.client({}).connect() as connection:
        connection.send(b"GET /_ping HTTP/1.1\r\nHost: a\r\nHost: b\r\n\r\n")
        head = connection.read_head()
        assert head.status == 400 and head.get("Content-Type") == "application/json"
        own_headers(head)


@pytest.mark.quick
def test_own_headers_come_once_when_the_engine_has_them_too(agent, scripted):
    theirs = {"Portainer-Agent": "9.9.9", "Portainer-Agent-Platform": "2", "Shoal-Trace": "0" * 32, "Shoal-Version": "9"}
    scripted.on("GET", "/agentlike", lambda exchange: exchange.answer(200, b"{}", theirs))
    own_headers(agent.get("/agentlike").head)


@pytest.mark.quick
def test_the_engines_headers_arrive(agent, scripted):
    theirs = {
        "Api-Version": "1.41", "Docker-Experimental": "false", "Ostype": "linux", "Builder-Version": "2", "Swarm": "inactive",
        "Server": "Docker/20.10.24 (linux)", "Date": "Thu, 01 Jan 2026 00:00:00 GMT", "X-Anything": "kept as it is",
    }
    scripted.on("GET", "/_ping", lambda exchange: exchange.answer(200, b"OK", {"Content-Type": "text/plain; charset=utf-8", **theirs}))
    scripted.on("HEAD", "/_ping", lambda exchange: exchange.answer(200, b"OK", {"Content-Type": "text/plain; charset=utf-8", **theirs}))
    for method in ("HEAD", "GET"):
        answer = agent.client().request(method, "/_ping")
        assert answer.status == 200
        assert answer.body == (b"OK" if method == "GET" else b"")
        assert answer.get("Content-Length") == "2"
        assert answer.get("Content-Type") == "text/plain; charset=utf-8"
        for name, value in theirs.items():
            assert answer.get(name) == value
        own_headers(answer.head)


@pytest.mark.quick
def test_errors_of_the_engine_arrive_unchanged(agent, scripted):
    body = b'{"message":"No such container: \xc3\xa4<&>"}\n'
    scripted.on("GET", "/containers/x/json", lambda exchange: exchange.answer(404, body))
    answer = agent.get("/containers/x/json")
    assert (answer.status, answer.body, answer.get("Content-Type")) == (404, body, "application/json")


@pytest.mark.quick
def test_what_reaches_the_engine(agent, scripted):
    """End-to-end headers as they were; never the agent's own, the client's Host or what is between client and agent."""
    sent = {
        "X-PortainerAgent-Target": "node7", "X-PortainerAgent-ManagerOperation": "1", "X-Registry-Auth": "e30=",
        "User-Agent": "test/1", "Accept": "application/json", "Connection": "keep-alive, X-Private", "X-Private": "1",
        "Keep-Alive": "timeout=5", "TE": "trailers", "Proxy-Connection": "x", "X-Test": "reach", "Host": "client.example",
    }
    assert agent.client().request("POST", "/containers/create?name=%2Fa%20b&x=", sent, b'{"Image":"x"}').status == 200
    (request,) = scripted.seen(X_Test="reach")
    names = {name.lower() for name, _ in request.headers}
    assert not {name for name in names if name.startswith("x-portaineragent")}
    assert not names & {"keep-alive", "te", "proxy-connection", "x-private"}
    assert "client.example" not in request.get("Host")
    assert request.get("X-Registry-Auth") == "e30=" and request.get("User-Agent") == "test/1"
    assert request.get("Accept") == "application/json" and request.get("Accept-Encoding") is None
    assert request.target == "/containers/create?name=%2Fa%20b&x="
    assert request.body == b'{"Image":"x"}'


@pytest.mark.quick
def test_the_trace_is_the_clients_or_a_new_one(agent):
    trace = "4bf92f3577b34da6a3ce929d0e0e4736"
    answer = agent.get("/_ping", traceparent=f"00-{trace}-00f067aa0ba902b7-01")
    assert answer.get("Shoal-Trace") == trace
    traces = {agent.get("/_ping").get("Shoal-Trace") for _ in range(3)}
    assert len(traces) == 3 and trace not in traces
    assert agent.get("/_ping", traceparent="00-zz-00f067aa0ba902b7-01").get("Shoal-Trace") not in traces


# --------------------------------------------------------------------------------------------------------------- versions


@pytest.mark.quick
@pytest.mark.parametrize(
    "target, seen",
    [
        ("/v1.12/info", "/v1.12/info"),  # the engine's lowest
        ("/v1.41/info", "/v1.41/info"),  # its highest
        ("/v1.24/containers/json?all=1", "/v1.24/containers/json?all=1"),
        ("/v1.11/info", "/info"),
        ("/v1.42/info", "/info"),
        ("/v2.0/info", "/info"),
        ("/v1.9/info", "/info"),  # nine, not ninety
        ("/v1.100/info?x=%2F", "/info?x=%2F"),
        ("/v1.99", "/"),
        ("/v1.41/images/reg.io%2Fv1.2%2Ffoo/json", "/v1.41/images/reg.io%2Fv1.2%2Ffoo/json"),
        ("/v1.99/images/reg.io%2Fv1.2%2Ffoo/json", "/images/reg.io%2Fv1.2%2Ffoo/json"),
        ("/v1.99/images/reg.io/v1.2/foo/json", "/images/reg.io/v1.2/foo/json"),  # only a leading one is a version
        ("/images/reg.io/v1.2/foo/json", "/images/reg.io/v1.2/foo/json"),
        ("/containers/a%20b/json?filters=%7B%22a%22%3A1%7D", "/containers/a%20b/json?filters=%7B%22a%22%3A1%7D"),
        ("/v1.x/info", "/v1.x/info"),
        ("/v10.1/info", "/v10.1/info"),
        ("/v1/info", "/v1/info"),
    ],
)
def test_a_version_prefix_stays_when_the_engine_speaks_it(agent, scripted, target, seen):
    assert agent.get(target, **{"X-Test": "version"}).status == 200
    assert [request.target for request in scripted.seen(X_Test="version")] == [seen]


@pytest.mark.quick
def test_versions_of_a_new_engine(make_agent, scripted):
    """Engines of 2025 refuse what servers of 2019 ask with; such a prefix is dropped."""
    scripted.version = {"ApiVersion": "1.52", "MinAPIVersion": "1.44"}
    agent = make_agent(scripted.path)
    for number, version in enumerate(("1.24", "1.40", "1.44", "1.52", "1.53")):
        agent.get(f"/v{version}/info", **{"X-Test": "new"})
    assert [request.target for request in scripted.seen(X_Test="new")] == ["/info", "/info", "/v1.44/info", "/v1.52/info", "/info"]
    assert agent.status()["actors"]["router"]["versions_dropped"] == 3


# ------------------------------------------------------------------------------------------------------------------ paths


@pytest.mark.quick
@pytest.mark.parametrize("sent, seen", [("//info", "/info"), ("/./info", "/info"), ("/a//b/./c?q=//", "/a/b/c?q=//"), ("/v1.99//info", "/info")])
def test_paths_are_cleaned_silently(agent, scripted, sent, seen):
    assert agent.get(sent, **{"X-Test": "clean"}).status == 200
    assert [request.target for request in scripted.seen(X_Test="clean")] == [seen]


@pytest.mark.quick
@pytest.mark.parametrize("target", ["/../info", "/a/../b", "/a/..", "/..?x", "/v1.41/../info"])
def test_dot_dot_is_refused(agent, scripted, target):
    answer = agent.get(target, **{"X-Test": "dots"})
    assert answer.status == 400
    assert answer.get("Content-Type") == "application/json"
    assert not scripted.seen(X_Test="dots")


@pytest.mark.quick
def test_absolute_form(agent, scripted):
    headers = {"X-Test": "absolute", "Host": "engine.example:9001"}
    assert agent.client().request("GET", "https://engine.example:9001/info?x=1", headers).status == 200
    assert [request.target for request in scripted.seen(X_Test="absolute")] == ["/info?x=1"]
    assert agent.client().request("GET", "https://other.example/info", headers).status == 400
    assert len(scripted.seen(X_Test="absolute")) == 1


# ------------------------------------------------------------------------------------------------ what can be read twofold

HEAD = "POST /x HTTP/1.1\r\nHost: x\r\nX-Test: twofold\r\n"
TWOFOLD = {
    "length and chunked": HEAD + "Content-Length: 5\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
    "two lengths": HEAD + "Content-Length: 5\r\nContent-Length: 6\r\n\r\nhello",
    "the same length twice": HEAD + "Content-Length: 5\r\nContent-Length: 5\r\n\r\nhello",
    "a list of lengths": HEAD + "Content-Length: 5, 5\r\n\r\nhello",
    "empty length": HEAD + "Content-Length: \r\n\r\n",
    "signed length": HEAD + "Content-Length: +5\r\n\r\nhello",
    "length overflow": HEAD + "Content-Length: 18446744073709551617\r\n\r\nx",
    "another coding": HEAD + "Transfer-Encoding: gzip, chunked\r\n\r\n0\r\n\r\n",
    "chunked twice": HEAD + "Transfer-Encoding: chunked\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
    "chunked not last": HEAD + "Transfer-Encoding: chunked, identity\r\n\r\n0\r\n\r\n",
    "vertical tab": HEAD + "Transfer-Encoding: \x0bchunked\r\n\r\n0\r\n\r\n",
    "bare LF": HEAD.replace("\r\n", "\n") + "\n",
    "bare CR": HEAD + "A: b\rContent-Length: 5\r\n\r\n",
    "folded": HEAD + "A: b\r\n c\r\n\r\n",
    "space before the colon": HEAD + "Content-Length : 5\r\n\r\nhello",
    "NUL": HEAD + "A: b\0c\r\n\r\n",
    "no Host": HEAD.replace("Host: x\r\n", "") + "\r\n",
    "two Hosts": HEAD + "Host: y\r\n\r\n",
    "HTTP/0.9": "GET /x\r\n\r\n",
    "HTTP/2.0": HEAD.replace("HTTP/1.1", "HTTP/2.0") + "\r\n",
}


@pytest.mark.quick
@pytest.mark.parametrize("name", TWOFOLD)
def test_what_can_be_read_in_two_ways_is_refused(agent, scripted, keys, name):
    text = TWOFOLD[name]
    if "\r\n\r\n" in text:
        head, body = text.split("\r\n\r\n", 1)
        text = head + "".join(f"\r\n{key}: {value}" for key, value in keys.a.items()) + "\r\n\r\n" + body if name != "HTTP/0.9" else text
    with Connection(agent.port) as connection:
        connection.send(text.encode("latin-1"))
        head = connection.read_head()
        assert head.status == {"length overflow": 413, "HTTP/2.0": 505}.get(name, 400)
        assert head.get("Connection") == "close"
        connection.read_body(head)
        assert connection.receive() == b""  # it was closed
    assert not scripted.seen(X_Test="twofold")


@pytest.mark.quick
@pytest.mark.parametrize(
    "body",
    [b"10000000000000000\r\n", b"-1\r\n", b"5 \r\nhello\r\n", b"5\nhello\n", b"5\r\nhelloX\r\n", b"0\r\nContent-Length: 5\r\n\r\n", b"\r\n"],
    ids=["overflow", "negative", "space", "bare LF", "no CRLF behind", "length in the trailer", "empty size"],
)
def test_malformed_chunks(agent, scripted, body):
    """The engine may have seen the head by then, but never a body that looks whole."""
    whole = []

    def take(exchange):
        whole.append(exchange.read_body())
        exchange.answer()

    scripted.on("POST", "/x", take)
    with agent.client().start("POST", "/x", {"Transfer-Encoding": "chunked"}) as connection:
        connection.send(body)
        assert connection.read_head().status == 400
    agent.wait_quiet()
    assert whole == []
