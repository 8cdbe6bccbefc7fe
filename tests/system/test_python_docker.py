"""Docker's Python SDK through the agent."""

import contextlib
import gc
import io
import os
import ssl
import tarfile
import warnings

import pytest

docker = pytest.importorskip("docker", reason="python3-docker is not installed")

IMAGE = "lab/busybox:latest"


@pytest.fixture
def client(real_agent):
    warnings.simplefilter("ignore")  # urllib3 warns of the certificate at each request
    tls = docker.tls.TLSConfig(verify=False)
    client = docker.APIClient(base_url=f"https://127.0.0.1:{real_agent.port}", tls=tls, version="1.41", timeout=30)
    client.headers.update(real_agent.headers)
    yield client
    client.close()
    # A stream that was read to its end keeps its connection until the SDK's objects go: the engine waits for the client's close.
    gc.collect()


@pytest.fixture
def container(client):
    created = client.create_container(IMAGE, ["sh", "-c", "echo ready; while :; do sleep 0.1; done"])
    client.start(created)
    yield created["Id"]
    client.remove_container(created, force=True)


@pytest.mark.quick
def test_ping_and_version_negotiation(client, real_agent):
    assert client.ping()
    assert client._retrieve_server_version() == "1.41"


def test_exec_over_a_socket_with_half_close(client, container):
    instance = client.exec_create(container, ["sh", "-c", "cat; echo end"], stdin=True)
    stream = client.exec_start(instance, socket=True)
    raw = getattr(stream, "_sock", stream)
    raw.sendall(b"through the socket\n")
    _end_output(raw)
    data = b""
    with contextlib.suppress(ssl.SSLZeroReturnError):
        while piece := raw.recv(4096):
            data += piece
    assert b"through the socket\n" in data and data.endswith(b"end\n")
    stream.close()


def _end_output(raw):
    """close_notify, without waiting for the other side's: what a half-close is in TLS."""
    raw.setblocking(False)
    with contextlib.suppress(ssl.SSLWantReadError, ssl.SSLSyscallError):
        raw._sslobj.shutdown()
    raw.setblocking(True)


def test_exec_output_and_status(client, container):
    instance = client.exec_create(container, ["sh", "-c", "echo out; exit 8"])
    assert client.exec_start(instance) == b"out\n"
    assert client.exec_inspect(instance)["ExitCode"] == 8


def test_logs_stream(client, container):
    assert next(client.logs(container, stream=True, follow=True)) == b"ready\n"


def test_stats_stream(client, container):
    stats = client.stats(container, decode=True, stream=True)
    assert next(stats)["id"] == container and next(stats)["read"]


def test_archives_keep_the_bytes(client, container):
    content = os.urandom(500_000)
    archive = io.BytesIO()
    with tarfile.open(fileobj=archive, mode="w") as tar:
        member = tarfile.TarInfo("file")
        member.size = len(content)
        tar.addfile(member, io.BytesIO(content))
    assert client.put_archive(container, "/tmp", archive.getvalue())
    pieces, _ = client.get_archive(container, "/tmp/file")
    with tarfile.open(fileobj=io.BytesIO(b"".join(pieces))) as tar:
        assert tar.extractfile("file").read() == content


def test_build_streams_its_progress(client):
    lines = list(client.build(fileobj=io.BytesIO(f"FROM {IMAGE}\nRUN echo built\n".encode()), rm=True, nocache=True, decode=True))
    assert any("built" in line.get("stream", "") for line in lines)
    assert any("Successfully built" in line.get("stream", "") for line in lines)


def test_images_are_saved_and_loaded(client):
    image = b"".join(client.get_image(IMAGE))
    assert len(image) > 1_000_000
    assert any("Loaded image" in line.get("stream", "") for line in client.load_image(image))


def test_events(client):
    events = client.events(decode=True, filters={"type": "volume"}, since=0)
    volume = client.create_volume()
    assert any(event["Action"] == "create" and event["Actor"]["ID"] == volume["Name"] for event in events)
    client.remove_volume(volume["Name"])


@pytest.mark.quick
def test_an_error_of_the_engine_is_understood(client):
    with pytest.raises(docker.errors.NotFound, match="No such container"):
        client.inspect_container("none-such")
