"""What the contract says of the target header on the agent's own routes, before the agents of a cluster."""

import threading

import pytest

from across import TARGET, Across, target
from conftest import show_logs_of
from console_client import PATH_HEADERS, Console
from waiting import wait_until

pytestmark = pytest.mark.across
UNKNOWN = {"message": "The agent was unable to contact any other agent", "details": "Unable to find the targeted agent"}
REDIRECTED = [
    ("GET", "/host/info"), ("GET", "/v1/host/info"), ("GET", "/v2/host/info"),
    ("GET", "/browse/ls?volumeID=v&path=/"), ("GET", "/v2/browse/get?volumeID=v&path=/x"), ("GET", "/v1/browse/v/ls"),
    ("DELETE", "/browse/delete?volumeID=v&path=/x"), ("PUT", "/v2/browse/rename?volumeID=v"), ("POST", "/v1/browse/v/put"),
    ("GET", "/websocket/exec?id=ab"), ("GET", "/v1/websocket/exec"), ("GET", "/v2/websocket/attach?id=ab"),
]  # fmt: skip


@pytest.fixture(scope="module")
def cluster():
    across = Across()
    try:
        across.add()
        yield across
    finally:
        across.close()


@pytest.fixture
def across(cluster, request):
    show_logs_of(request, *cluster.agents)
    return cluster


@pytest.mark.parametrize("prefix", ["", "/v1", "/v2"])
def test_agents_are_told_by_whoever_is_asked(across, prefix):
    """Also for a target: the same list, and other methods are refused."""
    for headers in ({}, target(across.cluster.nodes[1]), {TARGET: "nobody"}):
        answer = across.entry.get(f"{prefix}/agents", **headers)
        assert answer.status == 200
        assert {agent["NodeName"] for agent in answer.json()} == {"node1", "node2"}
        for method in ("POST", "PUT", "DELETE", "HEAD"):
            answer = across.entry.client().request(method, f"{prefix}/agents", headers)
            assert (answer.status, answer.get("Allow"), answer.body) == (405, "GET", b"")


@pytest.mark.parametrize("prefix", ["", "/v2"])
def test_a_ping_is_never_redirected(across, prefix):
    for headers in ({TARGET: "nobody"}, target(across.cluster.nodes[1])):
        other = across.cluster.nodes[1].agent.status()["actors"]["ingress"]["requests"]
        assert across.entry.client({}).request("GET", f"{prefix}/ping", headers).status == 204
        assert across.cluster.nodes[1].agent.status()["actors"]["ingress"]["requests"] == other


@pytest.mark.parametrize("method, path", REDIRECTED)
def test_an_unknown_target_is_an_error(across, method, path):
    """It comes before all other checks, but for the signature."""
    headers = {TARGET: "nobody"} | (PATH_HEADERS if "websocket" in path else {})
    answer = across.entry.client().request(method, path, headers)
    assert (answer.status, answer.json(), answer.get("Content-Type")) == (500, UNKNOWN, "application/json")
    assert across.entry.client({}).request(method, path, headers).status == 403


@pytest.mark.parametrize("method, path", REDIRECTED)
def test_the_target_answers(across, method, path):
    """Its answer comes as it is, and it is its own."""
    serving = across.cluster.nodes[1].agent
    before = serving.status()["actors"]["ingress"]["requests"]
    direct = serving.client().request(method, path)
    relayed = across.entry.client().request(method, path, target(across.cluster.nodes[1]))
    assert serving.status()["actors"]["ingress"]["requests"] == before + 2
    assert (relayed.status, relayed.body) == (direct.status, direct.body)
    assert [relayed.get("Portainer-Agent"), relayed.get("Content-Type")] == [direct.get("Portainer-Agent"), direct.get("Content-Type")]


def test_a_console_is_closed_when_the_agent_in_between_stops(across, request):
    """With a close frame, which the agent makes that serves it: the one that stops does not look into the frames."""
    serving = across.cluster.nodes[1]
    between = across.add("--grace-time=2s")
    show_logs_of(request, between.agent)
    across.wait_listed(serving, between)
    gone = threading.Event()

    def start(exchange):
        exchange.head(101, {"Content-Type": "application/vnd.docker.raw-stream", "Connection": "Upgrade", "Upgrade": "tcp"}, "UPGRADED")
        exchange.send(b"$ ")
        exchange.wait_gone()
        gone.set()

    serving.engine.on("POST", "/exec/ab/start", start)
    with Console(between.agent, "/websocket/exec?id=ab", target(serving)) as console:
        console.until("$ ")
        between.agent.signal()
        assert console.wait_close() == (1001, "the client's connection ended")
    assert gone.wait(5), "the engine's side is open still"
    assert between.agent.wait() == 0
    serving.agent.wait_quiet()


def test_a_target_that_cannot_be_reached(across, request):
    """A console is refused in plain text (contract 5.6), anything else in JSON."""
    node = across.add()
    show_logs_of(request, node.agent)
    node.agent.kill()
    for path in ("/websocket/exec?id=ab", "/v2/websocket/attach?id=ab"):  # it takes a second to be declared dead
        answer = across.entry.client().request("GET", path, {**PATH_HEADERS, **target(node)})
        assert (answer.status, answer.body) == (503, b"Service Unavailable")
        assert answer.get("Content-Type") == "text/plain; charset=utf-8"
    answer = across.entry.get("/v2/browse/ls?volumeID=v&path=/", **target(node))
    assert answer.status in (500, 502) and answer.json()["message"] == UNKNOWN["message"]
    wait_until("it is declared dead", lambda: across.entry.get("/host/info", **target(node)).json() == UNKNOWN)
