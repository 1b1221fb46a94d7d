"""Damage to what finished stages wrote: found, named, and made good by the next run."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from itertools import pairwise
from pathlib import Path

import pytest

from adaptinf.errors import UserError
from stages.integrity import inspect_stage, mark_unsound
from stages.record import read_record
from stages.verify import verify_run
from stages.work import Counts, Progress, Silent, Work
from tests.stages.test_cli import call

Contents = Callable[[Path], dict[str, str]]

KINDS = {
    "1-llava/ingest": "pool.parquet",
    "2-mantis/featurize": "gradients-00000.npy",
    "1-llava/featurize": "scores.parquet",
    "1-llava/select": "selection.parquet",
    "2-mantis/train": "adapter/adapter_model.safetensors",
    "0-base/evaluate/caption": "predictions.jsonl",
    "1-llava/evaluate/more": "scores.json",
    "2-mantis/prune": "DONE",
}
READ = ("ingest", "featurize", "select")


def flip(file: Path) -> None:
    """Change one bit in the middle of a file."""
    content = bytearray(file.read_bytes())
    content[len(content) // 2] ^= 1
    file.write_bytes(content)


@pytest.fixture
def damaged(undisturbed: Path, tmp_path: Path) -> Path:
    """A finished run with one bit changed in a file of each kind."""
    run = tmp_path / "run"
    shutil.copytree(undisturbed, run)
    for stage, name in KINDS.items():
        flip(run / "steps" / stage / name)
    return run


def stamps(run: Path) -> dict[str, int]:
    files = [file for file in (run / "steps").rglob("*") if file.is_file()]
    return {file.relative_to(run / "steps").as_posix(): file.stat().st_mtime_ns for file in files}


def test_each_kind_of_file_is_named_and_its_stage_alone_made_anew(
    recipe_dict: dict, runner_of: Callable, undisturbed: Path, damaged: Path, contents: Contents
) -> None:
    before = stamps(damaged)
    verdict = verify_run(damaged)
    faults = {name: found.damaged for name, found in verdict.stages.items() if not found.is_sound}
    assert faults == {stage: (name,) for stage, name in KINDS.items()}
    assert verdict.redone == tuple(sorted(KINDS))
    assert not any(found.missing or found.surplus for found in verdict.stages.values())
    again = runner_of(recipe_dict)(damaged).stdout.splitlines()
    assert again[-1] == str(len(KINDS))
    assert contents(damaged) == contents(undisturbed)
    after = stamps(damaged)
    anew = {name for name in after if after[name] != before.get(name)}
    assert {name for name in anew if not name.startswith(tuple(KINDS))} == set()
    assert verify_run(damaged).is_sound


def test_a_run_finds_for_itself_what_it_would_read(
    recipe_dict: dict, runner_of: Callable, undisturbed: Path, damaged: Path, contents: Contents
) -> None:
    """The last training is to be done again; it reads a damaged selection, that damaged features.

    Nobody reads answers and scores again, so they are left to ``verify``; a damaged ``DONE`` is as
    none.
    """
    shutil.rmtree(damaged / "steps/2-mantis/train")
    flip(damaged / "steps/2-mantis/select/selection.parquet")
    read = {stage: name for stage, name in KINDS.items() if stage.endswith(READ)}
    told = runner_of(recipe_dict)(damaged).stdout.splitlines()
    assert {line for line in told if "made anew" in line} == {
        f"{stage}: made anew, damaged or missing: {name}"
        for stage, name in {**read, "2-mantis/select": "selection.parquet"}.items()
    }
    assert verify_run(damaged).redone == ("0-base/evaluate/caption", "1-llava/evaluate/more")
    runner_of(recipe_dict)(damaged)
    assert contents(damaged) == contents(undisturbed)


def test_results_at_the_top_are_written_again(
    recipe_dict: dict, runner_of: Callable, undisturbed: Path, tmp_path: Path
) -> None:
    run = tmp_path / "run"
    shutil.copytree(undisturbed, run)
    names = ("matrix.json", "report.html", "config.resolved.yaml", "cost.json")
    for name in names:
        flip(run / name)
    (run / "source_hashes.json").write_text("{")
    assert set(verify_run(run).results) == {*names, "source_hashes.json"}
    assert runner_of(recipe_dict)(run).stdout.splitlines()[-1] == "0"
    assert (run / "matrix.json").read_bytes() == (undisturbed / "matrix.json").read_bytes()
    assert "</html>" in (run / "report.html").read_text()
    assert verify_run(run).is_sound


def test_the_command_names_files_and_exits_by_what_it_finds(
    undisturbed: Path, tmp_path: Path
) -> None:
    run = tmp_path / "run"
    shutil.copytree(undisturbed, run)
    done = call("adaptinf", "verify", str(run))
    assert (done.returncode, done.stderr) == (0, "")
    assert done.stdout.strip().endswith("as they were written")
    (run / "steps/1-llava/select/summary.json").unlink()
    (run / "steps/1-llava/train/notes.txt").write_text("mine")
    (run / "steps/2-mantis/prune/DONE").unlink()
    with (run / "events.jsonl").open("ab") as file:
        file.write(b'{"time": 1\n')
    done = call("adaptinf", "verify", str(run), "--json", "--look-only")
    assert done.returncode == 1
    told = json.loads(done.stdout)
    assert told["stages"] == {
        "1-llava/select": {"damaged": [], "missing": ["summary.json"], "surplus": []},
        "1-llava/train": {"damaged": [], "missing": [], "surplus": ["notes.txt"]},
    }
    assert told["made_anew_by_next_run"] == ["2-mantis/prune"]
    assert told["unreadable_events"] == [1]
    assert (run / "steps/1-llava/select/DONE").is_file()
    text = call("adaptinf", "verify", str(run)).stdout
    assert "1-llava/select: missing summary.json\n" in text
    assert "1-llava/train: surplus notes.txt\n" in text
    assert "makes anew: 1-llava/select, 2-mantis/prune\n" in text
    assert not (run / "steps/1-llava/select/DONE").exists()
    refused = call("adaptinf", "verify", str(tmp_path))
    assert (refused.returncode, "no run here" in refused.stderr) == (2, True)


def chain(run: Path, first: bytes) -> list[Work]:
    """Three stages, of which each reads the one before it: the last reads only that."""

    def write(folder: Path, progress: Progress) -> Counts:
        (folder / "out.bin").write_bytes(first)
        return Counts(1, 1)

    def copy(source: Path, folder: Path, progress: Progress) -> Counts:
        content = (source / "out.bin").read_bytes()
        (folder / "out.bin").write_bytes(content[:1] + b"!")
        return Counts(1, 1)

    places = [run / "steps" / "1-x" / name for name in ("ingest", "select", "train")]
    one = Work("1-x", "ingest", 1, {}, {}, places[0], write)
    works = [one]
    for source, place in pairwise(places):
        inputs = {"before": works[-1].fingerprint}
        works.append(
            Work(
                *("1-x", place.name, 1, {}, inputs, place),
                lambda folder, progress, source=source: copy(source, folder, progress),
                reads=(source,),
            )
        )
    return works


def perform(works: list[Work]) -> list[str]:
    performed = []
    for work in works:
        if work.done() is None:
            work.run(Silent())
            performed.append(work.stage)
    return performed


def test_what_hangs_on_a_stage_stands_if_that_writes_the_same_again(tmp_path: Path) -> None:
    works = chain(tmp_path, b"abc")
    assert perform(works) == ["ingest", "select", "train"]
    flip(works[0].folder / "out.bin")
    verify_run(tmp_path)
    assert perform(works) == ["ingest"]


def test_what_hangs_on_a_stage_is_made_anew_if_that_writes_other_bytes(tmp_path: Path) -> None:
    """As training may on another device; the second stage writes as before, so the third stands."""
    perform(chain(tmp_path, b"abc"))
    works = chain(tmp_path, b"axx")
    flip(works[0].folder / "out.bin")
    verify_run(tmp_path)
    assert perform(works) == ["ingest", "select"]


def test_only_what_would_be_read_is_looked_through(tmp_path: Path) -> None:
    works = chain(tmp_path, b"abc")
    perform(works)
    for work in works[:2]:
        flip(work.folder / "out.bin")
    told: list[str] = []
    mark_unsound(works, lambda work, found: told.append(work.stage))
    assert told == []
    (works[2].folder / "DONE").unlink()
    mark_unsound(works, lambda work, found: told.append(work.stage))
    assert told == ["select", "ingest"]
    assert perform(works) == ["ingest", "select", "train"]


def test_a_draft_from_other_bytes_is_thrown_away(tmp_path: Path) -> None:
    works = chain(tmp_path, b"abc")
    perform(works[:2])

    def interrupted(folder: Path, progress: Progress) -> Counts:
        (folder / "half").write_text("half")
        raise KeyboardInterrupt

    one = works[2]
    half = Work(one.step, one.stage, 1, {}, one.inputs, one.folder, interrupted, reads=one.reads)
    with pytest.raises(KeyboardInterrupt):
        half.run(Silent())
    (works[0].folder / "DONE").unlink()
    (works[1].folder / "DONE").unlink()
    perform(chain(tmp_path, b"xyz"))
    assert set(inspect_outputs(one.folder)) == {"out.bin"}


def inspect_outputs(folder: Path) -> dict:
    return read_record(folder)["outputs"]


def test_no_bit_of_done_can_change_unseen(tmp_path: Path) -> None:
    """Or what it says is the same: bits of blanks, and of the name of the seal."""
    [work, *_] = chain(tmp_path, b"abc")
    work.run(Silent())
    file = work.folder / "DONE"
    whole = file.read_bytes()
    record = json.loads(whole)
    unseen = []
    for place in range(len(whole)):
        changed = bytearray(whole)
        changed[place] ^= 1
        file.write_bytes(changed)
        if (found := read_record(work.folder)) is not None and found != record:
            unseen.append(place)
    assert unseen == []


def test_one_without_a_seal_is_taken_and_a_marked_one_inspected(tmp_path: Path) -> None:
    [work, *_] = chain(tmp_path, b"abc")
    record = work.run(Silent())
    bare = {name: value for name, value in record.items() if name not in ("seal", "read")}
    (work.folder / "DONE").write_text(json.dumps(bare))
    assert work.done() == bare
    assert inspect_stage(work.folder).is_sound
    (work.folder / "DONE").rename(work.folder / "DAMAGED")
    assert inspect_stage(work.folder).damaged == ("DONE",)


def test_every_stage_says_which_it_reads(recipe_dict: dict) -> None:
    """Whatever stage has the fingerprint of another in its own reads that one's folder."""
    from config import Recipe
    from stages.manager import open_context
    from stages.walk import plan_walk

    wider = {"adapter": {"across_steps": "merge_and_new"}, "featurize": {"max_rows": 20}}
    narrow = {"evaluate": {"benchmarks": ["caption"], "probe": 3}}
    for changed in ({}, wider, narrow, {"select": {"budget": 12, "centroids": "first"}}):
        recipe = Recipe(**{**recipe_dict, **changed})
        works = [w for step in plan_walk(open_context(recipe)) for w in step.ordered]
        by_print = {work.fingerprint: work.folder for work in works}
        for work in works:
            named = {by_print[value] for value in work.inputs.values() if value in by_print}
            assert named <= set(work.reads), work.name


def test_no_mark_is_made_beside_a_run(undisturbed: Path) -> None:
    from stages.lock import locked

    with locked(undisturbed):
        with pytest.raises(UserError, match="another process is at work"):
            verify_run(undisturbed)
        assert verify_run(undisturbed, look_only=True).is_sound
