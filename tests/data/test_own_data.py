"""Data of one's own: any container, any column names, and readers from outside."""

from __future__ import annotations

import json
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from datasets import Dataset, DatasetDict, Features, Image, Value

from adaptinf.data import readers
from adaptinf.data.readers import json_array
from adaptinf.data.readers.json_array import first_item, items
from adaptinf.data.rows import RawRow
from adaptinf.data.sample import Turn
from adaptinf.data.source import Source, count_rows, find_source, source_files
from adaptinf.errors import UserError

QUESTION = Turn("user", "<image>\nColour?")
ANSWER = Turn("assistant", "blue")


@pytest.fixture
def find(tmp_path):
    def call(dataset: Path, **options) -> Source:
        places = {"root": tmp_path, "media": tmp_path / "media", "recipe_dir": tmp_path}
        return find_source(str(dataset), **{**places, **options})

    return call


@pytest.fixture
def read(find, tmp_path):
    def call(dataset: Path, **options) -> list[RawRow]:
        return list(readers.read(find(dataset, **options), tmp_path / "media"))

    return call


def records(image: object) -> list[dict]:
    turns = [{"role": "user", "content": "<image>\nColour?"}]
    turns.append({"role": "assistant", "content": "blue"})
    return [{"id": "1", "image": image, "messages": turns, "skill": "colour"}]


def test_one_path_is_enough_for_every_container(tmp_path, read, find):
    rows = records("cup.png")
    (tmp_path / "a.json").write_text(json.dumps(rows))
    (tmp_path / "a.jsonl").write_text(json.dumps(rows[0]) + "\n")
    pq.write_table(pa.Table.from_pylist(rows), tmp_path / "a.parquet")
    (tmp_path / "parts").mkdir()
    pq.write_table(pa.Table.from_pylist(rows), tmp_path / "parts" / "train-0.parquet")
    pq.write_table(pa.Table.from_pylist(rows), tmp_path / "parts" / "test-0.parquet")
    Dataset.from_list(rows).save_to_disk(str(tmp_path / "saved"))
    for name in ("a.json", "a.jsonl", "a.parquet", "parts", "saved"):
        expected = [RawRow(0, "1", ("cup.png",), (QUESTION, ANSWER), None, "colour")]
        assert read(tmp_path / name) == expected, name
        source = find(tmp_path / name)
        assert count_rows(source, tmp_path / "media") == 1
        assert all(file.is_file() for file in source_files(source))


def test_images_inside_a_table_are_written(tmp_path, read, find, write_image):
    raw = write_image(tmp_path / "cup.png").read_bytes()
    features = Features({"image": Image(), "question": Value("string"), "answer": Value("string")})
    rows = [{"image": {"bytes": raw, "path": None}, "question": "Colour?", "answer": "blue"}]
    Dataset.from_list(rows, features=features).save_to_disk(str(tmp_path / "saved"))
    columns = {"image": "image", "question": "question", "answer": "answer"}
    (row,) = read(tmp_path / "saved", columns=columns)
    assert row.turns == (QUESTION, ANSWER)
    assert (tmp_path / "media" / row.images[0]).read_bytes() == raw
    assert find(tmp_path / "saved", columns=columns).embedded


def test_columns_of_other_names(tmp_path, read):
    path = tmp_path / "a.jsonl"
    rows = [
        {"no": 7, "photo": "cup.png", "ask": "Colour?", "reply": "blue", "kind": "colour"},
        {"no": 8, "photo": ["a.png", "b.png"], "ask": "<image> or <image>?", "reply": "a"},
        {"no": 9, "photo": None, "ask": "Hello?", "reply": None},
        "odd",
    ]
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    columns = {"id": "no", "image": "photo", "question": "ask", "answer": "reply", "skill": "kind"}
    first, pair, text, odd = read(path, columns=columns)
    assert first == RawRow(0, "7", ("cup.png",), (QUESTION, ANSWER), None, "colour")
    assert pair.images == ("a.png", "b.png")
    assert pair.turns[0].text == "<image> or <image>?"
    assert (text.source_id, text.problem) == ("9", "malformed-row")
    assert odd.problem == "malformed-row"


def test_columns_that_are_not_there_are_told(tmp_path, find):
    path = tmp_path / "a.jsonl"
    path.write_text('{"ask": "q", "reply": "a"}\n')
    with pytest.raises(UserError, match=r"a.jsonl:1: no column 'asks'.*columns.question.*'ask'"):
        find(path, columns={"question": "asks", "answer": "reply"})
    with pytest.raises(UserError, match="files of one's own only"):
        find(path, columns={"question": "ask"}, format="lamm")


def test_contents_in_parts(tmp_path, read):
    parts = [{"type": "image"}, {"type": "text", "text": "\nColour?"}]
    row = {"images": ["cup.png"], "messages": [{"role": "user", "content": parts}]}
    row["messages"].append({"role": "assistant", "content": [{"type": "text", "text": "blue"}]})
    odd = {"messages": [{"role": "user", "content": [{"type": "video"}]}]}
    (tmp_path / "a.json").write_text(json.dumps([row, odd]))
    good, bad = read(tmp_path / "a.json")
    assert good == RawRow(0, "0", ("cup.png",), (QUESTION, ANSWER))
    assert bad.problem == "malformed-row"


def test_folders_that_are_no_dataset_are_told(tmp_path, find):
    with pytest.raises(UserError, match="no dataset in this folder"):
        find(tmp_path)
    train = Dataset.from_list(records("a"))
    splits = DatasetDict({"train": train, "test": train.select([])})
    splits.save_to_disk(str(tmp_path / "both"))
    with pytest.raises(UserError, match=r"several splits.*both/test, both/train"):
        find(tmp_path / "both")
    (tmp_path / "bad").mkdir()
    (tmp_path / "bad" / "a.parquet").write_text("no")
    with pytest.raises(UserError, match="cannot be read"):
        find(tmp_path / "bad")


READER = """
from adaptinf.data.rows import RawRow
from adaptinf.data.sample import Turn

def lines(source, media):
    for row, line in enumerate(source.annotations.read_text().splitlines()):
        if line == "fail":
            raise RuntimeError("a bad line")
        question, answer = line.split("|")
        number = 7 if question == "odd" else row
        yield RawRow(number, str(row), (), (Turn("user", question), Turn("assistant", answer)))
"""


def test_a_reader_from_outside(tmp_path, find, read):
    (tmp_path / "reader.py").write_text(READER)
    path = tmp_path / "mine.txt"
    path.write_text("Colour?|blue\nShape?|round\n")
    source = find(path, format="reader.py:lines")
    assert source.plugin == tmp_path / "reader.py"
    assert source_files(source) == [tmp_path / "reader.py", path]
    assert count_rows(source, tmp_path) == 2
    rows = read(path, format="reader.py:lines")
    assert rows[1] == RawRow(1, "1", (), (Turn("user", "Shape?"), Turn("assistant", "round")))
    path.write_text("Colour?|blue\nfail\n")
    with pytest.raises(UserError, match=r"RuntimeError: a bad line"):
        read(path, format="reader.py:lines")
    path.write_text("odd|blue\n")
    with pytest.raises(UserError, match="expected a RawRow of row 0"):
        read(path, format="reader.py:lines")
    with pytest.raises(UserError, match="no function 'gone' here"):
        read(path, format="reader.py:gone")
    with pytest.raises(UserError, match="no such file"):
        find(path, format="gone.py:lines")
    with pytest.raises(
        UserError, match=r"unknown format.*did you mean 'llava'.*reader.py:function"
    ):
        find(path, format="lava")


@pytest.mark.parametrize("chunk", [1, 2, 7, 1 << 20])
@pytest.mark.parametrize(
    "text", ["[]", " [ ] \n", "[1,-2.5e3 , 12345,\n true,null]", '[{"a":"]"}]']
)
def test_arrays_are_read_through_any_window(tmp_path, monkeypatch, chunk, text):
    monkeypatch.setattr(json_array, "_CHUNK", chunk)
    path = tmp_path / "a.json"
    path.write_text("\ufeff" + text)
    assert list(items(path)) == json.loads(text)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", "a.json:1: expected a JSON array"),
        ("[1,\n2", "a.json:2: broken JSON: the file ends too early"),
        ("[1,\n2 3]", "a.json:2: broken JSON: expected a comma"),
        ("[1,\n]", "a.json:2: broken JSON: Expecting value"),
        ("[1]\n[2]", "a.json:2: broken JSON: something follows"),
        ('[1,\n"half', "a.json:2: broken JSON: Unterminated string"),
        ("[" * 100_000, "a.json:1: broken JSON"),
    ],
)
def test_broken_arrays_are_told_by_line(tmp_path, monkeypatch, text, message):
    path = tmp_path / "a.json"
    path.write_text(text)
    for chunk in (3, 1 << 20):
        monkeypatch.setattr(json_array, "_CHUNK", chunk)
        with pytest.raises(UserError, match=message):
            list(items(path))


def test_text_that_is_not_utf8_is_told(tmp_path):
    path = tmp_path / "a.json"
    path.write_bytes(b'["\xff"]')
    with pytest.raises(UserError, match="cannot be read"):
        list(items(path))
    with pytest.raises(UserError, match="cannot be read"):
        first_item(path)


def test_an_item_without_end_is_given_up(tmp_path, monkeypatch):
    monkeypatch.setattr(json_array, "_CHUNK", 8)
    monkeypatch.setattr(json_array, "_LONGEST", 64)
    path = tmp_path / "a.json"
    path.write_text('["' + "x" * 10_000)
    with pytest.raises(UserError, match="broken JSON"):
        list(items(path))
