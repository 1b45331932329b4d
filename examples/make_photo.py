"""Draws examples/photo.jpg: mountains over a lake, with the EXIF of a camera that does not exist.

Usage: pip install pillow numpy && python examples/make_photo.py
"""

from pathlib import Path

import numpy as np
from PIL import Image, ImageFilter
from PIL.ExifTags import GPS, IFD, Base

WIDTH, HEIGHT, SHORE = 1200, 800, 520
rng = np.random.default_rng(7)


def colour(text):
    return np.array([int(text[i : i + 2], 16) for i in (0, 2, 4)], dtype=float)


def blend(stops, t):
    """Colours between stops, for each t from 0 to 1."""
    places = [place for place, _ in stops]
    return np.stack([np.interp(t, places, [colour(c)[channel] for _, c in stops]) for channel in range(3)], axis=-1)


def ridge(base, height, roughness):
    """The outline of a mountain range, as one y for each x."""
    x = np.arange(WIDTH)
    line = np.zeros(WIDTH)
    for octave in range(1, 9):
        phase = rng.uniform(0, 2 * np.pi)
        line += np.sin(x / WIDTH * 2 * np.pi * octave * 0.9 + phase) / octave**roughness
    line = (line - line.min()) / (line.max() - line.min())
    return base - height * line


y = np.arange(HEIGHT)[:, None] * np.ones((1, WIDTH))
x = np.arange(WIDTH)[None, :] * np.ones((HEIGHT, 1))
sky = blend([(0, "24365c"), (0.45, "7b6d95"), (0.75, "e5916f"), (1, "ffd9a0")], np.clip(y / SHORE, 0, 1))
sun = np.exp(-(((x - 800) / 260) ** 2 + ((y - 430) / 170) ** 2))[..., None]
picture = sky + sun * (colour("fff2cf") - sky) * 0.8
disc = np.hypot(x - 800, y - 415) < 44
picture[disc] = colour("fff6df")
for base, height, roughness, tint in [
    (500, 230, 1.1, "7a6688"), (515, 170, 1.0, "54506f"), (525, 110, 0.9, "333b55"), (535, 60, 0.8, "1c2638"),
]:
    line = ridge(base, height, roughness)[None, :]
    inside = np.clip(y - line, 0, 1)[..., None]
    mist = np.clip((y - line) / 260, 0, 0.5)[..., None]
    picture += inside * (colour(tint) + mist * (colour("e5b090") - colour(tint)) * 0.5 - picture)
for row in range(SHORE, HEIGHT):
    depth = row - SHORE
    wave = int(2.2 * np.sin(depth / 3.1) + depth / 40 * np.sin(depth * 1.7))
    mirror = np.roll(picture[max(SHORE - 1 - int(depth * 1.25), 0)], wave, axis=0)
    shade = 0.86 - 0.35 * depth / (HEIGHT - SHORE)
    picture[row] = mirror * shade + colour("1b2a4a") * (1 - shade)
image = Image.fromarray(np.clip(picture, 0, 255).astype("uint8")).filter(ImageFilter.GaussianBlur(0.6))

exif = Image.Exif()
exif[Base.Make], exif[Base.Model] = "Example Optics", "Meadow 24"
exif[Base.Orientation], exif[Base.Copyright] = 1, "The imagegraph contributors"
camera = exif.get_ifd(IFD.Exif)
camera[Base.DateTimeOriginal], camera[Base.OffsetTimeOriginal] = "2024:09:14 18:42:07", "+02:00"
camera[Base.ExposureTime], camera[Base.FNumber], camera[Base.ISOSpeedRatings] = 1 / 250, 8.0, 100
camera[Base.FocalLength], camera[Base.LensModel] = 24.0, "Meadow 24 mm f/2.8"
camera[Base.BodySerialNumber] = "000042"
place = exif.get_ifd(IFD.GPSInfo)
place[GPS.GPSLatitudeRef], place[GPS.GPSLatitude] = "N", (46.0, 41.0, 12.0)
place[GPS.GPSLongitudeRef], place[GPS.GPSLongitude] = "E", (7.0, 51.0, 36.0)
image.save(Path(__file__).with_name("photo.jpg"), quality=85, exif=exif)
