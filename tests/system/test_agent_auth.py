"""Who may ask: every signature of the vectors over HTTPS, registration, pinned keys, secrets."""

import json
import os
import socket
import stat
import subprocess

import pytest

from agent import BINARY, ROOT, clean_environment, sign
from waiting import wait_until

VECTORS = json.loads((ROOT / "tests/data/signature.json").read_text())
PUBLIC_KEY, SIGNATURE = "X-PortainerAgent-PublicKey", "X-PortainerAgent-Signature"
SECRET = "a secret of decent length"


def pair(step):
    """The headers of a vector; an empty one is sent empty."""
    return {PUBLIC_KEY: step["public_key"], SIGNATURE: step["signature"]}


def refused(answer, message, details=None):
    assert answer.status == 403
    assert answer.get("Content-Type") == "application/json"
    assert answer.json()["message"] == message
    assert set(answer.json()) == {"message", "details"}
    if details:
        assert answer.json()["details"] == details


# ---------------------------------------------------------------------------------------------------------------- vectors


@pytest.mark.quick
@pytest.mark.parametrize("case", VECTORS["single"], ids=lambda case: case["name"])
def test_single(make_agent, scripted, case):
    """Each case has a fresh agent, asks twice (the second time the pair may be remembered), and is let in or not."""
    agent = make_agent(scripted.path, secret=case["secret"] or None)
    for _ in range(2):
        answer = agent.client(pair(case)).request("GET", "/vector", {"X-Test": "vector"})
        if case["valid"]:
            assert answer.status == 200
        else:
            refused(answer, "Invalid request signature")
    assert len(scripted.seen(X_Test="vector")) == (2 if case["valid"] else 0)
    auth = agent.status()["actors"]["auth"]
    if not case["secret"]:
        assert auth["mode"] == ("registered" if case["valid"] else "waiting for a key")


@pytest.mark.quick
@pytest.mark.parametrize("sequence", VECTORS["sequences"], ids=lambda sequence: sequence["name"])
def test_sequence(make_agent, scripted, sequence):
    """One agent, step by step. Where the vectors want something better than the old agent did, that is what counts."""
    agent = make_agent(scripted.path, secret=sequence["secret"] or None)
    for number, step in enumerate(sequence["steps"]):
        answer = agent.client(pair(step)).request("GET", "/vector")
        wanted = step.get("wanted_status", step["status"])
        assert answer.status == wanted, f"step {number}: {step.get('why')}"
        if wanted == 403:
            refused(answer, step["message"])


@pytest.mark.quick
@pytest.mark.parametrize("missing", [(PUBLIC_KEY,), (SIGNATURE,), (PUBLIC_KEY, SIGNATURE)], ids=["key", "signature", "both"])
def test_the_body_of_missing_headers(agent, scripted, keys, missing):
    headers = {name: value for name, value in keys.a.items() if name not in missing}
    answer = agent.client(headers).request("GET", "/containers/json", {"X-Test": "missing"})
    refused(answer, "Missing request signature headers", "Unauthorized")
    assert answer.body == b'{"message":"Missing request signature headers","details":"Unauthorized"}'
    assert not scripted.seen(X_Test="missing")


@pytest.mark.quick
def test_the_body_of_another_key(agent, keys):
    assert agent.get("/_ping").status == 200
    answer = agent.client(keys.b).request("GET", "/_ping")
    refused(answer, "Invalid request signature", "Unauthorized")
    assert answer.body == b'{"message":"Invalid request signature","details":"Unauthorized"}'


@pytest.mark.quick
@pytest.mark.parametrize("length", [0, 1, 85, 87, 4096, 60_000])
def test_signatures_of_any_length(agent, keys, length):
    answer = agent.client({PUBLIC_KEY: keys.a[PUBLIC_KEY], SIGNATURE: "A" * length}).request("GET", "/_ping")
    assert answer.status == 403


@pytest.mark.quick
@pytest.mark.parametrize("length", [1, 2, 181, 183, 4096, 60_000])
def test_keys_of_any_length(agent, keys, length):
    answer = agent.client({PUBLIC_KEY: "3" * length, SIGNATURE: keys.a[SIGNATURE]}).request("GET", "/_ping")
    refused(answer, "Invalid request signature")


@pytest.mark.quick
def test_a_refused_request_with_a_body_leaves_the_connection_usable(agent, scripted):
    with agent.client({}).start("POST", "/containers/create", body=b"x" * 5000) as connection:
        head = connection.read_head()
        assert head.status == 403
        connection.read_body(head)
        connection.send_request("GET", "/ping")
        assert connection.read_head().status == 204


@pytest.mark.quick
def test_the_first_value_of_a_header_counts(agent, keys):
    """Two headers of a kind: what the first says is what is judged."""
    with agent.client().connect() as connection:
        lines = ["GET /_ping HTTP/1.1", "Host: x"]
        lines += [f"{name}: {value}" for headers in ({**keys.a}, {PUBLIC_KEY: "zz", SIGNATURE: "zz"}) for name, value in headers.items()]
        connection.send("\r\n".join([*lines, "", ""]).encode())
        assert connection.read_head().status == 200


# ----------------------------------------------------------------------------------------------------------- registration


@pytest.mark.quick
def test_registration_is_said_with_fingerprint_and_source(agent):
    assert "registered the key" not in agent.log()
    with agent.client().start("GET", "/_ping") as connection:
        port = connection.socket.getsockname()[1]
        assert connection.read_head().status == 200
    auth = agent.status()["actors"]["auth"]
    assert auth["registered_from"] == f"127.0.0.1:{port}"
    assert f"registered the key {auth['keys'][0]} of 127.0.0.1:{port}" in agent.log()


@pytest.mark.quick
def test_registration_survives_a_restart(make_agent, scripted, keys):
    agent = make_agent(scripted.path)
    assert agent.get("/_ping").status == 200
    files = list(agent.data.iterdir())
    assert len(files) == 1
    assert stat.S_IMODE(files[0].stat().st_mode) == 0o600
    agent.stop()
    again = make_agent(scripted.path)
    assert "is registered since an earlier start" in again.log()
    assert again.client(keys.b).request("GET", "/_ping").status == 403
    assert again.client({**keys.a, PUBLIC_KEY: "anything"}).request("GET", "/_ping").status == 200


@pytest.mark.quick
@pytest.mark.parametrize("content", [b"", b"nonsense", b"0" * 5000], ids=["empty", "nonsense", "long"])
def test_a_damaged_registration_is_ignored_and_said(make_agent, scripted, content):
    agent = make_agent(scripted.path, start=False)
    (agent.data / "registered_key.der").write_bytes(content)
    agent.start()
    if content:
        assert "is damaged and was ignored" in agent.log()
    assert agent.get("/_ping").status == 200
    assert (agent.data / "registered_key.der").stat().st_size == 91


@pytest.mark.quick
def test_forget_lets_another_client_in(agent, keys):
    assert agent.get("/_ping").status == 200
    result = agent.run("forget")
    assert (result.returncode, result.stdout) == (0, "shoal: forgotten: a key was registered\n")
    assert not list(agent.data.iterdir())
    assert agent.status()["actors"]["auth"]["mode"] == "waiting for a key"
    assert agent.client(keys.b).request("GET", "/_ping").status == 200
    refused(agent.get("/_ping"), "Invalid request signature")
    assert agent.run("forget").returncode == 0
    result = agent.run("forget")
    assert (result.returncode, result.stdout) == (0, "shoal: forgotten: no key was registered\n")


@pytest.mark.quick
@pytest.mark.parametrize("mode", ["secret", "pinned"])
def test_forget_where_nothing_is_registered(make_agent, scripted, keys, mode):
    if mode == "secret":
        agent = make_agent(scripted.path, secret=SECRET)
    else:
        agent = make_agent(scripted.path, "--public-key", keys.a[PUBLIC_KEY])
    result = agent.run("forget")
    assert result.returncode == 1
    assert result.stderr.startswith("shoal: not forgotten: ")


@pytest.mark.quick
def test_a_refusal_is_said_once_with_what_to_do(agent, keys):
    assert agent.get("/_ping").status == 200
    for _ in range(3):
        assert agent.client(keys.b).request("GET", "/_ping").status == 403
    assert agent.log().count("refused a request of 127.0.0.1") == 1
    assert "run `shoal forget`" in agent.log()
    assert agent.status()["actors"]["auth"]["refused"] == 3


# ------------------------------------------------------------------------------------------------------------ pinned keys


@pytest.mark.quick
def test_pinned_keys(make_agent, scripted, folder, keys):
    third = sign(folder / "third.pem")
    pinned = f"{keys.a[PUBLIC_KEY].upper()},{keys.b[PUBLIC_KEY]}"
    agent = make_agent(scripted.path, environment={"AGENT_PUBLIC_KEY": pinned})
    refused(agent.client(third).request("GET", "/_ping"), "Invalid request signature")
    assert agent.client(keys.b).request("GET", "/_ping").status == 200
    assert agent.client(keys.a).request("GET", "/_ping").status == 200
    refused(agent.client(third).request("GET", "/_ping"), "Invalid request signature")
    refused(agent.client({**keys.a, PUBLIC_KEY: keys.b[PUBLIC_KEY]}).request("GET", "/_ping"), "Invalid request signature")
    assert agent.status()["actors"]["auth"]["mode"] == "pinned"
    assert not list(agent.data.iterdir())
    assert "its key is not one of AGENT_PUBLIC_KEY" in agent.log()


@pytest.mark.quick
def test_a_pinned_key_wins_over_a_registered_one(make_agent, scripted, keys):
    agent = make_agent(scripted.path)
    assert agent.get("/_ping").status == 200
    agent.stop()
    agent = make_agent(scripted.path, "--public-key", keys.b[PUBLIC_KEY])
    assert agent.client(keys.a).request("GET", "/_ping").status == 403
    assert agent.client(keys.b).request("GET", "/_ping").status == 200


# ----------------------------------------------------------------------------------------------------------------- secret


@pytest.mark.quick
def test_a_secret_as_variable_flag_and_file(make_agent, scripted, folder, keys):
    headers = sign(keys.a_file, SECRET)
    (folder / "secret").write_text(SECRET + "\n")
    (folder / "bare").write_text(SECRET)
    ways = [
        {"environment": {"AGENT_SECRET": SECRET}},
        {"secret": SECRET},
        {"environment": {"AGENT_SECRET_FILE": folder / "secret"}},
        {"environment": {"AGENT_SECRET_FILE": folder / "bare"}},
    ]
    for way in ways:
        agent = make_agent(scripted.path, **way)
        assert agent.client(headers).request("GET", "/_ping").status == 200, way
        assert agent.client(sign(keys.b_file, SECRET)).request("GET", "/_ping").status == 200, way
        refused(agent.client(keys.a).request("GET", "/_ping"), "Invalid request signature", "Unauthorized")
        assert agent.status()["actors"]["auth"]["mode"] == "secret"
        assert not list(agent.data.iterdir())
        assert SECRET not in agent.log()
        agent.stop()


@pytest.mark.quick
def test_request_and_sign_know_the_secret(make_agent, scripted, keys):
    agent = make_agent(scripted.path, secret=SECRET)
    assert agent.request("GET", "/_ping", "--key", keys.a_file, "--secret", SECRET).returncode == 0
    assert agent.request("GET", "/_ping", "--key", keys.a_file, environment=clean_environment(AGENT_SECRET=SECRET)).returncode == 0
    assert agent.request("GET", "/_ping", "--key", keys.a_file, "--secret", "another").returncode == 1


@pytest.mark.quick
def test_the_secret_is_wiped_from_the_command_line(make_agent, scripted):
    agent = make_agent(scripted.path, secret=SECRET)
    with open(f"/proc/{agent.process.pid}/cmdline", "rb") as file:
        line = file.read()
    assert b"--secret" in line and b"--port" in line
    assert not any(word in line for word in (SECRET.encode(), b"decent"))


@pytest.mark.quick
def test_the_secret_of_a_request_is_wiped_too(keys):
    with socket.create_server(("127.0.0.1", 0)) as silent:
        command = [str(BINARY), "request", "--to", f"127.0.0.1:{silent.getsockname()[1]}", "--key", str(keys.a_file)]
        process = subprocess.Popen([*command, "--secret", SECRET, "GET", "/"], stderr=subprocess.DEVNULL, env=clean_environment())
        try:
            silent.accept()[0].close()  # it has parsed its arguments once it connects
            connection = None
            with open(f"/proc/{process.pid}/cmdline", "rb") as file:
                assert SECRET.encode() not in file.read()
        finally:
            process.kill()
            process.wait()


@pytest.mark.quick
@pytest.mark.parametrize("secret, warned", [("fifteen letters", True), ("sixteen letters!", False)])
def test_a_short_secret_warns(make_agent, scripted, secret, warned):
    agent = make_agent(scripted.path, secret=secret)
    assert ("the secret has only 15 characters" in agent.log()) is warned


@pytest.mark.quick
def test_a_secret_and_a_secret_file_exclude_each_other(folder):
    from agent import run_shoal

    (folder / "secret").write_text(SECRET)
    result = run_shoal("--secret", SECRET, "--secret-file", folder / "secret")
    assert result.returncode == 1
    assert result.stderr == "shoal: AGENT_SECRET and AGENT_SECRET_FILE exclude each other\n"


# ---------------------------------------------------------------------------------------------------- association time-out


@pytest.mark.quick
def test_the_api_closes_when_nobody_registers_and_forget_opens_it(make_agent, scripted, keys):
    agent = make_agent(scripted.path, environment={"AGENT_SECRET_TIMEOUT": "300ms"})
    agent.wait_status("the API closes", lambda status: status["actors"]["auth"]["closed"])
    wait_until("nobody listens", lambda: not agent.listens())
    assert "AGENT_SECRET_TIMEOUT" in agent.log()
    assert agent.status()["actors"]["ingress"]["listening"] is False
    assert agent.run("ping").returncode == 0  # it stays, so that nothing restarts it
    assert agent.run("forget").returncode == 0
    assert agent.listens()
    assert agent.client(keys.b).request("GET", "/_ping").status == 200
    assert agent.status()["actors"]["auth"]["closed"] is False


def test_the_api_stays_open_once_a_key_is_registered(make_agent, scripted, keys):
    """The proof is an agent that is sure to have passed the same time: one started later that closed."""
    agent = make_agent(scripted.path, "--secret-timeout", "2s", ready=False)
    assert agent.get("/_ping").status in (200, 502)
    other = make_agent(scripted.path, "--secret-timeout", "2s", "--data", "/nonexistent")
    other.wait_status("the other one closes", lambda status: status["actors"]["auth"]["closed"])
    assert agent.get("/_ping").status == 200


@pytest.mark.quick
@pytest.mark.parametrize("mode", ["secret", "pinned"])
def test_the_api_stays_open_where_nothing_can_be_registered(make_agent, scripted, keys, mode):
    more = {"secret": SECRET} if mode == "secret" else {"environment": {"AGENT_PUBLIC_KEY": keys.a[PUBLIC_KEY]}}
    agent = make_agent(scripted.path, "--secret-timeout", "200ms", **more)
    other = make_agent(scripted.path, "--secret-timeout", "200ms")
    other.wait_status("the other one closes", lambda status: status["actors"]["auth"]["closed"])
    assert agent.listens()
    assert agent.client({}).request("GET", "/ping").status == 204


@pytest.mark.quick
def test_running_requests_finish_when_the_api_closes(make_agent, scripted):
    """Only /ping is answered unsigned, so the running request here is an idle connection that asks again."""
    agent = make_agent(scripted.path, "--secret-timeout", "500ms")
    with agent.client({}).start("GET", "/ping") as connection:
        assert connection.read_head().status == 204
        agent.wait_status("the API closes", lambda status: status["actors"]["auth"]["closed"])
        connection.send_request("GET", "/ping")
        assert connection.read_head().status == 204
