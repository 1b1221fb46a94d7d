"""Images that come inside annotations, kept as files named by their content."""

from __future__ import annotations

import hashlib
import io
import os
import tempfile
from pathlib import Path

from PIL import Image

from adaptinf.data import reasons
from adaptinf.data.images import FORMATS
from adaptinf.data.rows import RowProblem


def store_image(media: Path, raw: bytes) -> str:
    """Writes encoded image bytes below ``media``; returns the name there, ``ab/abcd....jpeg``.

    The name is the SHA-256 of the bytes and the suffix of their real format. A file that exists
    is kept, a new one appears whole or not at all. Raises ``RowProblem`` ("undecodable-image") for
    bytes of no known image format.
    """
    try:
        with Image.open(io.BytesIO(raw), formats=FORMATS) as image:
            suffix = str(image.format).lower()
    except Exception as error:  # Pillow's openers raise what they like on broken bytes.
        raise RowProblem(reasons.UNDECODABLE_IMAGE, "embedded image") from error
    digest = hashlib.sha256(raw).hexdigest()
    name = f"{digest[:2]}/{digest}.{suffix}"
    path = media / name
    if not path.exists():
        path.parent.mkdir(parents=True, exist_ok=True)
        handle, temporary = tempfile.mkstemp(dir=path.parent, prefix=".")
        with os.fdopen(handle, "wb") as file:
            file.write(raw)
        os.chmod(temporary, 0o644)
        os.replace(temporary, path)
    return name
