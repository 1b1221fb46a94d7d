"""Image files, none of them trusted: where they may lie, whether they decode, what they are."""

from __future__ import annotations

import hashlib
import io
from dataclasses import dataclass
from pathlib import Path, PurePosixPath

from PIL import Image, ImageOps

from adaptinf.data import reasons
from adaptinf.data.looks import look_of
from adaptinf.errors import UserError

# What the datasets hold. Pillow knows more, among them EPS, which starts Ghostscript.
FORMATS = ("JPEG", "PNG", "GIF", "WEBP", "BMP", "TIFF", "PPM")

MAX_PIXELS = 89_478_485
"""Largest image that is decoded: Pillow's own limit, a quarter of a gigabyte as RGB."""


_FORMAT_OF_SUFFIX = {
    ".jpg": "JPEG",
    ".jpeg": "JPEG",
    ".png": "PNG",
    ".gif": "GIF",
    ".webp": "WEBP",
    ".bmp": "BMP",
    ".tif": "TIFF",
    ".tiff": "TIFF",
}

_ORIENTATION = 0x0112


@dataclass(frozen=True, slots=True)
class ImageInfo:
    """Size in pixels and SHA-256 of the file's bytes.

    ``misnamed``: the suffix names another format than the bytes have. ``look`` is that of
    ``adaptinf.data.looks``.
    """

    width: int
    height: int
    digest: str
    misnamed: bool = False
    look: int | None = None


class BadImage(UserError):
    """An image that cannot be used. ``reason`` is one of ``adaptinf.data.reasons``."""

    def __init__(self, reason: str, where: str) -> None:
        super().__init__(reason, where=where)
        self.reason = reason


def locate(root: Path, name: str) -> Path:
    """The file that ``name`` names below ``root``.

    Raises ``BadImage`` ("unsafe-path") for absolute names, for ``..``, and for links that lead out
    of ``root``: names come from data.
    """
    pure = PurePosixPath(name)
    unsafe = not name or pure.is_absolute() or ".." in pure.parts or "\\" in name or "\0" in name
    if unsafe:
        raise BadImage(reasons.UNSAFE_PATH, name)
    path = root / pure
    try:
        inside = path.resolve().is_relative_to(root.resolve())
    except (OSError, RuntimeError, ValueError) as error:
        raise BadImage(reasons.UNSAFE_PATH, name) from error
    if not inside:
        raise BadImage(reasons.UNSAFE_PATH, f"{name} (a link out of {root})")
    return path


def inspect_image(path: Path) -> ImageInfo:
    """Size and digest of an image file, after decoding all of it.

    The suffix is not trusted (GIF files are named ``.jpg`` in OCR-VQA); of an animation the first
    frame counts. Raises ``BadImage`` with the reason "missing-image", "empty-image",
    "undecodable-image", "oversized-image" or "single-pixel-image", which shows nothing.
    """
    raw = _read(path)
    image, format = _decoded(raw, str(path))
    if image.size == (1, 1):
        raise BadImage(reasons.SINGLE_PIXEL, str(path))
    named = _FORMAT_OF_SUFFIX.get(path.suffix.lower(), format)
    digest = hashlib.sha256(raw).hexdigest()
    return ImageInfo(image.width, image.height, digest, named != format, look_of(image))


def image_size(path: Path) -> tuple[int, int]:
    """Width and height of an image file as it is seen, from its header.

    Raises ``BadImage`` like ``inspect_image``, but for pixels that cannot be decoded.
    """
    try:
        with Image.open(path, formats=FORMATS) as image:
            width, height = image.size
            return (height, width) if _lies_on_its_side(image) else (width, height)
    except OSError as error:
        reason = reasons.UNDECODABLE_IMAGE if path.is_file() else reasons.MISSING_IMAGE
        raise BadImage(reason, str(path)) from error
    except Exception as error:  # Pillow's openers raise what they like on broken bytes.
        raise BadImage(reasons.UNDECODABLE_IMAGE, str(path)) from error


def load_image(path: Path) -> Image.Image:
    """The image as RGB, upright. Raises like ``inspect_image``."""
    return decode_image(_read(path), str(path))


def decode_image(raw: bytes, where: str, most: int | None = None) -> Image.Image:
    """The first frame of encoded image bytes as RGB, turned upright as Exif says.

    Raises ``BadImage``: "undecodable-image", or "oversized-image", with more than ``most`` pixels
    (``MAX_PIXELS``), before any pixel is decoded.
    """
    return _decoded(raw, where, most)[0]


def _decoded(raw: bytes, where: str, most: int | None = None) -> tuple[Image.Image, str]:
    """The image, and the format of its bytes."""
    try:
        with Image.open(io.BytesIO(raw), formats=FORMATS) as image:
            if image.width * image.height > (MAX_PIXELS if most is None else most):
                raise BadImage(reasons.OVERSIZED_IMAGE, where)
            pixels = image.convert("RGB")
            _turn_upright(pixels)
            return pixels, str(image.format)
    except Image.DecompressionBombError as error:
        raise BadImage(reasons.OVERSIZED_IMAGE, where) from error
    except (BadImage, MemoryError):
        raise
    except Exception as error:  # Pillow's decoders raise what they like on broken bytes.
        raise BadImage(reasons.UNDECODABLE_IMAGE, where) from error


def _turn_upright(image: Image.Image) -> None:
    try:
        ImageOps.exif_transpose(image, in_place=True)
    except Exception:  # broken Exif data turn nothing, and the pixels are good
        return


def _lies_on_its_side(image: Image.Image) -> bool:
    try:
        return image.getexif().get(_ORIENTATION) in (5, 6, 7, 8)
    except Exception:  # as above
        return False


def _read(path: Path) -> bytes:
    try:
        raw = path.read_bytes()
    except OSError as error:
        raise BadImage(reasons.MISSING_IMAGE, str(path)) from error
    if not raw:
        raise BadImage(reasons.EMPTY_IMAGE, str(path))
    return raw
