"""Licences and sources of rows: told by row, recipe or catalogue; and which are let in."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from adaptinf.data.admission import EVERY_ROW, Admission
from adaptinf.data.catalogue import CATALOGUE
from adaptinf.data.ingest import Ingested, ingest
from adaptinf.data.licences import COMMERCIAL, let_in, plain, spelt
from adaptinf.data.names import DATASETS
from adaptinf.data.pool import POOL_SCHEMA, PoolBuilder, PoolTable, read_pool, stream_pool
from adaptinf.data.source import Source, find_source
from adaptinf.errors import UserError
from config import load_recipe

TOLD = [None, "CC-BY-NC-4.0", "cc by 4.0", "MIT", "mit", "cc-by-sa-4.0", " "]
"""What each of seven rows tells of its licence."""


def rows_file(folder: Path) -> Path:
    rows = [
        {
            "id": str(number),
            "conversations": [
                {"from": "human", "value": f"question {number}"},
                {"from": "gpt", "value": "answer"},
            ],
            **({"licence": told} if told else {}),
        }
        for number, told in enumerate(TOLD)
    ]
    rows[3]["source"], rows[4]["source"] = "shelf 7", {"not": "text"}
    file = folder / "rows.json"
    file.write_text(json.dumps(rows))
    return file


def read(source: Source, admission: Admission = EVERY_ROW, **more) -> tuple[PoolTable, Ingested]:
    tables: list[pa.Table] = []
    told = ingest(
        source, PoolBuilder(tables.append), None, 1, Path("media"), admission=admission, **more
    )
    return PoolTable.of(tables), told


@pytest.fixture
def source(tmp_path) -> Source:
    return find_source(
        str(rows_file(tmp_path)), root=tmp_path, media=tmp_path / "media", recipe_dir=tmp_path
    )


def test_a_row_tells_its_own_and_the_recipe_tells_the_others(source):
    pool, _ = read(source)
    assert pool.strings("licence") == [*TOLD[:6], None]
    pool, _ = read(replace(source, licence="Apache-2.0"))
    assert pool.strings("licence") == ["Apache-2.0", *TOLD[1:6], "Apache-2.0"]
    assert pool.strings("source") == [*["rows.json"] * 3, "shelf 7", *["rows.json"] * 3]


def test_columns_name_a_licence(source):
    named = replace(source, columns={"conversations": "conversations", "licence": "id"})
    assert read(named)[0].strings("licence") == [str(number) for number in range(7)]


@pytest.mark.parametrize(
    ("setting", "kept"),
    [
        ("any", [0, 1, 2, 3, 4, 5, 6]),
        ("commercial", [2, 3, 4, 5]),
        (("CC BY-NC 4.0", "unknown"), [0, 1, 6]),
        (("mit",), [3, 4]),
    ],
)
def test_other_licences_are_kept_out_and_counted(source, setting, kept):
    pool, told = read(source, Admission(let_in(setting)), strict=True)
    assert [int(ident) for ident in pool.strings("source_id")] == kept
    left = 7 - len(kept)
    assert told.counts.dropped == ({"licence-kept-out": left} if left else {})
    details = {remark.row: remark.detail for remark in told.dropped}
    assert details == {i: (TOLD[i] or "").strip() or "unknown" for i in range(7) if i not in kept}


def test_withdrawn_rows_are_kept_out_and_counted(source):
    uid = read(source)[0].uids[2]
    pool, told = read(source, Admission(withdrawn=frozenset({uid})), strict=True)
    assert uid not in pool.uids and len(pool) == 6
    assert [(r.row, r.reason, r.detail) for r in told.dropped] == [(2, "withdrawn", uid)]


def test_commercial_names_what_allows_commercial_use():
    assert not [name for name in COMMERCIAL if "NC" in name or "ND" in name]
    assert {"CC-BY-4.0", "CC0-1.0", "Apache-2.0", "MIT"} <= set(COMMERCIAL)
    assert plain("CC BY 4.0") == plain("cc-by-4.0") == plain("CC_BY 4.0") == "cc-by-4.0"
    assert plain(None) == plain("Unknown") == "unknown"
    assert (spelt("cc by 4.0"), spelt(None), spelt("Own terms")) == (
        "CC-BY-4.0",
        "unknown",
        "Own terms",
    )


def test_parts_of_known_datasets_carry_what_is_known(tmp_path):
    path = tmp_path / "lavin" / "all_data.json"
    path.parent.mkdir()
    path.write_text("{}")
    lavin = find_source("lavin", root=tmp_path, media=tmp_path, recipe_dir=tmp_path)
    assert lavin.licence_of("sqa") == "CC-BY-NC-SA-4.0"
    assert lavin.licence_of("llava") == lavin.licence_of(None) == "CC-BY-NC-4.0"
    assert (lavin.source_of("sqa"), lavin.source_of(None)) == ("lavin/sqa", "lavin")
    given = find_source("lavin", root=tmp_path, media=tmp_path, recipe_dir=tmp_path, licence="MIT")
    assert given.licence_of("sqa") == "MIT"
    # Nobody has told these by row: unknown, and kept out where only commercial use will do.
    assert not any(CATALOGUE[name].licences for name in ("m3it", "vision_flan", "minigpt4", "art"))
    assert set(DATASETS) <= set(CATALOGUE)


def test_a_pool_of_the_first_release_is_read(tmp_path, source):
    pool, _ = read(source)
    file = tmp_path / "old.parquet"
    pq.write_table(pool.table.drop_columns(["source"]), file)
    old = read_pool(file)
    assert old.table.schema.equals(POOL_SCHEMA)
    assert old.uids == pool.uids and old.strings("source") == [None] * 7
    assert PoolTable.of(stream_pool(file)).table.equals(old.table)
    pq.write_table(pool.table.drop_columns(["licence"]), file)
    with pytest.raises(UserError, match="cannot be read"):
        read_pool(file)


def test_the_recipe_refuses_an_empty_list(tmp_path):
    file = tmp_path / "recipe.yaml"
    file.write_text("output_dir: x\ntasks: [{dataset: llava}]\ndata: {licences: []}\n")
    with pytest.raises(UserError, match="names no licence"):
        load_recipe(file)
    assert load_recipe(file, ["data.licences=[MIT, unknown]"]).data.licences == ("MIT", "unknown")
    assert load_recipe(file, ["data.licences=commercial"]).data.licences == "commercial"
