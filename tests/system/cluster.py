"""Agents that form a cluster, each before an engine of its own that says it is a node of a Swarm."""

import itertools
import random
import socket
from contextlib import suppress

from scripted_engine import ScriptedEngine
from waiting import DEADLINE, wait_until

SECRET = "a secret of the cluster's tests"

_addresses = itertools.count(1)


def loopback_address():
    """One of 127.0.0.0/8 that no other node of this run has."""
    number = next(_addresses)
    return f"127.77.{number // 250}.{number % 250 + 1}"


def free_gossip_port():
    """Free on all addresses, and below the range from which the kernel takes ports for outgoing connections."""
    while True:
        port = random.randrange(10240, 32000)
        with suppress(OSError), socket.socket() as probe:
            probe.bind(("0.0.0.0", port))
            return port


class Node:
    """An agent and its engine. number gives its name and Swarm node id."""

    def __init__(self, cluster, number, address, port):
        self.cluster, self.number, self.address, self.gossip_port = cluster, number, address, port
        self.id, self.name = f"id{number}", f"node{number}"
        self.engine = ScriptedEngine(cluster.folder / f"e{next(cluster.sockets)}")
        self.agent = None

    def name_and_port(self):
        return f"[{self.address}]:{self.gossip_port}" if ":" in self.address else f"{self.address}:{self.gossip_port}"

    def say_role(self, manager):
        self.engine.info = {"Name": self.name, "Swarm": {"NodeID": self.id, "ControlAvailable": manager}}

    def start(self, *flags, secret=SECRET, names=None, wrapper=(), manager=False, advertise=True):
        if not self.engine.listener:
            self.say_role(manager)
            self.engine.start()
        own = ["--cluster-port", self.gossip_port]
        if advertise:
            own += ["--advertise-addr", self.address]
        if names is not None:
            own += ["--cluster-addr", names]
        self.agent = self.cluster.make_agent(self.engine.path, *own, *flags, secret=secret, wrapper=wrapper, start=False)
        self.agent.spawn()
        wait_until(f"{self.name} starts", lambda: self.agent.run("ping", "--ready").returncode == 0)
        return self

    def report(self):
        return self.agent.status()["actors"]["membership"]

    def alive(self):
        """The names of the nodes that this one takes for alive."""
        return {member["name"] for member in self.report().get("members", []) if member["state"] in ("alive", "suspect")}

    def wait_alive(self, *nodes, seconds=DEADLINE):
        wanted = {node.name for node in nodes}
        wait_until(f"{self.name} sees {sorted(wanted)}", lambda: self.alive() == wanted, seconds)


class Cluster:
    def __init__(self, folder, make_agent):
        self.folder, self.make_agent = folder, make_agent
        self.nodes, self.sockets = [], itertools.count(1)

    def node(self, address=None, port=None):
        node = Node(self, len(self.nodes) + 1, address or loopback_address(), port or free_gossip_port())
        self.nodes.append(node)
        return node

    def names(self):
        """AGENT_CLUSTER_ADDR with all nodes that there are so far."""
        return ",".join(node.name_and_port() for node in self.nodes)

    def close(self):
        for node in self.nodes:
            node.engine.close()
