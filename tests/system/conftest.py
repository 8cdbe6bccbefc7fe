"""System tests: the real program, and where it matters a real engine and real clients.

    SHOAL_BINARY        the program under test (default: build/release/shoal)
    SHOAL_REQUIRE_ALL   1: a test that cannot run here, for want of root, dockerd or namespaces, fails instead of being skipped

Everything lives in folders below /tmp, whose names must be short (a socket's path has 107 bytes), and is taken away at the end, also
after a failure, Ctrl-C or SIGTERM. A failed test shows the logs of its agents.
"""

import contextlib
import os
import shutil
import signal
import subprocess
import sys
import tempfile
from pathlib import Path

sys.dont_write_bytecode = True

import pytest

from agent import BINARY, ROOT, Agent, clean_environment, sign
from scripted_engine import ScriptedEngine

LIMIT = 60  # seconds that a test may take
IMAGE = "lab/busybox:latest"

# Clients that run within this process look at the same variables as those outside.
_clean = clean_environment()
for _name in list(os.environ):
    if _name not in _clean and not _name.startswith("SHOAL_"):
        del os.environ[_name]
os.environ["PATH"] = _clean["PATH"]

_agents = pytest.StashKey()


def unavailable(reason):
    """Skips, or fails where everything must run."""
    if os.environ.get("SHOAL_REQUIRE_ALL") == "1":
        pytest.fail(reason)
    pytest.skip(reason)


# ------------------------------------------------------------------------------------------------------------ pytest's own


def pytest_configure():
    def end(*_):
        raise KeyboardInterrupt

    signal.signal(signal.SIGTERM, end)


def pytest_sessionstart():
    if not os.access(BINARY, os.X_OK):
        pytest.exit(f"{BINARY} is missing: build it, or say SHOAL_BINARY=…", 3)


@pytest.hookimpl(hookwrapper=True)
def pytest_runtest_call(item):
    """A test that hangs is a failed one."""
    marker = item.get_closest_marker("limit")
    limit = marker.args[0] if marker else LIMIT

    def too_long(*_):
        raise AssertionError(f"the test takes longer than {limit} s")

    before = signal.signal(signal.SIGALRM, too_long)
    signal.setitimer(signal.ITIMER_REAL, limit)
    try:
        yield
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
        signal.signal(signal.SIGALRM, before)


@pytest.hookimpl(hookwrapper=True)
def pytest_runtest_makereport(item):
    outcome = yield
    report = outcome.get_result()
    if report.failed:
        for agent in item.stash.get(_agents, []):
            status = "runs" if agent.process and agent.process.poll() is None else "ended"
            report.sections.append((f"agent {agent.number}, {status}: {' '.join(agent.command())}", agent.log()))
        if swarm := getattr(item, "funcargs", {}).get("swarm"):
            report.sections += swarm.logs()


def show_logs_of(request, *agents):
    """Has this test, when it fails, show the logs of agents that others made."""
    request.node.stash.setdefault(_agents, []).extend(agents)


# ---------------------------------------------------------------------------------------------------------------- folders


@pytest.fixture
def folder():
    """A folder with a short name, mode 0700."""
    path = Path(tempfile.mkdtemp(prefix="shoal-", dir="/tmp"))
    yield path
    shutil.rmtree(path, ignore_errors=True)


@pytest.fixture(scope="session")
def keys():
    """Two key pairs and what they sign: keys.a and keys.b, headers of the default mode."""
    path = Path(tempfile.mkdtemp(prefix="shoal-keys-", dir="/tmp"))

    class Keys:
        a_file, b_file = path / "a.pem", path / "b.pem"

    Keys.a, Keys.b = sign(Keys.a_file), sign(Keys.b_file)
    yield Keys
    shutil.rmtree(path, ignore_errors=True)


# ---------------------------------------------------------------------------------------------------------------- engines


def _namespaces_work():
    command = ["unshare", "--mount", "--pid", "--net", "--uts", "--ipc", "--fork", "true"]
    return shutil.which("unshare") and subprocess.run(command, capture_output=True).returncode == 0


def need_root():
    if os.geteuid() != 0:
        unavailable("needs root")


def need_namespaces():
    need_root()
    if not _namespaces_work():
        unavailable("cannot make namespaces")


@contextlib.contextmanager
def raise_engine():
    """A real engine of our own, for as long as the block runs; gives its folder, with docker.sock."""
    need_namespaces()
    for program in ("/usr/sbin/dockerd", "/usr/bin/docker", "/usr/sbin/runc"):
        if not os.path.exists(program):
            unavailable(f"{program} is missing: apt-get install docker.io")
    path = Path(tempfile.mkdtemp(prefix="shoal-engine-", dir="/tmp"))
    command = [str(ROOT / "deploy/lab/engine")]
    try:
        up = subprocess.run([*command, "up", path], capture_output=True, text=True, timeout=180, env=clean_environment())
        if up.returncode != 0:
            unavailable(f"no engine: {up.stderr}")
        yield path
    finally:
        subprocess.run([*command, "down", path], timeout=120, env=clean_environment())
        shutil.rmtree(path, ignore_errors=True)


@pytest.fixture(scope="session")
def engine_folder():
    """The engine that tests share."""
    with raise_engine() as path:
        yield path


@pytest.fixture
def engine(engine_folder):
    """The socket of the real engine. What a test leaves there is removed behind it."""
    docker = pytest.importorskip("docker") if os.environ.get("SHOAL_REQUIRE_ALL") != "1" else __import__("docker")
    path = engine_folder / "docker.sock"
    yield path
    client = docker.APIClient(base_url=f"unix://{path}", version="auto")
    for container in client.containers(all=True):
        client.remove_container(container["Id"], force=True, v=True)
    for network in client.networks():
        if network["Name"] not in ("bridge", "host", "none"):
            client.remove_network(network["Id"])
    for volume in client.volumes()["Volumes"] or []:
        client.remove_volume(volume["Name"], force=True)
    for image in client.images():
        for tag in image["RepoTags"] or []:
            if tag not in (IMAGE, "<none>:<none>"):
                client.remove_image(tag, force=True)
    client.close()


@pytest.fixture
def scripted(folder):
    """An engine that does what the test says."""
    engine = ScriptedEngine(folder / "engine.sock").start()
    yield engine
    engine.close()


# ----------------------------------------------------------------------------------------------------------------- agents


@pytest.fixture(params=["own", pytest.param("across", marks=pytest.mark.across)])
def where(request):
    """Whether the agent that is asked serves itself, or another one does."""
    return request.param


# What a test does to the agent that serves, or asks of its memory and its time, is done to one of its own.
own_only = pytest.mark.parametrize("where", ["own"], indirect=True)


@pytest.fixture
def make_agent(request, folder, keys):
    """make_agent(engine socket, flags …, ready=True, start=True, …): as many agents as a test wants."""
    agents = request.node.stash.setdefault(_agents, [])

    def make(engine_socket, *flags, ready=True, start=True, **more):
        more.setdefault("headers", keys.a)
        agent = Agent(folder, engine_socket, *flags, **more)
        agents.append(agent)
        return agent.start(ready) if start else agent

    yield make
    failures = []
    for agent in agents:
        try:
            agent.stop()
        except AssertionError as error:
            failures.append(str(error))
    assert not failures, "\n".join(failures)


@pytest.fixture
def agent(make_agent, scripted):
    """An agent before the scripted engine. Behind the test no stream and no payload may be left."""
    agent = make_agent(scripted.path)
    yield agent
    if not agent.ended:
        agent.wait_quiet()


@pytest.fixture
def real_agent(make_agent, engine):
    """An agent before the real engine."""
    agent = make_agent(engine)
    yield agent
    if not agent.ended:
        agent.wait_quiet()
