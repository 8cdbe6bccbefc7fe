"""Agents on the loopback interface find each other, know who is there, and notice who is not."""

import json
import signal
import socket
import time

import pytest

from agent import is_sanitized
from cluster import SECRET, Cluster
from conftest import unavailable
from waiting import wait_until

SLOW = 4 if is_sanitized() else 1


@pytest.fixture
def cluster(folder, make_agent):
    cluster = Cluster(folder, make_agent)
    yield cluster
    cluster.close()


def start_all(cluster, count, **more):
    for _ in range(count):
        cluster.node()
    names = cluster.names()
    for node in cluster.nodes:
        node.start(names=names, manager=node.number == 1, **more)
    for node in cluster.nodes:
        node.wait_alive(*cluster.nodes)
    return cluster.nodes


@pytest.mark.quick
def test_three_agents_are_a_cluster(cluster):
    nodes = start_all(cluster, 3)
    members = {member["name"]: member for member in nodes[1].report()["members"]}
    for node in nodes:
        member = members[node.name]
        assert (member["id"], member["address"]) == (node.id, node.address)
        assert (member["port"], member["gossip_port"]) == (node.agent.port, node.gossip_port)
        assert member["role"] == ("manager" if node.number == 1 else "worker")
        assert member["version"] == node.agent.status()["version"]
    report = nodes[0].report()
    assert report["clustered"] and report["secret"] and report["trouble"] == ""
    assert report["members_alive"] == report["published"] == 3
    assert 2 <= report["transport"]["links"] <= 2 + report["transport"]["spares"]  # one a peer, and what stalls asked for
    assert report["gossip"]["deaths"] == report["gossip"]["refused"] == report["gossip"]["deaths_refuted"] == 0
    assert SECRET not in json.dumps(nodes[0].agent.status())


@pytest.mark.quick
def test_an_agent_that_ends_in_order_is_gone_at_once(cluster):
    nodes = start_all(cluster, 3)
    begin = time.monotonic()
    nodes[2].agent.stop()
    for node in nodes[:2]:
        node.wait_alive(*nodes[:2])
        assert {m["state"] for m in node.report()["members"] if m["name"] == nodes[2].name} <= {"left"}
    assert time.monotonic() - begin < 1 * SLOW
    assert "has left" in nodes[0].agent.log()


def test_an_agent_that_is_killed_is_gone_soon(cluster):
    nodes = start_all(cluster, 3)
    begin = time.monotonic()
    nodes[2].agent.kill()
    for node in nodes[:2]:
        node.wait_alive(*nodes[:2])
    assert time.monotonic() - begin < 4 * SLOW
    assert "is gone" in nodes[0].agent.log()
    # Started anew, it is the same node with a newer instance, and is listed once.
    instance = {m["name"]: m["instance"] for m in nodes[0].report()["members"]}.get(nodes[2].name, 0)
    nodes[2].start(names=cluster.names())
    for node in nodes:
        node.wait_alive(*nodes)
    again = [m for m in nodes[0].report()["members"] if m["id"] == nodes[2].id]
    assert len(again) == 1 and again[0]["instance"] > instance


def test_an_agent_that_hangs_is_gone_and_comes_back(cluster):
    nodes = start_all(cluster, 3)
    nodes[2].agent.signal(signal.SIGSTOP)
    try:
        for node in nodes[:2]:
            node.wait_alive(*nodes[:2])
    finally:
        nodes[2].agent.signal(signal.SIGCONT)
    for node in nodes:
        node.wait_alive(*nodes)


def test_a_late_starter_is_found(cluster):
    """It is the first that looks for the second, again and again: the second is told no names."""
    first, second = cluster.node(), cluster.node()
    first.start(names=cluster.names())
    wait_until("rounds of names", lambda: first.report()["resolver"]["rounds"] >= 3)
    assert first.alive() == {first.name}
    second.start(names="")
    for node in (first, second):
        node.wait_alive(first, second)
    assert "does not look for other agents" in second.agent.log()


def test_another_secret_stays_outside_and_both_say_so(cluster):
    first, second = cluster.node(), cluster.node()
    first.start(names=cluster.names())
    second.start(names=cluster.names(), secret="another secret than that")
    for node, other in ((first, second), (second, first)):
        node.agent.wait_log(f"the agent at {other.address}:{other.gossip_port} does not accept our keys")
        node.agent.wait_log(f"refused a connection from {other.address}")
    wait_until("refusals", lambda: first.report()["transport"]["handshakes_failed"] >= 3)
    for node, other in ((first, second), (second, first)):
        assert node.alive() == {node.name}
        lines = [line for line in node.agent.log().splitlines() if "membership" in line and other.address in line]
        assert len([line for line in lines if "does not accept" in line]) == 1
        assert len([line for line in lines if "refused" in line]) == 1
        assert all("same AGENT_SECRET" in line for line in lines if "does not accept" in line or "refused" in line)
        assert "another secret" not in node.agent.log()


def test_without_a_secret_addresses_decide(cluster):
    first, second, stranger = cluster.node(), cluster.node(), cluster.node()
    names = f"{first.address}:{first.gossip_port},{second.address}:{second.gossip_port}"
    first.start(names=names, secret=None)
    second.start(names=names, secret=None)
    stranger.start(names=names, secret=None)
    for node in (first, second):
        node.wait_alive(first, second)
        assert "open to every agent at an address that AGENT_CLUSTER_ADDR resolves to" in node.agent.log()
    wait_until("refusals", lambda: first.report()["transport"]["wrong_hosts"] >= 3)
    assert first.alive() == {first.name, second.name}
    assert stranger.alive() == {stranger.name}


@pytest.mark.quick
def test_a_cluster_over_ipv6(cluster):
    try:
        socket.create_server(("::1", 0), family=socket.AF_INET6).close()
    except OSError as error:
        unavailable(f"no IPv6: {error}")
    nodes = [cluster.node("::1"), cluster.node("::1")]
    for node in nodes:
        node.start(names=cluster.names())
    for node in nodes:
        node.wait_alive(*nodes)
        assert {member["address"] for member in node.report()["members"]} == {"::1"}


def test_the_role_follows_the_engine(cluster):
    nodes = start_all(cluster, 2)

    def role():
        return {member["name"]: member["role"] for member in nodes[0].report()["members"]}[nodes[1].name]

    assert role() == "worker"
    nodes[1].say_role(True)
    wait_until("the promotion", lambda: role() == "manager", 20)


@pytest.mark.quick
def test_a_standalone_engine_opens_nothing(make_agent, scripted):
    agent = make_agent(scripted.path, secret=SECRET)
    report = agent.status()["actors"]["membership"]
    assert not report["clustered"] and report["id"] == ""
    assert "transport" not in report and "members" not in report
    assert "membership" not in agent.log()


@pytest.mark.quick
def test_the_port_is_taken(cluster):
    first = cluster.node()
    first.start(names=cluster.names())
    second = cluster.node(port=first.gossip_port)
    second.start(names=cluster.names())
    second.agent.wait_log(f"cannot listen on port {first.gossip_port}: Address already in use")
    report = second.report()
    assert not report["clustered"] and "AGENT_CLUSTER_PORT" in report["trouble"]
    assert report["published"] == 1  # it serves its own node
    assert second.agent.run("ping", "--ready").returncode == 0
