"""Finding datasets: registered names, paths, formats, and what users get wrong."""

from __future__ import annotations

import json
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from adaptinf.data.names import DATASETS, FORMATS
from adaptinf.data.source import Source, count_rows, find_source, source_files
from adaptinf.errors import UserError

ROW = {"id": "1", "conversations": []}


@pytest.fixture
def find(tmp_path):
    """Looks below ``tmp_path/data`` with media in ``tmp_path/media``."""

    def call(dataset: str, **options) -> Source:
        return find_source(
            dataset,
            **{
                "root": tmp_path / "data",
                "media": tmp_path / "media",
                "recipe_dir": tmp_path / "recipes",
                **options,
            },
        )

    return call


def write(path: Path, text: str) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text)
    return path


def write_mantis(folder: Path, raw: bytes | None) -> None:
    folder.mkdir(parents=True)
    image = {"bytes": raw, "path": "a.png"}
    turns = [{"role": "user", "content": "<image>q"}, {"role": "assistant", "content": "a"}]
    row = {"id": "1", "images": [None, image], "conversation": turns}
    schema = pa.schema(
        {
            "id": pa.string(),
            "images": pa.list_(pa.struct({"bytes": pa.binary(), "path": pa.string()})),
            "conversation": pa.list_(pa.struct({"role": pa.string(), "content": pa.string()})),
        }
    )
    pq.write_table(pa.Table.from_pylist([row], schema=schema), folder / "train-0.parquet")


def test_every_registered_name_is_found(tmp_path, find):
    data = tmp_path / "data"
    write(data / "llava/llava_v1_5_mix665k.json", "[]")
    write(data / "m3it/data/vqa/gqa/train.jsonl", "{}")
    write(data / "minigpt4/filter_cap.json", "{}")
    write(data / "vision_flan/annotation_191-task_1k.json", "[]")
    write_mantis(data / "mantis/nlvr2", None)
    write(data / "lamm/LAMM_instruct_186k.json", "[]")
    write(data / "scienceqa/problems.json", "{}")
    write(data / "coco_captions/annotations/captions_train2014.json", "{}")
    write(data / "lavin/all_data.json", "{}")
    (data / "refcoco/data").mkdir(parents=True)
    pq.write_table(pa.table({"ref_id": ["1"]}), data / "refcoco/data/train-0-of-1.parquet")
    write(data / "art/train_labels.json", "{}")
    write(data / "coco_text/cocotext.v2.json", "{}")
    found = {name: find(name) for name in DATASETS}
    assert {source.format for source in found.values()} == set(FORMATS)
    assert {name: source.images for name, source in found.items()} == {
        "llava": data / "llava",
        "m3it": tmp_path / "media",
        "minigpt4": data / "minigpt4",
        "mantis": data / "mantis",
        "vision_flan": data / "vision_flan",
        "lamm": data / "lamm",
        "scienceqa": data / "scienceqa",
        "coco_captions": data / "coco2014",
        "lavin": data,
        "refcoco": data / "coco2014",
        "art": data / "art",
        "coco_text": data / "coco2014",
    }
    assert found["llava"].licence == "CC-BY-4.0"
    assert found["vision_flan"].licence is None
    assert source_files(found["llava"]) == [data / "llava/llava_v1_5_mix665k.json"]
    assert source_files(found["m3it"]) == [data / "m3it/data/vqa/gqa/train.jsonl"]
    assert source_files(found["mantis"]) == [data / "mantis/nlvr2/train-0.parquet"]


def test_tables_that_hold_their_images_have_them_in_media(tmp_path, find):
    write_mantis(tmp_path / "data/mantis/nlvr2", b"raw")
    assert find("mantis").images == tmp_path / "media"


def test_files_are_sorted(tmp_path, find):
    for name in ("vqa/b", "vqa/a", "captioning/z"):
        write(tmp_path / f"data/m3it/data/{name}/train.jsonl", "{}")
    names = [path.parent.name for path in source_files(find("m3it"))]
    assert names == ["z", "a", "b"]


def test_path_is_found_beside_the_recipe_first(tmp_path, find, monkeypatch):
    monkeypatch.chdir(tmp_path)
    here = write(tmp_path / "own/my rows.jsonl", json.dumps(ROW))
    source = find("own/my rows.jsonl")
    assert source == Source("my-rows", "llava", here, here.parent, None, origin="my rows.jsonl")
    near = write(tmp_path / "recipes/own/my rows.jsonl", json.dumps(ROW))
    assert find("own/my rows.jsonl").annotations == near
    assert find(str(here)).annotations == here


def test_keywords_win(tmp_path, find):
    path = write(tmp_path / "a.json", json.dumps([ROW]))
    images = tmp_path / "recipes" / "pictures"
    source = find(
        str(path), name="mine", format="vision_flan", images=Path("pictures"), licence="MIT"
    )
    assert source == Source("mine", "vision_flan", path, images, "MIT", origin="a.json")


@pytest.mark.parametrize(
    ("text", "format"),
    [
        (json.dumps([ROW, {}], indent=2), "llava"),
        ("\ufeff  [\n" + json.dumps({"messages": []}), "llava"),
        (json.dumps({"conversations": [{"value": "x" * 200_000}]}) + "\n{}\n", "llava"),
        (json.dumps({"annotations": [{"image_id": "2", "caption": "c"}]}), "minigpt4"),
    ],
)
def test_format_is_told_from_the_first_row(tmp_path, find, text, format):
    assert find(str(write(tmp_path / "a.json", text))).format == format


def test_unknown_columns_are_shown(tmp_path, find):
    path = write(tmp_path / "a.jsonl", '{"question": "q", "answer": "a"}\n')
    with pytest.raises(UserError, match=r"a.jsonl:1: .*\['answer', 'question'\].*conversations"):
        find(str(path))


@pytest.mark.parametrize("text", ["", "[]", "not json", "[1, 2]"])
def test_files_without_a_record_are_refused(tmp_path, find, text):
    with pytest.raises(
        UserError, match=r"a.json:1: (no JSON record|expected a JSON object|broken JSON)"
    ):
        find(str(write(tmp_path / "a.json", text)))


def test_unknown_name_is_suggested(find):
    with pytest.raises(UserError, match=r"did you mean 'llava'\?.*mantis.*path of a file"):
        find("lava")
    with pytest.raises(UserError, match=r"known: art, coco_captions.*path of a file"):
        find("qqqq")


def test_missing_things_are_named(tmp_path, find):
    with pytest.raises(UserError, match=r"point data\.root, or ADAPTINF_DATA_ROOT"):
        find("llava")
    with pytest.raises(UserError, match=r"no such dataset file.*rows.json"):
        find("rows.json")
    (tmp_path / "data/m3it/data").mkdir(parents=True)
    with pytest.raises(UserError, match=r"no m3it files here.*train.jsonl"):
        find("m3it")
    with pytest.raises(UserError, match="no dataset in this folder"):
        find(str(tmp_path))
    with pytest.raises(UserError, match="did you mean 'llava'"):
        find("llava", format="lava")


def test_rows_are_counted_in_every_format(tmp_path, find):
    data = tmp_path / "data"
    write(data / "llava/llava_v1_5_mix665k.json", json.dumps([ROW, "broken", ROW]))
    write(data / "m3it/data/vqa/a/train.jsonl", "{}\n\n{broken\n")
    write(data / "m3it/data/vqa/b/train.jsonl", "{}")
    write(data / "minigpt4/filter_cap.json", json.dumps({"annotations": [1, 2]}))
    write_mantis(data / "mantis/nlvr2", None)
    write_mantis(data / "mantis/other", b"raw")
    expected = {"llava": 3, "m3it": 3, "minigpt4": 2, "mantis": 2}
    counted = {name: count_rows(find(name), tmp_path / "media") for name in expected}
    assert counted == expected


@pytest.mark.parametrize("text", ['{"rows": []}', "3"])
def test_files_without_a_list_of_rows_cannot_be_counted(tmp_path, find, text):
    write(tmp_path / "data/llava/llava_v1_5_mix665k.json", text)
    with pytest.raises(UserError, match="expected a JSON array"):
        count_rows(find("llava"), tmp_path / "media")
