"""Uploads some images: fill.py URL TOKEN"""

import json
import struct
import sys
import urllib.request
import zlib

url, token = sys.argv[1:]


def png(shade: int) -> bytes:
    """One grey pixel."""

    def chunk(kind: bytes, data: bytes) -> bytes:
        return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))

    header = chunk(b"IHDR", struct.pack(">IIBBBBB", 1, 1, 8, 0, 0, 0, 0))
    return b"\x89PNG\r\n\x1a\n" + header + chunk(b"IDAT", zlib.compress(bytes([0, shade]))) + chunk(b"IEND", b"")


def ask(body: bytes, content_type: str) -> dict:
    headers = {"Authorization": f"Bearer {token}", "Content-Type": content_type}
    request = urllib.request.Request(f"{url}/graphql", body, headers)
    with urllib.request.urlopen(request, timeout=30) as answer:
        return json.load(answer)["data"]


workspaces = ask(b'{"query":"{ workspaces { nodes { id } } }"}', "application/json")
workspace = workspaces["workspaces"]["nodes"][0]["id"]
query = "mutation($i: UploadFileInput!) { uploadFile(input: $i) { file { image { id } } userErrors { message } } }"
for shade in range(120):
    variables = {"i": {"workspaceId": workspace, "file": None}}
    parts = [
        (b'name="operations"', json.dumps({"query": query, "variables": variables}).encode()),
        (b'name="map"', b'{"0":["variables.i.file"]}'),
        (b'name="0"; filename="a.png"', png(shade)),
    ]
    body = b"".join(b"--b\r\nContent-Disposition: form-data; " + head + b"\r\n\r\n" + data + b"\r\n" for head, data in parts)
    uploaded = ask(body + b"--b--\r\n", "multipart/form-data; boundary=b")["uploadFile"]
    assert uploaded["file"]["image"] and not uploaded["userErrors"], uploaded
