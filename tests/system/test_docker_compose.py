"""docker-compose through the agent, with TLS verified: the agent's own certificate is the authority, signatures come from the
docker configuration."""

import shutil
import subprocess

import pytest

from conftest import unavailable
from docker_cli import Docker, Result, Running

COMPOSE = "/usr/bin/docker-compose"
PROJECT = """
version: "3"
services:
  web:
    build: .
    command: sh -c "trap exit TERM; echo web is up; while :; do sleep 0.1; done"
    volumes: [data:/data]
  side:
    image: lab/busybox
    depends_on: [web]
    command: sh -c "trap exit TERM; echo side is up; while :; do sleep 0.1; done"
volumes:
  data:
"""
# Python's SDK asks poll() whether more of an attached stream has come. It cannot see what OpenSSL has already decrypted, so over
# TLS, whoever serves it, the text behind the header of a frame does not come until the next frame. A terminal has no frames.
TERMINALS = """
version: "3"
services:
  web: {tty: true}
  side: {tty: true}
"""


class Compose:
    """compose knows no way to skip verification, and wants the three files of a docker client."""

    def __init__(self, agent, folder):
        self.folder = folder / "project"
        self.folder.mkdir()
        (self.folder / "docker-compose.yml").write_text(PROJECT)
        (self.folder / "Dockerfile").write_text("FROM lab/busybox\nRUN echo made > /made\n")
        certificates = folder / "certificates"
        certificates.mkdir()
        openssl = (
            f"openssl s_client -connect 127.0.0.1:{agent.port} </dev/null | openssl x509 > ca.pem && openssl req -x509 -nodes "
            "-newkey ec -pkeyopt ec_paramgen_curve:prime256v1 -keyout key.pem -out cert.pem -subj /CN=client"
        )
        subprocess.run(openssl, shell=True, check=True, capture_output=True, cwd=certificates, timeout=30, env=agent.environment)
        configuration = Docker(folder / "compose-cli", f"unix://{agent.engine_socket}", agent.headers)
        self.environment = {
            **configuration.environment,
            "DOCKER_HOST": f"tcp://localhost:{agent.port}",
            "DOCKER_TLS_VERIFY": "1",
            "DOCKER_CERT_PATH": str(certificates),
            "COMPOSE_PROJECT_NAME": "lab",
        }

    def run(self, *arguments, input=None, check=True):
        more = {"input": input} if input is not None else {"stdin": subprocess.DEVNULL}
        process = subprocess.run(
            [COMPOSE, *arguments], cwd=self.folder, env=self.environment, timeout=60,
            stdout=subprocess.PIPE, stderr=subprocess.PIPE, **more,
        )  # fmt: skip
        assert not check or process.returncode == 0, process.stderr.decode()
        return Result(process)

    def start(self, *arguments):
        command = ["env", f"--chdir={self.folder}", "PYTHONUNBUFFERED=1", COMPOSE, "--no-ansi", *arguments]
        return Running(command, self.environment, subprocess.DEVNULL)


@pytest.fixture
def compose(real_agent, folder):
    if not shutil.which(COMPOSE):
        unavailable(f"{COMPOSE} is missing: apt-get install docker-compose")
    compose = Compose(real_agent, folder)
    yield compose
    compose.run("down", "--volumes", "--timeout", "1")


def test_a_project_from_up_to_down(compose, real_agent):
    compose.run("build", "--no-cache")
    compose.run("up", "--detach")
    assert sorted(compose.run("ps", "--services", "--filter", "status=running").text.split()) == ["side", "web"]
    assert compose.run("exec", "-T", "web", "cat", "/made").text == "made\n"
    result = compose.run("exec", "-T", "web", "sh", "-c", "echo out; exit 9", check=False)
    assert (result.status, result.text) == (9, "out\n")
    compose.run("exec", "-T", "web", "sh", "-c", "echo kept > /data/file")
    assert compose.run("run", "--rm", "-T", "web", "cat", "/data/file").text == "kept\n"
    logs = compose.run("logs", "--no-color").text
    assert "web is up" in logs and "side is up" in logs
    compose.run("restart", "--timeout", "1", "side")
    compose.run("down", "--volumes", "--timeout", "1")
    assert compose.run("ps", "--quiet").text == ""
    assert real_agent.get("/volumes/lab_data").status == 404
    assert real_agent.get("/networks/lab_default").status == 404


def test_up_in_the_foreground_shows_lines_as_they_come(compose):
    (compose.folder / "docker-compose.override.yml").write_text(TERMINALS)
    with compose.start("up") as running:
        seen = ""
        while "web is up" not in seen or "side is up" not in seen:
            seen += running.line() + "\n"
        running.process.terminate()
        running.wait()
