from __future__ import annotations

import hashlib
import json
from collections.abc import Callable
from pathlib import Path

import pytest

from adaptinf.errors import UserError
from stages.work import Counts, Progress, Silent, Work, derived_seed


def work_in(
    folder: Path,
    perform: Callable[[Path, Progress], Counts],
    settings: dict | None = None,
    inputs: dict | None = None,
) -> Work:
    return Work(
        step="1-x",
        stage="select",
        version=1,
        settings=settings or {"budget": 3},
        inputs=inputs or {"ingest": "abc"},
        folder=folder / "1-x" / "select",
        perform=perform,
    )


def write_one(folder: Path, progress: Progress) -> Counts:
    (folder / "out.txt").write_text("out")
    return Counts(5, 3, {"not-selected": 2})


def test_done_holds_fingerprint_outputs_and_counts(tmp_path: Path) -> None:
    work = work_in(tmp_path, write_one)
    assert work.done() is None
    record = work.run(Silent())
    assert record == json.loads((work.folder / "DONE").read_text()) == work.done()
    assert record["counts"] == {"in": 5, "kept": 3, "dropped": {"not-selected": 2}}
    assert record["outputs"] == {"out.txt": hashlib.sha256(b"out").hexdigest()}
    assert sorted(f.name for f in work.folder.iterdir()) == ["DONE", "out.txt"]


def test_interrupted_work_goes_on_in_its_draft(tmp_path: Path) -> None:
    def interrupted(folder: Path, progress: Progress) -> Counts:
        (folder / "half.txt").write_text("half")
        raise KeyboardInterrupt

    def goes_on(folder: Path, progress: Progress) -> Counts:
        assert (folder / "half.txt").read_text() == "half"
        return write_one(folder, progress)

    with pytest.raises(KeyboardInterrupt):
        work_in(tmp_path, interrupted).run(Silent())
    assert work_in(tmp_path, goes_on).done() is None
    record = work_in(tmp_path, goes_on).run(Silent())
    assert set(record["outputs"]) == {"half.txt", "out.txt"}


def test_draft_of_other_settings_is_thrown_away(tmp_path: Path) -> None:
    def interrupted(folder: Path, progress: Progress) -> Counts:
        (folder / "half.txt").write_text("half")
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        work_in(tmp_path, interrupted, settings={"budget": 4}).run(Silent())
    record = work_in(tmp_path, write_one).run(Silent())
    assert set(record["outputs"]) == {"out.txt"}


def test_folder_without_done_is_made_anew(tmp_path: Path) -> None:
    work = work_in(tmp_path, write_one)
    work.folder.mkdir(parents=True)
    (work.folder / "old.txt").write_text("a rename that was not followed by DONE")
    assert work.done() is None
    assert set(work.run(Silent())["outputs"]) == {"out.txt"}


@pytest.mark.parametrize(
    ("settings", "inputs", "told"),
    [
        ({"budget": 4}, None, "budget was 3, is 4"),
        (None, {"ingest": "other"}, "other ingest"),
        ({"budget": 3, "new": 1}, None, "new was not set, is 1"),
    ],
)
def test_finished_with_another_recipe_is_told(
    tmp_path: Path, settings: dict | None, inputs: dict | None, told: str
) -> None:
    work_in(tmp_path, write_one).run(Silent())
    other = work_in(tmp_path, write_one, settings=settings, inputs=inputs)
    assert other.is_drifted()
    with pytest.raises(UserError, match=told):
        other.done()


def test_fingerprint_covers_stage_version_settings_and_inputs(tmp_path: Path) -> None:
    base = work_in(tmp_path, write_one)
    assert base.fingerprint == work_in(tmp_path / "elsewhere", write_one).fingerprint
    assert base.fingerprint != work_in(tmp_path, write_one, settings={"budget": 4}).fingerprint
    assert base.fingerprint != work_in(tmp_path, write_one, inputs={"ingest": "d"}).fingerprint


def test_seeds_differ_by_name_and_step() -> None:
    seeds = {derived_seed(0, step, name) for step in range(20) for name in ("train", "select")}
    assert len(seeds) == 40
    assert all(0 <= seed < 2**31 for seed in seeds)
    assert derived_seed(0, 1, "train") == derived_seed(0, 1, "train")
