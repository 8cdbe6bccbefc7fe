"""A Swarm of three nodes answers as one engine: through any agent, and while nodes, links, engines and agents come and go."""

import contextlib
import gc
import hashlib
import json
import os
import re
import threading
import time
import warnings

import pytest

from agent import is_sanitized
from conftest import need_namespaces, unavailable
from https_client import Cut
from swarm import MANAGER, NEXT_IMAGE, PORT, SERVICE, TARGET, Repeated, Swarm, find
from waiting import wait_until

NODES = ("node1", "node2", "node3")
EACH = range(1, 4)
QUICKLY = 1.0  # seconds for a list while a node does not answer
CLEAR_ERROR = 3.0  # seconds until a request to a node that is gone ends in an error
DETECTED = 10.0  # seconds until a node that is gone is not listed; the benchmark measures the usual ones
ALONE = 40.0  # seconds until a node that hears from nobody lists itself alone
MISSING = "Shoal-Missing-Nodes"

pytestmark = pytest.mark.limit(150)


@pytest.fixture(scope="module")
def raised():
    need_namespaces()
    if is_sanitized():
        unavailable("the Swarm takes the release build")
    swarm = Swarm()
    try:
        swarm.up()
        swarm.deploy()
        yield swarm
    finally:
        swarm.down()


@pytest.fixture
def swarm(raised):
    """The whole Swarm. Behind the test it is whole again, and no node was held for dead that was not."""
    raised.wait_whole()
    raised.came_back = 0  # a test that cuts nodes off says how many: these come back from the dead rightly
    before = {node: (node.agent_container(), node.counter("deaths_refuted")) for node in raised}
    yield raised
    raised.mend()
    for node, (container, count) in before.items():
        if node.agent_container() == container:
            wrong = node.counter("deaths_refuted") - count
            # A node that was cut off held the others for dead, and they it.
            assert wrong <= 2 * raised.came_back, f"{node} held somebody for dead who was not, {wrong} times"


@pytest.fixture(params=EACH, ids=NODES)
def receiver(request, swarm):
    return swarm[request.param]


def answered_by(answer):
    """Which node's container `here` it is."""
    assert answer.status == 200, answer.body
    return answer.json()["Config"]["Labels"]["node"]


def node_of(element):
    return element["Portainer"]["Agent"]["NodeName"]


def missing(answer):
    return set(re.split(r"[,\s]+", answer.get(MISSING))) if answer.get(MISSING) else set()


def timed(act):
    begin = time.monotonic()
    result = act()
    return result, time.monotonic() - begin


def during(seconds, act):
    """Calls act() again and again for so long: what must not happen cannot be waited for."""
    end = time.monotonic() + seconds
    while time.monotonic() < end:
        act()


# ------------------------------------------------------------------------------------------------------------- as it stands


def test_every_agent_is_healthy_and_ready(swarm):
    for node in swarm:
        health = node.docker("inspect", "-f", "{{.State.Health.Status}}", node.agent_container())
        assert health == "healthy"
        assert node.status()["ready"] is True
        assert node.get("/ping").status == 204


def test_agents_are_listed_with_name_role_and_address(receiver):
    agents = receiver.agents()
    assert {name: agent["NodeRole"] for name, agent in agents.items()} == {
        "node1": "manager", "node2": "worker", "node3": "worker"
    }  # fmt: skip
    for agent in agents.values():
        assert set(agent) == {"IPAddress", "Port", "NodeName", "NodeRole", "EdgeKeySet"}
        assert agent["Port"] == str(PORT) and agent["EdgeKeySet"] is False
    assert len({agent["IPAddress"] for agent in agents.values()}) == 3
    for prefix in ("/v1", "/v2", "/v1.41"):
        assert len(receiver.get(prefix + "/agents").json()) == 3


def test_every_agent_tells_the_same_addresses(swarm):
    first, *others = [{name: agent["IPAddress"] for name, agent in node.agents().items()} for node in swarm]
    assert all(other == first for other in others)


def test_a_stranger_is_refused(receiver):
    client = receiver.client()
    client.headers = {}
    for path in ("/agents", "/containers/json"):
        answer = client.request("GET", path)
        assert (answer.status, answer.json()["message"]) == (403, "Missing request signature headers")


# ----------------------------------------------------------------------------------------- the dispatch table, contract 6.2


def test_row_2_manager_operations_go_to_the_manager_whatever_the_target(receiver):
    for value in ("1", "0", "x"):
        for target in (None, "node2", "node3", "none-such"):
            assert answered_by(receiver.get("/containers/here/json", target, **{MANAGER: value})) == "node1"
    assert answered_by(receiver.get("/containers/here/json", **{MANAGER: ""})) == receiver.name


@pytest.mark.parametrize("path", ["/containers/json?all=1", "/images/json", "/networks", "/volumes"])
def test_rows_3_and_4_lists_come_from_all_nodes(receiver, path):
    for node in receiver.swarm:
        node.docker("volume", "create", f"of-{node}")
    for target in (None, "", "none-such", *(other.name for other in receiver.others())):
        answer = receiver.get(path, target)
        assert answer.status == 200 and answer.get("Content-Type") == "application/json"
        assert answer.get(MISSING) is None
        body = answer.json()
        rows = body["Volumes"] if path == "/volumes" else body
        assert {node_of(row) for row in rows} == set(NODES), f"target {target}"
    own = receiver.get(path, receiver.name)
    rows = own.json()["Volumes"] if path == "/volumes" else own.json()
    assert rows and all("Portainer" not in row for row in rows), "the own list is the engine's, not decorated"
    for node in receiver.swarm:
        node.docker("volume", "rm", f"of-{node}")


def test_rows_3_and_4_with_a_version_in_front(receiver):
    for version in ("v1.24", "v1.41", "v9.99"):
        assert {node_of(row) for row in receiver.get(f"/{version}/containers/json").json()} == set(NODES)


def test_row_4_is_about_get_only(receiver):
    """Making a volume is a matter of one node."""
    target = receiver.others()[0]
    body = json.dumps({"Name": "made"}).encode()
    made = receiver.request("POST", "/volumes/create", target.name, {"Content-Type": "application/json"}, body)
    assert made.status == 201
    assert [node.name for node in receiver.swarm if "made" in node.docker("volume", "ls", "-q").split()] == [target.name]
    target.docker("volume", "rm", "made")


@pytest.mark.parametrize("path", ["/services", "/tasks", "/secrets", "/configs", "/swarm", "/info", "/nodes"])
def test_row_5_what_is_the_managers_goes_to_the_manager(receiver, path):
    for target in (None, "node3", "none-such"):
        answer = receiver.get(path, target)
        assert answer.status == 200, answer.body
    if path == "/info":
        assert answer.json()["Name"] == "node1" and answer.json()["Swarm"]["ControlAvailable"]
    if path == "/nodes":
        assert {node["Description"]["Hostname"] for node in answer.json()} == set(NODES)


def test_row_6_anything_else_goes_to_the_target(receiver):
    for target in receiver.swarm:
        assert answered_by(receiver.get("/containers/here/json", target.name)) == target.name
        assert answered_by(receiver.get("/v1.30/containers/here/json?size=1", target.name)) == target.name
    for target in (None, ""):
        assert answered_by(receiver.get("/containers/here/json", target)) == receiver.name


def test_a_node_may_be_named_by_its_id(receiver):
    for target in receiver.swarm:
        node_id = target.docker("info", "-f", "{{.Swarm.NodeID}}")
        assert answered_by(receiver.get("/containers/here/json", node_id)) == target.name


def test_an_unknown_target_is_a_clear_error(receiver):
    for target in ("none-such", "NODE1"):
        answer = receiver.get("/_ping", target)
        assert answer.status == 500 and answer.get("Content-Type") == "application/json"
        assert answer.json()["message"] == "The agent was unable to contact any other agent"
        assert "Unable to find the targeted agent" in answer.json()["details"]


def test_headers_come_once_and_errors_of_the_engine_unchanged(receiver):
    for target in receiver.swarm:
        answer = receiver.get("/containers/none-such/json", target.name)
        assert (answer.status, answer.json()) == (404, {"message": "No such container: none-such"})
        for name in ("Portainer-Agent", "Portainer-Agent-API-Version", "Portainer-Agent-Platform"):
            assert answer.get(name), f"{name} from {target}"
        assert answer.get("Api-Version") == "1.41"


def test_a_bad_filter_is_the_engines_error_and_no_empty_list(receiver):
    path = "/containers/json?filters=%7Bbad"
    status, message = receiver.ask_engine(path)
    assert status >= 400
    answer = receiver.get(path)
    assert (answer.status, answer.json()["message"]) == (status, message["message"])


# ------------------------------------------------------------------------------------------------------------------- lists


def test_every_container_is_listed_once_with_its_node(swarm):
    for node in swarm:
        for number in range(20 - len(node.container_ids())):
            node.docker("create", "--name", f"c{number}", "lab/busybox", "true")
    truth = {(node.name, container) for node in swarm for container in node.container_ids()}
    assert len(truth) == 60
    for node in swarm:
        for _ in range(20):
            rows = [(node_of(row), row["Id"]) for row in node.get("/containers/json?all=1").json()]
            assert len(rows) == len(set(rows)), "a row twice"
            assert set(rows) == truth


# ------------------------------------------------------------------------------------------------------------ real clients


@pytest.mark.parametrize("number", EACH, ids=NODES)
def test_the_docker_cli_reaches_every_node_through_any_agent(receiver, folder, number):
    target = receiver.swarm[number]
    docker = receiver.cli(folder, target)
    assert docker.run("exec", "here", "hostname").text == f"{target}\n"
    data = b"x" * 300_000
    assert docker.run("exec", "-i", "here", "md5sum", input=data).text.split()[0] == hashlib.md5(data).hexdigest()
    with docker.terminal("exec", "-it", "here", "sh") as terminal:
        terminal.send("echo on $(hostname) $((6 * 7))\n")
        terminal.expect(f"on {target} 42")
        terminal.send("exit 5\n")
        assert terminal.wait() == 5
    with docker.start("logs", "-f", "here") as logs:
        assert logs.line() == f"ready on {target}"
        word = f"through {receiver}, {os.urandom(4).hex()}"
        target.docker("exec", "here", "sh", "-c", f"echo '{word}' >/proc/1/fd/1")
        while logs.line() != word:  # earlier tests have left lines
            pass


def test_the_docker_cli_sees_the_swarm_through_a_worker(swarm, folder):
    docker = swarm[3].cli(folder)
    assert sorted(docker.run("node", "ls", "--format", "{{.Hostname}}").text.split()) == list(NODES)
    assert docker.run("service", "ls", "--format", "{{.Name}} {{.Replicas}}").text == f"{SERVICE} 3/3\n"
    names = docker.run("ps", "--format", "{{.Names}}").text.split()
    assert names.count("here") == 3


@pytest.mark.parametrize("number", EACH, ids=NODES)
def test_the_python_sdk_reaches_every_node_through_any_agent(receiver, number):
    docker = pytest.importorskip("docker")
    target = receiver.swarm[number]
    warnings.simplefilter("ignore")  # urllib3 warns of the certificate at each request
    tls = docker.tls.TLSConfig(verify=False)
    client = docker.APIClient(base_url=f"https://{receiver.address}:{PORT}", tls=tls, version="1.41", timeout=30)
    client.headers.update({**receiver.swarm.headers, TARGET: target.name})
    try:
        instance = client.exec_create("here", ["sh", "-c", "hostname; exit 8"])
        assert client.exec_start(instance) == f"{target}\n".encode()
        assert client.exec_inspect(instance)["ExitCode"] == 8
        assert next(client.logs("here", stream=True, follow=True)) == f"ready on {target}\n".encode()
        assert next(client.stats("here", decode=True, stream=True))["name"] == "/here"
    finally:
        client.close()
        gc.collect()


# ------------------------------------------------------------------------------------------------------------ rolling update
#
# Before anything is broken: while an update is under way, Swarm takes the agent of a node that comes back to it down at once, beside
# the one whose turn it is. A worker that was a manager comes back seconds after everybody calls it a worker.


class Load:
    """Clients that list and look while agents are replaced. A client that cannot connect, or is cut off, tries the next agent once."""

    def __init__(self, swarm):
        self.swarm, self.answers, self.failures, self.lock, self.turn = swarm, [], [], threading.Lock(), 0

    def once(self):
        with self.lock:
            self.turn += 1
            turn = self.turn
        path = ("/containers/json?all=1", "/images/json", "/version", "/networks")[turn % 4]
        begin, errors = time.time(), []
        for node in [*self.swarm, *self.swarm][turn % 3 :][:2]:
            tried = time.time()
            try:
                answer = node.get(path, seconds=10)
            except (OSError, Cut) as failure:
                errors.append(f"{node} at {tried:.3f} for {time.time() - tried:.3f} s: {failure!r}")
                continue
            if answer.status != 200:
                self.failures.append(f"{path} through {node}: {answer.status} {answer.body[:200]}")
            elif path.startswith("/containers"):
                self.answers.append((begin, time.time(), node, answer.json()))
            return
        self.failures.append(f"{path}: two agents in a row: {'; '.join(errors)}")


def agent_gaps(node, since):
    """(from, to) in Unix seconds when this node had no agent that the others could know: from the signal that ended one to a second
    after the next became healthy, which is when DNS names it."""
    lines = node.docker("events", "--since", str(int(since)), "--until", str(int(time.time()) + 1), "--format", "{{json .}}",
                        "--filter", f"label=com.docker.swarm.service.name={SERVICE}")  # fmt: skip
    gaps, open_since = [], None
    for event in map(json.loads, lines.splitlines()):
        at = event["timeNano"] / 1e9
        if event["Action"] in ("kill", "die") and open_since is None:
            open_since = at
        elif event["Action"] == "health_status: healthy" and open_since is not None:
            gaps.append((open_since, at + 1))
            open_since = None
    assert open_since is None, f"{node} has no healthy agent at the end"
    return gaps


@pytest.mark.limit(240)
def test_rolling_to_another_image_under_load_loses_and_doubles_nothing(swarm):
    truth = {node.name: {row for row in node.container_ids()} - {node.agent_container()} for node in swarm}
    old = {node: node.agent_container() for node in swarm}
    since, load = time.time(), Load(swarm)
    with contextlib.ExitStack() as stack:
        for _ in range(3):
            stack.enter_context(Repeated(load.once))
        swarm[1].docker("service", "update", "--detach", "--image", NEXT_IMAGE, SERVICE)

        def rolled():
            return all(
                NEXT_IMAGE in node.docker("ps", "--filter", "health=healthy", "--format", "{{.Image}}", check=False)
                for node in swarm
            )

        wait_until("a new agent on every node", rolled, 150)
        swarm.wait_whole()
    assert all(node.agent_container() not in (None, old[node]) for node in swarm)
    gaps = {node.name: agent_gaps(node, since) for node in swarm}
    assert not load.failures, (gaps, load.failures[:5])
    assert len(load.answers) > 50
    assert all(len(gap) == 1 for gap in gaps.values()), gaps
    for begin, end, through, rows in load.answers:
        pairs = [(node_of(row), row["Id"]) for row in rows]
        assert len(pairs) == len(set(pairs)), f"a row twice through {through}"
        for name, ids in truth.items():
            has_agent = not any(begin < to and end > since_ for since_, to in gaps[name])
            shown = {row for node, row in pairs if node == name}
            if has_agent:
                lost = {row for row in ids if not any(row.startswith(one) or one.startswith(row) for one in shown)}
                assert not lost, f"rows of {name} lost through {through}, {begin - since:.2f} s after the start: {gaps}"


# ---------------------------------------------------------------------------------------------------- what goes and returns


def wait_gone(observers, gone, seconds=DETECTED):
    """Until these agents no longer list that node. Every list meanwhile is quick and whole but for it."""
    for observer in observers:
        wait_until(f"{observer} does not list {gone}", lambda o=observer: gone.name not in (o.agents() or {gone.name}), seconds)


def assert_served_without(observer, gone):
    """Lists are there at once without the node; a request to it is a clear error."""
    answer, seconds = timed(lambda: observer.get("/containers/json"))
    assert answer.status == 200 and seconds < QUICKLY
    assert {node_of(row) for row in answer.json()} == set(NODES) - {gone.name} and missing(answer) == {gone.name}
    refused, seconds = timed(lambda: observer.get("/_ping", gone.name))
    assert refused.status in (500, 502, 503, 504) and seconds < CLEAR_ERROR
    assert refused.json()["message"] and refused.json()["details"]


def test_a_node_that_loses_its_power_is_left_out_and_comes_back(swarm):
    gone, observers = swarm[3], [swarm[1], swarm[2]]
    gone.kill()
    # From the first moment on a list names who is missing.
    end = time.monotonic() + DETECTED
    while any(gone.name in (observer.agents() or {gone.name}) for observer in observers):
        for observer in observers:
            answer, seconds = timed(lambda o=observer: o.get("/containers/json"))
            assert answer.status == 200 and seconds < QUICKLY
            assert {node_of(row) for row in answer.json()} == {"node1", "node2"}
            assert missing(answer) == {gone.name}
            refused, seconds = timed(lambda o=observer: o.get("/_ping", gone.name))
            assert refused.status >= 500 and seconds < CLEAR_ERROR
        assert time.monotonic() < end, f"{gone} is still listed after {DETECTED} s"
    for observer in observers:
        assert_served_without(observer, gone)
    gone.start()
    swarm.wait_whole()


def test_without_its_only_manager_the_rest_answers_and_says_what_is_missing(swarm):
    gone, observers = swarm[1], [swarm[2], swarm[3]]
    gone.kill()
    wait_gone(observers, gone)
    for observer in observers:
        assert {node_of(row) for row in observer.get("/containers/json").json()} == {"node2", "node3"}
        answer = observer.get("/services")
        assert answer.status == 500
        assert "unable to contact any other agent located on a manager node" in answer.json()["message"]
    gone.start()
    swarm.wait_whole()
    wait_until("the manager answers again", lambda: swarm[2].get("/services").status == 200)


def test_a_cut_between_two_nodes_makes_nobody_dead(swarm):
    """The third sees both, and tells each of the other."""
    swarm[2].cut(swarm[3])
    during(8, lambda: [assert_all_listed(node) for node in swarm])
    answer, seconds = timed(lambda: swarm[2].get("/containers/json"))
    assert answer.status == 200 and seconds < QUICKLY
    assert {node_of(row) for row in answer.json()} == {"node1", "node2"} and missing(answer) == {"node3"}
    refused, seconds = timed(lambda: swarm[2].get("/_ping", "node3"))
    assert refused.status >= 500 and seconds < CLEAR_ERROR
    assert len(swarm[1].get("/containers/json").json()) >= 6 and missing(swarm[1].get("/containers/json")) == set()
    swarm[2].heal()
    wait_until("the list is whole again", lambda: not missing(swarm[2].get("/containers/json")), DETECTED)
    wait_until("node3 answers again", lambda: swarm[2].get("/_ping", "node3").status == 200, DETECTED)


@pytest.mark.parametrize("way", ["--in", "--out"])
def test_a_cut_in_one_direction_makes_nobody_dead(swarm, way):
    swarm[2].cut(swarm[3], options=[way])
    during(8, lambda: [assert_all_listed(node) for node in swarm])
    answer, seconds = timed(lambda: swarm[2].get("/containers/json"))
    assert answer.status == 200 and seconds < QUICKLY and missing(answer) <= {"node3"}
    swarm[2].heal()
    wait_until("the list is whole again", lambda: not missing(swarm[2].get("/containers/json")), DETECTED)


def assert_all_listed(node):
    agents = node.agents()
    assert set(agents or ()) == set(NODES), f"{node} lists {agents and sorted(agents)}"


def test_a_node_that_is_cut_off_is_left_out_and_found_again(swarm):
    gone, observers = swarm[3], [swarm[1], swarm[2]]
    swarm.came_back = 1
    containers = {node: node.agent_container() for node in swarm}
    refuted = {node: node.counter("deaths_refuted") for node in observers}
    gone.cut()
    wait_gone(observers, gone)
    for observer in observers:
        assert_served_without(observer, gone)
        assert observer.counter("deaths_refuted") == refuted[observer]
    # Whoever hears from nobody doubts itself first, so that takes longer (Lifeguard's local health).
    wait_until("it lists itself alone", lambda: set(gone.agents() or ()) == {gone.name}, ALONE)
    own = gone.get("/containers/json")
    assert own.status == 200 and {node_of(row) for row in own.json()} == {gone.name}
    gone.heal()
    swarm.wait_whole(30)
    for node in swarm:
        wait_until(f"{node}'s list is whole", lambda n=node: {node_of(r) for r in n.get("/containers/json").json()} == set(NODES))
    for node in observers:
        assert node.agent_container() == containers[node], "nobody had to be restarted"


def test_a_quarter_of_all_packets_lost_makes_nobody_dead(swarm):
    deaths = {node: node.counter("deaths") for node in swarm}
    for node in swarm:
        node.lose(25, *[other for other in node.others() if other.name > node.name])
    during(15, lambda: [assert_all_listed(node) for node in swarm])
    for node in swarm:
        node.heal()
    assert {node: node.counter("deaths") for node in swarm} == deaths


@pytest.mark.limit(300)
def test_an_engine_that_crashes_and_one_that_is_restarted(swarm):
    broken, observer = swarm[2], swarm[1]
    broken.kill_engine()
    answer, seconds = timed(lambda: observer.get("/containers/json"))
    assert answer.status == 200 and seconds < QUICKLY
    assert {node_of(row) for row in answer.json()} == {"node1", "node3"} and missing(answer) <= {"node2"}

    def all_answer():
        answer = observer.get("/containers/json")
        return missing(answer) == set() and {node_of(row) for row in answer.json()} == set(NODES)

    broken.start()
    swarm.wait_running()
    wait_until("all nodes are in the list again", all_answer)
    broken.restart_engine()
    swarm.wait_running()
    wait_until("all nodes are in the list after the restart", all_answer)
    swarm.wait_published(broken, observer)
    swarm.wait_whole()


@pytest.mark.limit(300)
def test_a_promoted_worker_becomes_a_manager_for_all_and_a_demoted_one_does_not_stay(swarm):
    def role(of):
        return {(node.agents() or {}).get(of, {}).get("NodeRole") for node in swarm}

    swarm[2].change_role("promote")
    wait_until("all call node2 a manager", lambda: role("node2") == {"manager"}, 100)
    assert swarm[2].get("/info").json()["Name"] == "node2", "a manager asks itself"
    swarm[2].change_role("demote")
    # A demoted engine refuses what is the manager's; then somebody else must be asked, and soon.
    wait_until("node2 hands on what is the manager's", lambda: swarm[2].get("/nodes").status == 200, 30)
    wait_until("all call node2 a worker", lambda: role("node2") == {"worker"}, 100)


def test_status_counts_what_membership_judged(swarm):
    """The counters that the others look at are there."""
    for node in swarm:
        status = node.status()
        for name in ("deaths", "deaths_refuted", "suspicions", "refuted"):
            assert isinstance(find(status, name), int)
