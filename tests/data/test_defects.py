"""Every known defect of every dataset, planted in its own schema: counted, told, and no more lost.

What is kept is then exported in each form and read again, and must be the same rows.
"""

from __future__ import annotations

import base64
import json
from collections import Counter
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from PIL import Image

from adaptinf.data.exports import FORMS, export_rows
from adaptinf.data.ingest import Ingested, ingest
from adaptinf.data.names import FORMATS
from adaptinf.data.pool import PoolBuilder, PoolTable
from adaptinf.data.source import Source, find_source
from adaptinf.errors import UserError

BAD_IMAGES = {
    "gone.jpg": "missing-image",
    "zero.jpg": "empty-image",
    "text.jpg": "undecodable-image",
    "half.jpg": "undecodable-image",
    "dot.jpg": "single-pixel-image",
    "../up.jpg": "unsafe-path",
    "/etc/passwd": "unsafe-path",
}
"""Names of bad images and what is said of a row that has one."""

BAD_TURNS: tuple[tuple[str, list[str]], ...] = (
    ("no-turns", []),
    ("image-mark-mismatch", ["no mark", "x"]),
    ("image-mark-mismatch", ["<image><image>", "x"]),
    ("empty-answer", ["<image>\nq", " "]),
    ("last-role-not-assistant", ["<image>\nq", "x", "more"]),
)


def paint(folder: Path, write_image) -> None:
    """Good images ``0.jpg`` to ``9.jpg``, a GIF under a JPEG's name, and the bad ones."""
    for seed in range(10):
        write_image(folder / f"{seed}.jpg", seed=seed, format="JPEG", size=(40, 30))
    write_image(folder / "gif.jpg", seed=10, format="GIF")
    write_image(folder / "dot.jpg", seed=11, size=(1, 1))
    (folder / "zero.jpg").touch()
    (folder / "text.jpg").write_text("no image")
    raw = (folder / "0.jpg").read_bytes()
    (folder / "half.jpg").write_bytes(raw[: len(raw) // 2])


@dataclass
class Planted:
    """A dataset with defects: where, and what has to be said of it."""

    source: Source
    dropped: Counter[str]
    noted: Counter[str]
    kept: int


def conversations(rows: list[tuple[str | None, list[str]]], speakers=("human", "gpt")) -> list:
    return [
        {
            "id": str(number),
            **({"image": image} if image else {}),
            "conversations": [
                {"from": speakers[i % 2], "value": text} for i, text in enumerate(texts)
            ],
        }
        for number, (image, texts) in enumerate(rows)
    ]


def bad_rows() -> tuple[list[tuple[str | None, list[str]]], Counter[str]]:
    rows: list[tuple[str | None, list[str]]] = []
    rows += [(name, ["<image>\nq", "x"]) for name in BAD_IMAGES]
    rows += [("0.jpg", texts) for _, texts in BAD_TURNS]
    expected = Counter([*BAD_IMAGES.values(), *(reason for reason, _ in BAD_TURNS)])
    return rows, expected


@pytest.fixture
def planted(tmp_path, write_image, request) -> Planted:
    return globals()[f"plant_{request.param}"](tmp_path, write_image)


def source_of(format: str, path: Path, tmp_path: Path, **options: Any) -> Source:
    return find_source(
        str(path),
        root=tmp_path,
        media=tmp_path / "media",
        recipe_dir=tmp_path,
        name=format,
        format=format,
        **options,
    )


GOOD: list[tuple[str | None, list[str]]] = [
    ("0.jpg", ["<image>\nWhat?", "A cat.", "Where?", "There."]),
    ("1.jpg", ["What?\n<image>", "A dog."]),
    ("gif.jpg", ["<image>\nWhat?", "A book."]),
]


def plant_llava(tmp_path: Path, write_image) -> Planted:
    paint(tmp_path, write_image)
    bad, expected = bad_rows()
    rows = conversations([*GOOD, (None, ["Write.", "A haiku."]), *bad, GOOD[0]])
    rows[1]["id"] = rows[0]["id"]  # COCO's ids are not unique
    rows += [{"id": "s", "conversations": [{"from": "system", "value": "be kind"}]}, "no row"]
    turns = [{"from": "gpt", "value": "x"}, {"from": "human", "value": "<image>"}]
    rows.append({"id": "f", "image": "0.jpg", "conversations": turns})
    turns = [{"from": "human", "value": "<image>"}] * 2
    rows.append({"id": "a", "image": "0.jpg", "conversations": turns})
    rows.append({"id": "l", "conversations": [{"from": "human", "value": "\ud83d"}]})
    rows[-1]["conversations"].append({"from": "gpt", "value": "x"})
    path = tmp_path / "llava_v1_5_mix665k.json"
    path.write_text(json.dumps(rows))
    expected += Counter(["exact-duplicate", "unknown-role", "malformed-row", "malformed-row"])
    expected += Counter(["first-role-not-user", "roles-not-alternating"])
    noted = Counter({"repeated-id": 1, "misnamed-image": 1})
    return Planted(source_of("llava", path, tmp_path), expected, noted, 4)


def plant_vision_flan(tmp_path: Path, write_image) -> Planted:
    folder = tmp_path / "images_191task_1k"
    paint(folder, write_image)
    write_image(folder / "#U91d1_1.jpg", seed=20, format="JPEG")
    bad, expected = bad_rows()
    good = [*GOOD, ("金_1.jpg", ["<image>\nWhat?", "(a) gold"])]
    rows = conversations([*good, *bad])
    for row in rows:
        row |= {"id": "same", "task_name": "VQA_counting"}
    rows.append({"id": "x", "image": "0.jpg", "conversations": []})
    path = tmp_path / "annotation_191-task_1k.json"
    path.write_text(json.dumps(rows))
    # "/etc/passwd" is below the folder of images here, where there is no such file.
    expected += Counter(["malformed-row", "missing-image"])
    expected -= Counter(["unsafe-path"])
    noted = Counter({"repeated-id": 3, "misnamed-image": 1, "escaped-file-name": 1})
    return Planted(source_of("vision_flan", path, tmp_path), expected, noted, 4)


def plant_lamm(tmp_path: Path, write_image) -> Planted:
    paint(tmp_path, write_image)
    bad, expected = bad_rows()
    rows = conversations([*GOOD, *bad])
    for row in rows:
        row |= {"task_type": "conversation", "src_image": "coco2017"}
    for turns in (rows[0]["conversations"], rows[2]["conversations"]):
        turns[0]["value"] = turns[0]["value"].removeprefix("<image>\n")
    path = tmp_path / "LAMM_instruct_186k.json"
    path.write_text(json.dumps(rows))
    # Marks that are missing are put there.
    expected -= Counter(["image-mark-mismatch"])
    return Planted(source_of("lamm", path, tmp_path), expected, Counter({"misnamed-image": 1}), 4)


def plant_minigpt4(tmp_path: Path, write_image) -> Planted:
    paint(tmp_path / "image", write_image)
    named = [Path(name).stem for name in BAD_IMAGES if not name.startswith("/")]
    rows = [{"image_id": str(number), "caption": f"caption {number}"} for number in range(3)]
    rows += [{"image_id": name, "caption": "x"} for name in [*named, "../../up"]]
    rows += [{"image_id": "3", "caption": ""}, {"image_id": 3, "caption": "x"}, {"image_id": "3"}]
    path = tmp_path / "filter_cap.json"
    path.write_text(json.dumps({"annotations": [*rows, rows[0], "no row"]}))
    # "../up" has lost its dots, and names a file that is not there.
    expected = Counter([*[*BAD_IMAGES.values()][:5], "missing-image", "unsafe-path"])
    expected += Counter(["empty-answer", "exact-duplicate", *["malformed-row"] * 3])
    return Planted(source_of("minigpt4", path, tmp_path), expected, Counter(), 3)


def plant_m3it(tmp_path: Path, write_image) -> Planted:
    paint(tmp_path / "raw", write_image)

    def encoded(name: str) -> str:
        return base64.b64encode((tmp_path / "raw" / name).read_bytes()).decode()

    def row(*images: Any, outputs: Any = "red", inputs: str = "Colour?") -> dict[str, Any]:
        told = {"instruction": "Answer.", "inputs": inputs, "outputs": outputs}
        return {**told, "image_base64_str": list(images)}

    good = [
        row(encoded("0.jpg")),
        row(*(encoded(f"{n}.jpg") for n in range(8))),  # frames of a video
        row(encoded("gif.jpg"), inputs=""),
        row(inputs="No image?"),
    ]
    bad = [
        *(row(encoded(name)) for name in ("half.jpg", "dot.jpg", "text.jpg", "zero.jpg")),
        row("!!"),
        row(None),
        row(encoded("1.jpg"), outputs=" "),
        row(encoded("1.jpg"), outputs=None),
        {**row(), "image_base64_str": encoded("1.jpg")},
        good[0],
    ]
    path = tmp_path / "data" / "vqa" / "gqa" / "train.jsonl"
    path.parent.mkdir(parents=True)
    path.write_text("".join(json.dumps(one) + "\n" for one in [*good, *bad]) + "{broken\n")
    expected = Counter(
        {
            "undecodable-image": 4,
            "single-pixel-image": 1,
            "malformed-row": 4,
            "empty-answer": 1,
            "exact-duplicate": 1,
        }
    )
    return Planted(source_of("m3it", tmp_path / "data", tmp_path), expected, Counter(), 4)


def plant_mantis(tmp_path: Path, write_image) -> Planted:
    paint(tmp_path / "spot" / "train_images", write_image)
    bad, expected = bad_rows()
    pair = (["0.jpg", "1.jpg"], ["<image><image>What differs?", "The cat."])
    many: list[tuple[Any, list[str]]] = [*GOOD, *bad, pair, (["0.jpg"], pair[1])]
    schema = pa.schema(
        {
            "id": pa.string(),
            "images": pa.list_(pa.struct({"bytes": pa.binary(), "path": pa.string()})),
            "conversation": pa.list_(pa.struct({"role": pa.string(), "content": pa.string()})),
        }
    )
    rows = []
    for number, (names, texts) in enumerate(many):
        every = names if isinstance(names, list) else [names]
        roles = ("user", "assistant")
        rows.append(
            {
                "id": f"spot_{number}",
                "images": [
                    None,
                    *({"bytes": None, "path": f"train_images/{name}"} for name in every),
                ],
                "conversation": [
                    {"role": roles[i % 2], "content": text} for i, text in enumerate(texts)
                ],
            }
        )
    pq.write_table(
        pa.Table.from_pylist(rows, schema=schema), tmp_path / "spot/train-0000-of-1.parquet"
    )
    # Paths that climb stay in the folder of the subset, or name nothing in it.
    expected += Counter(["image-mark-mismatch", "missing-image"])
    expected -= Counter(["unsafe-path"])
    noted = Counter({"misnamed-image": 1})
    return Planted(source_of("mantis", tmp_path, tmp_path), expected, noted, 4)


def run(source: Source, tmp_path: Path) -> tuple[PoolTable, Ingested]:
    tables: list[pa.Table] = []
    told = ingest(source, PoolBuilder(tables.append), None, 1, tmp_path / "media")
    return PoolTable.of(tables), told


SIX = ("llava", "m3it", "minigpt4", "mantis", "vision_flan", "lamm")


@pytest.mark.parametrize("planted", SIX, indirect=True)
def test_every_planted_defect_is_counted_by_its_reason(planted, tmp_path):
    pool, told = run(planted.source, tmp_path)
    assert told.counts.dropped == dict(planted.dropped)
    assert told.counts.noted == dict(planted.noted)
    assert len(pool) == told.counts.kept == planted.kept
    assert told.counts.rows_in == planted.kept + sum(planted.dropped.values())
    rows = [remark.row for remark in told.dropped]
    assert len(rows) == len(set(rows)) == sum(planted.dropped.values())


@pytest.mark.parametrize("form", FORMS)
@pytest.mark.parametrize("planted", SIX, indirect=True)
def test_what_is_kept_comes_back_from_every_export(planted, tmp_path, form):
    pool, _ = run(planted.source, tmp_path)
    samples = pool.samples(range(len(pool)))
    file = export_rows(samples, form, tmp_path / "out", lambda dataset: planted.source.images)
    source = find_source(
        str(file),
        root=tmp_path,
        media=tmp_path / "again",
        recipe_dir=tmp_path,
        name=planted.source.name,
        licence=planted.source.licence,
    )
    again, told = run(source, tmp_path)
    assert told.counts.dropped == {}
    assert again.uids == pool.uids
    for name in ("digest", "source_id", "licence", "task", "skill", "turns"):
        assert again.strings(name) == pool.strings(name), name
    assert not [path for path in tmp_path.iterdir() if path.name.endswith(".draft")]


def test_an_export_is_whole_or_not_there(tmp_path, write_image, make_sample):
    write_image(tmp_path / "images" / "a.png")
    good = make_sample("<image>q", "a", images=("a.png",))
    gone = make_sample("<image>q", "b", images=("gone.png",))
    out = tmp_path / "out"
    with pytest.raises(UserError, match="image of a row is gone"):
        export_rows([good, gone], "llava", out, lambda dataset: tmp_path / "images")
    assert not out.exists()
    with pytest.raises(UserError, match="unknown form"):
        export_rows([good], "alpaca", out, lambda dataset: tmp_path / "images")
    export_rows([good, good], "sharegpt", out, lambda dataset: tmp_path / "images")
    about = json.loads((out / "dataset_info.json").read_text())
    assert about["rows"]["file_name"] == "rows.jsonl"
    with pytest.raises(UserError, match="already there"):
        export_rows([good], "llava", out, lambda dataset: tmp_path / "images")


# Fuzzing: whatever the files hold, each row is kept or dropped for a reason, or one error is told.

json_values = st.recursive(
    st.none() | st.booleans() | st.integers(-5, 5) | st.floats() | st.text(max_size=6),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=4), inner),
    max_leaves=6,
)
# fmt: off
KEYS = [
    "id", "image", "images", "conversations", "messages", "from", "value", "role", "content",
    "task_name", "task_type", "src_image", "image_id", "caption", "annotations", "instruction",
    "inputs", "outputs", "image_base64_str", "qid", "answer", "train", "question", "choices",
    "hint", "file_name", "anns", "imgs", "bbox", "utf8_string", "legibility", "set",
    "transcription", "points", "sentences", "sent", "ref_id", "image_path", "raw_image_info",
]
# fmt: on
likely = st.sampled_from(["0.jpg", "gone.jpg", "<image>\nq", "human", "gpt", "user", "a", "1"])
shaped = st.recursive(
    likely | json_values,
    lambda inner: (
        st.lists(inner, max_size=3)
        | st.dictionaries(st.sampled_from(KEYS), inner, max_size=5)
        | st.fixed_dictionaries(
            {"image": likely, "conversations": st.lists(inner, max_size=2), "task_name": likely}
        )
    ),
    max_leaves=12,
)
FILES = {
    "m3it": "data/vqa/gqa/train.jsonl",
    "scienceqa": "problems.json",
    "refcoco": "rows.json",
    "mantis": "rows.json",
}


@pytest.mark.parametrize("format", [name for name in FORMATS if name not in ("mantis", "refcoco")])
@given(content=shaped, extra=st.lists(shaped, max_size=4), cut=st.integers(0, 40))
@settings(
    max_examples=60,
    deadline=None,
    suppress_health_check=[HealthCheck.too_slow, HealthCheck.function_scoped_fixture],
)
def test_no_file_crashes_a_reader_or_loses_a_row(tmp_path_factory, format, content, extra, cut):
    folder = tmp_path_factory.mktemp("fuzz")
    Image.new("RGB", (4, 4)).save(folder / "0.jpg")
    path = folder / FILES.get(format, "rows.json")
    path.parent.mkdir(parents=True, exist_ok=True)
    rows = extra if format in ("llava", "vision_flan", "lamm", "m3it") else content
    if path.suffix == ".jsonl":
        text = "".join(json.dumps(row) + "\n" for row in rows)
    else:
        text = json.dumps(rows)
    if cut < 5:
        text = text[: len(text) - cut]
    path.write_text(text)
    (folder / "pid_splits.json").write_text(json.dumps({"train": [["1"], "1", 1]}))
    place = folder / "data" if format == "m3it" else path
    try:
        pool, told = run(source_of(format, place, folder), folder)
    except UserError:
        return
    assert told.counts.rows_in == len(pool) + len(told.dropped)
    assert told.counts.rows_in == told.counts.kept + sum(told.counts.dropped.values())


@pytest.mark.parametrize("format", ["mantis", "refcoco", "llava"])
@given(data=st.binary(max_size=64), columns=st.lists(st.sampled_from(KEYS), max_size=6))
@settings(
    max_examples=40,
    deadline=None,
    suppress_health_check=[HealthCheck.too_slow, HealthCheck.function_scoped_fixture],
)
def test_no_table_crashes_a_reader(tmp_path_factory, format, data, columns):
    folder = tmp_path_factory.mktemp("fuzz")
    path = folder / {"mantis": "spot", "refcoco": "data", "llava": "."}[format] / "train-0.parquet"
    path.parent.mkdir(parents=True, exist_ok=True)
    every = {"mantis": "id images conversation", "llava": "conversations"}.get(
        format, "ref_id sentences bbox image_path raw_image_info"
    )
    names = dict.fromkeys([*columns, *every.split()])
    values = [data.hex(), [data.hex()], [{"bytes": data}], [1.0, 2.0], None]
    table = {name: [values[(len(name) + len(data)) % len(values)]] for name in names}
    pq.write_table(pa.table(table), path)
    if len(data) % 5 == 0:
        raw = path.read_bytes()
        path.write_bytes(raw[: len(raw) // 2] + data + raw[len(raw) // 2 :])
    try:
        pool, told = run(source_of(format, folder, folder), folder)
    except UserError:
        return
    assert told.counts.rows_in == len(pool) + len(told.dropped)
