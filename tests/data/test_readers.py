"""Each reader on files in the dataset's own schema."""

from __future__ import annotations

import base64
import hashlib
import json
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from adaptinf.data import readers
from adaptinf.data.readers import minigpt4
from adaptinf.data.rows import RawRow
from adaptinf.data.sample import Turn
from adaptinf.data.source import Source
from adaptinf.errors import UserError


def ask(text: str) -> Turn:
    return Turn("user", text)


def say(text: str) -> Turn:
    return Turn("assistant", text)


def read(format: str, path: Path, images: Path, media: Path) -> list[RawRow]:
    source = Source(format, format, path, images, None, embedded=images == media)
    return list(readers.read(source, media))


def human(text: str, answer: str) -> list[dict[str, str]]:
    return [{"from": "human", "value": text}, {"from": "gpt", "value": answer}]


LLAVA = [
    {
        "id": "33471",
        "image": "coco/train2017/1.jpg",
        "conversations": human("<image>\nColour?", "White") + human("Moving?", "No"),
    },
    {"id": "33471", "image": "coco/2.jpg", "conversations": human("Where?\n<image>", "[0, 1]")},
    {"id": "wgByO4Y_0", "model": "", "conversations": human("Write a haiku.", "...")},
    {"id": 7, "image": ["a.png", "b.png"], "conversations": human("<image><image>", "two")},
    {"messages": [{"role": "user", "content": "q"}, {"role": "assistant", "content": "a"}]},
    {"id": "8", "conversations": [{"from": "system", "value": "be kind"}]},
    {"id": "9", "conversations": [{"from": "human", "value": None}]},
    {"id": "10", "image": 5, "conversations": []},
    {"id": "11", "conversations": "text"},
    {"id": "12"},
    "text",
]

LLAVA_ROWS = [
    RawRow(
        0,
        "33471",
        ("coco/train2017/1.jpg",),
        (ask("<image>\nColour?"), say("White"), ask("Moving?"), say("No")),
    ),
    RawRow(1, "33471", ("coco/2.jpg",), (ask("Where?\n<image>"), say("[0, 1]"))),
    RawRow(2, "wgByO4Y_0", (), (ask("Write a haiku."), say("..."))),
    RawRow(3, "7", ("a.png", "b.png"), (ask("<image><image>"), say("two"))),
    RawRow(4, "4", (), (ask("q"), say("a"))),
    RawRow(5, "8", problem="unknown-role", detail="system"),
    RawRow(6, "9", problem="malformed-row", detail="value is NoneType"),
    RawRow(7, "10", problem="malformed-row", detail="image is neither text nor a list of texts"),
    RawRow(8, "11", problem="malformed-row", detail="the conversation is str"),
    RawRow(9, "12", problem="malformed-row", detail="the conversation is NoneType"),
    RawRow(10, "10", problem="malformed-row", detail="not a JSON object"),
]


def test_llava_array(tmp_path):
    path = tmp_path / "a.json"
    path.write_text(json.dumps(LLAVA))
    assert read("llava", path, tmp_path, tmp_path / "media") == LLAVA_ROWS


def test_llava_lines(tmp_path):
    path = tmp_path / "a.jsonl"
    lines = [json.dumps(row) for row in LLAVA[:3]]
    broken = "[" * 100_000
    path.write_text("\n".join([lines[0], '{"id": ', "", broken, lines[2]]) + "\n")
    malformed = {"problem": "malformed-row", "detail": "not a JSON object"}
    assert read("llava", path, tmp_path, tmp_path) == [
        LLAVA_ROWS[0],
        RawRow(1, "1", **malformed),
        RawRow(2, "2", **malformed),
        RawRow(3, *[getattr(LLAVA_ROWS[2], f) for f in ("source_id", "images", "turns")]),
    ]


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ('[{"id": 1},\n {"id" 2}]', "a.json:2: broken JSON"),
        ('{"id": 1}\n{"id": 2}\n', "name it .jsonl"),
        ('{"id": 1}', "expected a JSON array"),
    ],
)
def test_broken_files_are_user_errors(tmp_path, text, message):
    path = tmp_path / "a.json"
    path.write_text(text)
    with pytest.raises(UserError, match=message):
        read("llava", path, tmp_path, tmp_path)


@pytest.fixture
def m3it(tmp_path, write_image):
    """Three configurations: rows with one image, two, none, and broken ones."""
    gif = write_image(tmp_path / "x", format="GIF", seed=1).read_bytes()
    png = write_image(tmp_path / "x", format="PNG", seed=2).read_bytes()
    one, two = base64.b64encode(gif).decode(), base64.b64encode(png).decode()
    rows = {
        "vqa/gqa": [
            ("Answer.", "Colour?", [one], "red"),
            ("Compare.", "", [one, two], "no"),
            ("Answer.", "Colour?", ["!" + one], "red"),
            ("Answer.", "Colour?", [base64.b64encode(b"text").decode()], "red"),
            ("Answer.", "Colour?", [None], "red"),
            ("Answer.", "Colour?", None, "red"),
            ("Answer.", "Colour?", [two], None),
        ],
        "captioning/coco": [("Describe.", "", [f"{two[:9]}\n{two[9:]}"], "a cat")],
        "captioning/none": [],
    }
    for name, records in rows.items():
        path = tmp_path / "data" / name / "train.jsonl"
        path.parent.mkdir(parents=True)
        keys = ("instruction", "inputs", "image_base64_str", "outputs")
        lines = [json.dumps(dict(zip(keys, record, strict=True))) + "\n" for record in records]
        path.write_text("".join(lines))
    names = [
        f"{digest[:2]}/{digest}.{kind}"
        for raw, kind in ((gif, "gif"), (png, "png"))
        for digest in [hashlib.sha256(raw).hexdigest()]
    ]
    return tmp_path / "data", names, {names[0]: gif, names[1]: png}


def test_m3it(tmp_path, m3it):
    folder, (gif, png), content = m3it
    media = tmp_path / "media"
    rows = read("m3it", folder, media, media)
    asked = "<image>\nAnswer. Colour?"
    assert rows[:3] == [
        RawRow(
            0,
            "coco_train_0",
            (png,),
            (ask("<image>\nDescribe."), say("a cat")),
            "captioning",
            "coco",
            part="coco",
        ),
        RawRow(1, "gqa_train_0", (gif,), (ask(asked), say("red")), "vqa", "gqa", part="gqa"),
        RawRow(
            2,
            "gqa_train_1",
            (gif, png),
            (ask("<image>\n<image>\nCompare."), say("no")),
            "vqa",
            "gqa",
            part="gqa",
        ),
    ]
    assert [(row.source_id, row.problem) for row in rows[3:]] == [
        ("gqa_train_2", "undecodable-image"),
        ("gqa_train_3", "undecodable-image"),
        ("gqa_train_4", "malformed-row"),
        ("gqa_train_5", "malformed-row"),
        ("gqa_train_6", "malformed-row"),
    ]
    files = {str(p.relative_to(media)): p.read_bytes() for p in media.rglob("*") if p.is_file()}
    assert files == content


def test_m3it_images_are_written_once(tmp_path, m3it):
    folder, names, _ = m3it
    media = tmp_path / "media"
    read("m3it", folder, media, media)
    kept = media / names[0]
    kept.write_bytes(b"kept")
    read("m3it", folder, media, media)
    assert kept.read_bytes() == b"kept"


def test_m3it_raw_rows_of_the_hub_are_refused(tmp_path):
    path = tmp_path / "data/vqa/gqa/train.jsonl"
    path.parent.mkdir(parents=True)
    path.write_text('{"question": "q", "img_str": "", "answer": "a"}\n')
    with pytest.raises(UserError, match=r"train.jsonl:1: not the official records.*outputs"):
        read("m3it", tmp_path / "data", tmp_path, tmp_path)


def test_minigpt4(tmp_path):
    path = tmp_path / "filter_cap.json"
    records = [{"image_id": str(i), "caption": f"caption {i}"} for i in range(40)]
    path.write_text(json.dumps({"annotations": [*records, {"image_id": 3, "caption": "c"}]}))
    rows = read("minigpt4", path, tmp_path, tmp_path)
    assert rows[2] == RawRow(
        2,
        "2",
        ("image/2.jpg",),
        (ask("<image>\n" + minigpt4.prompt_of("2")), say("caption 2")),
    )
    # sha256("2") begins with d4 = 212 = 53 * 4 + 0.
    assert minigpt4.prompt_of("2") == "Describe this image in detail."
    assert {row.turns[0].text for row in rows[:40]} == {f"<image>\n{p}" for p in minigpt4.PROMPTS}
    assert rows[40] == RawRow(40, "40", problem="malformed-row", detail="image_id is int")


def test_minigpt4_of_another_shape_is_refused(tmp_path):
    path = tmp_path / "filter_cap.json"
    path.write_text("[]")
    with pytest.raises(UserError, match="list of annotations"):
        read("minigpt4", path, tmp_path, tmp_path)


SCHEMA = pa.schema(
    {
        "id": pa.string(),
        "images": pa.list_(pa.struct({"bytes": pa.binary(), "path": pa.string()})),
        "conversation": pa.list_(pa.struct({"role": pa.string(), "content": pa.string()})),
        "source": pa.string(),
    }
)


def write_mantis(path: Path, *rows: tuple[str, list[dict | None] | None, str]) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    records = [
        {
            "id": ident,
            "images": images,
            "conversation": [
                {"role": "user", "content": text},
                {"role": "assistant", "content": "a"},
            ],
        }
        for ident, images, text in rows
    ]
    pq.write_table(pa.Table.from_pylist(records, schema=SCHEMA), path)


def test_mantis_paths(tmp_path):
    a, b = ({"bytes": None, "path": f"train_images/{name}.jpg"} for name in "ab")
    write_mantis(tmp_path / "spot/train-00001-of-2.parquet", ("s_2", None, "q"))
    write_mantis(
        tmp_path / "spot/train-00000-of-2.parquet",
        ("s_0", [a, b], "<image><image>What differs?"),
        ("s_1", [None, a], "<image>q"),
    )
    write_mantis(tmp_path / "nlvr2/train-00000-of-1.parquet", ("n", [b], "q <image>"))
    pq.write_table(pa.table({"x": [1]}), tmp_path / "nlvr2/val-00000-of-1.parquet")
    assert read("mantis", tmp_path, tmp_path, tmp_path / "media") == [
        RawRow(
            0,
            "n",
            ("nlvr2/train_images/b.jpg",),
            (ask("q <image>"), say("a")),
            "nlvr2",
            "nlvr2",
            part="nlvr2",
        ),
        RawRow(
            1,
            "s_0",
            ("spot/train_images/a.jpg", "spot/train_images/b.jpg"),
            (ask("<image><image>What differs?"), say("a")),
            "spot",
            "spot",
            part="spot",
        ),
        RawRow(
            2,
            "s_1",
            ("spot/train_images/a.jpg",),
            (ask("<image>q"), say("a")),
            "spot",
            "spot",
            part="spot",
        ),
        RawRow(3, "s_2", (), (ask("q"), say("a")), "spot", "spot", part="spot"),
    ]


def test_mantis_embedded(tmp_path, write_image):
    raw = write_image(tmp_path / "x", format="JPEG").read_bytes()
    images = [{"bytes": raw, "path": "a.jpg"}, {"bytes": None, "path": "b.jpg"}]
    write_mantis(
        tmp_path / "spot/train-0.parquet", ("0", images[:1], "<image>"), ("1", images, "<image>")
    )
    media = tmp_path / "media"
    good, bad = read("mantis", tmp_path, media, media)
    digest = hashlib.sha256(raw).hexdigest()
    assert good.images == (f"{digest[:2]}/{digest}.jpeg",)
    assert (media / good.images[0]).read_bytes() == raw
    assert (bad.problem, bad.detail) == ("missing-image", "spot/b.jpg")


def test_mantis_of_another_shape_is_refused(tmp_path):
    (tmp_path / "spot").mkdir()
    pq.write_table(pa.table({"x": [1]}), tmp_path / "spot/train-0.parquet")
    with pytest.raises(UserError, match=r"columns are missing.*conversation"):
        read("mantis", tmp_path, tmp_path, tmp_path / "media")
    (tmp_path / "spot/train-0.parquet").write_text("no")
    with pytest.raises(UserError, match="cannot be read"):
        read("mantis", tmp_path, tmp_path, tmp_path / "media")


def test_vision_flan(tmp_path, write_image):
    write_image(tmp_path / "images_191task_1k/#U91d1_1.jpg")
    for name in ("金_2.jpg", "#U91d1_2.jpg"):
        write_image(tmp_path / "images_191task_1k" / name)
    records = [
        {
            "id": "same",
            "image": name,
            "task_name": "VQA_counting",
            "conversations": human("<image>\nHow many? Options: (a) 1 (b) 2", "(b) 2"),
        }
        for name in ("a.jpg", "金_1.jpg", "金_2.jpg", "金_3.jpg")
    ]
    path = tmp_path / "annotation_191-task_1k.json"
    path.write_text(json.dumps([*records, {"id": "x", "image": "a.jpg", "conversations": []}]))
    rows = read("vision_flan", path, tmp_path, tmp_path)
    folder = "images_191task_1k/"
    assert rows[0] == RawRow(
        0,
        "same",
        (folder + "a.jpg",),
        (ask("<image>\nHow many? Options: (a) 1 (b) 2"), say("(b) 2")),
        None,
        "VQA_counting",
        part="VQA_counting",
    )
    assert [row.images for row in rows[1:4]] == [
        (folder + "#U91d1_1.jpg",),
        (folder + "金_2.jpg",),
        (folder + "金_3.jpg",),
    ]
    assert rows[4] == RawRow(4, "x", problem="malformed-row", detail="task_name is NoneType")
