"""A disk that is full, in the words of all the libraries that write to it."""

from __future__ import annotations

import errno
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from adaptinf.errors import UserError

_NUMBERS = {errno.ENOSPC, errno.EDQUOT, errno.EFBIG}
_WORDS = (
    "No space left on device",
    "Disk quota exceeded",
    "File too large",
    "requested and",  # numpy: so many bytes requested and so many written
    "PytorchStreamWriter failed writing file",
    "unexpected pos",  # torch, closing an archive that it could not write to
)


@contextmanager
def needs_room(folder: Path) -> Iterator[None]:
    """Inside, files are written into ``folder``. Raises ``UserError`` where the disk is full."""
    try:
        yield
    except Exception as error:
        told = None if isinstance(error, UserError) else full_disk(error, folder)
        if told is None:
            raise
        raise told from error


def full_disk(error: BaseException | None, folder: Path | None = None) -> UserError | None:
    """What to tell where an error comes from a disk that takes no more; None where it does not.

    ``folder`` is told where the error does not know the file.

    Only Python's own errors have a number; safetensors, Arrow and torch put it into words.
    """
    while error is not None:
        if isinstance(error, OSError) and error.errno in _NUMBERS:
            return _told(error.filename or folder, error.strerror)
        if any(words in str(error) for words in _WORDS):
            return _told(folder, str(error).splitlines()[0])
        error = error.__cause__ or error.__context__
    return None


def _told(file: object, seen: str | None) -> UserError:
    return UserError(
        "the disk takes no more",
        where="" if file is None else str(file),
        seen=seen,
        hint="make room; the same command goes on from here",
    )
