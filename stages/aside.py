"""Folders of stages that are made anew: what was there stands beside them until they are done."""

from __future__ import annotations

import shutil
from pathlib import Path


def aside(folder: Path) -> Path:
    """Where the folder is that a stage's new one takes the place of."""
    return folder.with_name(folder.name + ".before")


def set_aside(folder: Path) -> None:
    """Keep a stage's folder for the one that takes its place."""
    forget(folder)
    folder.rename(aside(folder))


def forget(folder: Path) -> None:
    """Remove what stands beside a stage's folder: that is done."""
    shutil.rmtree(aside(folder), ignore_errors=True)
