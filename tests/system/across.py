"""A cluster on the loopback interface, of which one agent is asked and others serve: whatever works before one agent must work so."""

import shutil
import tempfile
from pathlib import Path

from agent import Agent, sign
from cluster import SECRET, Cluster
from waiting import wait_until

TARGET = "X-PortainerAgent-Target"


class RealEngine:
    """An engine that is a node of a Swarm already, in the place of a scripted one."""

    def __init__(self, path):
        self.path, self.listener = path, True
        client = __import__("docker").APIClient(base_url=f"unix://{path}", version="auto")
        self.info = client.info()
        client.close()

    def close(self):
        pass


class Across:
    def __init__(self):
        self.folder = Path(tempfile.mkdtemp(prefix="shoal-across-", dir="/tmp"))
        self.headers = sign(self.folder / "key.pem", SECRET)
        self.agents = []
        self.cluster = Cluster(self.folder, self.make_agent)
        self.entry = self.add().agent

    def make_agent(self, engine, *flags, start, **more):
        self.agents.append(Agent(self.folder, engine, "--host=0.0.0.0", *flags, headers=self.headers, **more))
        return self.agents[-1]

    def add(self, *flags, engine=None):
        """One more node, which requests through the entry reach by its target. Returns it; its agent is .agent."""
        node = self.cluster.node()
        if engine:
            node.engine, node.id, node.name = engine, engine.info["Swarm"]["NodeID"], engine.info["Name"]
        node.start(*flags, names=self.cluster.names())
        self.wait_listed(node)
        return node

    def wait_listed(self, node, by=None):
        """Until the entry, or another node, lists this one."""

        def is_listed():
            agent = by.agent if by else self.agents[0]
            return node.name in {listed["NodeName"] for listed in agent.get("/agents").json()}

        wait_until(f"{node.name} is listed", is_listed)

    def close(self):
        failures = []
        for agent in self.agents:
            try:
                agent.stop()
            except AssertionError as error:
                failures.append(str(error))
        self.cluster.close()
        shutil.rmtree(self.folder, ignore_errors=True)
        assert not failures, "\n".join(failures)


def target(node):
    """The headers with which a request goes to this node."""
    return {TARGET: node.name}
