"""Uploads a corpus to an imagegraph of its own and compares it with Pillow: size, how it lies, colours.

Of each picture three things are looked at: what the API says, what a variant shows, what Pillow shows upright in sRGB.
"""

import contextlib
import io
import json
import os
import re
import subprocess
import sys
import tempfile
import time
import urllib.request
import uuid
import warnings
from collections.abc import Iterator
from typing import Any

from PIL import Image, ImageCms, ImageFile, ImageOps, ImageStat

import corpus

# Pillow refuses what browsers show, or warns of it.
warnings.simplefilter("ignore")
ImageFile.LOAD_TRUNCATED_IMAGES = True
SRGB = ImageCms.createProfile("sRGB")
# Levels of 255: between two decoders and two colour managers, and an encoder for what is delivered lossily.
MEAN, CELL, COLOUR = 3, 14, 8

UPLOAD = """mutation($input: UploadFileInput!) { uploadFile(input: $input) {
    file { imageStatus imageFailure { message } image { id url width height format } } userErrors { code message } } }"""
LOOK = "query($id: ID!) { image(id: $id) { width height exif dominantColor } }"
FLEXIBLE = """mutation { updateCloudflareAccount(input: { flexibleVariants: true }) { userErrors { message } } }"""


class Server:
    def __init__(self, greeting: str) -> None:
        page = re.search(r"(http://\S+?)/#token=(\S+)", greeting)
        workspace = re.search(r"\bwsp_[0-9a-z]{26}\b", greeting)
        assert page and workspace, greeting
        self.url, self.token, self.workspace = page[1], page[2], workspace[0]

    def request(self, body: bytes, kind: str) -> dict[str, Any]:
        headers = {"content-type": kind, "authorization": f"Bearer {self.token}"}
        request = urllib.request.Request(f"{self.url}/graphql", body, headers)
        with urllib.request.urlopen(request, timeout=60) as answer:
            result = json.load(answer)
        assert "errors" not in result, result
        return result["data"]

    def query(self, query: str, **variables: Any) -> dict[str, Any]:
        body = json.dumps({"query": query, "variables": variables}).encode()
        return self.request(body, "application/json")

    def upload(self, name: str, data: bytes) -> dict[str, Any]:
        variables = {"input": {"workspaceId": self.workspace, "file": None}}
        operations = json.dumps({"query": UPLOAD, "variables": variables})
        boundary = uuid.uuid4().hex
        parts = [
            f'name="operations"\r\n\r\n{operations}'.encode(),
            b'name="map"\r\n\r\n{"0":["variables.input.file"]}',
            f'name="0"; filename="{name}"\r\n\r\n'.encode() + data,
        ]
        body = b"".join(b"--%s\r\ncontent-disposition: form-data; %s\r\n" % (boundary.encode(), part) for part in parts)
        answer = self.request(body + b"--%s--\r\n" % boundary.encode(), f"multipart/form-data; boundary={boundary}")
        return answer["uploadFile"]


@contextlib.contextmanager
def started(binary: str) -> Iterator[Server]:
    with tempfile.TemporaryDirectory() as folder:
        # Nothing but these settings: no variable and no .env file of whoever runs this.
        settings = {"IMAGEGRAPH_LISTEN": "127.0.0.1:0", "IMAGEGRAPH_DATA_DIR": os.path.join(folder, "data")}
        with open(os.path.join(folder, "log"), "wb") as log:
            child = subprocess.Popen(
                [binary, "serve"], cwd=folder, env=settings, stdout=subprocess.PIPE, stderr=log, text=True
            )
        try:
            greeting = ""
            assert child.stdout
            for line in child.stdout:
                greeting += line
                if "/graphql" in line and "#token=" in greeting:
                    break
            yield Server(greeting)
        finally:
            child.terminate()
            child.wait(20)


def seen(image: Image.Image) -> Image.Image:
    """The first frame, upright, in sRGB, over white where it lets something through."""
    icc = image.info.get("icc_profile")
    image = ImageOps.exif_transpose(image)
    alpha = image.convert("RGBA").getchannel("A") if image.has_transparency_data else None
    if image.mode == "I;16":
        image = image.point(lambda level: level / 256).convert("L")
    colours = image.convert("RGB")
    if icc and image.mode in ("RGB", "RGBA"):
        source = ImageCms.ImageCmsProfile(io.BytesIO(icc))
        colours = ImageCms.profileToProfile(colours, source, SRGB, outputMode="RGB")
    white = Image.new("RGB", colours.size, "white")
    return Image.composite(colours, white, alpha) if alpha else colours


def difference(one: Image.Image, other: Image.Image) -> str | None:
    """How two pictures of one size look different: their mean, or how it is spread; `None` if they look alike."""
    means = [ImageStat.Stat(image).mean for image in (one, other)]
    if max(abs(a - b) for a, b in zip(*means)) > MEAN:
        return f"mean {means[1]} for {means[0]}"
    cells = [image.resize((6, 6), Image.Resampling.BOX).tobytes() for image in (one, other)]
    if max(abs(a - b) for a, b in zip(*cells)) > CELL:
        return "it lies otherwise"
    return None


def colour_seen(server: Server, image_id: str) -> str | None:
    for _ in range(200):
        colour = server.query(LOOK, id=image_id)["image"]["dominantColor"]
        if colour:
            return colour
        time.sleep(0.05)
    return None


def problems(server: Server, name: str, data: bytes, payload: dict[str, Any]) -> Iterator[str]:
    expected = seen(Image.open(io.BytesIO(data)))
    if payload["userErrors"] or payload["file"]["imageStatus"] != "READY":
        yield f"not taken: {payload}"
        return
    told = payload["file"]["image"]
    if (told["width"], told["height"]) != expected.size:
        yield f"the API says {told['width']}x{told['height']} for {expected.size}"
    # Nothing here decodes HEIC; it is delivered as it came.
    heic = told["format"] == "HEIC"
    base = told["url"].rsplit("/", 1)[0]
    for options in ["public"] if heic else ["f=png", "f=jpeg,q=95", "f=webp,q=95"]:
        with urllib.request.urlopen(f"{base}/{options}", timeout=60) as answer:
            delivered = seen(Image.open(io.BytesIO(answer.read())))
        if delivered.size != expected.size:
            yield f"{options}: delivered as {delivered.size} for {expected.size}"
        elif found := difference(expected, delivered):
            yield f"{options}: {found}"
    if heic:
        return
    middle = expected.getpixel((expected.width // 2, expected.height // 2))
    colour = colour_seen(server, told["id"])
    # Dithered pictures have several colours.
    if name.endswith(("-1", "-P")) or name.startswith("gif") or name == "jpeg-ycck":
        return
    channels = bytes.fromhex(colour[1:]) if colour else (999, 999, 999)
    if max(abs(a - b) for a, b in zip(channels, middle)) > COLOUR:
        yield f"the API says {colour} for {middle}"


def main(binary: str) -> int:
    passed = failed = 0
    with started(binary) as server:
        server.query(FLEXIBLE)
        # All first, so that the worker looks at some while others are compared.
        uploads = [(name, data, server.upload(name, data)) for name, data in corpus.all_pictures()]
        for name, data, payload in uploads:
            found = list(problems(server, name, data, payload))
            passed, failed = passed + (not found), failed + bool(found)
            for problem in found:
                print(f"{name}: {problem}")
    print(f"{passed} passed, {failed} failed")
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1]))
