"""Images that visitors send, as data URLs: nothing is fetched, nothing large is decoded."""

from __future__ import annotations

import base64
import binascii
import re

from PIL import Image

from adaptinf.data.images import BadImage, decode_image
from adaptinf.errors import UserError

BYTES = 10_000_000
PIXELS = 25_000_000
"""Of one image: 75 MB once it is decoded."""

COUNT = 8
"""Images of a conversation."""

_DATA = re.compile(r"data:image/[\w.+-]{1,20};base64,", re.ASCII)


def image_of(url: object, where: str) -> Image.Image:
    """The image in a data URL as RGB, upright, as images of datasets are read.

    Raises:
        UserError: anything but base64 of an image of a known format, or one beyond the limits.
    """
    head = _DATA.match(url) if isinstance(url, str) else None
    if head is None:
        seen = url[:30] if isinstance(url, str) else type(url).__name__
        hint = "send data:image/png;base64,...; addresses and files are not fetched"
        raise UserError("no data URL of an image", where=where, seen=seen, hint=hint)
    code = str(url)[head.end() :]
    if len(code) > BYTES * 4 // 3 + 4:
        raise UserError(f"an image of more than {BYTES // 10**6} MB", where=where)
    try:
        raw = base64.b64decode(code, validate=True)
    except (binascii.Error, ValueError):
        raise UserError("not base64", where=where) from None
    try:
        return decode_image(raw, where, PIXELS)
    except BadImage as error:
        limit = f"at most {PIXELS // 10**6} megapixels of JPEG, PNG, WebP, GIF, BMP, TIFF or PPM"
        raise UserError(error.reason, where=where, hint=limit) from None
