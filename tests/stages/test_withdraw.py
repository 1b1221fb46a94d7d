"""Data that is withdrawn was never seen; of a new version only new rows are computed."""

from __future__ import annotations

import json
import random
import shutil
from collections.abc import Callable, Sequence
from pathlib import Path

import pyarrow.parquet as pq
import pytest
import yaml

from adaptinf.console import make_console
from adaptinf.errors import UserError
from adaptinf.features.glances import glanced_rows
from config import load_recipe
from stages.manager import run_lifelong
from stages.passes import PoolPass
from stages.verify import verify_run
from stages.withdraw import plan_withdrawal
from stages.withdrawn import Withdrawn, uids_in, without

LABELS = ("alpha", "beta", "gamma", "delta", "epsilon")
Contents = Callable[[Path], dict[str, str]]


def told(label: str, number: int) -> dict:
    draw = random.Random(f"{label}{number}")
    words = " ".join(draw.choice(("red", "blue", "cup", "two", "plate")) for _ in range(2 + number))
    return {
        "id": f"{label}-{number}",
        "conversations": [
            {"from": "human", "value": f"{label} {number}: {words}"},
            {"from": "gpt", "value": draw.choice(("yes", "no"))},
        ],
    }


def write_rows(folder: Path, label: str, rows: Sequence[dict]) -> None:
    (folder / f"{label}.json").write_text(json.dumps(rows))


@pytest.fixture(scope="module")
def world(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A recipe's folder: five datasets of ten rows, and three questions."""
    folder = tmp_path_factory.mktemp("world")
    for label in LABELS:
        write_rows(folder, label, [told(label, number) for number in range(10)])
    asked = [{"question_id": str(i), "text": f"cup {i}?", "answer": "yes"} for i in range(3)]
    (folder / "asked.jsonl").write_text("".join(json.dumps(one) + "\n" for one in asked))
    (folder / "asked.yaml").write_text("name: asked\nquestions: asked.jsonl\nmetric: exact\n")
    return folder


def recipe_file(folder: Path, labels: Sequence[str]) -> Path:
    recipe = {
        "output_dir": "unused",
        "tasks": [{"dataset": f"{label}.json"} for label in labels],
        "featurize": {"dim": 8, "layer": "last", "batch_tokens": 96, "max_rows": None},
        "select": {"budget": 6},
        "prune": {"pool_budget": 16},
        "adapter": {"r": 1, "placement": [{"part": "text", "layers": "3-3", "leaves": ["q_proj"]}]},
        "train": {"learning_rate": 2e-3, "batch_size": 3},
        "evaluate": {"benchmarks": ["asked.yaml"]},
    }
    file = folder / f"{'-'.join(labels)}.yaml"
    file.write_text(yaml.safe_dump(recipe))
    return file


def run(file: Path, place: Path, *overrides: str, fresh: bool = False) -> int:
    """Stages that the recipe performs in a run folder."""
    recipe = load_recipe(file, [f"output_dir={place}", *overrides])
    place.mkdir(exist_ok=True)
    console = make_console(place / "events.jsonl")
    return run_lifelong(recipe, console, fresh=fresh).performed


def withdraw(place: Path, dataset: str | None = None, rows: Sequence[str] = ()) -> int:
    plan = plan_withdrawal(place, dataset, rows)
    plan.check()
    console = make_console(place / "events.jsonl")
    plan.carry_out(console)
    return run_lifelong(plan.rest, console).performed


def copied(place: Path, tmp_path: Path) -> Path:
    return Path(shutil.copytree(place, tmp_path / "run"))


def uids(place: Path, step: str, file: str = "ingest/pool.parquet") -> list[str]:
    return pq.read_table(place / "steps" / step / file)["uid"].to_pylist()


@pytest.fixture(scope="module")
def three(world: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A finished run of three tasks."""
    place = tmp_path_factory.mktemp("three") / "run"
    run(recipe_file(world, LABELS[:3]), place)
    return place


def equal_without(world: Path, full: Path, labels: Sequence[str], k: int, tmp_path: Path) -> Path:
    """The run after the k-th of the tasks was withdrawn: equal to one that never saw it."""
    rest = [label for label in labels if label != labels[k]]
    never = tmp_path / "never"
    run(recipe_file(world, rest), never)
    place = copied(full, tmp_path)
    performed = withdraw(place, labels[k])
    kept = [f.parent for f in never.rglob("DONE") if int(f.relative_to(never).parts[1][0]) <= k]
    assert performed == len(list(never.rglob("DONE"))) - len(kept)
    assert _contents_of(place) == _contents_of(never)
    assert {file.name for file in (place / "steps").iterdir()} == {
        file.name for file in (never / "steps").iterdir()
    }
    assert verify_run(place).is_sound
    return place


def _contents_of(place: Path) -> dict[str, bytes]:
    files = [place / "matrix.json", *(place / "steps").rglob("*")]
    return {str(f.relative_to(place)): f.read_bytes() for f in files if f.is_file()}


@pytest.mark.parametrize("k", [0, 2])
def test_a_dataset_withdrawn_was_never_seen(world, three, k, tmp_path):
    equal_without(world, three, LABELS[:3], k, tmp_path)


def test_a_dataset_withdrawn_stays_away(world, three, tmp_path):
    place = equal_without(world, three, LABELS[:3], 1, tmp_path)
    before = _contents_of(place)
    assert run(recipe_file(world, LABELS[:3]), place) == 0
    assert run(recipe_file(world, LABELS[:3]), place, fresh=True) == 0
    assert withdraw(place, "beta") == 0
    assert _contents_of(place) == before
    costs = json.loads((place / "cost.json").read_text())["steps"]
    assert [entry["step"] for entry in costs] == ["0-base", "1-alpha", "2-gamma"]


@pytest.mark.slow
def test_each_of_five_datasets_can_be_withdrawn(world, tmp_path):
    full = tmp_path / "full"
    run(recipe_file(world, LABELS), full)
    for k in range(5):
        (tmp_path / str(k)).mkdir()
        equal_without(world, full, LABELS, k, tmp_path / str(k))


def without_two_rows(three: Path, tmp_path: Path) -> tuple[Path, list[str]]:
    """The run after two rows were withdrawn, and their uids."""
    place = copied(three, tmp_path)
    ours = [uid for uid in uids(place, "2-beta") if uid.startswith("beta:")]
    gone = [ours[1], ours[2]]  # of the shortest rows, which are in the last batches
    withdraw(place, rows=gone)
    return place, gone


def test_rows_withdrawn_were_never_seen(world, three, tmp_path, capsys):
    place, gone = without_two_rows(three, tmp_path)
    assert "4 of 8 rows are taken over as they were" in capsys.readouterr().err
    assert not {*gone} & {*uids(place, "2-beta"), *uids(place, "3-gamma")}
    dropped = pq.read_table(place / "steps/2-beta/ingest/dropped.parquet").to_pylist()
    assert [(row["reason"], row["detail"]) for row in dropped] == [("withdrawn", u) for u in gone]
    listed = tmp_path / "withdrawn.txt"
    listed.write_text("# of the second dataset\n" + "\n".join(gone) + "\n")
    never = tmp_path / "never"
    run(recipe_file(world, LABELS[:3]), never, f"data.withdrawn={listed}")
    assert _contents_of(place) == _contents_of(never)
    assert not list(place.rglob("*.before"))


@pytest.mark.slow
def test_all_is_as_of_a_file_without_the_rows_but_what_tells_of_it(world, three, tmp_path):
    place, _ = without_two_rows(three, tmp_path)
    other = tmp_path / "other"
    shutil.copytree(world, other)
    write_rows(other, "beta", [told("beta", n) for n in range(10) if n not in (1, 2)])
    run(recipe_file(other, LABELS[:3]), tmp_path / "apart")
    apart, mine = _contents_of(tmp_path / "apart"), _contents_of(place)
    assert apart.keys() == mine.keys()
    tells = ("DONE", "lineage.json", "README.md", "dropped.parquet")
    differ = [name for name in mine if mine[name] != apart[name] and not name.endswith(tells)]
    assert differ == []


def test_what_is_asked_is_told_before_anything_is_removed(world, three, tmp_path):
    place = copied(three, tmp_path)
    before = _contents_of(place)
    text = plan_withdrawal(place, "beta", ()).text()
    assert "2-beta" in text and "removed" in text
    assert "made anew as 2-gamma" in text and "1-alpha" not in text
    with pytest.raises(UserError, match="did you mean 'gamma'"):
        plan_withdrawal(place, "gama", ())
    with pytest.raises(UserError, match="none of these rows"):
        plan_withdrawal(place, None, ["beta:" + "0" * 20])
    first = uids(place, "3-gamma")[0]
    assert (
        "1 of these rows were never"
        in plan_withdrawal(place, None, [first, "beta:" + "0" * 20]).text()
    )
    assert _contents_of(place) == before
    assert not (place / "withdrawn.json").exists()


def test_the_last_dataset_is_not_withdrawn(world):
    recipe = load_recipe(recipe_file(world, LABELS[:2]), ["select.floors={beta: 0.5}"])
    rest = without(recipe, ["beta"])
    assert [task.label for task in rest.tasks] == ["alpha"] and rest.select.floors == {}
    assert rest.recipe_dir == world
    with pytest.raises(UserError, match="no run is left"):
        without(rest, ["alpha"])


def test_lists_of_uids_are_checked(tmp_path):
    file = tmp_path / "uids"
    file.write_text("\n# comment\n a:0123456789abcdef0123 \nnot one\n")
    with pytest.raises(UserError, match=r"uids:4.*not the uid"):
        uids_in(file)
    Withdrawn(("a",), ()).write(tmp_path)
    assert Withdrawn.read(tmp_path).with_more(["b"], ["r"]) == Withdrawn(("a", "b"), ("r",))
    (tmp_path / "withdrawn.json").write_text("{")
    with pytest.raises(UserError, match="cannot be read"):
        Withdrawn.read(tmp_path)


def test_a_new_version_computes_what_is_new_and_tells_what_is_gone(world, tmp_path):
    here = tmp_path / "here"
    shutil.copytree(world, here)
    file, place = recipe_file(here, LABELS[:2]), tmp_path / "run"
    run(file, place)
    scores = pq.read_table(place / "steps/2-beta/featurize/scores.parquet").to_pylist()
    old = {row["uid"]: row for row in scores}
    rows = [told("beta", number) for number in range(10)]
    new = [told("beta", number) for number in (20, 21, 22)]
    write_rows(here, "beta", [*rows[:4], *new, *rows[4:9]])  # three inserted, the last one gone
    with pytest.raises(UserError, match="other annotations"):
        run(file, place)
    run(file, place, fresh=True)
    manifest = json.loads((place / "steps/2-beta/featurize/manifest.json").read_text())
    assert manifest["settings"]["scored_now"] == 3
    assert manifest["settings"]["taken_over"] == 9
    now = pq.read_table(place / "steps/2-beta/featurize/scores.parquet").to_pylist()
    assert sum(row["uid"] in old and row == old[row["uid"]] for row in now) == len(now) - 3
    done = json.loads((place / "steps/2-beta/ingest/DONE").read_text())
    assert done["counts"] == {"in": 13, "kept": 12, "dropped": {"gone-in-new-version": 1}}
    assert not list(place.rglob("*.before"))
    assert verify_run(place).is_sound
    assert run(file, place) == 0


def test_a_set_for_no_commercial_use_trains_no_row(world, tmp_path):
    place = tmp_path / "run"
    licences = ["tasks.0.licence=MIT", "tasks.1.licence=CC-BY-NC-4.0", "data.licences=commercial"]
    run(recipe_file(world, LABELS[:2]), place, *licences)
    done = json.loads((place / "steps/2-beta/ingest/DONE").read_text())
    assert done["counts"] == {"in": 10, "kept": 0, "dropped": {"licence-kept-out": 10}}
    selected = pq.read_table(place / "steps/2-beta/select/selection.parquet").to_pylist()
    assert {(row["dataset"], row["licence"]) for row in selected} == {("alpha", "MIT")}
    card = (place / "steps/2-beta/README.md").read_text()
    assert f"| alpha | alpha.json | MIT | {len(selected)} |" in card
    assert "license: mit" in card and "beta |" not in card
    with pytest.raises(UserError, match="no row of beta may be trained on"):
        run(recipe_file(world, LABELS[1:2]), tmp_path / "other", licences[2], "tasks.0.licence=x")


def test_of_a_new_version_only_new_rows_get_a_first_look(world, tmp_path, monkeypatch):
    here = tmp_path / "here"
    shutil.copytree(world, here)
    file, place = recipe_file(here, LABELS[:1]), tmp_path / "run"
    run(file, place, "featurize.max_rows=6")
    looked: list[int] = []
    fill = PoolPass.fill

    def counted(self: PoolPass, store: object, pending: list[int], progress: object) -> None:
        looked.append(sum(len(self.batches[number]) for number in pending))
        fill(self, store, pending, progress)

    monkeypatch.setattr(PoolPass, "fill", counted)
    before = json.loads((place / "steps/1-alpha/glance/DONE").read_text())["counts"]
    rows = [told("alpha", number) for number in (*range(5), 20, 21, 22, *range(5, 10))]
    write_rows(here, "alpha", rows)
    run(file, place, "featurize.max_rows=6", fresh=True)
    assert before["in"] == 10
    assert looked[0] == 3
    vectors = glanced_rows(place / "steps/1-alpha/glance")
    assert vectors == uids(place, "1-alpha") and len(vectors) == 13
