"""The lab itself: private engine, Swarm, image, quick start and benchmark leave nothing behind and do as they say."""

import glob
import hashlib
import json
import os
import re
import shutil
import signal
import subprocess
import tarfile
import time

import pytest

from agent import BINARY, ROOT, clean_environment, is_sanitized
from conftest import need_namespaces, unavailable
from waiting import wait_until

ENGINE = ROOT / "deploy" / "lab" / "engine"
SWARM = ROOT / "deploy" / "lab" / "swarm"
BUILD_IMAGE = ROOT / "deploy" / "build-image"
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


# --------------------------------------------------------------------------------------------------------------- the Swarm


@pytest.fixture
def swarm_lab():
    """A folder for a Swarm, of which no trace is left whatever the test did."""
    need_namespaces()
    path = f"/tmp/shoal-swarm-test-{os.getpid()}-{time.monotonic_ns() % 1000000}"
    yield path
    subprocess.run([SWARM, "down", path], check=True)
    shutil.rmtree(path, ignore_errors=True)


def swarm(command, folder, *arguments, **more):
    return subprocess.run([SWARM, command, folder, *arguments], capture_output=True, text=True, timeout=180, **more)


def swarm_name(folder):
    return "shoal-" + hashlib.md5(folder.encode()).hexdigest()[:6]


def no_swarm_left(folder):
    """Neither namespace nor link, cgroup, mount nor process; and no address of its network."""
    name = swarm_name(folder)
    assert name not in subprocess.run(["ip", "netns", "list"], capture_output=True, text=True, check=True).stdout
    assert name not in subprocess.run(["ip", "-o", "link"], capture_output=True, text=True, check=True).stdout
    assert glob.glob(f"/sys/fs/cgroup/{name}*") + glob.glob(f"/sys/fs/cgroup/*/{name}*") == []
    assert processes(folder) == []
    with open("/proc/mounts") as file:
        assert folder not in file.read()


@pytest.mark.limit(240)
def test_a_swarm_is_cut_killed_and_mended_and_leaves_nothing(swarm_lab):
    swarm("up", swarm_lab, "2", check=True)
    values = dict(re.findall(r"^(\w+)='?(.*?)'?$", swarm("env", swarm_lab, check=True).stdout, re.M))
    assert values["SWARM_NODES"] == "node1 node2"

    def column(name, node):
        heading, *lines = (line.split() for line in swarm("status", swarm_lab, check=True).stdout.splitlines())
        return next(line for line in lines if line[0] == node)[heading.index(name)]

    def reaches(source, target):
        command = ["busybox", "ping", "-c", "1", "-W", "1", values[f"{target.upper()}_ADDR"]]
        return swarm("exec", swarm_lab, source, *command).returncode == 0

    assert [column("ROLE", node) for node in ("node1", "node2")] == ["manager", "worker"]
    assert swarm("docker", swarm_lab, "2", "run", "--rm", "lab/busybox", "echo", "it runs").stdout == "it runs\n"
    assert swarm("enter", swarm_lab, "2", "hostname").stdout == "node2\n"
    assert reaches("node1", "node2")
    for options in ([], ["--in", "node1"], ["--out", "node1"], ["--loss", "100", "node1"]):
        swarm("cut", swarm_lab, "node2", *options, check=True)
        assert column("LINK", "node2") == ("partly" if options else "cut") and not reaches("node1", "node2")
        swarm("heal", swarm_lab, "node2", check=True)
        assert column("LINK", "node2") == "up" and reaches("node1", "node2")
    swarm("cut", swarm_lab, "node2", "--overlay", "node1", check=True)
    assert reaches("node1", "node2"), "only what overlay networks send is cut"
    swarm("heal", swarm_lab, "node2", check=True)
    swarm("kill", swarm_lab, "node2", "--engine", check=True)
    assert (column("LINK", "node2"), column("ENGINE", "node2")) == ("up", "down")
    swarm("start", swarm_lab, "node2", check=True)
    pid_file = f"{swarm_lab}/node2/run/docker.pid"
    before = open(pid_file).read()
    swarm("restart", swarm_lab, "node2", check=True)
    assert column("ENGINE", "node2") == "up" and open(pid_file).read() != before
    swarm("kill", swarm_lab, "node2", check=True)
    assert (column("LINK", "node2"), column("ENGINE", "node2")) == ("off", "down")
    swarm("start", swarm_lab, "node2", check=True)
    assert column("ROLE", "node2") == "worker", "it knows where it belongs"
    swarm("down", swarm_lab, check=True)
    assert not os.path.exists(swarm_lab)
    no_swarm_left(swarm_lab)


@pytest.mark.limit(120)
def test_a_swarm_that_cannot_start_leaves_nothing_but_its_logs(swarm_lab):
    result = swarm("up", swarm_lab, "2", env=clean_environment(SWARM_DOCKERD_ARGS="--no-such-option"))
    assert result.returncode == 1
    assert "unknown flag: --no-such-option" in result.stderr
    no_swarm_left(swarm_lab)
    left = {os.path.basename(path) for path in glob.glob(swarm_lab + "/**", recursive=True) if os.path.isfile(path)}
    assert left == {"lab", "lock", "boot.log", "dockerd.log"}
    swarm("down", swarm_lab, check=True)
    assert not os.path.exists(swarm_lab)


@pytest.mark.limit(120)
@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGKILL])
def test_a_swarm_interrupted_on_its_way_up_leaves_nothing_after_down(swarm_lab, number):
    starting = subprocess.Popen([SWARM, "up", swarm_lab, "2"], stderr=subprocess.DEVNULL)
    deadline = time.monotonic() + 60
    while not glob.glob(swarm_lab + "/node*/run/docker.pid"):  # an engine is on its way up
        assert starting.poll() is None and time.monotonic() < deadline
        time.sleep(0.001)
    starting.send_signal(number)
    assert starting.wait(60) != 0
    swarm("down", swarm_lab, check=True)
    assert not os.path.exists(swarm_lab)
    no_swarm_left(swarm_lab)


def test_a_folder_that_holds_no_lab_is_left_alone(swarm_lab):
    os.makedirs(os.path.join(swarm_lab, "node1", "data"))
    refused = swarm("up", swarm_lab)
    assert refused.returncode == 1 and "holds no lab" in refused.stderr
    swarm("down", swarm_lab, check=True)
    assert os.path.isdir(os.path.join(swarm_lab, "node1", "data"))


# --------------------------------------------------------------------------------------------------------------- the image


@pytest.fixture(scope="module")
def image(tmp_path_factory):
    if is_sanitized():
        unavailable("the image is made of the release build")
    path = tmp_path_factory.mktemp("image") / "shoal.tar"
    made = subprocess.run([BUILD_IMAGE, path], capture_output=True, text=True, env=clean_environment(SHOAL_BINARY=BINARY))
    assert made.returncode == 0, made.stderr
    return path


def test_the_image_is_small_has_no_shell_and_is_the_same_each_time(image):
    again = image.with_name("again.tar")
    subprocess.run([BUILD_IMAGE, again], check=True, stdout=subprocess.DEVNULL, env=clean_environment(SHOAL_BINARY=BINARY))
    assert image.read_bytes() == again.read_bytes()
    again.unlink()
    with tarfile.open(image) as outer:
        (manifest,) = json.load(outer.extractfile("manifest.json"))
        assert manifest["RepoTags"] == ["shoal:dev"]
        with tarfile.open(fileobj=outer.extractfile(manifest["Layers"][0])) as layer:
            files = {member.name: member for member in layer if member.isfile()}
    assert sum(member.size for member in files.values()) <= 25_000_000
    programs = {name for name in files if files[name].mode & 0o111 and not re.search(r"\.so[.\d]*$", name)}
    assert programs == {"usr/bin/shoal"}


@pytest.mark.limit(120)
@pytest.mark.parametrize("how", ["as root", "as anybody, on a read-only root", "on a read-only root without /run"])
def test_the_image_runs_and_is_healthy(lab, image, how):
    engine("up", lab, check=True)
    host = environment(lab)["DOCKER_HOST"]

    def docker(*arguments):
        done = subprocess.run([DOCKER, "-H", host, *arguments], capture_output=True, text=True, timeout=60)
        assert done.returncode == 0, done.stderr
        return done.stdout.strip()

    docker("load", "-i", image)
    options = {
        "as root": [],
        "as anybody, on a read-only root": ["--user", f"65532:{os.stat(lab + '/docker.sock').st_gid}", "--read-only",
                                            "--tmpfs", "/run", "--cap-drop", "ALL"],
        "on a read-only root without /run": ["--read-only"],
    }[how]  # fmt: skip
    docker("run", "-d", "--name", "agent", "-v", f"{lab}/docker.sock:/var/run/docker.sock", *options, "shoal:dev")
    wait_until("healthy", lambda: docker("inspect", "-f", "{{.State.Health.Status}}", "agent") == "healthy", 30)
    if "without" not in how:
        assert json.loads(docker("exec", "agent", "shoal", "status"))["ready"] is True
    begin = time.monotonic()
    docker("stop", "agent")
    assert docker("inspect", "-f", "{{.State.ExitCode}}", "agent") == "0" and time.monotonic() - begin < 8


# --------------------------------------------------------------------------------------------------------- the quick start


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
    process = quickstart("--once", "--engine")
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
    process = quickstart("--engine")
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
def test_the_quick_start_shows_a_swarm_as_one_engine_and_leaves_nothing():
    need_namespaces()
    before = quickstart_folders()
    process = quickstart()
    lines = []
    for line in process.stdout:
        lines.append(line)
        if "until Ctrl-C" in line:
            break
    output = "".join(lines)
    exports = "".join(line.split("#")[0].rstrip() + "\n" for line in lines if line.startswith("  export DOCKER_"))
    assert exports, output
    shown = subprocess.run(["sh", "-c", exports + DOCKER + " ps --format '{{.Names}}'"], capture_output=True, text=True)
    os.killpg(process.pid, signal.SIGINT)
    rest = process.communicate(timeout=60)[0]
    assert process.returncode == 0, rest
    for node in ("node1", "node2", "node3"):
        assert re.search(rf"^ +{node} +(manager|worker) +10\.88\.", output, re.M), output
        assert re.search(rf"^ +{node} +clock-{node} +lab/busybox", output, re.M), output
        assert f"web-{node}" in shown.stdout and f"clock-{node}" in shown.stdout, shown.stderr
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
