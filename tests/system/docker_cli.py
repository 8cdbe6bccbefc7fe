"""The docker command line, through the agent and directly, and a terminal to run it in."""

import fcntl
import json
import os
import pty
import re
import select
import struct
import subprocess
import termios
import time
from pathlib import Path

from agent import clean_environment
from waiting import DEADLINE

DOCKER = "/usr/bin/docker"


class Result:
    def __init__(self, process):
        self.status, self.out, self.err = process.returncode, process.stdout, process.stderr

    @property
    def text(self):
        return self.out.decode()

    @property
    def error(self):
        return self.err.decode()

    def parts(self):
        return self.status, self.out, self.err


class Docker:
    """The command line with a configuration folder of its own."""

    def __init__(self, folder, host, headers=None):
        self.folder = Path(folder)
        self.folder.mkdir()
        self.environment = clean_environment(DOCKER_CONFIG=self.folder, BUILDKIT_PROGRESS="plain")
        (self.folder / "config.json").write_text(json.dumps({"HttpHeaders": headers} if headers else {}))
        if host.startswith("tcp:"):
            self.run("context", "create", "shoal", "--docker", f"host={host},skip-tls-verify=true", raw=True)
            self.options = ["--context", "shoal"]
        else:
            self.options = ["--host", host]

    def command(self, *arguments):
        return [DOCKER, *self.options, *map(str, arguments)]

    def run(self, *arguments, input=None, check=True, raw=False, timeout=60, stdout=subprocess.PIPE, **environment):
        """Runs a command to its end. input is bytes, or None for no stdin."""
        more = {"input": input} if input is not None else {"stdin": subprocess.DEVNULL}
        command = [DOCKER, *map(str, arguments)] if raw else self.command(*arguments)
        process = subprocess.run(
            command, stdout=stdout, stderr=subprocess.PIPE, timeout=timeout, env={**self.environment, **environment}, **more
        )
        assert not check or process.returncode == 0, (
            f"docker {' '.join(map(str, arguments))}: status {process.returncode}\n{process.stderr.decode()}"
        )
        return Result(process)

    def start(self, *arguments, stdin=subprocess.DEVNULL):
        return Running(self.command(*arguments), self.environment, stdin)

    def terminal(self, *arguments, rows=24, columns=80):
        return Terminal(self.command(*arguments), self.environment, rows, columns)


class Running:
    """A command that runs on; its stdout is read as it comes."""

    def __init__(self, command, environment, stdin):
        self.process = subprocess.Popen(
            command, stdin=stdin, stdout=subprocess.PIPE, stderr=subprocess.PIPE, bufsize=0, env=environment
        )
        self.held = b""

    def __enter__(self):
        return self

    def __exit__(self, *_):
        if self.process.poll() is None:
            self.process.kill()
        for stream in (self.process.stdin, self.process.stdout, self.process.stderr):
            if stream:
                stream.close()
        self.process.wait()

    def line(self, seconds=DEADLINE):
        """The next line of stdout."""
        end = time.monotonic() + seconds
        while b"\n" not in self.held:
            left = end - time.monotonic()
            assert left > 0, f"no line within {seconds} s; held: {self.held!r}"
            if select.select([self.process.stdout], [], [], left)[0]:
                data = self.process.stdout.read(65536)
                assert data, f"the output ended; held: {self.held!r}; stderr: {self.process.stderr.read()!r}"
                self.held += data
        line, self.held = self.held.split(b"\n", 1)
        return line.decode()

    def send(self, data):
        self.process.stdin.write(data)

    def wait(self, seconds=DEADLINE):
        return self.process.wait(seconds)


class Terminal:
    """A command on a terminal of its own."""

    def __init__(self, command, environment, rows, columns):
        self.master, slave = pty.openpty()
        self.resize(rows, columns)

        def take_terminal():
            os.setsid()
            fcntl.ioctl(slave, termios.TIOCSCTTY, 0)

        self.process = subprocess.Popen(
            command, stdin=slave, stdout=slave, stderr=slave, env={**environment, "TERM": "xterm"}, preexec_fn=take_terminal
        )
        os.close(slave)
        self.shown = b""

    def __enter__(self):
        return self

    def __exit__(self, *_):
        if self.process.poll() is None:
            self.process.kill()
        self.process.wait()
        os.close(self.master)

    def resize(self, rows, columns):
        fcntl.ioctl(self.master, termios.TIOCSWINSZ, struct.pack("HHHH", rows, columns, 0, 0))

    def send(self, text):
        os.write(self.master, text.encode())

    def _read(self, seconds):
        if not select.select([self.master], [], [], max(seconds, 0))[0]:
            return None
        try:
            return os.read(self.master, 65536)
        except OSError:  # the last process that held the terminal is gone
            return b""

    def expect(self, pattern, seconds=DEADLINE):
        """Reads until the pattern appears; returns the match and goes on behind it."""
        end = time.monotonic() + seconds
        while not (match := re.search(pattern.encode(), self.shown)):
            data = self._read(end - time.monotonic())
            assert data, f"{pattern!r} did not appear{'' if data is None else ' before the end'}: {self.shown!r}"
            self.shown += data
        self.shown = self.shown[match.end() :]
        return match

    def wait(self, seconds=DEADLINE):
        """Reads to the end and returns the exit status."""
        end = time.monotonic() + seconds
        while data := self._read(end - time.monotonic()):
            self.shown += data
        return self.process.wait(max(end - time.monotonic(), 1))
