from __future__ import annotations

import base64
import hashlib
import io
import json
from pathlib import Path

import numpy as np
import pyarrow.parquet as pq
import pytest
from PIL import Image

from adaptinf.data import readers
from adaptinf.data.source import find_source
from adaptinf.data.world import build_world, world_fingerprint
from adaptinf.data.world.build import METRICS, WorldSizes
from adaptinf.data.world.drawing import COLOURS, NUMBERS, PLACES, Digits, Scene, Thing, draw_scene
from adaptinf.data.world.skills import SKILLS, Source
from adaptinf.evaluation.benchmarks import find_benchmarks

SMALL = WorldSizes(scale=0.01, benchmark_rows=6)


def digests(root: Path) -> dict[str, str]:
    return {
        str(f.relative_to(root)): hashlib.sha256(f.read_bytes()).hexdigest()
        for f in sorted(root.rglob("*"))
        if f.is_file()
    }


def test_same_seed_same_files_other_seed_others(small_world: Path, tmp_path: Path) -> None:
    again = build_world(tmp_path / "again", seed=0, sizes=SMALL)
    assert digests(again) == digests(small_world)
    other = build_world(tmp_path / "other", seed=1, sizes=SMALL)
    assert digests(other) != digests(small_world)


def test_built_once_and_mended_when_incomplete(tmp_path: Path) -> None:
    root = build_world(tmp_path, seed=0, sizes=SMALL)
    stamps = {f: f.stat().st_mtime_ns for f in root.rglob("*.jsonl")}
    build_world(tmp_path, seed=0, sizes=SMALL)
    assert {f: f.stat().st_mtime_ns for f in root.rglob("*.jsonl")} == stamps
    whole = digests(root)
    (root / "world.json").unlink()
    (root / "minigpt4" / "filter_cap.json").unlink()
    build_world(tmp_path, seed=0, sizes=SMALL)
    assert digests(root) == whole


def test_the_shipped_world_is_the_one_that_was_frozen() -> None:
    # Changing this line changes the data of every run and makes old results incomparable.
    assert world_fingerprint(0, WorldSizes()).startswith("b7c12a66c2e48ce2")


def test_llava_has_the_real_fields(small_world: Path) -> None:
    rows = json.loads((small_world / "llava/llava_v1_5_mix665k.json").read_text())
    texts = [row for row in rows if "image" not in row]
    pictured = [row for row in rows if "image" in row]
    assert texts and all(row["model"] == "" for row in texts)
    assert all(row["image"].startswith("coco/train2017/") for row in pictured)
    firsts = [row["conversations"][0]["value"] for row in pictured]
    assert {value.count("<image>") for value in firsts} == {1}
    assert any(v.startswith("<image>\n") for v in firsts)
    assert any(v.endswith("\n<image>") for v in firsts)
    assert len({row["id"] for row in pictured}) < len(pictured)
    assert any(len(row["conversations"]) == 4 for row in rows)


def test_m3it_has_base64_pictures_and_no_marks(small_world: Path) -> None:
    files = sorted((small_world / "m3it/data").glob("*/*/train.jsonl"))
    assert [file.parent.name for file in files] == ["digit", "parity", "count", "presence"]
    row = json.loads(files[0].read_text().splitlines()[0])
    assert set(row) == {"instruction", "inputs", "image_base64_str", "outputs"}
    assert Image.open(io.BytesIO(base64.b64decode(row["image_base64_str"][0]))).size == (32, 32)
    assert "<image>" not in row["instruction"] + row["inputs"]


def test_mantis_has_two_pictures_and_marks(small_world: Path) -> None:
    (file,) = (small_world / "mantis/both").glob("train-*.parquet")
    row = pq.read_table(file).to_pylist()[0]
    assert row["conversation"][0]["content"].count("<image>") == len(row["images"]) == 2
    assert (small_world / "mantis/both" / row["images"][1]["path"]).is_file()


@pytest.mark.parametrize("dataset", ["llava", "m3it", "minigpt4", "mantis", "vision_flan"])
def test_real_readers_find_nothing_wrong(small_world: Path, tmp_path: Path, dataset: str) -> None:
    source = find_source(dataset, root=small_world, media=tmp_path, recipe_dir=tmp_path)
    rows = list(readers.read(source, tmp_path))
    assert len(rows) == sum(SMALL.rows(dataset).values())
    assert [row.problem for row in rows if row.problem] == []


def test_every_skill_has_a_benchmark_and_a_teacher(small_world: Path) -> None:
    benchmarks = find_benchmarks(small_world / "benchmarks", "all")
    assert {b.skill for b in benchmarks} == set(SKILLS)
    for benchmark in benchmarks:
        assert benchmark.taught_by
        assert benchmark.metric == METRICS.get(benchmark.skill, "exact")
        items = benchmark.items()
        assert len(items) == 6
        assert all((benchmark.images / path).is_file() for q in items for path in q.images)


def test_benchmarks_share_no_digit_and_no_number_pair_with_training() -> None:
    digits = Digits.load()
    seen = [
        {
            (item.question, *(p.tobytes() for p in item.pictures))
            for n in range(200)
            for skill in ("digit", "larger")
            for item in [SKILLS[skill](Source(np.random.default_rng(n), digits, held_out))]
        }
        for held_out in (False, True)
    ]
    assert len(seen[0]) > 100 and len(seen[1]) > 100
    assert not seen[0] & seen[1]


@pytest.mark.parametrize("colour", COLOURS)
@pytest.mark.parametrize("place", PLACES)
def test_an_object_is_drawn_in_its_colour_at_its_place(colour: str, place: str) -> None:
    scene = Scene((Thing("square", colour, place),))
    pixels = np.asarray(draw_scene(scene, np.random.default_rng(0))).astype(int)
    row, column = divmod(PLACES.index(place), 2)
    middle = pixels[16 * row + 8, 16 * column + 8]
    assert np.abs(middle - COLOURS[colour]).max() <= 10
    far = pixels[16 * (1 - row) + 8, 16 * (1 - column) + 8]
    assert far.max() < 60


def test_answers_are_right_where_the_picture_tells() -> None:
    digits = Digits.load()
    for n in range(50):
        source = Source(np.random.default_rng(n), digits, held_out=True)
        item = SKILLS["larger"](source)
        numbers = [w.strip("?,") for w in item.question.split() if w.strip("?,") in NUMBERS]
        assert item.answer in numbers and item.pictures == ()
        answer = SKILLS["count"](source).answer
        assert answer in ("one", "two", "three", "four")
