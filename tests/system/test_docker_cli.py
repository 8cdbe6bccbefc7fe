"""The docker command line behaves through the agent as it does without."""

import hashlib
import os
import re
import subprocess

import pytest

from docker_cli import Docker

IMAGE = "lab/busybox"


@pytest.fixture
def docker(real_agent, folder):
    return Docker(folder / "cli", f"tcp://127.0.0.1:{real_agent.port}", real_agent.headers)


@pytest.fixture
def direct(engine, folder):
    return Docker(folder / "direct", f"unix://{engine}")


@pytest.fixture
def container(docker):
    """A container that waits for a signal."""
    name = docker.run("run", "-d", IMAGE, "sh", "-c", "trap exit TERM; while :; do sleep 0.1; done").text.strip()
    yield name
    docker.run("rm", "-f", name)


@pytest.mark.quick
def test_run_gives_output_and_status(docker, direct):
    command = ("run", "--rm", IMAGE, "sh", "-c", "echo out; echo err >&2; exit 7")
    assert docker.run(*command, check=False).parts() == direct.run(*command, check=False).parts() == (7, b"out\n", b"err\n")


@pytest.mark.quick
def test_run_with_input_half_closes(docker):
    assert docker.run("run", "-i", "--rm", IMAGE, "wc", "-c", input=b"x" * 1000).text.strip() == "1000"


def test_eight_megabytes_through_cat_are_the_same(docker):
    data = os.urandom(8 << 20)
    out = docker.run("run", "-i", "--rm", IMAGE, "cat", input=data).out
    assert hashlib.sha256(out).digest() == hashlib.sha256(data).digest()


def test_run_on_a_terminal(docker):
    with docker.terminal("run", "-it", "--rm", IMAGE, "sh", rows=33, columns=101) as terminal:
        terminal.expect("#")
        terminal.send("tty; stty size\r")
        terminal.expect("/dev/")
        terminal.expect("33 101")
        terminal.send("exit 5\r")
        assert terminal.wait() == 5


def test_interrupt_reaches_the_process_on_a_terminal(docker):
    with docker.terminal("run", "-it", "--rm", IMAGE, "sh", "-c", "trap 'echo got''it; exit 9' INT; echo re''ady; while :; do sleep 0.1; done") as terminal:  # fmt: skip
        terminal.expect("ready")
        terminal.send("\x03")
        terminal.expect("gotit")
        assert terminal.wait() == 9


def test_exec(docker, container):
    assert docker.run("exec", container, "sh", "-c", "echo in; exit 3", check=False).parts() == (3, b"in\n", b"")
    assert docker.run("exec", "-i", container, "cat", input=b"abc\n").out == b"abc\n"
    with docker.terminal("exec", "-it", container, "sh") as terminal:
        terminal.expect("#")
        terminal.send("echo $((40+2))\r")
        terminal.expect("42")
        terminal.send("exit 4\r")
        assert terminal.wait() == 4


def test_attach_sees_output_and_status(docker):
    name = docker.run("create", "-i", IMAGE, "sh", "-c", "read a; echo got $a; exit 6").text.strip()
    with docker.start("start", "-ai", name, stdin=subprocess.PIPE) as running:
        running.send(b"hello\n")
        assert running.line() == "got hello"
        assert running.wait() == 6
    docker.run("rm", name)


def test_followed_logs_come_as_they_are_written(docker):
    name = docker.run("run", "-di", IMAGE, "sh", "-c", "while read a; do echo line $a; done").text.strip()
    with docker.start("logs", "-f", name) as logs, docker.start("attach", name, stdin=subprocess.PIPE) as attached:
        for number in range(5):  # each line is written only after the one before was seen
            attached.send(f"{number}\n".encode())
            assert logs.line() == f"line {number}"
    docker.run("rm", "-f", name)


def test_copying_both_ways_keeps_the_bytes(docker, container, folder):
    data = os.urandom(3_000_000)
    (folder / "there").write_bytes(data)
    docker.run("cp", folder / "there", f"{container}:/tmp/file")
    docker.run("cp", f"{container}:/tmp/file", folder / "back")
    assert (folder / "back").read_bytes() == data


@pytest.mark.parametrize("buildkit", ["0", "1"])
def test_build(docker, folder, buildkit):
    context = folder / "context"
    context.mkdir()
    (context / "file").write_bytes(os.urandom(100_000).hex().encode())
    (context / "Dockerfile").write_text(f"FROM {IMAGE}\nCOPY file /file\nRUN wc -c /file > /count\n")
    tag = f"built:{buildkit}"
    docker.run("build", "--no-cache", "-t", tag, context, DOCKER_BUILDKIT=buildkit)
    assert docker.run("run", "--rm", tag, "cat", "/count").text.split()[0] == "200000"
    docker.run("rmi", tag)


def test_build_that_fails_says_why(docker, folder):
    (folder / "Dockerfile").write_text(f"FROM {IMAGE}\nRUN echo this-went-wrong; exit 12\n")
    result = docker.run("build", "--no-cache", folder, check=False, DOCKER_BUILDKIT="0")
    assert result.status == 12 and "this-went-wrong" in result.text


def test_save_and_load_keep_the_image(docker, direct):
    through, plain = docker.run("save", IMAGE).out, direct.run("save", IMAGE).out
    assert len(through) == len(plain) > 1_000_000
    assert "Loaded image" in docker.run("load", input=through).text


def test_export_and_import(docker, container):
    archive = docker.run("export", container).out
    assert len(archive) > 1_000_000
    image = docker.run("import", "-", "imported:1", input=archive).text.strip()
    assert image.startswith("sha256:")
    docker.run("rmi", "imported:1")


def test_events_are_seen_at_once(docker):
    with docker.start("events", "--filter", "type=volume", "--format", "{{.Action}} {{.Actor.ID}}") as events:
        # The engine tells of what happens after it has the subscription: volumes are made until one is told of.
        made = []
        while not (made and _readable(events)):
            made.append(docker.run("volume", "create").text.strip())
            assert len(made) < 50
        assert re.match(r"create [0-9a-f]{64}", events.line())
        for name in made:
            docker.run("volume", "rm", name)


def _readable(running):
    import select

    return bool(select.select([running.process.stdout], [], [], 0.2)[0])


def test_wait_answers_with_the_status(docker):
    name = docker.run("run", "-d", IMAGE, "sh", "-c", "trap 'exit 23' TERM; while :; do sleep 0.1; done").text.strip()
    with docker.start("wait", name) as waiting:
        docker.run("kill", "--signal", "TERM", name)
        assert waiting.line() == "23"
    docker.run("rm", name)


def test_stats_top_diff_rename(docker, container):
    assert container[:12] in docker.run("stats", "--no-stream", container).text
    assert "sleep" in docker.run("top", container).text
    docker.run("exec", container, "touch", "/new-file")
    assert "A /new-file" in docker.run("diff", container).text
    docker.run("rename", container, "renamed")
    assert "renamed" in docker.run("ps", "--format", "{{.Names}}").text


def test_networks_and_volumes(docker, direct):
    docker.run("network", "create", "net1")
    docker.run("volume", "create", "vol1")
    for what in ("network", "volume"):
        command = (what, "ls", "--format", "{{.Name}}")
        assert docker.run(*command).out == direct.run(*command).out
    docker.run("network", "rm", "net1")
    docker.run("volume", "rm", "vol1")


@pytest.mark.quick
def test_an_error_of_the_engine_arrives_unchanged(docker, direct):
    command = ("inspect", "--type", "container", "none-such")
    assert docker.run(*command, check=False).parts() == direct.run(*command, check=False).parts()
