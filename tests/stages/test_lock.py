from __future__ import annotations

from pathlib import Path

import pytest

from adaptinf.errors import UserError
from stages.lock import locked


def test_a_run_folder_is_held_by_one_and_given_free(tmp_path: Path) -> None:
    with locked(tmp_path), pytest.raises(UserError, match="another process"), locked(tmp_path):
        pass
    with locked(tmp_path):
        pass
