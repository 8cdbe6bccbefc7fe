"""Agents in network namespaces of their own: cables that are cut, names that change, and what an idle cluster costs."""

import json
import os
import time

import pytest

from agent import is_sanitized
from cluster import Cluster
from conftest import need_root
from network import Network
from waiting import wait_until

SLOW = 4 if is_sanitized() else 1
IDLE_SECONDS = 20
IDLE_MOST = 2000  # bytes a second and node, in and out together, IP headers included


@pytest.fixture
def network(folder):
    need_root()
    network = Network(folder, 4).start()
    yield network
    network.stop()


@pytest.fixture
def cluster(folder, make_agent, network):
    cluster = Cluster(folder, make_agent)
    yield cluster
    for node in cluster.nodes:
        if node.agent:
            node.agent.stop()
    cluster.close()


def start_all(cluster, network, count, names="tasks.agent", **more):
    nodes = [cluster.node(network.address(number), 7946) for number in range(count)]
    for number, node in enumerate(nodes):
        node.start(names=names, wrapper=network.wrapper(number), **more)
    return nodes


@pytest.mark.parametrize("secret", ["a secret of many characters", None], ids=["secret", "open"])
def test_names_bring_agents_together(cluster, network, secret):
    """A name that does not exist at first, then grows, is asked for until all are there."""
    network.serve_names(other_name=[0])
    nodes = start_all(cluster, network, 3, secret=secret)
    nodes[0].agent.wait_log("'tasks.agent' cannot be resolved yet")
    assert nodes[0].alive() == {nodes[0].name}
    network.say_names(tasks_agent=[0, 1])
    for node in nodes[:2]:
        node.wait_alive(*(nodes[:2] if secret is None else nodes))
    network.say_names(tasks_agent=[0, 1, 2])
    for node in nodes:
        node.wait_alive(*nodes)
    if secret:
        network.say_names(other_name=[0])
        nodes[0].agent.wait_log("cannot resolve 'tasks.agent'")
        network.say_names(tasks_agent=[0, 1, 2])
        nodes[0].agent.wait_log("can be resolved again")


def test_a_service_needs_no_options(cluster, network, folder):
    """Address and join name come from the own container: its overlay network, and the Swarm service whose task it is."""
    network.serve_names(tasks_stack_agent=[0, 1])
    nodes = [cluster.node(network.address(number), 7946) for number in range(2)]
    for number, node in enumerate(nodes):
        container = {
            "Config": {"Labels": {"com.docker.swarm.service.name": "stack.agent"}},
            "NetworkSettings": {"Networks": {"ingress": {"NetworkID": "in", "IPAddress": "10.0.0.9"}, "net": {"NetworkID": "ov", "IPAddress": node.address}}},
        }
        answers = {
            f"/containers/{os.uname().nodename}/json": container,
            "/networks/in": {"Scope": "swarm", "Ingress": True},
            "/networks/ov": {"Scope": "swarm"},
        }
        for path, answer in answers.items():
            node.engine.on("GET", path, lambda exchange, answer=answer: exchange.answer(200, json.dumps(answer).encode()) or True)
        node.start(wrapper=network.wrapper(number), advertise=False)
    for node in nodes:
        node.wait_alive(*nodes)
        assert node.report()["address"] == node.address
        assert "looking for other agents under tasks.stack.agent" in node.agent.log()


def test_a_cut_cable(cluster, network):
    network.serve_names(tasks_agent=[0, 1, 2])
    nodes = start_all(cluster, network, 3)
    for node in nodes:
        node.wait_alive(*nodes)
    for times in range(1, 4):
        begin = time.monotonic()
        network.cut(2)
        for node in nodes[:2]:
            node.wait_alive(*nodes[:2])
        assert time.monotonic() - begin < 3.5 * SLOW
        nodes[2].wait_alive(nodes[2])
        # Long enough for TCP to wait for many seconds before it would try again.
        wait_until("a long cut", lambda: time.monotonic() - begin > 12)
        network.mend(2)
        begin = time.monotonic()
        for node in nodes:
            node.wait_alive(*nodes)
        assert time.monotonic() - begin < 3 * SLOW
        # The same instance was declared dead, and came back: that is counted.
        assert nodes[0].report()["gossip"]["deaths_refuted"] >= times


@pytest.mark.limit(90)
def test_an_idle_cluster_costs_little(cluster, network, record_property):
    network.serve_names(tasks_agent=[0, 1, 2])
    nodes = start_all(cluster, network, 3)
    for node in nodes:
        node.wait_alive(*nodes)
    settled = time.monotonic() + 3  # what there was to tell has been told
    wait_until("rest", lambda: time.monotonic() > settled)
    before, begin = [network.traffic(number) for number in range(3)], time.monotonic()
    wait_until("an idle time", lambda: time.monotonic() - begin > IDLE_SECONDS)
    seconds = time.monotonic() - begin
    for number, (received, sent) in enumerate(before):
        now = network.traffic(number)
        rates = (now[0] - received) / seconds, (now[1] - sent) / seconds
        print(f"{nodes[number].name}: {rates[0]:.0f} bytes/s in, {rates[1]:.0f} bytes/s out")
        record_property(f"idle_bytes_per_second_{number}", round(sum(rates)))
        assert sum(rates) < IDLE_MOST
