"""A network of namespaces: each node has one of its own with one address, all hang on a bridge in a further one. Cables can be cut,
traffic is counted, and a name server answers what the test wants. Nothing of it touches the machine's own network.
"""

import json
import os
import subprocess
import sys
from pathlib import Path

from conftest import unavailable

ETHERNET_HEADER = 14  # bytes, which the kernel counts and IP does not


def run(*words):
    return subprocess.run([str(word) for word in words], check=True, capture_output=True, text=True).stdout


class Network:
    def __init__(self, folder, count):
        self.folder, self.count = Path(folder), count
        self.names = []
        self.prefix = f"shoal-{os.getpid()}"
        self.server = None

    def space(self, node):
        return f"{self.prefix}-{node}"

    def address(self, node):
        return f"10.254.1.{node + 1}"

    # -------------------------------------------------------------------------------------------------- start and end

    def start(self):
        hub = self.space("hub")
        try:
            self._add(hub)
            run("ip", "-n", hub, "link", "add", "bridge", "type", "bridge")
            run("ip", "-n", hub, "addr", "add", "10.254.1.254/24", "dev", "bridge")
            run("ip", "-n", hub, "link", "set", "bridge", "up")
            for node in range(self.count):
                self._add(self.space(node))
                run("ip", "link", "add", "eth0", "netns", self.space(node), "type", "veth", "peer", "name", f"port{node}", "netns", hub)
                run("ip", "-n", hub, "link", "set", f"port{node}", "master", "bridge", "up")
                run("ip", "-n", self.space(node), "addr", "add", f"{self.address(node)}/24", "dev", "eth0")
                run("ip", "-n", self.space(node), "link", "set", "eth0", "up")
        except (subprocess.CalledProcessError, FileNotFoundError) as error:
            self.stop()
            unavailable(f"no network namespaces: {getattr(error, 'stderr', error)}")
        return self

    def _add(self, name):
        run("ip", "netns", "add", name)
        self.names.append(name)
        run("ip", "-n", name, "link", "set", "lo", "up")

    def stop(self):
        if self.server:
            self.server.terminate()
            self.server.wait()
        while self.names:
            subprocess.run(["ip", "netns", "del", self.names.pop()], check=False, capture_output=True)

    # --------------------------------------------------------------------------------------------------------- names

    def serve_names(self, **zone):
        """Starts the name server; afterwards say_names() changes what it says."""
        self.say_names(**zone)
        (self.folder / "resolv.conf").write_text("nameserver 10.254.1.254\n")
        self.server = subprocess.Popen(
            ["ip", "netns", "exec", self.space("hub"), sys.executable, str(Path(__file__).with_name("name_server.py")), "10.254.1.254", str(self.folder / "zone")],
            stdout=subprocess.PIPE,
        )
        assert self.server.stdout.readline() == b"ready\n"

    def say_names(self, **zone):
        """name=[nodes]; names have _ for a dot."""
        text = json.dumps({name.replace("_", "."): [self.address(node) for node in nodes] for name, nodes in zone.items()})
        (self.folder / "zone.new").write_text(text)
        os.replace(self.folder / "zone.new", self.folder / "zone")

    # -------------------------------------------------------------------------------------------------------- cables

    def wrapper(self, node):
        """What starts a program on a node."""
        words = ["ip", "netns", "exec", self.space(node)]
        if self.server:
            words += ["sh", "-c", f'mount --bind {self.folder}/resolv.conf /etc/resolv.conf && exec "$@"', "sh"]
        return words

    def _rule(self, action, node, *match):
        run("ip", "netns", "exec", self.space(node), "iptables", action, *match, "-j", "DROP")

    def cut(self, node):
        """Nothing passes any more in either direction, and nobody is told."""
        self._rule("-I", node, "INPUT", "-i", "eth0")
        self._rule("-I", node, "OUTPUT", "-o", "eth0")

    def mend(self, node):
        self._rule("-D", node, "INPUT", "-i", "eth0")
        self._rule("-D", node, "OUTPUT", "-o", "eth0")

    def traffic(self, node):
        """IP bytes that the node has (received, sent) so far."""
        link = json.loads(run("ip", "-n", self.space(node), "-j", "-s", "link", "show", "eth0"))[0]["stats64"]
        return tuple(link[way]["bytes"] - ETHERNET_HEADER * link[way]["packets"] for way in ("rx", "tx"))
