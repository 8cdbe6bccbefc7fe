"""The lab itself: the private engine, the quick start and the benchmark leave nothing behind and do as they say."""

import glob
import hashlib
import os
import shutil
import signal
import subprocess
import time

import pytest

from agent import BINARY, ROOT, clean_environment
from conftest import need_namespaces

ENGINE = ROOT / "deploy" / "lab" / "engine"
QUICKSTART = ROOT / "deploy" / "quickstart"
DOCKER = "/usr/bin/docker"


@pytest.fixture
def lab():
    """A folder for an engine, of which no trace is left whatever the test did."""
    need_namespaces()
    path = f"/tmp/shoal-lab-test-{os.getpid()}-{time.monotonic_ns() % 1000000}"
    yield path
    subprocess.run([ENGINE, "down", path], check=True)
    shutil.rmtree(path, ignore_errors=True)


def engine(*arguments, **more):
    return subprocess.run([ENGINE, *arguments], capture_output=True, text=True, timeout=120, **more)


def environment(folder):
    output = engine("env", folder, check=True).stdout
    return dict(line.split("=", 1) for line in output.splitlines())


def cgroups(folder):
    name = "shoal-engine-" + hashlib.md5(folder.encode()).hexdigest()[:12]
    return glob.glob(f"/sys/fs/cgroup/{name}") + glob.glob(f"/sys/fs/cgroup/*/{name}")


def processes(folder):
    """Processes that name the folder on their command line."""
    found = []
    for path in glob.glob("/proc/[0-9]*/cmdline"):
        try:
            with open(path, "rb") as file:
                if folder.encode() in file.read() and int(path.split("/")[2]) != os.getpid():
                    found.append(path)
        except OSError:
            pass
    return found


def nothing_left(folder):
    assert not os.path.exists(folder)
    assert cgroups(folder) == []
    assert processes(folder) == []
    with open("/proc/mounts") as file:
        assert folder not in file.read()


def test_an_engine_runs_containers_and_leaves_nothing(lab):
    engine("up", lab, check=True)
    values = environment(lab)
    ran = subprocess.run([DOCKER, "-H", values["DOCKER_HOST"], "run", "lab/busybox", "echo", "it runs"],
                         capture_output=True, text=True, check=True)
    assert ran.stdout == "it runs\n"
    subprocess.run([DOCKER, "-H", values["DOCKER_HOST"], "run", "-d", "lab/busybox", "sleep", "1000"], check=True)
    engine("up", lab, check=True)
    assert environment(lab) == values, "a second 'up' changes nothing"
    engine("down", lab, check=True)
    nothing_left(lab)


def test_an_engine_that_is_killed_starts_again(lab):
    engine("up", lab, check=True)
    before = environment(lab)
    engine("kill", lab, check=True)
    assert environment(lab)["ENGINE_PID"] == ""
    engine("start", lab, check=True)
    after = environment(lab)
    assert after["ENGINE_PID"] not in ("", before["ENGINE_PID"]) and after["ENGINE_INIT"] == before["ENGINE_INIT"]
    images = subprocess.run([DOCKER, "-H", after["DOCKER_HOST"], "images", "-q"], capture_output=True, text=True,
                            check=True)
    assert images.stdout.strip(), "its data is still there"


def test_an_engine_that_cannot_start_leaves_nothing_but_its_log(lab):
    result = engine("up", lab, env=clean_environment(ENGINE_DOCKERD_ARGS="--no-such-option"))
    assert result.returncode == 1
    assert "unknown flag: --no-such-option" in result.stderr
    assert sorted(os.listdir(lab)) == ["daemon.json", "dockerd.log", "lock"]
    assert cgroups(lab) == [] and processes(lab) == []
    engine("down", lab, check=True)
    nothing_left(lab)


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGKILL])
def test_an_interrupted_start_leaves_nothing_after_down(lab, number):
    starting = subprocess.Popen([ENGINE, "up", lab], stderr=subprocess.DEVNULL)
    deadline = time.monotonic() + 30
    while not os.path.exists(os.path.join(lab, "dockerd.pid")):  # dockerd is on its way up
        assert starting.poll() is None and time.monotonic() < deadline
        time.sleep(0.001)
    starting.send_signal(number)
    assert starting.wait(60) != 0
    engine("down", lab, check=True)
    nothing_left(lab)


def test_down_kills_no_stranger_who_got_the_number(lab):
    stranger = subprocess.Popen(["sleep", "1000"])
    try:
        os.makedirs(lab)
        for name, text in (("daemon.json", "{}"), ("init", f"{stranger.pid} 12345\n")):
            with open(os.path.join(lab, name), "w") as file:
                file.write(text)
        engine("down", lab, check=True)
        assert stranger.poll() is None
    finally:
        stranger.kill()
        stranger.wait()
    nothing_left(lab)


def test_a_folder_of_somebody_else_is_left_alone(lab):
    os.makedirs(lab)
    with open(os.path.join(lab, "data"), "w") as file:
        file.write("precious")
    refused = engine("up", lab)
    assert refused.returncode == 1 and "holds no engine" in refused.stderr
    engine("down", lab, check=True)
    with open(os.path.join(lab, "data")) as file:
        assert file.read() == "precious"


def quickstart_folders():
    return set(glob.glob("/tmp/shoal-quickstart.*"))


def quickstart(*arguments, docker_host=None):
    """The quick start with no engine of this machine in sight."""
    return subprocess.Popen([QUICKSTART, "--no-install", *arguments], stdout=subprocess.PIPE, stderr=subprocess.STDOUT,
                            text=True, start_new_session=True,
                            env=clean_environment(DOCKER_HOST=docker_host or "unix:///nowhere/docker.sock"))


@pytest.mark.limit(240)
def test_the_quick_start_shows_a_private_engine_and_leaves_nothing():
    need_namespaces()
    before = quickstart_folders()
    process = quickstart("--once")
    output = process.communicate(timeout=240)[0]
    assert process.returncode == 0, output
    for shown in ("starting a private one", "API 1.41", "web ", "clock ", "lab/busybox:latest"):
        assert shown in output
    assert quickstart_folders() <= before
    assert processes("/tmp/shoal-quickstart.") == []


@pytest.mark.limit(240)
def test_the_quick_start_stays_until_ctrl_c():
    need_namespaces()
    before = quickstart_folders()
    process = quickstart()
    lines = []
    for line in process.stdout:
        lines.append(line)
        if "until Ctrl-C" in line:
            break
    exports = "".join(line.split("#")[0].rstrip() + "\n" for line in lines if line.startswith("  export "))
    assert exports, "".join(lines)
    shown = subprocess.run(["sh", "-c", exports + DOCKER + " ps --format '{{.Names}}'"], capture_output=True, text=True)
    os.killpg(process.pid, signal.SIGINT)
    rest = process.communicate(timeout=60)[0]
    assert sorted(shown.stdout.split()) == ["clock", "web"], shown.stderr
    assert process.returncode == 0, rest
    assert quickstart_folders() <= before
    assert processes("/tmp/shoal-quickstart.") == []


@pytest.mark.limit(240)
def test_the_quick_start_only_looks_at_an_engine_that_runs(lab):
    engine("up", lab, check=True)
    host = environment(lab)["DOCKER_HOST"]
    process = quickstart("--once", docker_host=host)
    output = process.communicate(timeout=240)[0]
    assert process.returncode == 0, output
    assert "nothing on it will be changed" in output and "no containers" in output
    left = subprocess.run([DOCKER, "-H", host, "ps", "-aq"], capture_output=True, text=True, check=True)
    assert left.stdout == ""


@pytest.mark.limit(240)
def test_the_benchmark_measures_every_row_that_needs_no_engine():
    result = subprocess.run([ROOT / "tests" / "bench" / "run", "--quick", "--only", "start,cpu,latency,slow",
                             "--build", BINARY.parent], capture_output=True, text=True, timeout=120)
    assert result.returncode in (0, 1, 2), result.stderr  # what it finds on a busy machine is not judged here
    rows = [line for line in result.stdout.splitlines() if line.startswith("| ") and ("met" in line or "MISSED" in line)]
    assert len(rows) == 8, result.stdout + result.stderr
