"""Bad configuration is refused at the start with one clear line; flags win over variables; empty variables are unset ones."""

import pytest

from agent import clean_environment, run_shoal
from waiting import wait_until

LONG = "/" + 107 * "x"

# variable, flag, value, what the line must say
BAD = [
    *(("AGENT_PORT", "--port", value, "port from 1 to 65535") for value in ("0", "65536", "-1", "9001x", " 9001", "1e3", "http")),
    ("EDGE_SERVER_PORT", "--edge-port", "99999", "port from 1 to 65535"),
    *(("CAP_HOST_MANAGEMENT", "--host-management", value, "1, t, true, 0, f or false") for value in ("yes", "on", "2", "tru", " 1")),
    ("EDGE_INSECURE_POLL", "--edge-insecurepoll", "no", "1, t, true, 0, f or false"),
    ("EDGE_ASYNC", "--edge-async", "enabled", "1, t, true, 0, f or false"),
    *(("EDGE_INACTIVITY_TIMEOUT", "--edge-inactivity", value, "duration") for value in ("5", "1d", "-5s", "5 m", "s", "1h30", "1..5s")),
    ("AGENT_SECRET_TIMEOUT", "--secret-timeout", "three days", "duration"),
    ("SHOAL_GRACE_TIME", "--grace-time", "8", "duration"),
    *(("LOG_LEVEL", "--log-level", value, "DEBUG, INFO, WARN or ERROR") for value in ("verbose", "WARNING", "2")),
    ("LOG_MODE", "--log-mode", "xml", "PRETTY, NOCOLOR or JSON"),
    *(("DOCKER_HOST", "--docker-host", value, "unix:///path") for value in ("tcp://127.0.0.1:2375", "unix://relative", "npipe://x", LONG)),
    *(("AGENT_HOST", "--host", value, "IPv4 or IPv6 address") for value in ("localhost", "1.2.3", "999.1.1.1", "[::1]")),
    *(("SHOAL_PAYLOAD_TOTAL", "--payload-total", value, "number of bytes") for value in ("1x", "-1", "32mb", "99999999999g")),
    ("SHOAL_PAYLOAD_TOTAL", "--payload-total", "1k", "at least 256k"),
    *(("SHOAL_CONNECTIONS", "--connections", value, "number from 1") for value in ("0", "many", "1000001")),
    ("SHOAL_HEADER_TIME", "--header-time", "0", "longer than 0"),
    ("AGENT_SECRET_FILE", "--secret-file", "/nonexistent/secret", "No such file or directory"),
    ("AGENT_SECRET_FILE", "--secret-file", "/dev/null", "empty"),
    ("AGENT_SECRET_FILE", "--secret-file", "/tmp", "Is a directory"),
    *(("AGENT_CLUSTER_ADDR", "--cluster-addr", value, "AGENT_CLUSTER_ADDR: '") for value in ("http://agent", "agent:0", "a,b:c:d", "[::1")),
    ("AGENT_CLUSTER_PORT", "--cluster-port", "70000", "port from 1 to 65535"),
    ("AGENT_ADVERTISE_ADDR", "--advertise-addr", "agent.example", "an IPv4 or IPv6 address is wanted"),
    ("AGENT_CLUSTER_PROBE_INTERVAL", "--agent-cluster-interval", "10ms", "from 100ms to 1m"),
    ("AGENT_CLUSTER_PROBE_TIMEOUT", "--agent-cluster-timeout", "500ms", "shorter than the interval"),
    ("EDGE", "--edge", "1", "no Edge mode"),
]


def refused(result):
    assert result.returncode == 1
    assert result.stdout == ""
    lines = result.stderr.splitlines()
    assert len(lines) == 1, result.stderr
    return lines[0]


@pytest.mark.quick
@pytest.mark.parametrize("variable, flag, value, wanted", BAD)
def test_a_bad_variable(variable, flag, value, wanted):
    line = refused(run_shoal(environment=clean_environment(**{variable: value})))
    assert line.startswith("shoal: ") and variable in line and wanted in line
    if "number" in wanted or "duration" in wanted:
        assert f"'{value}'" in line


@pytest.mark.quick
@pytest.mark.parametrize("variable, flag, value, wanted", BAD)
def test_a_bad_flag(variable, flag, value, wanted):
    line = refused(run_shoal(f"{flag}={value}"))
    assert line.startswith("shoal: ") and (flag in line or variable in line) and wanted in line


@pytest.mark.quick
@pytest.mark.parametrize(
    "key, wanted",
    [("zz", "hex"), ("3000", "not a public key"), ("3059301306072a8648ce3d020106082a8648ce3d03010703420004" + 128 * "0", "curve")],
    ids=["not hexadecimal", "not a key", "not on the curve"],
)
def test_a_bad_public_key(key, wanted):
    line = refused(run_shoal(environment=clean_environment(AGENT_PUBLIC_KEY=key)))
    assert "AGENT_PUBLIC_KEY" in line and wanted in line


@pytest.mark.quick
def test_too_many_public_keys(keys):
    line = refused(run_shoal("--public-key", ",".join(9 * [keys.a["X-PortainerAgent-PublicKey"]])))
    assert "AGENT_PUBLIC_KEY: more than 8 keys" in line


@pytest.mark.quick
def test_a_secret_file_with_a_nul(folder):
    (folder / "secret").write_bytes(b"long enough\0but not a text\n")
    assert "NUL" in refused(run_shoal("--secret-file", folder / "secret"))


@pytest.mark.quick
def test_a_secret_file_that_is_too_long(folder):
    (folder / "secret").write_bytes(5000 * b"x")
    assert "longer than" in refused(run_shoal("--secret-file", folder / "secret"))


@pytest.mark.quick
@pytest.mark.parametrize("arguments", [["--nonsense"], ["nonsense"], ["--port"], ["status", "--nonsense"], ["request", "GET"], ["tap", "--count", "x"]])
def test_a_bad_command_line(arguments):
    result = run_shoal(*arguments)
    assert result.returncode == 1
    assert result.stdout == ""
    assert result.stderr


@pytest.mark.quick
@pytest.mark.parametrize("value", ["1", "t", "T", "true", "TRUE", "True", "tRuE"])
def test_all_words_for_yes(value):
    """EDGE is refused only when it is on."""
    assert "no Edge mode" in refused(run_shoal(environment=clean_environment(EDGE=value)))


@pytest.mark.quick
@pytest.mark.parametrize("value", ["0", "f", "F", "false", "FALSE", "False"])
def test_all_words_for_no(value):
    """The complaint is about the port, so EDGE was understood."""
    assert "AGENT_PORT" in refused(run_shoal("--port", "9001", environment=clean_environment(EDGE=value, AGENT_PORT="x")))


@pytest.mark.quick
def test_an_empty_variable_is_an_unset_one(make_agent, scripted):
    empty = {name: "" for name in ("AGENT_SECRET", "AGENT_PUBLIC_KEY", "LOG_LEVEL", "EDGE", "AGENT_SECRET_TIMEOUT", "AGENT_SECRET_FILE")}
    agent = make_agent(scripted.path, environment=empty)
    assert agent.get("/_ping").status == 200


@pytest.mark.quick
def test_a_flag_wins_over_its_variable(make_agent, scripted, folder):
    agent = make_agent(
        scripted.path,
        environment={"AGENT_PORT": "1", "DOCKER_HOST": f"unix://{folder}/other.sock", "SHOAL_GRACE_TIME": "3s"},
    )
    status = agent.status()
    assert status["actors"]["docker"]["socket"] == str(scripted.path)
    assert status["limits"]["grace_time_ms"] == 3000
    agent.stop()
    agent = make_agent(scripted.path, "--grace-time", "1m30s", environment={"SHOAL_GRACE_TIME": "3s"})
    assert agent.status()["limits"]["grace_time_ms"] == 90000


@pytest.mark.quick
def test_the_protocol_version_is_an_option(make_agent, scripted):
    agent = make_agent(scripted.path, environment={"SHOAL_PROTOCOL_VERSION": "2.23.0"})
    assert agent.get("/ping").get("Portainer-Agent") == "2.23.0"
    assert agent.status()["protocol_version"] == "2.23.0"


@pytest.mark.quick
def test_the_level_of_the_log(make_agent, scripted):
    agent = make_agent(scripted.path, "--log-level", "error")
    assert agent.get("/_ping").status == 200
    assert agent.log() == ""
    agent.stop()
    agent = make_agent(scripted.path, "--log-level", "Debug")
    agent.client({}).request("GET", "/_ping")
    assert " INFO " in agent.log()


@pytest.mark.quick
def test_the_log_as_json(make_agent, scripted):
    import json

    agent = make_agent(scripted.path, "--log-mode", "json")
    assert agent.client({}).request("GET", '/"\\').status == 403
    agent.stop()
    lines = [json.loads(line) for line in agent.log().splitlines()]
    assert len(lines) > 3
    assert all(isinstance(line, dict) for line in lines)
    assert any("serving HTTPS" in str(line) for line in lines)


@pytest.mark.quick
def test_ipv6(make_agent, scripted):
    import socket

    from https_client import Connection
    from conftest import unavailable

    try:
        socket.create_server(("::1", 0), family=socket.AF_INET6).close()
    except OSError as error:
        unavailable(f"no IPv6: {error}")
    agent = make_agent(scripted.path, "--host", "::1", start=False)
    agent.spawn()

    def ping():
        try:
            connection = Connection(agent.port, "::1")
        except OSError:
            return None
        with connection:
            connection.send_request("GET", "/ping")
            return connection.read_head().status

    assert wait_until("/ping over IPv6", ping) == 204
