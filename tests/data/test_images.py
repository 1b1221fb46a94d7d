"""Image files as they are found in the wild."""

from __future__ import annotations

import hashlib

import numpy as np
import pytest
from PIL import Image

from adaptinf.data import images
from adaptinf.data.images import (
    BadImage,
    ImageInfo,
    image_size,
    inspect_image,
    load_image,
    locate,
)
from adaptinf.data.looks import look_of
from adaptinf.errors import UserError


def reason_of(call, *args):
    with pytest.raises(BadImage) as caught:
        call(*args)
    return caught.value.reason


def test_size_and_digest(tmp_path, write_image):
    path = write_image(tmp_path / "a.png", size=(6, 4))
    digest = hashlib.sha256(path.read_bytes()).hexdigest()
    look = look_of(load_image(path))
    assert inspect_image(path) == ImageInfo(width=6, height=4, digest=digest, look=look)


def test_gif_named_jpg_gives_its_first_frame(tmp_path):
    path = tmp_path / "book.jpg"
    frames = [Image.new("RGB", (5, 5), colour) for colour in ("red", "blue")]
    frames[0].save(path, format="GIF", save_all=True, append_images=frames[1:])
    assert inspect_image(path).width == 5
    np.testing.assert_array_equal(np.asarray(load_image(path))[0, 0], [255, 0, 0])


def test_one_pixel_shows_nothing(tmp_path, write_image):
    path = write_image(tmp_path / "a.png", size=(1, 1))
    assert reason_of(inspect_image, path) == "single-pixel-image"
    assert inspect_image(write_image(tmp_path / "b.png", size=(1, 2))).height == 2


@pytest.mark.parametrize("orientation", range(1, 9))
def test_images_are_upright_as_exif_says(tmp_path, picture, orientation):
    upright = picture(9, 5)
    stored = {
        2: Image.Transpose.FLIP_LEFT_RIGHT,
        3: Image.Transpose.ROTATE_180,
        4: Image.Transpose.FLIP_TOP_BOTTOM,
        5: Image.Transpose.TRANSPOSE,
        6: Image.Transpose.ROTATE_90,
        7: Image.Transpose.TRANSVERSE,
        8: Image.Transpose.ROTATE_270,
    }
    pixels = upright.transpose(stored[orientation]) if orientation in stored else upright
    exif = Image.Exif()
    exif[0x0112] = orientation
    path = tmp_path / "photo.png"
    pixels.save(path, exif=exif)
    np.testing.assert_array_equal(np.asarray(load_image(path)), np.asarray(upright))
    info = inspect_image(path)
    assert (info.width, info.height) == image_size(path) == (9, 5)


@pytest.mark.filterwarnings("ignore:Corrupt EXIF")
def test_broken_exif_leaves_the_pixels_as_they_are(tmp_path, picture):
    path = tmp_path / "photo.jpg"
    picture(9, 5).save(path, exif=b"Exif\x00\x00II*\x00\xff\xff\xff\xff")
    assert load_image(path).size == image_size(path) == (9, 5)


def test_a_size_needs_no_pixels(tmp_path, write_image):
    raw = write_image(tmp_path / "a.png", size=(300, 200)).read_bytes()
    (tmp_path / "half.png").write_bytes(raw[: len(raw) // 2])
    assert image_size(tmp_path / "half.png") == (300, 200)
    (tmp_path / "text.png").write_bytes(b"text")
    assert reason_of(image_size, tmp_path / "text.png") == "undecodable-image"
    assert reason_of(image_size, tmp_path / "gone.png") == "missing-image"


@pytest.mark.parametrize("mode", ["1", "L", "P", "LA", "RGBA", "CMYK", "I;16"])
def test_every_mode_loads_as_rgb(tmp_path, mode):
    path = tmp_path / "a.tif"
    Image.new(mode, (3, 2)).save(path)
    inspect_image(path)
    loaded = load_image(path)
    assert (loaded.mode, loaded.size) == ("RGB", (3, 2))


def test_reasons(tmp_path, write_image):
    whole = write_image(tmp_path / "whole.jpg", format="JPEG", size=(64, 64)).read_bytes()
    for name, raw in {
        "empty": b"",
        "text": b"not an image",
        "half": whole[: len(whole) // 2],
    }.items():
        (tmp_path / name).write_bytes(raw)
    (tmp_path / "eps").write_bytes(b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 9 9\n%%EOF\n")
    expected = {
        "gone": "missing-image",
        "empty": "empty-image",
        "text": "undecodable-image",
        "half": "undecodable-image",
        "eps": "undecodable-image",
    }
    assert {name: reason_of(inspect_image, tmp_path / name) for name in expected} == expected
    assert reason_of(load_image, tmp_path / "half") == "undecodable-image"
    assert reason_of(inspect_image, tmp_path) == "missing-image"


def test_bad_image_reads_as_a_user_error(tmp_path):
    with pytest.raises(UserError, match=r"gone.png: missing-image"):
        load_image(tmp_path / "gone.png")


def test_bombs_are_refused_before_they_are_decoded(tmp_path, monkeypatch):
    path = tmp_path / "bomb.png"
    Image.new("1", (20_000, 20_000)).save(path)
    assert path.stat().st_size < 100_000
    assert reason_of(inspect_image, path) == "oversized-image"
    Image.new("1", (10, 10)).save(path)
    monkeypatch.setattr(images, "MAX_PIXELS", 99)
    assert reason_of(load_image, path) == "oversized-image"
    monkeypatch.setattr(images, "MAX_PIXELS", 100)
    assert load_image(path).size == (10, 10)


@pytest.mark.parametrize(
    "name", ["/etc/passwd", "../up.png", "a/../../up.png", "", "a\0b.png", "..\\up.png"]
)
def test_names_that_lead_out_are_unsafe(tmp_path, name):
    assert reason_of(locate, tmp_path, name) == "unsafe-path"


def test_links(tmp_path, write_image):
    root, outside = tmp_path / "root", write_image(tmp_path / "outside.png")
    write_image(root / "in" / "a.png")
    (root / "out.png").symlink_to(outside)
    (root / "near.png").symlink_to(root / "in" / "a.png")
    (root / "loop.png").symlink_to(root / "loop.png")
    (tmp_path / "alias").symlink_to(root)
    assert reason_of(locate, root, "out.png") == "unsafe-path"
    assert reason_of(locate, root, "loop.png") == "unsafe-path"
    assert inspect_image(locate(root, "near.png")).width == 6
    assert inspect_image(locate(tmp_path / "alias", "in/a.png")).width == 6
