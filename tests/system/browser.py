"""Requests of file browsing in all shapes of the contract (5.4, 5.5), and forms as clients make them."""

import json
from urllib.parse import quote, urlencode

SHAPES = ("", "/v2", "/v1")


def form(*fields, boundary="----shoal7MA4YWxk"):
    """multipart/form-data of (name, value) and (name, file name, bytes), in this order: headers and body."""
    body = b""
    for name, *value in fields:
        disposition = f'form-data; name="{name}"' + (f'; filename="{value[0]}"' if len(value) == 2 else "")
        kind = "Content-Type: application/octet-stream\r\n" if len(value) == 2 else ""
        content = value[-1] if isinstance(value[-1], bytes) else value[-1].encode()
        body += f"--{boundary}\r\nContent-Disposition: {disposition}\r\n{kind}\r\n".encode() + content + b"\r\n"
    return {"Content-Type": f"multipart/form-data; boundary={boundary}"}, body + f"--{boundary}--\r\n".encode()


class Browser:
    """Asks an agent for files, in one of the shapes, with headers that name another node where a test wants that."""

    def __init__(self, client, shape="/v2", headers=None):
        self.client, self.shape, self.headers = client, shape, headers or {}

    def target(self, operation, volume=None, **query):
        query = {name: value for name, value in query.items() if value is not None}
        if self.shape == "/v1":
            base = f"/v1/browse/{quote(volume, safe='')}/{operation}"
        else:
            base = f"{self.shape}/browse/{operation}"
            if volume is not None:
                query = {"volumeID": volume, **query}
        return base + ("?" + urlencode(query, encoding="utf-8", errors="surrogateescape") if query else "")

    def ask(self, method, operation, volume=None, headers=None, body=None, **query):
        target = self.target(operation, volume, **query)
        return self.client.request(method, target, {**self.headers, **(headers or {})}, body)

    def ls(self, volume=None, path="/"):
        return self.ask("GET", "ls", volume, path=path)

    def get(self, volume=None, path=None, **headers):
        return self.ask("GET", "get", volume, {name.replace("_", "-"): value for name, value in headers.items()}, path=path)

    def delete(self, volume=None, path=None):
        return self.ask("DELETE", "delete", volume, path=path)

    def rename(self, volume=None, old=None, new=None, body=None):
        if body is None:
            body = json.dumps({"CurrentFilePath": old, "NewFilePath": new}).encode()
        return self.ask("PUT", "rename", volume, {"Content-Type": "application/json"}, body)

    def put(self, volume=None, folder="/", name="f", content=b"", first="Path", **more):
        fields = [("Path", folder), ("file", name, content)]
        headers, body = form(*(fields if first == "Path" else reversed(fields)), **more)
        return self.ask("POST", "put", volume, headers, body)
