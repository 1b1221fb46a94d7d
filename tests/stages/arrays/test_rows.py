from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from adaptinf.errors import UserError
from stages.arrays.rows import read_rows

LLAVA = """[
  {
    "id": "000033471",
    "image": "coco/ünïcode.jpg",
    "conversations": [{"from": "human", "value": "<image>\\nWas \\u00e9?"}, \
{"from": "gpt", "value": "日本 \\ud83d\\ude00"}]
  },
  {"model": "", "id": 7, "weight": 1.50e-3, "conversations": []},
  {
    "conversations": [],   "id": "c]}\\"",
    "nested": {"a": [1, 2, {"b": null}]}
  }
]
"""

LLAVA_0_2 = """[
  {
    "id": "000033471",
    "image": "coco/ünïcode.jpg",
    "conversations": [{"from": "human", "value": "<image>\\nWas \\u00e9?"}, \
{"from": "gpt", "value": "日本 \\ud83d\\ude00"}]
  },
  {
    "conversations": [],   "id": "c]}\\"",
    "nested": {"a": [1, 2, {"b": null}]}
  }
]
"""

SHAREGPT = (
    '{"messages": [{"role": "user", "content": "h\u00ef\u2028"}], "id": "a"}\r\n'
    "\n"
    '{"id": "b" , "messages": []}\n'
    '{"messages":[], "id":"c"}'
)

RECORDS = st.lists(
    st.dictionaries(st.text(max_size=3), st.one_of(st.text(max_size=4), st.floats(), st.none())),
    min_size=1,
    max_size=6,
)


def test_chosen_records_of_an_array_stand_as_they_stood(tmp_path: Path) -> None:
    file = tmp_path / "llava.json"
    file.write_text(LLAVA, encoding="utf-8")
    rows = read_rows(file, ["id", "dataset"])
    assert rows.table.columns == {"id": ["000033471", 7, 'c]}"']}
    assert rows.table.lines == [2, 7, 8]
    assert rows.excerpt(np.array([0, 1, 2])) == LLAVA
    assert rows.excerpt(np.array([0, 2])) == LLAVA_0_2
    alone = '[\n  {"model": "", "id": 7, "weight": 1.50e-3, "conversations": []}\n]\n'
    assert rows.excerpt(np.array([1])) == alone


def test_chosen_lines_stand_as_they_stood(tmp_path: Path) -> None:
    file = tmp_path / "sharegpt.jsonl"
    file.write_bytes(SHAREGPT.encode())
    rows = read_rows(file, ["id"])
    first, _, second, third = SHAREGPT.split("\n")
    assert rows.table.columns == {"id": ["a", "b", "c"]}
    assert rows.table.lines == [1, 3, 4]
    assert rows.excerpt(np.array([0, 1])) == f"{first}\n{second}\n"
    assert rows.excerpt(np.array([0, 1, 2])) == SHAREGPT.replace("\n\n", "\n")
    assert rows.excerpt(np.array([2])) == third


@settings(max_examples=60, deadline=None)
@given(
    records=RECORDS,
    indent=st.sampled_from([None, 2]),
    ascii_only=st.booleans(),
    end=st.sampled_from(["", "\n"]),
)
def test_all_records_of_any_dump_give_the_same_text(
    tmp_path_factory: pytest.TempPathFactory,
    records: list[dict],
    indent: int | None,
    ascii_only: bool,
    end: str,
) -> None:
    file = tmp_path_factory.mktemp("dump") / "rows.json"
    text = json.dumps(records, indent=indent, ensure_ascii=ascii_only) + end
    file.write_bytes(text.encode("utf-8", "surrogatepass"))
    try:
        rows = read_rows(file, [])
    except UserError as error:
        assert "not UTF-8" in str(error) and "\\ud" in ascii(text)
        return
    assert rows.excerpt(np.arange(len(records))) == text
    last = json.loads(rows.excerpt(np.array([len(records) - 1])))
    assert repr(last) == repr(json.loads(text)[-1:])


@pytest.mark.parametrize(
    ("name", "text", "line", "told"),
    [
        ("a.json", '[\n{"id": 1},\n{"id": }\n]', 3, "broken JSON: Expecting value"),
        ("a.json", '[\n{"id": 1}\n{"id": 2}\n]', 3, "broken JSON: expected ',' or ']'"),
        ("a.json", '[\n{"id": 1},\n', 3, "broken JSON: Expecting value"),
        ("a.json", '[{"id": 1}]\n\n{}', 3, "broken JSON: text after the array"),
        ("a.json", '[{"id": 1},\n[2]]', 2, "expected a JSON object (seen: 'list')"),
        ("a.json", '{"id": 1}\n{"id": 2}', 1, "expected a JSON array; one object per line"),
        ("a.json", "", 1, "expected a JSON array"),
        ("a.json", "[\n" + "[" * 100_000, 2, "broken JSON: maximum recursion"),
        ("a.jsonl", '{"id": 1}\n\n{"id": 2', 3, "broken JSON"),
        ("a.jsonl", '{"id": 1}\n3\n', 2, "expected a JSON object (seen: 'int')"),
        ("a.jsonl", '{"a":\n1}', 1, "broken JSON"),
        ("a.jsonl", '{"id": 1}\n{"id": 2} {}\n', 2, "broken JSON: Extra data"),
    ],
)
def test_broken_files_are_told_with_their_line(
    tmp_path: Path, name: str, text: str, line: int, told: str
) -> None:
    file = tmp_path / name
    file.write_text(text)
    with pytest.raises(UserError) as caught:
        read_rows(file, ["id"])
    assert str(caught.value).startswith(f"{file}:{line}: {told}")


def test_other_files_are_refused(tmp_path: Path) -> None:
    latin = tmp_path / "a.json"
    latin.write_bytes('[\n{"id": "\u00e9"}]'.encode("latin-1"))
    with pytest.raises(UserError, match=r"a\.json:2: the file is not UTF-8"):
        read_rows(latin, [])
    with pytest.raises(UserError, match="no such file"):
        read_rows(tmp_path / "none.json", [])
    with pytest.raises(UserError, match=r"expected a \.json or \.jsonl file"):
        read_rows(tmp_path / "a.csv", [])


def test_the_command_writes_the_rows_back(adaptinf: Callable, tmp_path: Path) -> None:
    Path("llava.json").write_text(LLAVA, encoding="utf-8")
    features = np.array([[1, 0], [0, 1], [-1, 0]], dtype=np.float16)
    np.save("f.npy", features)
    asked = ("select", "--features", "f.npy", "--rows", "llava.json", "--clusters", "1")
    done = adaptinf(*asked, "--budget", "2", "--method", "semdedup", "--out", "out/some.json")
    assert done.code == 0, done.err
    # cos(r1, r0) = 0 and cos(r2, .) = 0: all tie but the first, and the older rows win.
    kept = Path("out/some.json").read_bytes()
    assert (
        kept
        == LLAVA.encode()
        .replace(b',\n  {\n    "conversations": [],   "id": "c]}\\""', b"\0")
        .split(b"\0")[0]
        + b"\n]\n"
    )
    done = adaptinf(*asked, "--budget", "9", "--out", "all.json")
    assert Path("all.json").read_text(encoding="utf-8") == LLAVA
