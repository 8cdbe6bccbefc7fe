"""A real Swarm of three nodes on this machine with Shoal on each of them, and the hands to break and mend it.

deploy/lab/swarm makes the nodes, deploy/build-image the image. Agents are asked at https://NODE'S ADDRESS:9001; engines are asked
directly at their sockets, to know what is true.
"""

import contextlib
import json
import os
import re
import secrets
import shutil
import subprocess
import tempfile
import threading
from pathlib import Path

from agent import BINARY, ROOT, clean_environment, sign
from docker_cli import DOCKER, Docker
from https_client import Client, Cut
from waiting import NotInTime, wait_until

LAB = ROOT / "deploy" / "lab" / "swarm"
BUILD_IMAGE = ROOT / "deploy" / "build-image"
IMAGE, NEXT_IMAGE = "shoal:dev", "shoal:next"
BUSYBOX = "lab/busybox:latest"
SERVICE = "shoal"
PORT = 9001
UP = 90  # seconds that agents have to be there after a start of a node or an engine: Swarm starts its tasks again at its leisure
TARGET, MANAGER = "X-PortainerAgent-Target", "X-PortainerAgent-ManagerOperation"


def run(command, check=True, timeout=180, **more):
    result = subprocess.run(
        [str(word) for word in command], capture_output=True, text=True, timeout=timeout, env=clean_environment(), **more
    )
    assert not check or result.returncode == 0, f"{' '.join(map(str, command))}: {result.stderr}"
    return result


def find(state, name):
    """The value of the first field with this name, however deep it lies in a status."""
    if isinstance(state, dict):
        if name in state:
            return state[name]
        state = list(state.values())
    for part in state if isinstance(state, list) else []:
        if (value := find(part, name)) is not None:
            return value
    return None


class Node:
    """One machine of the Swarm: its engine, and the agent that runs there."""

    def __init__(self, swarm, name, address, engine_socket):
        self.swarm, self.name, self.address, self.socket = swarm, name, address, engine_socket

    def __repr__(self):
        return self.name

    # ------------------------------------------------------------------------------------------- the engine, directly

    def docker(self, *arguments, **more):
        """The docker command line against the engine's own socket; its stdout."""
        return run([DOCKER, "-H", f"unix://{self.socket}", *arguments], **more).stdout.strip()

    def start_here(self):
        """The container `here` that stays for all tests: its label and its host name are the node's."""
        self.docker("rm", "-f", "here", check=False)
        script = "echo ready on $(hostname); while :; do sleep 1; done"
        labels = ["--label", f"node={self}", "--label", "stays"]
        self.docker("run", "-d", "--name", "here", "--hostname", self, *labels, "--restart", "always", "--stop-timeout", "1", BUSYBOX, "sh", "-c", script)

    def ask_engine(self, path):
        """(status, JSON) of a GET that the engine answers directly."""
        out = run(["curl", "-sg", "-w", "\n%{http_code}", "--unix-socket", self.socket, f"http://engine{path}"]).stdout
        body, status = out.rsplit("\n", 1)
        return int(status), json.loads(body)

    def container_ids(self):
        return set(self.docker("ps", "-aq", "--no-trunc").split())

    def agent_container(self):
        """Id of the agent's container that runs, or None."""
        out = self.docker("ps", "-q", "--no-trunc", "--filter", f"label=com.docker.swarm.service.name={SERVICE}", check=False)
        return out.split()[0] if out else None

    # ------------------------------------------------------------------------------------------------------ the agent

    def client(self, seconds=20):
        return Client(PORT, self.swarm.headers, self.address, seconds)

    def request(self, method, path, target=None, headers=None, body=None, seconds=20):
        headers = {**(headers or {}), **({TARGET: target} if target is not None else {})}
        return self.client(seconds).request(method, path, headers, body)

    def get(self, path, target=None, seconds=20, **headers):
        return self.request("GET", path, target, headers, seconds=seconds)

    def agents(self, seconds=5):
        """What /agents says, by node name; None while the agent does not answer."""
        with contextlib.suppress(OSError, Cut):
            answer = self.get("/agents", seconds=seconds)
            if answer.status == 200:
                agents = answer.json()
                assert len({agent["NodeName"] for agent in agents}) == len(agents), f"a node twice: {agents}"
                return {agent["NodeName"]: agent for agent in agents}
        return None

    def status(self):
        """`shoal status`, run in the agent's container."""
        return json.loads(self.docker("exec", self.agent_container(), "shoal", "status"))

    def counter(self, name):
        value = find(self.status(), name)
        assert value is not None, f"no {name} in the status of {self.name}'s agent"
        return value

    def agent_log(self):
        container = self.agent_container()
        result = run([DOCKER, "-H", f"unix://{self.socket}", "logs", container], check=False) if container else None
        return result.stderr if result else "no agent runs"

    def engine_log(self):
        """The engine's latest complaints."""
        with open(self.swarm.lab_folder / self.name / "dockerd.log", errors="replace") as log:
            return "".join([line for line in log if "level=info" not in line][-30:])

    def cli(self, folder, target=None):
        """The docker command line through this agent, for the target's containers."""
        headers = {**self.swarm.headers, **({TARGET: target.name} if target else {})}
        return Docker(Path(folder) / f"cli-{self}-{target}", f"tcp://{self.address}:{PORT}", headers)

    # ---------------------------------------------------------------------------------------------- breaking, mending

    def cut(self, *peers, options=()):
        """Drops packets between this node and these (all others); this machine still reaches it."""
        self.swarm.touched = True
        self.swarm.lab("cut", self.name, *options, *(peers or self.others()))

    def lose(self, percent, *peers):
        """Loses packets of the overlay network, in both directions. Swarm's own are spared: it would take the node's tasks out of
        DNS and off the network, whatever the agents think."""
        self.cut(*peers, options=["--overlay", "--loss", percent])

    def heal(self):
        self.swarm.lab("heal", self.name)

    def kill(self):
        self.swarm.touched = True
        self.swarm.lab("kill", self.name)

    def kill_engine(self):
        self.swarm.touched = True
        self.swarm.lab("kill", self.name, "--engine")

    def start(self):
        self.swarm.lab("start", self.name)

    def restart_engine(self):
        self.swarm.touched = True
        self.swarm.lab("restart", self.name)

    def change_role(self, change):
        """promote or demote"""
        self.swarm.touched = True
        self.swarm[1].docker("node", change, self.name)

    def runs(self):
        with contextlib.suppress(AssertionError):
            self.docker("version", timeout=10)
            return True
        return False

    def others(self):
        return [node for node in self.swarm if node is not self]


class Swarm:
    def __init__(self):
        self.folder = Path(tempfile.mkdtemp(prefix="shoal-swarm-", dir="/tmp"))
        self.lab_folder = self.folder / "lab"
        self.secret = secrets.token_hex(16)
        self.headers = sign(self.folder / "key.pem", self.secret)
        self.nodes = []
        self.touched = False  # something was broken, and is to be mended

    def __iter__(self):
        return iter(self.nodes)

    def __getitem__(self, number):
        """swarm[1] is node1."""
        return self.nodes[number - 1]

    def lab(self, command, *arguments):
        return run([LAB, command, self.lab_folder, *arguments])

    # --------------------------------------------------------------------------------------------------- up and down

    def up(self, count=3):
        self.lab("up", count)
        values = dict(re.findall(r"^(\w+)='?(.*?)'?$", self.lab("env").stdout, re.M))
        names = values["SWARM_NODES"].split()
        self.nodes = [Node(self, name, values[f"{name.upper()}_ADDR"], values[f"{name.upper()}_SOCK"]) for name in names]
        for number, image in enumerate((IMAGE, NEXT_IMAGE)):
            self.build(image, number)

    def build(self, image, epoch):
        tar = self.folder / "image.tar"
        environment = {**clean_environment(), "SHOAL_BINARY": str(BINARY), "SOURCE_DATE_EPOCH": str(epoch)}
        subprocess.run([BUILD_IMAGE, tar, image], check=True, stdout=subprocess.DEVNULL, env=environment)
        self.lab("load", tar)
        tar.unlink()

    def down(self):
        try:
            self.lab("down")
        finally:
            shutil.rmtree(self.folder, ignore_errors=True)

    def deploy(self):
        """One agent on every node, as deploy/stack-swarm.yml has it; waits until all of them know each other."""
        manager = self[1]
        secret = self.folder / "secret"
        secret.write_text(self.secret)
        manager.docker("secret", "create", "agent", secret)
        manager.docker("network", "create", "--driver", "overlay", "shoal")
        # dnsrr and mode=host: the kernel may have no IP_VS.
        manager.docker(
            "service", "create", "--detach", "--name", SERVICE, "--mode", "global", "--network", "shoal",
            "--endpoint-mode", "dnsrr", "--publish", f"mode=host,target={PORT},published={PORT}",
            "--secret", "agent", "--env", "AGENT_SECRET_FILE=/run/secrets/agent", "--health-interval", "1s",
            "--read-only", "--mount", "type=tmpfs,dst=/run", "--mount", "type=bind,src=/,dst=/host",
            "--mount", "type=bind,src=/var/run/docker.sock,dst=/var/run/docker.sock",
            "--mount", "type=bind,src=/var/lib/docker/volumes,dst=/var/lib/docker/volumes",
            IMAGE,
        )  # fmt: skip
        for node in self.nodes:
            node.start_here()
        self.wait_running()

    def wait_running(self):
        wait_until("Swarm is content with an agent on every node", self.is_settled, UP)

    def is_settled(self):
        """Whether Swarm wants what there is. After it has missed a node or its manager for a while it replaces tasks, and late."""
        manager = self[1]
        with contextlib.suppress(AssertionError):  # a manager that has just been started
            states = manager.docker("node", "ls", "--format", "{{.Status}}").split()
            if states != ["Ready"] * len(self.nodes):
                return False
            tasks = manager.docker("service", "ps", "-q", "--filter", "desired-state=running", SERVICE).split()
            shape = "{{.Status.State}} {{if .Status.ContainerStatus}}{{.Status.ContainerStatus.ContainerID}}{{end}}"
            wanted = {tuple(line.split()) for line in manager.docker("inspect", "-f", shape, *tasks).splitlines()}
            return wanted == {("running", node.agent_container()) for node in self.nodes}
        return False

    def wait_published(self, node, asked):
        """Until this machine reaches the node's agent. An engine that crashed sometimes publishes the agent's port to nowhere, also after
        it was restarted and with every further container: connections are refused, while the agent answers others at the very same
        port (asked tells). That is Docker's doing, and over when the node starts anew."""
        with contextlib.suppress(NotInTime):
            wait_until(f"{node}'s agent answers here", lambda: node.agents(seconds=2) is not None, 10)
            return
        relayed = asked.get("/_ping", node.name)
        assert relayed.status == 200, f"{node}'s agent answers nobody: {relayed.body}; {self.why_not_whole(node)}"
        node.kill()
        node.start()
        self.wait_running()

    def wait_whole(self, seconds=UP):
        """Until every agent lists every node."""
        try:
            wait_until("every agent lists every node", self.is_whole, seconds)
        except NotInTime as error:
            raise NotInTime(f"{error}: {'; '.join(map(self.why_not_whole, self.nodes))}") from None

    def is_whole(self):
        return all(set(node.agents() or ()) == {other.name for other in self.nodes} for node in self.nodes)

    def why_not_whole(self, node):
        """In a few words, whose fault it may be: the agent's, or that its port is not published."""
        try:
            listed = sorted(agent["NodeName"] for agent in node.get("/agents", seconds=5).json())
            return f"{node} lists {listed}"
        except (OSError, Cut) as error:
            health = node.docker("inspect", "-f", "{{.State.Health.Status}}", node.agent_container() or "none", check=False)
            rules = [self.lab("enter", node.name, "iptables", "-t", table, "-S", "DOCKER").stdout for table in ("nat", "filter")]
            published = [line for line in "\n".join(rules).splitlines() if "9001" in line]
            return f"{node}: {error!r}; its container: {health or 'none'}; rules: {published}"

    # -------------------------------------------------------------------------------------------------- between tests

    def mend(self):
        """Everything back as it was after deploy(), but for the agents' counters."""
        if self.touched:
            for node in self.nodes:
                if not node.runs():
                    node.start()
                node.heal()
            for node in self.nodes[1:]:
                self[1].docker("node", "demote", node.name, check=False)
            self.wait_running()
            self.wait_whole()
            self.touched = False
        for node in self.nodes:
            ours = [f"label=com.docker.swarm.service.name={SERVICE}", "label=stays"]
            stay = {line for label in ours for line in node.docker("ps", "-aq", "--no-trunc", "--filter", label).split()}
            if strangers := node.container_ids() - stay:
                node.docker("rm", "-f", "-v", *strangers)

    def logs(self):
        """What tells after a failure whether the agents or Swarm itself are in trouble."""
        tasks = self[1].docker("service", "ps", "--no-trunc", SERVICE, check=False)
        listed = "\n".join(f"{node} lists {sorted(node.agents() or ())}" for node in self.nodes)
        agents = [(f"agent of {node}", node.agent_log()) for node in self.nodes]
        return [("tasks", tasks), ("agents listed", listed), *agents, *((f"engine of {node}", node.engine_log()) for node in self.nodes)]


class Repeated:
    """Calls a function again and again on a thread of its own while the `with` block runs."""

    def __init__(self, act):
        self.act, self.over, self.failure = act, threading.Event(), None
        self.thread = threading.Thread(target=self._run, daemon=True)

    def _run(self):
        try:
            while not self.over.is_set():
                self.act()
        except BaseException as error:  # told to the test below
            self.failure = error

    def __enter__(self):
        self.thread.start()
        return self

    def __exit__(self, *_):
        self.over.set()
        self.thread.join(60)
        if self.failure:
            raise self.failure
