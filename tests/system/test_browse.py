"""Files of volumes and of the host (contract 5.4, 5.5), host information (5.3), through a real agent, in all shapes.

Each row of the contract's tables of routes and of errors is a test here. `node` is where the tests look for files and where they send
requests, once with one agent that serves itself and once with another node's that is asked for through it.
"""

import contextlib
import ctypes
import json
import os
import random
import shutil
import stat
import threading
import time
from email.utils import formatdate
from urllib.parse import quote

import pytest

from across import Across, target
from agent import is_sanitized
from browser import SHAPES, Browser, form
from conftest import own_only, show_logs_of, unavailable
from https_client import Cut
from waiting import wait_until

CLIMBS = "Invalid path. Ensure that the path do not contain '..' elements"
DISABLED = {"message": "Host management capability disabled", "details": "This agent feature is not enabled"}
MIB = 1024 * 1024


# ----------------------------------------------------------------------------------------------------------------- helpers


class Node:
    """A node whose files are browsed: its folders here, the agent that serves them, and the one that is asked for them."""

    def __init__(self, folder, entry, agent, headers):
        self.volumes, self.host = folder / "volumes", folder / "host"
        self.entry, self.agent, self.headers = entry, agent, headers
        self.data = self.add_volume("vol")
        self.host.mkdir()

    def add_volume(self, name):
        data = self.volumes / name / "_data"
        data.mkdir(parents=True)
        return data

    def browser(self, shape="/v2"):
        return Browser(self.entry.client(), shape, self.headers)

    def request(self, method, target, headers=None, body=None):
        return self.entry.client().request(method, target, {**self.headers, **(headers or {})}, body)

    def start(self, target):
        """Sends a GET, and does not wait for the answer."""
        return self.entry.client().start("GET", target, self.headers)

    def state(self):
        return self.agent.status()["actors"]["host"]

    def wait_quiet(self):
        wait_until("no task is left", lambda: self.state()["tasks"] == 0)
        self.agent.wait_quiet()
        self.entry.wait_quiet()


OPEN = "--host-management=1"


def roots(folder):
    return f"--volumes-root={folder / 'volumes'}", f"--host-root={folder / 'host'}"


@pytest.fixture(scope="module")
def away():
    """Two nodes that others ask for: (agent that is asked, {flags: (node, its folder)})."""
    across = Across()
    try:
        nodes = {}
        for flags in ((), (OPEN,)):
            folder = across.folder / f"files{len(nodes)}"
            folder.mkdir()
            nodes[flags] = across.add(*roots(folder), *flags), folder
        yield across.entry, nodes
    finally:
        across.close()


@pytest.fixture
def make_node(request, folder, where):
    """make_node(flags …): the node that a test browses."""
    nodes = []

    def make(*flags):
        if where == "own":
            make_agent, scripted = (request.getfixturevalue(name) for name in ("make_agent", "scripted"))
            agent = make_agent(scripted.path, *roots(folder), *flags)
            nodes.append(Node(folder, agent, agent, {}))
        else:
            entry, others = request.getfixturevalue("away")
            other, files = others[flags]
            for left in files.iterdir():
                shutil.rmtree(left)
            show_logs_of(request, entry, other.agent)
            nodes.append(Node(files, entry, other.agent, target(other)))
        return nodes[-1]

    yield make
    for node in nodes:
        if not node.agent.ended:
            node.wait_quiet()


@pytest.fixture
def node(make_node):
    """A node whose agent may browse volumes only."""
    return make_node()


@pytest.fixture
def open_node(make_node):
    """A node whose agent may browse the host as well."""
    return make_node(OPEN)


shapes = pytest.mark.parametrize("shape", SHAPES, ids=["bare", "v2", "v1"])
second_shapes = pytest.mark.parametrize("shape", SHAPES[:2], ids=["bare", "v2"])


def is_error(answer, status, message, details=None):
    """The contract's error (3.3); details that come from the system must be there, and may be anything."""
    assert (answer.status, answer.json().get("message")) == (status, message), answer.body
    assert answer.get("Content-Type") == "application/json"
    assert set(answer.json()) == {"message", "details"}
    assert answer.get("Portainer-Agent") == "2.19.0"
    if details is not None:
        assert answer.json()["details"] == details
    else:
        assert answer.json()["details"]


def is_done(answer):
    assert (answer.status, answer.body, answer.get("Content-Type")) == (204, b"", None)
    assert answer.get("Portainer-Agent") == "2.19.0"


def names(answer):
    assert answer.status == 200, answer.body
    return [entry["Name"] for entry in answer.json()]


def everything(folder):
    return sorted(str(path.relative_to(folder)) for path in folder.rglob("*"))


def memory(agent, field):
    for line in open(f"/proc/{agent.process.pid}/status"):
        if line.startswith(field + ":"):
            return int(line.split()[1]) * 1024
    raise AssertionError(field)


# ---------------------------------------------------------------------------------------------------------------------- ls


@pytest.mark.quick
@shapes
def test_ls(node, shape):
    (node.data / "b.txt").write_bytes(b"0123456789")
    (node.data / "a").mkdir()
    (node.data / "B").write_bytes(b"")
    os.symlink("b.txt", node.data / "link")
    os.symlink("/nowhere", node.data / "dangling")
    os.utime(node.data / "b.txt", (1, 1571000000))
    answer = node.browser(shape).ls("vol")
    assert answer.status == 200 and answer.get("Content-Type") == "application/json"
    entries = answer.json()
    assert [entry["Name"] for entry in entries] == ["B", "a", "b.txt", "dangling", "link"]  # sorted as bytes
    by_name = {entry["Name"]: entry for entry in entries}
    assert by_name["b.txt"] == {"Name": "b.txt", "Size": 10, "Dir": False, "ModTime": 1571000000}
    for name, entry in by_name.items():
        status = os.lstat(node.data / name)  # a link is described itself
        assert entry == {
            "Name": name,
            "Size": status.st_size,
            "Dir": stat.S_ISDIR(status.st_mode),
            "ModTime": int(status.st_mtime),
        }


@pytest.mark.quick
@shapes
@pytest.mark.parametrize("path", ["d/e", "/d/e", "/d/e/", "//d//e", "/d/./e", "d/link"])
def test_ls_of_a_folder_below(node, shape, path):
    (node.data / "d/e").mkdir(parents=True)
    (node.data / "d/e/x").touch()
    os.symlink("e", node.data / "d/link")
    assert names(node.browser(shape).ls("vol", path)) == ["x"]


@pytest.mark.quick
@shapes
def test_ls_of_an_empty_folder(node, shape):
    answer = node.browser(shape).ls("vol")
    assert answer.status == 200 and answer.json() == []


@pytest.mark.quick
@pytest.mark.parametrize("target", ["/v1/browse/vol/ls", "/v1.41/v1/browse/vol/ls", "/v1.41/browse/ls?volumeID=vol&path=/"])
def test_ls_in_other_spellings(node, target):
    """Without a path the first shape means the root; a Docker version in front is dropped (6.1)."""
    (node.data / "x").touch()
    assert names(node.request("GET", target)) == ["x"]


@shapes
def test_ls_failures(node, shape):
    (node.data / "file").touch()
    browser = node.browser(shape)
    for volume, path in (("vol", "/missing"), ("vol", "/file"), ("other", "/"), ("vol", "/file/x"), ("vol", "/" + 300 * "n")):
        is_error(browser.ls(volume, path), 500, "Unable to list files inside specified directory")


def test_ls_of_odd_names(node):
    """Names may hold any byte but `/` and NUL; the JSON stays JSON."""
    raw = [b"sp ace", b'quo"te', b"back\\slash", b"new\nline", b"tab\t", b"\x01", b"\x7f", b"bad\xff\xfe", b"\xed\xa0\x80", "Ü€😀".encode(), b"<&>", 255 * b"\x02"]
    for name in raw:
        with open(os.path.join(os.fsencode(node.data), name), "w"):
            pass
    entries = node.browser().ls("vol").json()
    wanted = {name.decode("utf-8", "replace") if b"\xed" not in name else "\ufffd\ufffd\ufffd" for name in raw}
    assert {entry["Name"] for entry in entries} == wanted
    assert len(entries) == len(raw)


def test_ls_of_special_and_sparse_files(node):
    with open(node.data / "sparse", "wb") as sparse:
        sparse.truncate(1 << 40)
    os.mkfifo(node.data / "fifo")
    entries = {entry["Name"]: entry for entry in node.browser().ls("vol").json()}
    assert entries["sparse"]["Size"] == 1 << 40
    assert entries["fifo"]["Dir"] is False and entries["fifo"]["Size"] == 0


def test_ls_while_files_vanish(node):
    """Whatever comes and goes meanwhile: each listing is whole JSON, in order, and has all that stays."""
    stays = [f"stay{number:04}" for number in range(500)]
    for name in stays:
        (node.data / name).touch()
    over = threading.Event()

    def churn():
        while not over.is_set():
            for number in range(200):
                (node.data / f"come{number}").touch()
            for number in range(200):
                (node.data / f"come{number}").unlink()

    thread = threading.Thread(target=churn)
    thread.start()
    try:
        for _ in range(20):
            listed = names(node.browser().ls("vol"))
            assert listed == sorted(listed)
            assert [name for name in listed if name.startswith("stay")] == stays
    finally:
        over.set()
        thread.join()


@own_only
def test_ls_of_100000_entries(node):
    count = 20_000 if is_sanitized() else 100_000
    folder = node.data / "many"
    folder.mkdir()
    for number in range(count):
        os.close(os.open(folder / f"entry-{number:06}", os.O_CREAT | os.O_WRONLY))
    before = memory(node.agent, "VmRSS")
    entries = node.browser().ls("vol", "/many").json()
    assert [entry["Name"] for entry in entries] == [f"entry-{number:06}" for number in range(count)]
    if not is_sanitized():
        assert memory(node.agent, "VmHWM") - before < 16 * MIB  # names only: the JSON alone has 7 MB
    node.wait_quiet()


# --------------------------------------------------------------------------------------------------------------------- get


@pytest.mark.quick
@shapes
def test_get(node, shape):
    (node.data / "d").mkdir()
    (node.data / "d/file.bin").write_bytes(bytes(range(256)))
    os.utime(node.data / "d/file.bin", (1, 1571000000))
    answer = node.browser(shape).get("vol", "/d/file.bin")
    assert (answer.status, answer.body) == (200, bytes(range(256)))
    assert answer.get("Content-Length") == "256"
    assert answer.get("Accept-Ranges") == "bytes"
    assert answer.get("Last-Modified") == "Sun, 13 Oct 2019 20:53:20 GMT"
    assert answer.get("Content-Type") == "application/octet-stream"
    assert answer.get("ETag") is None and answer.get("Content-Disposition") is None


TYPES = [
    ("a.html", b"\0", "text/html; charset=utf-8"), ("a.CSS", b"", "text/css; charset=utf-8"), ("a.json", b"{}", "application/json"),
    ("a.png", b"", "image/png"), ("a.pdf", b"", "application/pdf"), ("a", b"plain\n", "text/plain; charset=utf-8"),
    ("b", b"\x89PNG\r\n\x1a\n\0", "image/png"), ("c", b"%PDF-1.4", "application/pdf"), ("d", b"\0\1\2", "application/octet-stream"),
    ("e.strange", b"  <!DOCTYPE HTML><p>", "text/html; charset=utf-8"), ("f", b"", "text/plain; charset=utf-8"),
    ("g", 512 * b"t" + b"\0", "text/plain; charset=utf-8"), ("h", 511 * b"t" + b"\0", "application/octet-stream"),
]  # fmt: skip


@pytest.mark.quick
def test_get_tells_the_type(node):
    for name, content, kind in TYPES:
        (node.data / name).write_bytes(content)
        answer = node.browser().get("vol", name)
        assert (answer.status, answer.get("Content-Type"), answer.body) == (200, kind, content), name
        assert answer.get("Content-Length") == str(len(content))


RANGES = [
    ("bytes=0-4", 206, b"01234", "bytes 0-4/10"),
    ("bytes=5-", 206, b"56789", "bytes 5-9/10"),
    ("bytes=-3", 206, b"789", "bytes 7-9/10"),
    ("bytes=-30", 206, b"0123456789", "bytes 0-9/10"),
    ("bytes=9-100", 206, b"9", "bytes 9-9/10"),
    ("bytes=10-", 416, None, "bytes */10"),
    ("bytes=-0", 416, None, "bytes */10"),
    ("bytes=5-4", 416, None, "bytes */10"),
    ("bytes=a-b", 416, None, "bytes */10"),
    ("lines=0-4", 200, b"0123456789", None),
    ("bytes=0-9,0-9", 200, b"0123456789", None),  # together longer than the file
    ("bytes=0-0,20-30", 206, b"0", "bytes 0-0/10"),
]


@pytest.mark.quick
@shapes
def test_get_ranges(node, shape):
    (node.data / "f.txt").write_bytes(b"0123456789")
    for value, status, body, content_range in RANGES:
        answer = node.browser(shape).get("vol", "f.txt", Range=value)
        assert (answer.status, answer.get("Content-Range")) == (status, content_range), value
        if status == 416:
            is_error(answer, 416, "Invalid range")
        else:
            assert (answer.body, answer.get("Content-Length")) == (body, str(len(body))), value


@pytest.mark.quick
def test_get_several_ranges(node):
    (node.data / "f.txt").write_bytes(b"0123456789")
    answer = node.browser().get("vol", "f.txt", Range="bytes=1-2, 4-4,-1")
    assert answer.status == 206 and answer.get("Content-Range") is None
    kind, boundary = answer.get("Content-Type").split("; boundary=")
    assert kind == "multipart/byteranges" and answer.get("Content-Length") == str(len(answer.body))
    parts = answer.body.split(b"--" + boundary.encode())
    assert parts[0].strip() == b"" and parts[-1].strip() == b"--"
    seen = []
    for part in parts[1:-1]:
        head, body = part.removeprefix(b"\r\n").removesuffix(b"\r\n").split(b"\r\n\r\n")
        assert b"Content-Type: text/plain; charset=utf-8" in head.split(b"\r\n")
        seen.append((head.split(b"Content-Range: ")[1].split(b"\r\n")[0], body))
    assert seen == [(b"bytes 1-2/10", b"12"), (b"bytes 4-4/10", b"4"), (b"bytes 9-9/10", b"9")]


CONDITIONS = [  # times are seconds after the file's
    ({"If_Modified_Since": 0}, 304), ({"If_Modified_Since": 1}, 304), ({"If_Modified_Since": -1}, 200), ({"If_Modified_Since": "nonsense"}, 200),
    ({"If_Unmodified_Since": 0}, 200), ({"If_Unmodified_Since": -1}, 412),
    ({"If_Range": 0, "Range": "bytes=0-0"}, 206), ({"If_Range": 1, "Range": "bytes=0-0"}, 200), ({"If_Range": '"tag"', "Range": "bytes=0-0"}, 200),
    ({"If_None_Match": "*"}, 304), ({"If_None_Match": '"a"', "If_Modified_Since": 0}, 200), ({"If_Match": "*"}, 200), ({"If_Match": '"a"'}, 412),
]  # fmt: skip


@pytest.mark.quick
def test_get_conditions(node):
    (node.data / "f").write_bytes(b"content")
    os.utime(node.data / "f", (1, 1571000000))
    for given, status in CONDITIONS:
        headers = {key: formatdate(1571000000 + value, usegmt=True) if isinstance(value, int) else value for key, value in given.items()}
        answer = node.browser().get("vol", "f", **headers)
        assert answer.status == status, given
        if status == 304:
            assert answer.body == b"" and answer.get("Last-Modified") == "Sun, 13 Oct 2019 20:53:20 GMT"
        elif status == 412:
            is_error(answer, 412, "Precondition failed")
        else:
            assert answer.body == (b"content" if status == 200 else b"c"), given


@shapes
def test_get_failures(node, shape):
    browser = node.browser(shape)
    (node.data / "folder").mkdir()
    os.mkfifo(node.data / "fifo")
    for path in ("folder", "fifo", "/"):
        is_error(browser.get("vol", path), 400, "Unable to open file", "This is not a regular file")
    is_error(browser.get("vol", "missing"), 500, "Unable to open file", "No such file or directory")
    is_error(browser.get("other", "missing"), 500, "Unable to open file")


def test_get_of_devices(node):
    try:
        os.mknod(node.data / "null", stat.S_IFCHR | 0o666, os.makedev(1, 3))
        os.mknod(node.data / "zero", stat.S_IFCHR | 0o666, os.makedev(1, 5))
    except PermissionError:
        unavailable("making devices needs root")
    for path in ("null", "zero"):
        is_error(node.browser().get("vol", path), 400, "Unable to open file", "This is not a regular file")


@pytest.mark.quick
@shapes
@pytest.mark.parametrize("operation", ["ls", "get", "delete", "rename", "put"])
def test_head_and_other_methods_are_405(node, shape, operation):
    for method in ("HEAD", "PATCH"):
        answer = node.browser(shape).ask(method, operation, "vol", path="/")
        assert answer.status == 405 and answer.body == b""
        assert answer.get("Allow") == {"delete": "DELETE", "rename": "PUT", "put": "POST"}.get(operation, "GET")


@own_only
def test_get_of_a_gigabyte_in_flat_memory(node):
    size = 1 << (26 if is_sanitized() else 30)
    pattern = random.Random(7).randbytes(64)
    with open(node.data / "big", "wb") as big:
        big.truncate(size)
        for at in (0, size // 2 - 13, size - 64):
            big.seek(at)
            big.write(pattern)
    browser = node.browser()
    browser.get("vol", "big", Range="bytes=0-4194303")
    before = memory(node.agent, "VmRSS")
    with node.start(browser.target("get", "vol", path="big")) as connection:
        head = connection.read_head()
        assert head.status == 200 and head.get("Content-Length") == str(size)
        seen = bytearray()
        received = 0
        for piece in connection.pieces(head):
            for at in (0, size // 2 - 13, size - 64):
                begin, end = max(at, received), min(at + 64, received + len(piece))
                if begin < end:
                    seen += piece[begin - received : end - received]
            received += len(piece)
        assert received == size and bytes(seen) == 3 * pattern
    if not is_sanitized():
        assert memory(node.agent, "VmHWM") - before < 2 * MIB


def test_get_to_a_client_that_does_not_read(node):
    """What a slow client does not take stays in the file."""
    with open(node.data / "big", "wb") as big:
        big.truncate(1 << 30)
    connections = []
    for _ in range(20):
        connection = node.start(node.browser().target("get", "vol", path="big"))
        connection.read_head()
        connections.append(connection)
    try:
        assert node.browser().ls("vol").status == 200
        wait_until("only they are left", lambda: node.state()["tasks"] == 20)
    finally:
        for connection in connections:
            connection.close()


def test_get_of_a_file_that_shrinks_is_cut(node):
    """A body that does not become whole must not look whole."""
    file = node.data / "big"
    with open(file, "wb") as big:
        big.truncate(1 << 30)
    with node.start(node.browser().target("get", "vol", path="big")) as connection:
        head = connection.read_head()
        os.truncate(file, 0)
        with pytest.raises(Cut):
            connection.read_body(head)
    node.agent.wait_log("the file became shorter")


# ------------------------------------------------------------------------------------------------------------------ delete


@pytest.mark.quick
@shapes
def test_delete(node, shape):
    browser = node.browser(shape)
    (node.data / "file").touch()
    (node.data / "folder").mkdir()
    os.symlink("kept", node.data / "link")
    (node.data / "kept").mkdir()
    for path in ("/file", "folder/", "link"):
        is_done(browser.delete("vol", path))
    assert everything(node.data) == ["kept"]


@shapes
def test_delete_failures(node, shape):
    browser = node.browser(shape)
    (node.data / "full").mkdir()
    (node.data / "full/x").touch()
    is_error(browser.delete("vol", "full"), 500, "Unable to remove file", "Directory not empty")
    is_error(browser.delete("vol", "missing"), 500, "Unable to remove file", "No such file or directory")
    is_error(browser.delete("other", "missing"), 500, "Unable to remove file")
    shutil.rmtree(node.data / "full")
    for path in ("/", "//", ".", "/./"):
        is_error(browser.delete("vol", path), 400, "Unable to remove file", "The root folder cannot be removed")
    assert node.data.is_dir()


def test_delete_without_a_path_keeps_the_root(node):
    answer = node.request("DELETE", "/v1/browse/vol/delete")
    is_error(answer, 400, "Unable to remove file", "The root folder cannot be removed")
    assert node.data.is_dir()


# ------------------------------------------------------------------------------------------------------------------ rename


@pytest.mark.quick
@shapes
def test_rename(node, shape):
    browser = node.browser(shape)
    (node.data / "a").write_text("a")
    (node.data / "b").write_text("b")
    (node.data / "d").mkdir()
    is_done(browser.rename("vol", "/a", "/d/c"))
    assert (node.data / "d/c").read_text() == "a"
    is_done(browser.rename("vol", "b", "d/c"))  # replaces
    assert (node.data / "d/c").read_text() == "b"
    is_done(browser.rename("vol", "d", "e"))
    assert everything(node.data) == ["e", "e/c"]


@pytest.mark.quick
@shapes
def test_rename_reads_names_in_any_case(node, shape):
    (node.data / "a").touch()
    body = b'{"x":[1,{}],"CURRENTfilepath":"a","newFilePath":"b"}'
    is_done(node.browser(shape).rename("vol", body=body))
    assert everything(node.data) == ["b"]


PAYLOADS = [
    (b"", "EOF"),
    (b"{}", "Current file path is invalid"),
    (b'{"CurrentFilePath":"","NewFilePath":"b"}', "Current file path is invalid"),
    (b'{"CurrentFilePath":null,"NewFilePath":"b"}', "Current file path is invalid"),
    (b'{"CurrentFilePath":"a"}', "New file path is invalid"),
    (b'{"CurrentFilePath":"a","NewFilePath":""}', "New file path is invalid"),
    (b"{", None),
    (b"[1]", None),
    (b'{"CurrentFilePath":1,"NewFilePath":"b"}', None),
    (b'{"CurrentFilePath":"a\\u0000","NewFilePath":"b"}', None),
    (b'{"CurrentFilePath":"\xff","NewFilePath":"b"}', None),
    (b'{"x":"' + 70000 * b"x" + b'"}', None),
]


@pytest.mark.quick
@shapes
def test_rename_of_bad_payloads(node, shape):
    (node.data / "a").touch()
    for body, details in PAYLOADS:
        is_error(node.browser(shape).rename("vol", body=body), 400, "Invalid request payload", details)
    assert everything(node.data) == ["a"]


@shapes
def test_rename_failures(node, shape):
    browser = node.browser(shape)
    (node.data / "a").touch()
    (node.data / "d").mkdir()
    (node.data / "d/x").touch()
    is_error(browser.rename("vol", "missing", "b"), 500, "Unable to rename file", "No such file or directory")
    is_error(browser.rename("vol", "a", "d"), 500, "Unable to rename file")
    is_error(browser.rename("vol", "a", "missing/b"), 500, "Unable to rename file")
    is_error(browser.rename("other", "a", "b"), 500, "Unable to rename file")
    for old, new in (("/", "b"), ("a", "/"), (".", "b")):
        is_error(browser.rename("vol", old, new), 400, "Unable to rename file", "The root folder cannot be renamed or replaced")
    for old, new in (("../a", "b"), ("a", "d/../../b"), ("a", "..\\b")):
        is_error(browser.rename("vol", old, new), 400, "Invalid volume", CLIMBS)
    assert everything(node.data) == ["a", "d", "d/x"]


# --------------------------------------------------------------------------------------------------------------------- put


@pytest.mark.quick
@shapes
@pytest.mark.parametrize("first", ["Path", "file"])
def test_put(node, shape, first):
    """Portainer's pages send the file before its folder; others the other way round."""
    os.umask(0o022)
    browser = node.browser(shape)
    content = random.Random(1).randbytes(300_000)
    is_done(browser.put("vol", "/new/deep", "a b.bin", content, first=first))
    file = node.data / "new/deep/a b.bin"
    assert file.read_bytes() == content
    assert stat.S_IMODE(file.stat().st_mode) == 0o755
    assert stat.S_IMODE((node.data / "new").stat().st_mode) == 0o755
    is_done(browser.put("vol", "/new/deep", "a b.bin", b"short", first=first))
    assert file.read_bytes() == b"short"  # replaced, without the old one's tail
    is_done(browser.put("vol", "/", "empty", b"", first=first))
    assert (node.data / "empty").read_bytes() == b""
    assert everything(node.data) == ["empty", "new", "new/deep", "new/deep/a b.bin"]


@pytest.mark.quick
def test_put_chunked_byte_by_byte(node):
    """Nothing depends on where the body is cut."""
    content = b"\r\n--\r\n----shoal\r\n------shoal7MA4YWx\r\r\n"
    headers, body = form(("file", "f", content), ("Path", "/"))
    with node.entry.client().connect() as connection:
        connection.send_request("POST", node.browser().target("put", "vol"), {
            **node.entry.headers, **node.headers, **headers, "Transfer-Encoding": "chunked"})  # fmt: skip
        for at in range(len(body)):
            connection.send(b"1\r\n" + body[at : at + 1] + b"\r\n")
        connection.send(b"0\r\n\r\n")
        assert connection.read_head().status == 204
    assert (node.data / "f").read_bytes() == content


def test_put_of_odd_names_and_other_fields(node):
    fields = [("other", "x"), ("Path", "/"), ("Path", "/second"), ("file", "Ü n.txt", b"1"), ("file", "second", b"2")]
    headers, body = form(*fields)
    is_done(node.browser().ask("POST", "put", "vol", headers, body))
    assert everything(node.data) == ["Ü n.txt"]


def test_put_replaces_a_link_and_does_not_follow_it(node, folder):
    outside = folder / "outside"
    outside.write_text("kept")
    os.symlink(outside, node.data / "link")
    is_done(node.browser().put("vol", "/", "link", b"new"))
    assert outside.read_text() == "kept"
    assert not (node.data / "link").is_symlink() and (node.data / "link").read_text() == "new"


@pytest.mark.quick
@shapes
def test_put_of_bad_payloads(node, shape):
    browser = node.browser(shape)
    payload = "Invalid request payload"

    def ask(fields, **more):
        headers, body = form(*fields, **more)
        return browser.ask("POST", "put", "vol", headers, body)

    is_error(ask([("file", "f", b"x")]), 400, payload, "Invalid file path")
    is_error(ask([("Path", ""), ("file", "f", b"x")]), 400, payload, "Invalid file path")
    is_error(ask([("Path", "/" + 5000 * "p"), ("file", "f", b"x")]), 400, payload, "Invalid file path")
    is_error(ask([("Path", "/")]), 400, payload, "Invalid uploaded file")
    is_error(ask([("Path", "/"), ("file", "a value and no file")]), 400, payload, "Invalid uploaded file")
    is_error(ask([("Path", "/"), ("file", "", b"x")]), 400, payload, "Invalid uploaded file")
    is_error(browser.ask("POST", "put", "vol", {"Content-Type": "application/json"}, b"{}"), 400, payload, "Invalid uploaded file")
    is_error(browser.ask("POST", "put", "vol"), 400, payload, "Invalid uploaded file")
    headers, body = form(("Path", "/"), ("file", "f", b"x"))
    is_error(browser.ask("POST", "put", "vol", headers, body[:-6]), 400, payload, "Invalid uploaded file")  # no last delimiter
    is_error(browser.ask("POST", "put", "vol", headers, b"nonsense" * 1000), 400, payload, "Invalid uploaded file")
    for name in ("..", "../f", "a/../f", "..\\f"):
        is_error(ask([("Path", "/"), ("file", name, b"x")]), 400, "Invalid filename", CLIMBS)
    is_error(ask([("Path", "/"), ("file", "a/f", b"x")]), 400, "Invalid filename")
    for path in ("..", "/../x", "a/..", "..\\x"):
        for fields in ([("Path", path), ("file", "f", b"x")], [("file", "f", b"x"), ("Path", path)]):
            is_error(ask(fields), 400, "Invalid volume", CLIMBS)
    assert everything(node.data) == []


@shapes
def test_put_failures(node, shape):
    browser = node.browser(shape)
    (node.data / "file").write_text("kept")
    (node.data / "folder").mkdir()
    for folder, name in (("/file", "f"), ("/file/deep", "f"), ("/", "folder"), ("/", 256 * "n"), ("/" + 300 * "n", "f")):
        for first in ("Path", "file"):
            is_error(browser.put("vol", folder, name, b"x", first=first), 500, "Error saving file to disk")
    is_error(browser.put("other", "/", "f", b"x"), 500, "Error saving file to disk")
    assert everything(node.data) == ["file", "folder"] and (node.data / "file").read_text() == "kept"
    assert not (node.volumes / "other").exists()


@own_only
@pytest.mark.parametrize("first", ["Path", "file"])
@pytest.mark.parametrize("how", ["close", "reset", "kill"])
def test_an_interrupted_upload_leaves_nothing(node, first, how):
    (node.data / "f").write_text("old")
    fields = [("Path", "/deep"), ("file", "f", 8 * MIB * b"x")]
    headers, body = form(*(fields if first == "Path" else reversed(fields)))
    connection = node.entry.client().connect()
    connection.send_request("POST", node.browser().target("put", "vol"), {
        **node.entry.headers, **node.headers, **headers, "Content-Length": len(body)})  # fmt: skip
    connection.send(body[: 4 * MIB])
    wait_until("the upload runs", lambda: node.state()["tasks"] == 1)
    if how == "kill":
        node.agent.kill()
    elif how == "close":
        connection.end_output()
    connection.close()
    if how != "kill":
        wait_until("the task is over", lambda: node.state()["tasks"] == 0)
    assert [name for name in everything(node.data) if name != "deep"] == ["f"]
    assert (node.data / "f").read_text() == "old"


@own_only
def test_put_of_much_in_flat_memory(node):
    size = (16 if is_sanitized() else 256) * MIB
    headers, body = form(("file", "big", b"@"), ("Path", "/"))
    before, after = body.split(b"@")
    node.browser().put("vol", "/", "warm", 4 * MIB * b"x")
    resident = memory(node.agent, "VmRSS")
    piece = random.Random(3).randbytes(MIB)
    with node.entry.client().connect() as connection:
        connection.send_request("POST", node.browser().target("put", "vol"), {
            **node.entry.headers, **node.headers, **headers, "Content-Length": len(before) + size + len(after)})  # fmt: skip
        connection.send(before)
        for _ in range(size // MIB):
            connection.send(piece)
        connection.send(after)
        assert connection.read_head().status == 204
    if not is_sanitized():
        assert memory(node.agent, "VmHWM") - resident < 2 * MIB
    with open(node.data / "big", "rb") as big:
        assert os.fstat(big.fileno()).st_size == size
        while got := big.read(MIB):
            assert got == piece


def test_put_to_a_full_file_system(node):
    """The error comes at once, not after the body."""
    libc = ctypes.CDLL(None, use_errno=True)
    target = node.data / "small"
    target.mkdir()
    if libc.mount(b"none", os.fsencode(target), b"tmpfs", 0, b"size=1m") != 0:
        unavailable("mounting needs root")
    try:
        is_error(node.browser().put("vol", "/small", "f", 2 * MIB * b"x"), 500, "Error saving file to disk", "No space left on device")
        assert everything(target) == []
        is_done(node.browser().put("vol", "/small", "g", b"other file system", first="file"))
        assert (target / "g").read_bytes() == b"other file system"
        is_error(node.browser().put("vol", "/small", "f", 2 * MIB * b"x", first="file"), 500, "Error saving file to disk", "No space left on device")
        assert everything(target) == ["g"]
        node.wait_quiet()
    finally:
        libc.umount2(os.fsencode(target), 2)
    assert everything(node.data) == ["small"]


@pytest.mark.parametrize("first", ["Path", "file"])
def test_put_to_a_host_whose_root_is_read_only(open_node, first):
    """Only parts of it can be written, as on a minimal system for containers."""
    libc, node = ctypes.CDLL(None, use_errno=True), open_node
    mounted = []

    def mount(folder, flags=0):
        folder.mkdir(parents=True, exist_ok=True)
        if libc.mount(b"none", os.fsencode(folder), b"tmpfs", flags, None) != 0:
            unavailable("mounting needs root")
        mounted.append(folder)

    try:
        mount(node.host)
        mount(node.host / "srv")
        mount(node.host / "var/tmp")
        assert libc.mount(b"none", os.fsencode(node.host), None, 33, None) == 0  # MS_REMOUNT, MS_RDONLY
        content = random.Random(5).randbytes(3 * MIB)
        is_done(node.browser().put(None, "/host/srv/deep", "f", content, first=first))
        assert (node.host / "srv/deep/f").read_bytes() == content
        is_error(node.browser().put(None, "/host/etc", "f", b"x", first=first), 500, "Error saving file to disk", "Read-only file system")
        assert everything(node.host) == ["srv", "srv/deep", "srv/deep/f", "var", "var/tmp"]
        node.wait_quiet()
    finally:
        for folder in reversed(mounted):
            libc.umount2(os.fsencode(folder), 2)


# --------------------------------------------------------------------------------------- errors before any file is touched


@pytest.mark.quick
@second_shapes
def test_a_missing_path(node, shape):
    for method, operation in (("GET", "ls"), ("GET", "get"), ("DELETE", "delete")):
        for query in ["volumeID=vol", "volumeID=vol&path=", "volumeID=vol&Path=x"]:
            answer = node.request(method, f"{shape}/browse/{operation}?{query}")
            is_error(answer, 400, "Invalid query parameter: path", "Missing query parameter")


@pytest.mark.quick
@shapes
def test_paths_that_climb(node, shape):
    message = "Invalid query parameter: path" if shape == "/v1" else "Invalid volume"
    for method, operation in (("GET", "ls"), ("GET", "get"), ("DELETE", "delete")):
        for path in ["..", "/..", "a/../b", "/a/..", "..\\a", "a\\..\\b"]:
            is_error(node.browser(shape).ask(method, operation, "vol", path=path), 400, message, CLIMBS)


@pytest.mark.quick
@shapes
def test_dots_that_do_not_climb(node, shape):
    (node.data / "a..b").write_bytes(b"fine")
    assert node.browser(shape).get("vol", "/a..b").body == b"fine"
    assert node.browser(shape).get("vol", "./a..b").body == b"fine"


@pytest.mark.quick
@shapes
def test_crafted_volume_names(node, shape):
    volumes = [".", "-x", "_x", "a b", "a/_data", "a\\b", "a\n", "ü", 256 * "v", "a%", "a:b", ".hidden"]
    if shape == "/v1":
        volumes.remove(".")  # no segment: the path is cleaned before it is looked at
    for volume in volumes:
        for method, operation in (("GET", "ls"), ("GET", "get"), ("DELETE", "delete"), ("PUT", "rename"), ("POST", "put")):
            answer = node.browser(shape).ask(method, operation, volume, path="/x")
            is_error(answer, 400, "Invalid volume")


@pytest.mark.quick
@second_shapes
def test_volume_names_that_climb(node, shape):
    for volume in ["..", "../vol", "vol/_data/../../vol", "../../etc", "%2e%2e"]:
        for method, operation in (("GET", "ls"), ("GET", "get"), ("DELETE", "delete"), ("PUT", "rename"), ("POST", "put")):
            answer = node.request(method, f"{shape}/browse/{operation}?volumeID={volume}&path=/")
            is_error(answer, 400, "Invalid volume")


@pytest.mark.quick
def test_malformed_escapes(node):
    for path in ["%00", "a%0", "%zz", "a%00b"]:
        for target in (f"/v2/browse/ls?volumeID=vol&path={path}", f"/v1/browse/vol/ls?path={path}"):
            is_error(node.request("GET", target), 400, "Invalid query parameter: path")


@pytest.mark.quick
def test_a_plus_is_a_space(node):
    (node.data / "a b").write_bytes(b"1")
    (node.data / "a+b").write_bytes(b"2")
    assert node.request("GET", "/v2/browse/get?volumeID=vol&path=a+b").body == b"1"
    assert node.request("GET", "/v2/browse/get?volumeID=vol&path=a%2Bb").body == b"2"


@pytest.mark.quick
def test_unsigned_requests_are_refused(node):
    (node.data / "f").touch()
    for method, target in (("GET", "/v2/browse/ls?volumeID=vol&path=/"), ("DELETE", "/v1/browse/vol/delete?path=f"), ("GET", "/host/info")):
        assert node.entry.client({}).request(method, target, node.headers).status == 403
    assert everything(node.data) == ["f"]


# -------------------------------------------------------------------------------------------------------------------- host


@pytest.mark.quick
@second_shapes
def test_the_host_is_closed_without_the_capability(node, shape):
    """Before all other checks; the first shape has no host at all."""
    (node.host / "f").touch()
    browser = node.browser(shape)
    for method, operation in (("GET", "ls"), ("GET", "get"), ("DELETE", "delete"), ("PUT", "rename"), ("POST", "put")):
        for query in ({}, {"path": "/host/f"}, {"path": "../.."}, {"volumeID": ""}):
            answer = browser.ask(method, operation, **query)
            assert (answer.status, answer.json()) == (503, DISABLED)
    answer = browser.put(None, "/host", "f", b"x")
    assert (answer.status, answer.json()) == (503, DISABLED)
    assert (node.host / "f").read_bytes() == b""


@pytest.mark.quick
@second_shapes
@pytest.mark.parametrize("prefix", ["own", "/host", "", "/"])
def test_the_host(open_node, shape, prefix):
    """A path may begin with the root as the agent knows it, with /host as Portainer's pages do, or with neither."""
    node, browser = open_node, open_node.browser(shape)
    prefix = str(node.host) if prefix == "own" else prefix
    (node.host / "etc").mkdir()
    (node.host / "etc/name").write_text("node")
    assert names(browser.ls(None, f"{prefix}/etc")) == ["name"]
    assert names(browser.ls(None, prefix or "/")) == ["etc"]
    assert browser.get(None, f"{prefix}/etc/name").body == b"node"
    is_done(browser.rename(None, f"{prefix}/etc/name", f"{prefix}/etc/other"))
    for first in ("Path", "file"):
        is_done(browser.put(None, f"{prefix}/new/deep", "f", b"content", first=first))
    assert (node.host / "new/deep/f").read_bytes() == b"content"
    is_done(browser.delete(None, f"{prefix}/etc/other"))
    assert everything(node.host) == ["etc", "new", "new/deep", "new/deep/f"]
    is_error(browser.delete(None, prefix or "/"), 400, "Unable to remove file")


@second_shapes
def test_links_of_the_host_stay_within_the_host(open_node, shape, folder):
    """Absolute links are usual there, and mean the host's root; `..` ends at it."""
    node, browser = open_node, open_node.browser(shape)
    (folder / "secret").write_text("secret")
    (node.host / "usr").mkdir()
    (node.host / "usr/f").write_text("host")
    os.symlink("/usr", node.host / "absolute")
    os.symlink("../../../../../usr/f", node.host / "climbing")
    os.symlink(folder / "secret", node.host / "out")
    assert browser.get(None, "/host/absolute/f").body == b"host"
    assert browser.get(None, "/host/climbing").body == b"host"
    assert browser.get(None, "/host/../../../usr/f").body == b"host"
    is_error(browser.get(None, "/host/out"), 500, "Unable to open file")
    for path in ("/proc/self/environ", str(folder / "secret"), "/host/../../" + str(folder / "secret"), "/data"):
        is_error(browser.get(None, path), 500, "Unable to open file")
    is_done(browser.put(None, "/host/absolute/x", "g", b"new"))
    assert (node.host / "usr/x/g").read_bytes() == b"new"


@pytest.mark.quick
def test_the_first_shape_needs_no_capability(node):
    assert names(node.browser("/v1").ls("vol")) == []


@pytest.mark.quick
@second_shapes
def test_the_volume_may_be_a_field_of_the_form(node, shape):
    """The old agent looked into the form first (contract 5)."""
    headers, body = form(("volumeID", "vol"), ("Path", "/"), ("file", "f", b"x"))
    is_done(node.browser(shape).ask("POST", "put", None, headers, body))
    assert everything(node.data) == ["f"]
    headers, body = form(("volumeID", "../vol"), ("Path", "/"), ("file", "g", b"x"))
    is_error(node.browser(shape).ask("POST", "put", None, headers, body), 400, "Invalid volume")
    assert everything(node.data) == ["f"]


# ------------------------------------------------------------------------------------------------------------------ escape


@shapes
def test_links_do_not_lead_out_of_a_volume(node, shape, folder):
    browser = node.browser(shape)
    other = node.add_volume("other")
    (other / "secret").write_text("secret")
    (folder / "secret").write_text("secret")
    links = {
        "absolute": str(other), "relative": "../../other/_data", "file": str(folder / "secret"), "root": "/",
        "proc": "/proc/self/root", "chain": "relative",
    }  # fmt: skip
    for name, target in links.items():
        os.symlink(target, node.data / name)
    for name in links:
        for path in (name, f"{name}/", f"{name}/secret", f"{name}/etc/passwd"):
            assert browser.get("vol", path).status in (400, 500)
            assert browser.ls("vol", path).status == 500
            if path != name:
                assert browser.delete("vol", path.rstrip("/") + "/secret").status == 500
                assert browser.rename("vol", f"{path}/secret", "stolen").status == 500
                assert browser.put("vol", path, "planted", b"x").status == 500
                assert browser.put("vol", path, "planted", b"x", first="file").status == 500
    assert everything(other) == ["secret"] and (other / "secret").read_text() == "secret"
    assert everything(node.data) == sorted(links)
    is_error(browser.get("vol", "file"), 500, "Unable to open file", "A link in the path leads out of the volume")


def test_a_volume_that_is_a_link_is_none(node, folder):
    (folder / "secret/_data").mkdir(parents=True)
    (folder / "secret/_data/f").touch()
    os.symlink(folder / "secret", node.volumes / "linked")
    (node.volumes / "inner").mkdir()
    os.symlink(folder / "secret/_data", node.volumes / "inner/_data")
    for volume in ("linked", "inner"):
        is_error(node.browser().ls(volume), 500, "Unable to list files inside specified directory")


@own_only
@pytest.mark.parametrize("order", ["swap", "replace"])
def test_a_race_does_not_lead_out_of_a_volume(node, folder, order):
    """Somebody in a container swaps a folder for a link to elsewhere, all the time."""
    outside = folder / "outside"
    outside.mkdir()
    (outside / "f").write_text("secret")
    (node.data / "real").mkdir()
    (node.data / "real/f").write_text("mine")
    os.symlink(outside, node.data / "link")
    libc = ctypes.CDLL(None, use_errno=True)
    over = threading.Event()
    swaps = [0]

    def swap():
        real, link = os.fsencode(node.data / "real"), os.fsencode(node.data / "link")
        while not over.is_set():
            if order == "swap":
                assert libc.renameat2(-100, real, -100, link, 2) == 0  # RENAME_EXCHANGE
            else:
                os.rename(node.data / "real", node.data / "away")
                os.symlink(outside, node.data / "real")
                os.unlink(node.data / "real")
                os.rename(node.data / "away", node.data / "real")
            swaps[0] += 1

    thread = threading.Thread(target=swap)
    thread.start()
    try:
        browser, seen = node.browser(), set()
        end = time.monotonic() + 3
        while time.monotonic() < end:
            answer = browser.get("vol", "real/f")
            seen.add(answer.body if answer.status == 200 else answer.status)
            if order == "swap":  # otherwise it might make the folder while it is away
                seen.add(browser.put("vol", "real", "planted", b"x").status)
            seen.add(browser.delete("vol", "real/planted").status)
            browser.rename("vol", "real/f", "real/f")
    finally:
        over.set()
        thread.join()
    assert seen <= {b"mine", 500, 204} and {b"mine", 500} <= seen and swaps[0] > 100
    assert everything(outside) == ["f"] and (outside / "f").read_text() == "secret"


# ------------------------------------------------------------------------------------------------------- hung file systems


class HungMount:
    """A file system whose server never answers: FUSE, with nobody who serves."""

    def __init__(self, folder):
        self.folder = os.fsencode(folder)
        self.libc = ctypes.CDLL(None, use_errno=True)
        folder.mkdir()
        try:
            self.device = os.open("/dev/fuse", os.O_RDWR | os.O_CLOEXEC)
        except OSError as error:
            unavailable(f"/dev/fuse: {error}")
        options = f"fd={self.device},rootmode=40000,user_id=0,group_id=0,allow_other".encode()
        if self.libc.mount(b"hung", self.folder, b"fuse", 0, options) != 0:
            os.close(self.device)
            unavailable("mounting needs root")

    def release(self):
        """The server dies: whoever waits gets an error."""
        if self.device >= 0:
            os.close(self.device)
            self.device = -1

    def close(self):
        self.release()
        self.libc.umount2(self.folder, 2)


@pytest.fixture
def hung(node):
    mount = HungMount(node.data / "nfs")
    yield mount
    mount.close()


@own_only
def test_a_hung_mount_holds_up_nobody_else(node, hung):
    """A worker that hangs is counted, named in the log and in the status; its request is told, the others do not notice."""
    (node.data / "f").write_bytes(b"fine")
    browser = node.browser()
    with node.start(browser.target("ls", "vol", path="/nfs/x")) as connection:
        wait_until("a worker is in the mount", lambda: len(node.state()["busy_workers"]) == 1)
        for _ in range(20):
            assert browser.get("vol", "f").body == b"fine"
            assert node.agent.get("/_ping").status == 200
        head = connection.read_head()
        assert head.status == 503
        assert json.loads(connection.read_body(head))["message"] == "The file system does not answer"
    assert "ls in volume vol/nfs/x" in node.agent.log() and "network mount" in node.agent.log()
    state = node.state()
    assert state["hung_workers"] == 1 and state["hung"] == 1
    assert state["busy_workers"][0]["operation"] == "ls in volume vol/nfs/x" and state["busy_workers"][0]["hung"] is True
    assert browser.get("vol", "f").body == b"fine"
    hung.release()
    wait_until("the worker is back", lambda: node.state()["hung_workers"] == 0)
    node.agent.wait_log("goes on")


@own_only
def test_when_all_workers_hang(node, hung):
    browser = node.browser()
    connections = [node.start(browser.target("get", "vol", path=f"/nfs/{number}")) for number in range(6)]
    for connection in connections:
        assert connection.read_head().status == 503
        connection.close()
    wait_until("all hang", lambda: node.state()["hung_workers"] == 4)
    is_error(browser.ls("vol"), 503, "Too many file operations")
    assert node.agent.get("/_ping").status == 200
    hung.release()
    wait_until("the workers are back", lambda: node.state()["hung_workers"] == 0)
    assert browser.ls("vol").status == 200


@own_only
def test_stopping_while_a_worker_hangs(make_node, monkeypatch):
    # LeakSanitizer would wait for the thread that hangs.
    monkeypatch.setenv("ASAN_OPTIONS", os.environ.get("ASAN_OPTIONS", "") + ":detect_leaks=0")
    node = make_node()
    with contextlib.closing(HungMount(node.data / "nfs")):
        connection = node.start(node.browser().target("ls", "vol", path="/nfs"))
        wait_until("a worker is in the mount", lambda: len(node.state()["busy_workers"]) == 1)
        node.agent.signal()
        node.agent.wait_log("once more to stop at once")
        node.agent.signal()
        assert node.agent.wait() == 0
        assert "1 file operations hang, and end with the process" in node.agent.log()
        connection.close()


@own_only
def test_too_many_tasks(node):
    with open(node.data / "big", "wb") as big:
        big.truncate(1 << 30)
    target = node.browser().target("get", "vol", path="big")
    connections = []
    try:
        for _ in range(128):
            connections.append(node.start(target))
            assert connections[-1].read_head().status == 200
        is_error(node.browser().ls("vol"), 503, "Too many file operations")
    finally:
        for connection in connections:
            connection.close()
    wait_until("the tasks are over", lambda: node.state()["tasks"] == 0)
    assert node.browser().ls("vol").status == 200


# --------------------------------------------------------------------------------------------------------- host information

PCI_IDS = """# comment
1af4  Red Hat, Inc.
\t1000  Virtio network device
\t\t1af4 0001  subsystem
8086  Intel Corporation
\t1237  440FX - 82441FX PMC [Natoma]
C 01  Mass storage controller
"""


def write(path, text):
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text)


def add_hardware(host):
    devices = host / "sys/bus/pci/devices"
    devices.mkdir(parents=True)
    for name, vendor, device in (("0000:00:00.0", 0x8086, 0x1237), ("0000:00:01.0", 0x1AF4, 0x1000), ("0000:00:02.0", 0x8086, 0xFFFF), ("0000:00:03.0", 0xDEAD, 1)):
        write(host / f"sys/devices/pci0000:00/{name}/modalias", f"pci:v{vendor:08X}d{device:08X}sv00001AF4sd00001100bc06sc00i00\n")
        os.symlink(f"../../../devices/pci0000:00/{name}", devices / name)
    (devices / "0000:00:04.0").mkdir()  # nothing in it
    write(host / "sys/block/sda/size", "976773168\n")
    write(host / "sys/block/sda/device/vendor", "ATA     \n")
    write(host / "sys/block/nvme0n1/size", "8\n")
    write(host / "sys/block/loop0/size", "8\n")
    write(host / "sys/block/vda/nothing", "")


@pytest.mark.quick
@pytest.mark.parametrize("prefix", SHAPES, ids=["bare", "v2", "v1"])
@pytest.mark.parametrize("ids", ["usr/share/hwdata/pci.ids", "usr/share/misc/pci.ids"])
def test_host_info(node, prefix, ids):
    add_hardware(node.host)
    write(node.host / ids, PCI_IDS)
    answer = node.request("GET", f"{prefix}/host/info")
    assert answer.status == 200 and answer.get("Content-Type") == "application/json"
    assert answer.json() == {
        "PCIDevices": [
            {"Vendor": "Intel Corporation", "Name": "440FX - 82441FX PMC [Natoma]"},
            {"Vendor": "Red Hat, Inc.", "Name": "Virtio network device"},
            {"Vendor": "Intel Corporation", "Name": "unknown"},
            {"Vendor": "unknown", "Name": "unknown"},
        ],
        "PhysicalDisks": [
            {"Vendor": "unknown", "Size": 4096},
            {"Vendor": "ATA", "Size": 500107862016},
            {"Vendor": "unknown", "Size": 0},
        ],
    }


@pytest.mark.quick
def test_host_info_without_a_list_of_names(node):
    add_hardware(node.host)
    devices = node.request("GET", "/v2/host/info").json()["PCIDevices"]
    assert devices[0] == {"Vendor": "8086", "Name": "1237"} and devices[3] == {"Vendor": "dead", "Name": "0001"}


@pytest.mark.quick
@pytest.mark.parametrize("missing", ["hardware", "root"])
def test_host_info_of_a_node_that_shows_nothing(node, missing):
    if missing == "root":
        node.host.rmdir()
    answer = node.request("GET", "/host/info")
    assert (answer.status, answer.json()) == (200, {"PCIDevices": [], "PhysicalDisks": []})


@own_only
@pytest.mark.quick
def test_host_info_that_cannot_be_read(node):
    write(node.host / "sys/block", "not a folder")
    is_error(node.request("GET", "/host/info"), 500, "Unable to retrieve host information")


@pytest.mark.quick
def test_host_info_takes_get_only(node):
    for prefix in SHAPES:
        answer = node.request("POST", f"{prefix}/host/info")
        assert (answer.status, answer.get("Allow")) == (405, "GET")


def test_host_info_does_not_leave_the_host(node, folder):
    write(folder / "secret/vendor", "secret")
    (node.host / "sys/block/sda").mkdir(parents=True)
    os.symlink(folder / "secret", node.host / "sys/block/sda/device")
    answer = node.request("GET", "/host/info")
    assert answer.json()["PhysicalDisks"] == [{"Vendor": "unknown", "Size": 0}]


# -------------------------------------------------------------------------------------------------------------- many at once


@own_only
def test_many_clients_at_once(node):
    """Answers do not mix, and nothing is left."""
    contents = {f"f{number}": random.Random(number).randbytes(200_000) for number in range(8)}
    for name, content in contents.items():
        (node.data / name).write_bytes(content)
    failures = []

    def work(number):
        try:
            browser = node.browser(SHAPES[number % 3])
            for turn in range(8):
                name = f"f{(number + turn) % 8}"
                assert browser.get("vol", quote(name)).body == contents[name]
                is_done(browser.put("vol", f"/up{number}", name, contents[name], first=("Path", "file")[turn % 2]))
                assert browser.get("vol", f"/up{number}/{name}").body == contents[name]
        except BaseException as error:
            failures.append(error)

    threads = [threading.Thread(target=work, args=(number,)) for number in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert not failures, failures[0]
