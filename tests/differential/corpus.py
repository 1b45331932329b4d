"""Pictures in every format, made by Pillow and libheif, and what phones and programs do to such files afterwards."""

import io
import itertools
import struct
import zlib
from collections.abc import Iterator

import pillow_heif
from PIL import Image, ImageCms

pillow_heif.register_heif_opener()

SIZES = [(61, 43), (43, 61), (64, 48), (137, 73)]
BACKGROUND = (200, 100, 60)
CORNERS = [(220, 30, 30), (30, 160, 30), (30, 30, 220), (240, 240, 240)]
ORIENTATION = 0x0112


def picture(size: tuple[int, int]) -> Image.Image:
    """One colour all over, and another in each corner, so that it shows how it lies."""
    image = Image.new("RGB", size, BACKGROUND)
    width, height = size[0] // 4, size[1] // 4
    right, bottom = size[0] - width, size[1] - height
    for colour, place in zip(CORNERS, [(0, 0), (right, 0), (0, bottom), (right, bottom)]):
        image.paste(colour, (*place, place[0] + width, place[1] + height))
    return image


def written(image: Image.Image, kind: str, **options: object) -> bytes:
    file = io.BytesIO()
    image.save(file, kind, **options)
    return file.getvalue()


def exif(orientation: int) -> bytes:
    tags = Image.Exif()
    tags[ORIENTATION] = orientation
    return tags.tobytes()


def tiff(orientation: int) -> bytes:
    return exif(orientation).removeprefix(b"Exif\0\0")


def profile(exchanged: bool) -> bytes:
    """An RGB profile: Display P3, or sRGB with green and blue exchanged. Source: ICC.1:2001-04."""

    def fixed(*numbers: float) -> bytes:
        return b"".join(struct.pack(">i", round(number * 65536)) for number in numbers)

    curve = b"curv" + bytes(4) + struct.pack(">IH", 1, round(2.2 * 256))
    red, green, blue = (
        ((0.43607, 0.22249, 0.01392), (0.14307, 0.06061, 0.71410), (0.38515, 0.71687, 0.09708))
        if exchanged
        else ((0.51512, 0.24120, -0.00105), (0.29198, 0.69225, 0.04189), (0.15710, 0.06657, 0.78407))
    )
    text = b"desc" + bytes(4) + struct.pack(">I", 5) + b"test\0" + bytes(78)
    tags = {b"desc": text, b"cprt": b"text" + bytes(4) + b"none\0", b"wtpt": b"XYZ " + bytes(4) + fixed(0.9642, 1, 0.8249)}
    for name, point in ((b"r", red), (b"g", green), (b"b", blue)):
        tags[name + b"XYZ"] = b"XYZ " + bytes(4) + fixed(*point)
        tags[name + b"TRC"] = curve
    table, data = struct.pack(">I", len(tags)), b""
    for name, body in tags.items():
        body += bytes(-len(body) % 4)
        table += name + struct.pack(">II", 132 + 12 * len(tags) + len(data), len(body))
        data += body
    head = bytearray(128)
    head[0:4] = struct.pack(">I", 128 + len(table) + len(data))
    head[8:12] = b"\x02\x10\0\0"
    head[12:24] = b"mntrRGB XYZ "
    head[36:40] = b"acsp"
    head[68:80] = fixed(0.9642, 1, 0.8249)
    return bytes(head) + table + data


PROFILES = {
    "srgb": ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB")).tobytes(),
    "p3": profile(exchanged=False),
    "exchanged": profile(exchanged=True),
}


def segment(marker: int, body: bytes) -> bytes:
    return bytes((0xFF, marker)) + struct.pack(">H", len(body) + 2) + body


def jpegs() -> Iterator[tuple[str, bytes]]:
    for size, sampling, progressive in itertools.product(SIZES, (0, 1, 2), (False, True)):
        options = {"quality": 95, "subsampling": sampling, "progressive": progressive}
        yield f"jpeg-{size[0]}-{sampling}-{progressive}", written(picture(size), "JPEG", **options)
    for orientation in range(1, 9):
        yield f"jpeg-turned-{orientation}", written(picture((61, 43)), "JPEG", quality=95, exif=exif(orientation))
    for name, icc in PROFILES.items():
        yield f"jpeg-profile-{name}", written(picture((61, 43)), "JPEG", quality=95, icc_profile=icc)
    plain = written(picture((61, 43)), "JPEG", quality=95)
    yield "jpeg-grey", written(picture((61, 43)).convert("L"), "JPEG", quality=95)
    yield "jpeg-rgb", written(picture((61, 43)), "JPEG", quality=95, keep_rgb=True)
    yield "jpeg-restarts", written(picture((61, 43)), "JPEG", quality=95, restart_marker_blocks=1)
    cmyk = written(picture((61, 43)).convert("CMYK"), "JPEG", quality=95)
    yield "jpeg-cmyk", cmyk
    # The last byte of Adobe's segment tells the colours: YCCK, whatever they were meant to be.
    place = cmyk.index(b"Adobe") + 11
    yield "jpeg-ycck", cmyk[:place] + b"\2" + cmyk[place + 1 :]
    other = written(Image.new("RGB", (16, 16)), "JPEG")
    file = io.BytesIO()
    picture((61, 43)).save(file, "MPO", save_all=True, append_images=[Image.new("RGB", (16, 16))], quality=95)
    yield "jpeg-mpo", file.getvalue()
    yield "jpeg-then-video", plain + b"\0\0\0\x18ftypmp42\xff\xda\0\x08\x01\xff\xd8\xff\xd9\0"
    yield "jpeg-then-scan", plain + b"\xff\xda\0\0"
    yield "jpeg-then-jpeg", plain + other
    yield "jpeg-no-end", plain[:-2]
    yield "jpeg-zeros-for-end", plain[:-2] + bytes(100)
    yield "jpeg-fill-bytes", plain[:2] + b"\xff" * 7 + plain[2:]
    for first, second in ((6, 1), (1, 6), (3, 8)):
        both = segment(0xE1, b"Exif\0\0" + tiff(first)) + segment(0xE1, b"Exif\0\0" + tiff(second))
        yield f"jpeg-exif-{first}-then-{second}", plain[:2] + both + plain[2:]
    late = segment(0xE2, b"MPF\0") + segment(0xED, b"Photoshop 3.0\0") + segment(0xE1, b"Exif\0\0" + tiff(8))
    yield "jpeg-exif-late", plain[:2] + late + plain[2:]


def chunk(name: bytes, body: bytes) -> bytes:
    return struct.pack(">I", len(body)) + name + body + struct.pack(">I", zlib.crc32(name + body))


def pngs() -> Iterator[tuple[str, bytes]]:
    for size, mode in itertools.product(SIZES, ("1", "L", "LA", "P", "RGB", "RGBA")):
        yield f"png-{size[0]}-{mode}", written(picture(size).convert(mode), "PNG")
    for orientation in range(1, 9):
        yield f"png-turned-{orientation}", written(picture((61, 43)), "PNG", exif=exif(orientation))
    for name, icc in PROFILES.items():
        yield f"png-profile-{name}", written(picture((61, 43)), "PNG", icc_profile=icc)
    yield "png-hole", written(with_hole(), "PNG")
    deep = picture((61, 43)).convert("L").convert("I").point(lambda level: level * 257).convert("I;16")
    yield "png-deep", written(deep, "PNG")
    plain = written(picture((61, 43)), "PNG")
    yield "png-no-end", plain[:-12]
    yield "png-more", plain + b"more"
    yield "png-named-exif", plain[:33] + chunk(b"eXIf", b"Exif\0\0" + tiff(6)) + plain[33:]
    yield "png-late-exif", plain[:-12] + chunk(b"eXIf", tiff(8)) + plain[-12:]
    raw = b"Exif\0\0" + tiff(6)
    text = b"Raw profile type exif\0\0" + zlib.compress(b"\nexif\n%8d\n%s\n" % (len(raw), raw.hex().encode()))
    yield "png-raw-exif", plain[:33] + chunk(b"zTXt", text) + plain[33:]


def with_hole() -> Image.Image:
    image = picture((61, 43)).convert("RGBA")
    image.paste((0, 0, 0, 0), (0, 30, 20, 43))
    return image


def gifs() -> Iterator[tuple[str, bytes]]:
    for size in SIZES:
        for interlaced in (0, 1):
            yield f"gif-{size[0]}-{interlaced}", written(picture(size), "GIF", interlace=interlaced)
    yield "gif-hole", written(with_hole(), "GIF")
    frames = [picture((61, 43)).rotate(180) for _ in range(3)]
    yield "gif-moving", written(picture((61, 43)), "GIF", save_all=True, append_images=frames, duration=100)
    plain = written(picture((61, 43)), "GIF")
    yield "gif-no-trailer", plain[:-1]
    yield "gif-zeros", plain[:-1] + bytes(3) + b"\x3b"
    yield "gif-more", plain + b"\x2cmore"


def webps() -> Iterator[tuple[str, bytes]]:
    for size, lossless in itertools.product(SIZES, (False, True)):
        yield f"webp-{size[0]}-{lossless}", written(picture(size), "WEBP", quality=95, lossless=lossless)
    for orientation in range(1, 9):
        yield f"webp-turned-{orientation}", written(picture((61, 43)), "WEBP", lossless=True, exif=exif(orientation))
    for name, icc in PROFILES.items():
        yield f"webp-profile-{name}", written(picture((61, 43)), "WEBP", lossless=True, icc_profile=icc)
    yield "webp-hole", written(with_hole(), "WEBP", lossless=True)
    yield "webp-hole-lossy", written(with_hole(), "WEBP", quality=95)
    frames = [picture((61, 43)).rotate(180) for _ in range(3)]
    moving = {"save_all": True, "append_images": frames, "duration": 100, "lossless": True}
    yield "webp-moving", written(picture((61, 43)), "WEBP", **moving)
    plain = written(picture((61, 43)), "WEBP", lossless=True)
    yield "webp-more", plain + b"odd"
    lossy = written(picture((61, 43)), "WEBP", quality=95)
    header = struct.pack("<BBBB", 0x10, 0, 0, 0) + (60).to_bytes(3, "little") + (42).to_bytes(3, "little")
    body = b"WEBPVP8X" + struct.pack("<I", 10) + header + lossy[12:]
    yield "webp-alpha-flag", b"RIFF" + struct.pack("<I", len(body)) + body


def heics() -> Iterator[tuple[str, bytes]]:
    for size in SIZES:
        yield f"heic-{size[0]}", written(picture(size), "HEIF", quality=95)
    for orientation in range(1, 9):
        yield f"heic-turned-{orientation}", written(picture((61, 43)), "HEIF", quality=95, exif=exif(orientation))
    yield "heic-hole", written(with_hole(), "HEIF", quality=95)
    both = {"save_all": True, "append_images": [picture((137, 73))]}
    yield "heic-two", written(picture((61, 43)), "HEIF", quality=95, **both)
    yield "heic-two-second", written(picture((61, 43)), "HEIF", quality=95, primary_index=1, **both)


def all_pictures() -> list[tuple[str, bytes]]:
    return [*jpegs(), *pngs(), *gifs(), *webps(), *heics()]
