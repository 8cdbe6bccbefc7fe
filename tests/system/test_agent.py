"""The agent as a program: its commands, its local socket, how it starts, with and without an engine."""

import json
import os
import re
import shutil
import socket
import stat
import statistics
import subprocess
import time

import pytest

from agent import BINARY, Agent, ask_control, clean_environment, is_sanitized, run_shoal
from conftest import need_namespaces, need_root
from https_client import Client, Connection, Cut
from scripted_engine import ScriptedEngine
from waiting import wait_until

START_BAR = 5.0 if is_sanitized() else 0.1  # seconds from exec to the first answer of /ping
PROXY_MESSAGE = "Unable to proxy the request via the Docker socket"


# --------------------------------------------------------------------------------------------------------------- commands


@pytest.mark.quick
def test_ping_says_that_no_agent_runs(folder):
    result = run_shoal("ping", "--control", folder / "control.sock")
    assert result.returncode == 1
    assert result.stdout == ""
    assert result.stderr.count("\n") == 1
    assert f"cannot reach the agent at {folder}/control.sock: No such file or directory" in result.stderr
    assert "is it running?" in result.stderr


@pytest.mark.quick
def test_ping_of_a_killed_agent(make_agent, scripted):
    agent = make_agent(scripted.path)
    assert agent.run("ping").returncode == 0
    agent.kill()
    result = agent.run("ping")
    assert result.returncode == 1
    assert "Connection refused" in result.stderr


@pytest.mark.quick
def test_ping_is_about_the_agent_and_ready_about_the_engine_too(make_agent, folder):
    agent = make_agent(folder / "none.sock", ready=False)
    assert agent.run("ping").returncode == 0
    result = agent.run("ping", "--ready")
    assert result.returncode == 1
    assert result.stderr == "shoal: not ready: the Docker engine does not answer\n"
    assert agent.status()["ready"] is False


@pytest.mark.quick
def test_the_variable_names_the_control_socket(agent):
    environment = clean_environment(SHOAL_CONTROL=agent.control)
    assert run_shoal("ping", environment=environment).returncode == 0
    assert json.loads(run_shoal("status", environment=environment).stdout)["pid"] == agent.process.pid


@pytest.mark.quick
def test_ping_asks_the_api_where_there_is_no_local_socket(make_agent, scripted):
    """As in a container whose root is read-only. One certain agent's socket is never replaced by another agent's API."""
    agent = make_agent(scripted.path, "--control", "/proc/none/control.sock", start=False)
    agent.spawn()
    environment = clean_environment(SHOAL_CONTROL="/proc/none/control.sock", AGENT_PORT=agent.port)
    wait_until("ping", lambda: run_shoal("ping", environment=environment).returncode == 0)
    for arguments in (["--ready"], ["--control", "/proc/none/control.sock"]):
        refused = run_shoal("ping", *arguments, environment=environment)
        assert refused.returncode == 1 and "cannot reach the agent at /proc/none/control.sock" in refused.stderr
    agent.stop()
    gone = run_shoal("ping", environment=environment)
    assert gone.returncode == 1
    assert f"127.0.0.1:{agent.port}: Connection refused" in gone.stderr
    assert "no local socket at /proc/none/control.sock" in gone.stderr


@pytest.mark.quick
def test_status_is_json_with_what_tests_and_people_ask_for(agent):
    agent.get("/_ping")
    result = agent.run("status")
    assert result.returncode == 0 and result.stderr == ""
    status = json.loads(result.stdout)
    assert status["pid"] == agent.process.pid
    assert status["version"] == run_shoal("--version").stdout.split()[1]
    assert status["protocol_version"] == "2.19.0"
    assert status["ready"] is True
    assert 0 < status["descriptors"]["open"] < status["descriptors"]["limit"]
    assert status["payload"] == {"used": 0, "total": 32 * 1024 * 1024}
    assert status["limits"]["grace_time_ms"] == 8000
    assert status["messages_sent"] > 0 and status["messages_refused"] == 0
    actors = status["actors"]
    assert set(actors) == {
        "ingress", "auth", "router", "docker", "peers", "gather", "host", "console", "membership", "tap",
    }  # fmt: skip
    assert actors["ingress"]["listening"] is True and actors["ingress"]["requests"] == 1
    assert re.fullmatch("[0-9a-f]{64}", actors["ingress"]["key_sha256"])
    assert actors["auth"]["mode"] == "registered" and len(actors["auth"]["keys"]) == 1
    assert actors["auth"]["registered_from"].startswith("127.0.0.1:")
    assert re.fullmatch(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\dZ", actors["auth"]["registered_at"])
    assert actors["docker"]["name"] == "scripted" and actors["docker"]["reachable"] is True
    assert (actors["docker"]["api_minimum"], actors["docker"]["api_maximum"]) == (1012, 1041)
    assert actors["docker"]["socket"] == agent.engine_socket


@pytest.mark.quick
def test_several_ask_for_the_status_at_once(agent):
    """Each of them gets a whole answer."""
    controls = []
    for _ in range(20):
        control = socket.socket(socket.AF_UNIX)
        control.settimeout(20)
        control.connect(str(agent.control))
        controls.append(control)
    for control in controls:
        control.sendall(b'{"command":"status"}\n')
    for control in controls:
        assert json.loads(control.makefile().readline())["pid"] == agent.process.pid
        control.close()


@pytest.mark.quick
@pytest.mark.parametrize(
    "line", [b"\n", b"nonsense\n", b"[]\n", b'{"command":"nonsense"}\n', b'{"command":7}\n', b"x" * 5000, b"\xff\x00\n"]
)
def test_nonsense_at_the_control_socket_is_refused(agent, line):
    with socket.socket(socket.AF_UNIX) as control:
        control.settimeout(20)
        control.connect(str(agent.control))
        control.sendall(line)
        assert "error" in json.loads(control.makefile().readline())
    assert agent.run("ping").returncode == 0


@pytest.mark.quick
def test_help_names_every_variable(agent):
    result = run_shoal("--help")
    assert result.returncode == 0
    text = re.sub(r"\s+", " ", result.stdout)
    for name in (
        "AGENT_HOST AGENT_PORT AGENT_CLUSTER_ADDR AGENT_SECRET AGENT_SECRET_FILE AGENT_SECRET_TIMEOUT AGENT_PUBLIC_KEY "
        "AGENT_CLUSTER_PROBE_TIMEOUT AGENT_CLUSTER_PROBE_INTERVAL ASSETS_PATH DATA_PATH LOG_LEVEL LOG_MODE EDGE EDGE_KEY "
        "EDGE_ID EDGE_SERVER_HOST EDGE_SERVER_PORT EDGE_INACTIVITY_TIMEOUT EDGE_INSECURE_POLL EDGE_ASYNC EDGE_TUNNEL "
        "CAP_HOST_MANAGEMENT DOCKER_HOST"
    ).split():
        assert f"[{name}]" in text
    for command in ("request", "sign", "ping", "status", "tap", "forget"):
        assert f"shoal {command}" in text
        assert run_shoal(command, "--help").returncode == 0


# -------------------------------------------------------------------------------------------------------- shoal request


@pytest.mark.quick
def test_request_prints_the_body_and_tells_success(agent, scripted, keys):
    scripted.on("GET", "/hello", lambda exchange: exchange.answer(200, b"hello\x00\xff", {"Content-Type": "text/plain"}))
    result = agent.request("GET", "/hello", "--key", keys.a_file, input=b"")
    assert (result.returncode, result.stdout, result.stderr) == (0, b"hello\x00\xff", b"")


@pytest.mark.quick
def test_request_tells_failure(agent, scripted, keys):
    scripted.on("GET", "/missing", lambda exchange: exchange.answer(404, b'{"message":"no such thing"}'))
    result = agent.request("GET", "/missing", "--key", keys.a_file)
    assert result.returncode == 1
    assert result.stdout == '{"message":"no such thing"}'
    assert "status 404" in result.stderr
    assert agent.request("GET", "/ok", "--key", keys.b_file).returncode == 1  # another key


@pytest.mark.quick
def test_request_include_shows_the_head(agent, keys):
    result = agent.request("GET", "/ping", "--include", "--key", keys.a_file)
    assert result.returncode == 0
    assert result.stdout.startswith("HTTP/1.1 204 ")
    assert "\nPortainer-Agent: 2.19.0\n" in result.stdout.replace("\r", "")


@pytest.mark.quick
@pytest.mark.parametrize("source", ["file", "stdin"])
def test_request_sends_a_body(agent, scripted, keys, folder, source):
    body = os.urandom(300_000)

    def echo(exchange):
        exchange.answer(200, exchange.read_body(), {"Content-Type": "application/octet-stream"})

    scripted.on("POST", "/echo", echo)
    (folder / "body").write_bytes(body)
    name = folder / "body" if source == "file" else "-"
    result = agent.request("POST", "/echo", "--body", name, "--key", keys.a_file, input=body if source == "stdin" else b"")
    assert result.returncode == 0, result.stderr
    assert result.stdout == body


@pytest.mark.quick
def test_request_streams_the_answer(agent, scripted, keys):
    """What the engine has sent is printed while the answer goes on."""
    scripted.on("GET", "/stream", lambda exchange: (
        exchange.head(200, {"Transfer-Encoding": "chunked"}), exchange.chunk(b"first\n"), exchange.wait_gone()))
    command = [str(BINARY), "request", "--to", f"127.0.0.1:{agent.port}", "--key", str(keys.a_file), "GET", "/stream"]
    with subprocess.Popen(command, stdout=subprocess.PIPE, env=clean_environment()) as process:
        assert process.stdout.readline() == b"first\n"
        process.terminate()


@pytest.mark.quick
def test_request_tells_of_a_cut_answer(agent, scripted, keys):
    def cut(exchange):
        exchange.head(200, {"Content-Length": 100})
        exchange.send(b"half of it")

    scripted.on("GET", "/cut", cut)
    result = agent.request("GET", "/cut", "--key", keys.a_file)
    assert result.returncode == 1
    assert result.stdout == "half of it"
    assert "cut off" in result.stderr


@pytest.mark.quick
def test_request_pins_the_agents_key(agent, keys):
    good = agent.status()["actors"]["ingress"]["key_sha256"]
    assert agent.request("GET", "/ping", "--key", keys.a_file, "--pin", good).returncode == 0
    result = agent.request("GET", "/ping", "--key", keys.a_file, "--pin", "0" * 64)
    assert result.returncode == 1
    assert "another key" in result.stderr and good in result.stderr


@pytest.mark.quick
def test_request_makes_a_key_for_its_owner_alone(agent, folder):
    environment = clean_environment(HOME=folder)
    assert agent.request("GET", "/_ping", environment=environment).returncode == 0
    key = folder / ".config/shoal/key.pem"
    assert stat.S_IMODE(key.stat().st_mode) == 0o600
    assert stat.S_IMODE(key.parent.stat().st_mode) == 0o700
    before = key.read_bytes()
    assert agent.request("GET", "/_ping", environment=environment).returncode == 0
    assert key.read_bytes() == before


@pytest.mark.quick
def test_request_without_an_agent(folder, keys):
    result = run_shoal("request", "--to", "127.0.0.1:9", "--key", keys.a_file, "GET", "/ping")
    assert result.returncode == 1
    assert "Connection refused" in result.stderr


# ------------------------------------------------------------------------------------------------------- local socket


@pytest.mark.quick
def test_modes_of_the_control_socket(agent):
    assert stat.S_IMODE(agent.control.stat().st_mode) == 0o600
    assert stat.S_IMODE(agent.control.parent.stat().st_mode) == 0o700


@pytest.mark.quick
def test_the_control_socket_is_gone_afterwards(make_agent, scripted):
    agent = make_agent(scripted.path)
    assert agent.control.exists()
    agent.stop()
    assert not agent.control.exists()


@pytest.mark.quick
def test_a_control_folder_for_others_is_warned_about_and_not_used(make_agent, scripted, folder):
    (folder / "wide").mkdir(mode=0o755)
    agent = make_agent(scripted.path, start=False)
    agent.control = folder / "wide" / "control.sock"
    agent.spawn()
    wait_until("it serves", agent.listens)
    agent.wait_log("must belong to the agent's user and have mode 0700")
    assert not agent.control.exists()
    assert agent.run("ping").returncode == 1
    wait_until("the engine is found", lambda: agent.get("/_ping").status == 200)


@pytest.mark.quick
def test_the_socket_of_a_killed_agent_is_replaced(make_agent, scripted):
    first = make_agent(scripted.path)
    first.kill()
    assert first.control.exists()
    second = make_agent(scripted.path, start=False)
    second.control = first.control
    second.start()
    assert second.status()["pid"] == second.process.pid


@pytest.mark.quick
def test_the_socket_of_a_running_agent_is_not_taken(agent, make_agent, scripted):
    second = make_agent(scripted.path, start=False)
    second.control = agent.control
    second.spawn()
    wait_until("it serves", second.listens)
    second.wait_log("no local socket")  # said after the API is there
    assert agent.status()["pid"] == agent.process.pid
    second.stop()
    assert agent.status()["pid"] == agent.process.pid  # and the socket is still there


def test_another_user_is_refused_at_the_control_socket(agent, folder):
    """The kernel is asked who it is, should the modes ever be wrong."""
    need_root()
    for path in (folder, agent.control.parent):
        path.chmod(0o755)
    agent.control.chmod(0o666)
    program = folder / "shoal"
    shutil.copy(BINARY, program)
    program.chmod(0o755)
    command = ["setpriv", "--reuid=65534", "--regid=65534", "--clear-groups", program, "ping", "--control", agent.control]
    result = subprocess.run(command, capture_output=True, text=True, timeout=30, env=clean_environment(ASAN_OPTIONS="detect_leaks=0"))
    assert result.returncode == 1
    assert f"at {agent.control}" in result.stderr
    agent.wait_log("refused a process of user 65534")
    assert agent.run("ping").returncode == 0


# -------------------------------------------------------------------------------------------------------------- start-up


@pytest.mark.quick
def test_without_an_engine(make_agent, folder):
    """/ping is served; a Docker request is told what is wrong; the log says it once."""
    path = folder / "engine.sock"
    agent = make_agent(path, ready=False)
    assert agent.client({}).request("GET", "/ping").status == 204
    answers = [agent.get("/containers/json") for _ in range(3)]
    for answer in answers:
        assert answer.status == 502
        assert answer.get("Content-Type") == "application/json"
        assert answer.json() == {
            "message": PROXY_MESSAGE,
            "details": f"cannot connect to {path}: No such file or directory",
        }
    assert agent.log().count("looking for it every second") == 1


@pytest.mark.quick
def test_an_engine_that_appears_is_found(make_agent, folder):
    path = folder / "engine.sock"
    agent = make_agent(path, ready=False)
    engine = ScriptedEngine(path).start()
    try:
        agent.wait_status("the engine is found", lambda status: status["ready"], 10)
        assert agent.run("ping", "--ready").returncode == 0
        assert agent.get("/_ping").status == 200
    finally:
        engine.close()


@pytest.mark.quick
def test_an_engine_that_restarts_is_found_again(agent, scripted):
    assert agent.get("/_ping").status == 200
    scripted.stop()
    answer = agent.get("/_ping")
    assert answer.status == 502
    assert answer.json()["message"] == PROXY_MESSAGE
    agent.wait_status("the loss is noticed", lambda status: not status["ready"])
    assert agent.run("ping", "--ready").returncode == 1
    scripted.start()
    agent.wait_status("the engine is found again", lambda status: status["ready"], 10)
    assert agent.get("/_ping").status == 200


@pytest.mark.quick
def test_another_engine_after_a_restart_speaks_other_versions(agent, scripted):
    scripted.stop()
    assert agent.get("/_ping").status == 502
    scripted.version = {"ApiVersion": "1.52", "MinAPIVersion": "1.44"}
    scripted.start()
    status = agent.wait_status("the new engine is known", lambda status: status["ready"], 10)
    assert (status["actors"]["docker"]["api_minimum"], status["actors"]["docker"]["api_maximum"]) == (1044, 1052)


def test_a_real_engine_that_is_killed_and_restarted(make_agent, engine, engine_folder):
    from agent import ROOT

    agent = make_agent(engine)
    lab = [str(ROOT / "deploy/lab/engine")]
    try:
        subprocess.run([*lab, "kill", engine_folder], check=True, timeout=60, env=clean_environment())
        assert agent.get("/containers/json").status == 502
    finally:
        subprocess.run([*lab, "start", engine_folder], check=True, timeout=120, env=clean_environment())
    agent.wait_status("the engine is found again", lambda status: status["ready"])
    assert agent.get("/containers/json").status == 200


@pytest.mark.quick
def test_from_exec_to_the_first_ping(make_agent, folder):
    times = []
    for _ in range(5):
        agent = make_agent(folder / "none.sock", start=False)
        begun = time.monotonic()
        agent.spawn()

        def ping():
            try:
                return Client(agent.port, {}).request("GET", "/ping").status == 204
            except OSError:
                return False

        wait_until("/ping", ping)
        times.append(time.monotonic() - begun)
        agent.stop()
    assert statistics.median(times) <= START_BAR, times


@pytest.mark.quick
def test_the_limit_of_descriptors_is_raised_and_said(make_agent, scripted):
    agent = make_agent(scripted.path, wrapper=["prlimit", "--nofile=256:1234"])
    assert agent.status()["descriptors"]["limit"] == 1234
    assert "descriptors: 1234 (limit was 256)" in agent.log()


def test_read_only_root(make_agent, scripted):
    """Nothing is written: no registered key, no local socket, and it says so."""
    need_namespaces()
    script = 'mount -o remount,bind,ro / && for d in /tmp /run /var; do mount -o remount,bind,ro $d 2>/dev/null; done; exec "$@"'
    wrapper = ["unshare", "--mount", "--propagation", "private", "sh", "-c", script, "sh"]
    agent = make_agent(scripted.path, wrapper=wrapper, start=False)
    agent.spawn()
    wait_until("it serves", agent.listens)
    wait_until("the engine is found", lambda: agent.get("/_ping").status == 200)
    agent.wait_log("no local socket")
    assert "Read-only file system" in agent.log()
    assert "will be lost at a restart" in agent.log()
    assert not list(agent.data.iterdir()) and not agent.control.parent.exists()


@pytest.mark.quick
def test_without_a_data_folder(make_agent, scripted, folder):
    agent = make_agent(scripted.path, "--data", folder / "nowhere")
    assert agent.get("/_ping").status == 200
    agent.wait_log(f"cannot write to {folder}/nowhere: No such file or directory")
    assert agent.client({}).request("GET", "/_ping").status == 403
    assert agent.get("/_ping").status == 200


def test_another_user_with_the_sockets_group(make_agent, scripted, folder):
    need_root()
    group = 54321
    folder.chmod(0o755)
    os.chown(scripted.path, 0, group)
    scripted.path.chmod(0o660)
    home = folder / "home"
    home.mkdir(mode=0o700)
    os.chown(home, 65534, 65534)
    program = folder / "shoal"
    shutil.copy(BINARY, program)
    program.chmod(0o755)
    wrapper = ["setpriv", "--reuid=65534", "--regid=65534", f"--groups={group}", "--no-new-privs", "--inh-caps=-all"]
    agent = make_agent(scripted.path, "--data", home, wrapper=wrapper, start=False)
    agent.binary = program
    agent.control = home / "control" / "control.sock"
    agent.start()
    assert agent.get("/_ping").status == 200
    assert (home / "registered_key.der").stat().st_uid == 65534
    assert agent.run("ping").returncode == 0  # root may ask


def test_another_user_without_the_sockets_group(make_agent, scripted, folder):
    need_root()
    folder.chmod(0o755)
    scripted.path.chmod(0o660)
    program = folder / "shoal"
    shutil.copy(BINARY, program)
    program.chmod(0o755)
    wrapper = ["setpriv", "--reuid=65534", "--regid=65534", "--clear-groups"]
    agent = make_agent(scripted.path, wrapper=wrapper, start=False)
    agent.binary = program
    agent.spawn()
    wait_until("it serves", agent.listens)
    answer = agent.get("/_ping")
    assert answer.status == 502
    assert answer.json()["details"] == f"cannot connect to {scripted.path}: Permission denied"


@pytest.mark.quick
def test_a_port_in_use(make_agent, scripted, agent):
    second = make_agent(scripted.path, "--port", agent.port, start=False)
    second.spawn()
    assert second.wait() == 1
    assert f"cannot listen on 127.0.0.1 port {agent.port}: Address already in use" in second.log()


@pytest.mark.quick
def test_the_certificate_names_the_advertised_address(make_agent, scripted):
    agent = make_agent(scripted.path, "--advertise-addr", "192.0.2.7")
    agent.wait_log("the certificate now names the address 192.0.2.7")
    text = subprocess.run(
        f"openssl s_client -connect 127.0.0.1:{agent.port} </dev/null 2>/dev/null | openssl x509 -noout -text",
        shell=True, capture_output=True, text=True, timeout=30, env=clean_environment(),
    ).stdout
    assert "IP Address:192.0.2.7" in text and "DNS:localhost" in text


@pytest.mark.quick
def test_plain_http_is_told_what_this_port_speaks(agent):
    with socket.create_connection(("127.0.0.1", agent.port), 20) as connection:
        connection.sendall(b"GET /_ping HTTP/1.1\r\nHost: x\r\n\r\n")
        answer = b"".join(iter(lambda: connection.recv(65536), b""))
    assert answer.startswith(b"HTTP/1.1 400 ")
    assert b"This port speaks HTTPS" in answer
