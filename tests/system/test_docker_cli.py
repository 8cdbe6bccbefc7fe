"""The docker command line behaves through the agent as it does without."""

import hashlib
import io
import os
import re
import subprocess
import tarfile

import pytest

from docker_cli import Docker
from waiting import wait_until

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


@pytest.fixture
def same(docker, direct):
    """Runs a command both ways; status, output and errors must be equal, but for ids, which hide(bytes) may take out."""

    def run_both(*command, hide=lambda text: text, **more):
        results = [way.run(*command, check=False, **more) for way in (docker, direct)]
        parts = [(result.status, hide(result.out), hide(result.err)) for result in results]
        assert parts[0] == parts[1]
        return results[0]

    return run_both


# --------------------------------------------------------------------------------------------------------------------- run


@pytest.mark.quick
def test_run_gives_output_and_status(same):
    result = same("run", "--rm", IMAGE, "sh", "-c", "echo out; echo err >&2; exit 7")
    assert result.parts() == (7, b"out\n", b"err\n")


def test_run_of_what_is_not_there(same):
    # The CLI gives up waiting for the end of what did not start, and sometimes has the time to say that its wait failed.
    hide = lambda text: re.sub(rb"time=.*error waiting for container: context canceled.*\n", b"", text)
    assert same("run", "--rm", IMAGE, "no-such-program", hide=hide).status == 127
    assert same("run", "--rm", "--pull", "never", "no/such-image", "true").status == 125
    assert same("run", "--rm", "--no-such-flag", IMAGE).status == 125
    assert same("run", "--rm", "--memory", "1", IMAGE, "true").status == 125


def test_run_of_many_short_commands(docker):
    """The head of /wait must be there before the container starts, or its end is missed."""
    for number in range(10):
        assert docker.run("run", "--rm", IMAGE, "sh", "-c", f"exit {number}", check=False).status == number


@pytest.mark.quick
def test_the_end_of_input_reaches_the_container_and_output_goes_on(docker):
    script = "cat > /input; echo after the end: $(wc -c < /input); sleep 0.2; echo later"
    result = docker.run("run", "-i", "--rm", IMAGE, "sh", "-c", script, input=b"x" * 1000)
    assert result.text == "after the end: 1000\nlater\n"
    assert docker.run("run", "-i", "--rm", IMAGE, "wc", "-c", input=b"x" * 1000).text.strip() == "1000"


def test_eight_megabytes_through_cat_are_the_same(docker):
    data = os.urandom(8 << 20)
    out = docker.run("run", "-i", "--rm", IMAGE, "cat", input=data).out
    assert hashlib.sha256(out).digest() == hashlib.sha256(data).digest()


def test_input_that_nobody_reads_does_not_hang(docker):
    """The container ends with most of its input unread: the engine closes, and so must the client's side."""
    result = docker.run("run", "-i", "--rm", IMAGE, "head", "-c", "5", input=bytes(8 << 20), check=False)
    assert (result.status, result.out) == (0, bytes(5))


def test_eight_megabytes_of_output_while_input_stays_open(docker):
    command = ("run", "-i", "--rm", IMAGE, "sh", "-c", "head -c 8388608 /dev/zero; read a; echo $a")
    with docker.start(*command, stdin=subprocess.PIPE) as running:
        left = 8 << 20
        while left:
            data = running.process.stdout.read(min(left, 65536))
            assert data and data.count(0) == len(data)
            left -= len(data)
        running.send(b"still listening\n")
        assert running.line() == "still listening"
        assert running.wait() == 0


def test_run_on_a_terminal(docker):
    with docker.terminal("run", "-it", "--rm", IMAGE, "sh", rows=33, columns=101) as terminal:
        terminal.expect("#")
        terminal.send("tty; stty size\r")
        terminal.expect("/dev/pts/")
        # The CLI tells the size once the container runs, which may be after the first look.
        terminal.send("until stty size | grep -q '33 101'; do sleep 0.05; done; echo size-''one\r")
        terminal.expect("size-one")
        terminal.resize(51, 137)
        terminal.send("until stty size | grep -q '51 137'; do sleep 0.05; done; echo size-''two\r")
        terminal.expect("size-two")
        terminal.send("exit 5\r")
        assert terminal.wait() == 5


def test_interrupt_reaches_the_process_on_a_terminal(docker):
    with docker.terminal("run", "-it", "--rm", IMAGE, "sh", "-c", "trap 'echo got''it; exit 9' INT; echo re''ady; while :; do sleep 0.1; done") as terminal:  # fmt: skip
        terminal.expect("ready")
        terminal.send("\x03")
        terminal.expect("gotit")
        assert terminal.wait() == 9


def test_a_signal_reaches_the_container_without_a_terminal(docker):
    script = "trap 'echo got it; exit 11' TERM; echo ready; while :; do sleep 0.1; done"
    with docker.start("run", "--rm", IMAGE, "sh", "-c", script) as running:
        assert running.line() == "ready"
        running.process.terminate()  # --sig-proxy hands it on
        assert running.line() == "got it"
        assert running.wait() == 11


# --------------------------------------------------------------------------------------------------- exec, attach and logs


def test_exec(docker, container):
    assert docker.run("exec", container, "sh", "-c", "echo in; exit 3", check=False).parts() == (3, b"in\n", b"")
    assert docker.run("exec", "-i", container, "cat", input=b"abc\n").out == b"abc\n"
    with docker.terminal("exec", "-it", container, "sh") as terminal:
        terminal.expect("#")
        terminal.send("echo $((40+2))\r")
        terminal.expect("42")
        terminal.send("exit 4\r")
        assert terminal.wait() == 4


def test_exec_as_without_the_agent(same, container):
    assert same("exec", container, "sh", "-c", "echo out; echo err >&2; exit 3").parts() == (3, b"out\n", b"err\n")
    assert same("exec", container, "no-such-program").status == 126
    assert same("exec", "no-such-container", "true").status == 1
    data = os.urandom(1 << 20)
    assert same("exec", "-i", container, "cat", input=data).out == data
    assert same("exec", "-i", container, "sh", "-c", "cat >/dev/null; echo after the end", input=data).text == "after the end\n"
    assert same("exec", "-d", container, "true").status == 0
    assert same("exec", "-e", "A=b", "-w", "/tmp", container, "sh", "-c", "echo $A $PWD").text == "b /tmp\n"


def test_attach_and_detach(docker):
    name = docker.run("run", "-dit", IMAGE, "sh").text.strip()
    with docker.terminal("attach", name) as terminal:
        terminal.send("echo here-''I-am\r")
        terminal.expect("here-I-am")
        terminal.send("\x10\x11")  # Ctrl-P Ctrl-Q
        terminal.expect("read escape sequence")
        terminal.wait()
    assert docker.run("inspect", "--format", "{{.State.Running}}", name).text == "true\n"
    with docker.terminal("attach", name) as terminal:
        terminal.send("exit 8\r")
        assert terminal.wait() == 8


def test_two_attach_to_one_container(docker):
    name = docker.run("run", "-di", IMAGE, "sh", "-c", "while read a; do echo got $a; done; exit 4").text.strip()
    first = docker.start("attach", "--no-stdin", name)
    second = docker.start("attach", name, stdin=subprocess.PIPE)
    with first, second:
        # An attachment shows what comes after it: said again until both have seen something.
        def both_see():
            second.send(b"x\n")
            return _readable(first) and _readable(second)

        wait_until("both are attached", both_see)
        second.send(b"last\n")
        for running in (first, second):
            while running.line() != "got last":
                pass
        docker.run("kill", "--signal", "KILL", name)
        assert first.wait() == second.wait() == 137


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


def test_logs_as_without_the_agent(docker, same):
    name = docker.run("run", "-d", IMAGE, "sh", "-c", "for a in $(seq 2000); do echo line $a; done; echo err >&2").text.strip()
    docker.run("wait", name)
    assert same("logs", name).text.count("\n") == 2000
    last = same("logs", "--tail", "3", name)  # where the line of stderr stands among those of stdout is the engine's choice
    assert last.text.endswith("line 2000\n") and (last.out + last.err).count(b"\n") == 3
    assert same("logs", "--timestamps", name).status == 0
    assert same("logs", "--follow", name).text.endswith("line 2000\n")
    assert same("logs", "no-such-container").status == 1


# ------------------------------------------------------------------------------------------------------ files and images


def test_copying_both_ways_keeps_the_bytes(docker, container, folder):
    data = os.urandom(3_000_000)
    (folder / "there").write_bytes(data)
    docker.run("cp", folder / "there", f"{container}:/tmp/file")
    docker.run("cp", f"{container}:/tmp/file", folder / "back")
    assert (folder / "back").read_bytes() == data


def test_copying_folders_and_streams(docker, direct, container, folder):
    tree = folder / "tree"
    (tree / "deep" / "er").mkdir(parents=True)
    (tree / "deep" / "er" / "file").write_bytes(os.urandom(70_000))
    (tree / "program").write_text("#!/bin/sh\n")
    (tree / "program").chmod(0o755)
    (tree / "link").symlink_to("deep/er/file")
    docker.run("cp", tree, f"{container}:/tmp/")
    docker.run("cp", f"{container}:/tmp/tree", folder / "back")
    for path in ("deep/er/file", "program"):
        assert (folder / "back" / path).read_bytes() == (tree / path).read_bytes()
    assert (folder / "back" / "program").stat().st_mode & 0o777 == 0o755
    assert os.readlink(folder / "back" / "link") == "deep/er/file"
    archive = docker.run("cp", f"{container}:/tmp/tree", "-").out
    assert archive == direct.run("cp", f"{container}:/tmp/tree", "-").out
    docker.run("exec", container, "mkdir", "/again")
    docker.run("cp", "-", f"{container}:/again", input=archive)
    assert docker.run("exec", container, "cat", "/again/tree/link").out == (tree / "deep/er/file").read_bytes()
    result = docker.run("cp", f"{container}:/no-such-file", "-", check=False)
    assert result.status == 1 and "no-such-file" in result.error


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


def test_buildkit_asks_the_client_for_files_and_secrets(docker, folder):
    """Everything but the request itself flows through the upgraded /session: a large context, a secret, a result that is written
    back to the client."""
    context = folder / "context"
    context.mkdir()
    data = os.urandom(5_000_000)
    (context / "large").write_bytes(data)
    (folder / "secret").write_text("the build's secret")
    (context / "Dockerfile").write_text(
        f"FROM {IMAGE} AS made\nCOPY large /large\nARG WORD\n"
        "RUN --mount=type=secret,id=word cat /run/secrets/word > /secret; echo $WORD > /word\n"
        "FROM scratch\nCOPY --from=made /large /secret /word /\n"
    )
    docker.run(
        "build", "--no-cache", "--secret", f"id=word,src={folder}/secret", "--build-arg", "WORD=given",
        "--output", f"type=local,dest={folder}/out", context, DOCKER_BUILDKIT="1",
    )  # fmt: skip
    assert (folder / "out/large").read_bytes() == data
    assert (folder / "out/secret").read_text() == "the build's secret"
    assert (folder / "out/word").read_text() == "given\n"


@pytest.mark.parametrize("buildkit", ["0", "1"])
def test_a_build_from_stdin(docker, buildkit):
    archive = io.BytesIO()
    with tarfile.open(fileobj=archive, mode="w") as tar:
        for name, content in {"Dockerfile": f"FROM {IMAGE}\nCOPY a /a\n".encode(), "a": os.urandom(100_000)}.items():
            member = tarfile.TarInfo(name)
            member.size = len(content)
            tar.addfile(member, io.BytesIO(content))
    docker.run("build", "-t", "piped:1", "-", input=archive.getvalue(), DOCKER_BUILDKIT=buildkit)
    assert docker.run("run", "--rm", "piped:1", "cat", "/a").out == content


@pytest.mark.parametrize("buildkit", ["0", "1"])
def test_build_that_fails_says_why(docker, direct, folder, buildkit):
    context = folder / "failing"
    context.mkdir()
    (context / "Dockerfile").write_text(f"FROM {IMAGE}\nRUN echo this-went-wrong; exit 12\n")
    command = ("build", "--no-cache", context)
    result = docker.run(*command, check=False, DOCKER_BUILDKIT=buildkit)
    assert "this-went-wrong" in result.text + result.error
    assert result.status == direct.run(*command, check=False, DOCKER_BUILDKIT=buildkit).status != 0


def test_save_and_load_keep_the_image(docker, direct):
    docker.run("tag", IMAGE, "saved:1")
    before = direct.run("inspect", "--format", "{{.Id}} {{.RootFS.Layers}}", "saved:1").out
    through, plain = docker.run("save", "saved:1").out, direct.run("save", "saved:1").out
    assert hashlib.sha256(through).digest() == hashlib.sha256(plain).digest()
    docker.run("rmi", "saved:1")
    assert docker.run("load", input=through).text == "Loaded image: saved:1\n"
    assert direct.run("inspect", "--format", "{{.Id}} {{.RootFS.Layers}}", "saved:1").out == before


def test_load_of_nonsense_says_why(same):
    assert same("load", input=b"this is no archive" * 1000).status == 1


def test_export_and_import(docker, direct, container):
    archive = docker.run("export", container).out
    assert len(archive) > 1_000_000
    assert hashlib.sha256(archive).digest() == hashlib.sha256(direct.run("export", container).out).digest()
    image = docker.run("import", "-", "imported:1", input=archive).text.strip()
    assert image.startswith("sha256:")
    docker.run("rmi", "imported:1")


# -------------------------------------------------------------------------------------------------------- everything else


def test_events_of_the_past_as_without_the_agent(docker, same, container):
    docker.run("rename", container, "told-of")
    until = docker.run("run", "--rm", IMAGE, "date", "+%s").text.strip()
    result = same("events", "--since", "1", "--until", str(int(until) + 1), "--filter", f"container={container}")
    assert result.text.count("\n") >= 3 and " container rename " in result.text


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


def test_the_head_of_wait_comes_before_the_exit(real_agent, docker, container):
    with real_agent.client().start("POST", f"/containers/{container}/wait?condition=next-exit") as connection:
        head = connection.read_head()
        assert head.status == 200
        assert docker.run("inspect", "--format", "{{.State.Running}}", container).text == "true\n"
        docker.run("kill", container)
        assert b'"StatusCode":137' in connection.read_body(head)


def test_lists_and_inspections_as_without_the_agent(same, container):
    assert same("inspect", container).status == 0
    assert container[:12] in same("ps", "-a", "--format", "{{.ID}} {{.Image}} {{.Command}}").text
    assert IMAGE in same("images", "--format", "{{.Repository}} {{.ID}}").text
    assert same("history", IMAGE).status == 0
    assert same("port", container).status == 0
    assert same("version", "--format", "{{json .Server}}").text.startswith('{"Platform"')
    # What changes by itself; and Runtimes, which the CLI lists in no order.
    hide = lambda text: re.sub(rb"(Goroutines|File Descriptors|System Time|Context|Runtimes):.*", b"", text)
    assert b"Server Version" in same("info", hide=hide).out
    assert same("system", "df", "--format", "{{.Type}} {{.TotalCount}}").status == 0


def test_pause_and_unpause(docker, direct, container):
    for command, state in (("pause", "paused"), ("unpause", "running")):
        assert docker.run(command, container).text == f"{container}\n"
        assert direct.run("inspect", "--format", "{{.State.Status}}", container).text == f"{state}\n"
        refused = [way.run(command, container, check=False).parts() for way in (docker, direct)]  # it is done already
        assert refused[0] == refused[1] and refused[0][0] == 1


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
    for what, name in (("network", "net1"), ("volume", "vol1")):
        command = (what, "ls", "--format", "{{.Name}}")
        assert name in docker.run(*command).text.split()
        assert docker.run(*command).out == direct.run(*command).out
        assert docker.run(what, "inspect", name).out == direct.run(what, "inspect", name).out
    docker.run("run", "--rm", "-v", "vol1:/data", "--network", "net1", IMAGE, "sh", "-c", "echo kept > /data/file")
    assert docker.run("run", "--rm", "-v", "vol1:/data", IMAGE, "cat", "/data/file").text == "kept\n"
    for what, name in (("network", "net1"), ("volume", "vol1")):
        docker.run(what, "rm", name)
        assert docker.run(what, "inspect", name, check=False).status == 1


def test_a_verified_connection(make_agent, engine, folder):
    """The agent's certificate is self-signed, so it is its own authority: with it as ca.pem nothing needs to be skipped."""
    agent = make_agent(engine, "--advertise-addr", "127.0.0.1")
    certificate = subprocess.run(
        f"openssl s_client -connect 127.0.0.1:{agent.port} </dev/null | openssl x509",
        shell=True, capture_output=True, timeout=30, env=agent.environment,
    ).stdout  # fmt: skip
    (folder / "ca.pem").write_bytes(certificate)
    docker = Docker(folder / "verifying", f"unix://{engine}", agent.headers)
    docker.options = ["--host", f"tcp://127.0.0.1:{agent.port}", "--tlsverify", "--tlscacert", f"{folder}/ca.pem"]
    assert docker.run("run", "--rm", IMAGE, "echo", "verified").text == "verified\n"


@pytest.mark.quick
def test_an_error_of_the_engine_arrives_unchanged(docker, direct):
    command = ("inspect", "--type", "container", "none-such")
    assert docker.run(*command, check=False).parts() == direct.run(*command, check=False).parts()
