"""One running agent, and the program's commands.

An Agent owns a folder with everything it needs (control socket, data, log), a free port on the loopback interface and its process. It
is always ended by its PID; an agent that ends with another status than 0, as it does after a sanitizer's report, is an error.
"""

import contextlib
import itertools
import json
import os
import random
import signal
import socket
import subprocess
from pathlib import Path

from https_client import Client
from waiting import DEADLINE, NotInTime, wait_until

ROOT = Path(__file__).resolve().parents[2]
BINARY = Path(os.environ.get("SHOAL_BINARY", ROOT / "build/release/shoal")).resolve()
STARTS = 5  # attempts when somebody else takes the port

_numbers = itertools.count(1)


def is_sanitized():
    """Whether the program is built with a sanitizer; bars on time are wider then."""
    program = BINARY.read_bytes()
    return b"__asan_init" in program or b"__tsan_init" in program


def clean_environment(**more):
    """The environment without what would configure the agent, a docker client or TLS; Debian's programs come first."""
    unwanted = ("AGENT_", "SHOAL_", "DOCKER_", "EDGE", "COMPOSE_", "LOG_", "REQUESTS_", "CURL_", "SSL_CERT")
    names = ("DATA_PATH", "ASSETS_PATH", "CAP_HOST_MANAGEMENT", "XDG_CONFIG_HOME", "BUILDKIT_PROGRESS")
    environment = {
        name: value
        for name, value in os.environ.items()
        if not name.startswith(unwanted) and name not in names and not name.lower().endswith("_proxy")
    }
    environment["PATH"] = "/usr/sbin:/usr/bin:/sbin:/bin"
    environment["LC_ALL"] = "C.UTF-8"
    environment.update({name: str(value) for name, value in more.items()})
    return environment


def run_shoal(*arguments, input=None, timeout=60, environment=None):
    """Runs a command of the program to its end; output is text unless input is bytes."""
    return subprocess.run(
        [str(BINARY), *map(str, arguments)],
        input=input,
        capture_output=True,
        text=not isinstance(input, bytes),
        timeout=timeout,
        env=environment or clean_environment(),
    )


def sign(key, secret=None):
    """The two signature headers, made with the private key in a file; the file is made when it is missing."""
    command = ["sign", "--key", key] + (["--secret", secret] if secret else [])
    result = run_shoal(*command)
    assert result.returncode == 0, result.stderr
    return json.loads(result.stdout)


def ask_control(path, command, seconds=DEADLINE):
    """One command over the local socket, as `shoal status` and its like do it."""
    with socket.socket(socket.AF_UNIX) as control:
        control.settimeout(seconds)
        control.connect(str(path))
        control.sendall(json.dumps({"command": command}).encode() + b"\n")
        answer = b""
        while not answer.endswith(b"\n"):
            piece = control.recv(65536)
            if not piece:
                break
            answer += piece
    return json.loads(answer)


def free_port():
    """Below the range from which the kernel takes ports for outgoing connections."""
    while True:
        port = random.randrange(10240, 32000)
        with contextlib.suppress(OSError), socket.socket() as probe:
            probe.bind(("127.0.0.1", port))
            return port


class Agent:
    def __init__(self, folder, engine_socket, *flags, environment=None, wrapper=(), headers=None, secret=None):
        self.number = next(_numbers)
        self.folder = Path(folder)
        self.control = self.folder / f"control{self.number}" / "control.sock"
        self.data = self.folder / "data"
        self.data.mkdir(exist_ok=True)
        self.log_path = self.folder / f"log{self.number}"
        self.engine_socket = str(engine_socket)
        self.flags = [str(flag) for flag in flags]
        if secret is not None:
            self.flags += ["--secret", secret]
        self.environment = clean_environment(**(environment or {}))
        self.wrapper = [str(word) for word in wrapper]
        self.headers = headers or {}
        self.binary = BINARY
        self.port = None
        self.process = None
        self.ended = False  # by a test, which looked at the status itself

    # ------------------------------------------------------------------------------------------------- start and end

    def command(self):
        own = {"--host": "127.0.0.1", "--port": self.port, "--control": self.control, "--data": self.data}
        own["--docker-host"] = f"unix://{self.engine_socket}"
        given = {flag.split("=")[0] for flag in self.flags}
        words = [f"{flag}={value}" for flag, value in own.items() if flag not in given]
        return [*self.wrapper, str(self.binary), *words, *self.flags]

    def spawn(self):
        self.port = free_port()
        with open(self.log_path, "ab") as log:
            self.process = subprocess.Popen(
                self.command(), stdin=subprocess.DEVNULL, stdout=log, stderr=log, env=self.environment
            )
        self.ended = False

    def start(self, ready=True):
        """Starts and waits: for the engine as well, or with ready=False for the API alone."""
        for _ in range(STARTS):
            self.spawn()
            try:
                wait_until("the agent starts", lambda: self.process.poll() is not None or self.is_up(ready))
            except NotInTime:
                self.kill()
                raise
            if self.process.poll() is None:
                return self
            if "cannot listen" not in self.log():
                break
        self.ended = True
        raise AssertionError(f"the agent did not start: status {self.process.returncode}\n{self.log()}")

    def is_up(self, ready):
        command = ["ping", "--control", self.control] + (["--ready"] if ready else [])
        return run_shoal(*command).returncode == 0 and self.listens()

    def listens(self):
        """Whether its port takes connections."""
        with contextlib.suppress(OSError), socket.create_connection(("127.0.0.1", self.port), 5):
            return True
        return False

    def signal(self, number=signal.SIGTERM):
        self.process.send_signal(number)

    def wait(self, seconds=DEADLINE):
        """Waits for the process to end by itself and returns its status."""
        status = self.process.wait(seconds)
        self.ended = True
        return status

    def kill(self):
        if self.process and self.process.poll() is None:
            self.process.kill()
            self.process.wait()
        self.ended = True

    def stop(self):
        """Ends it in order; anything but a clean end is an error."""
        if not self.process or self.ended:
            return
        if self.process.poll() is None:
            self.process.terminate()
        try:
            status = self.process.wait(DEADLINE)
        except subprocess.TimeoutExpired:
            self.kill()
            raise AssertionError(f"the agent did not end after SIGTERM\n{self.log()}") from None
        self.ended = True
        assert status == 0, f"the agent ended with status {status}\n{self.log()}"

    # ----------------------------------------------------------------------------------------------------- questions

    def log(self):
        return self.log_path.read_text(errors="replace") if self.log_path.exists() else ""

    def wait_log(self, text, seconds=DEADLINE):
        wait_until(f"'{text}' in the log", lambda: text in self.log(), seconds)

    def status(self):
        return ask_control(self.control, "status")

    def wait_status(self, what, attempt, seconds=DEADLINE):
        """Polls the status until attempt(status) is true; returns the status."""

        def look():
            status = self.status()
            return status if attempt(status) else None

        return wait_until(what, look, seconds)

    def wait_quiet(self):
        """No stream is left and all payload was given back."""

        def is_quiet(status):
            streams = status["actors"]["ingress"]["streams"] + status["actors"]["docker"]["streams"]
            return streams == 0 and status["payload"]["used"] == 0

        return self.wait_status("no stream and no payload left", is_quiet)

    def run(self, command, *arguments, **more):
        """ping, status, forget, tap: a command of the program, aimed at this agent."""
        return run_shoal(command, "--control", self.control, *arguments, **more)

    def request(self, *arguments, **more):
        """`shoal request`, aimed at this agent."""
        return run_shoal("request", "--to", f"127.0.0.1:{self.port}", *arguments, **more)

    def client(self, headers=None):
        """A client that signs, or with headers={} one that does not."""
        return Client(self.port, self.headers if headers is None else headers)

    def get(self, target, **headers):
        return self.client().request("GET", target, headers)
