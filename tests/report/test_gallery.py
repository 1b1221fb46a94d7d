"""Thumbnails and the rows that a step selected."""

from __future__ import annotations

import base64
import io
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from PIL import Image

from adaptinf.report.findings import read_findings
from adaptinf.report.gallery import plain, selected_tiles, thumbnail


def opened(uri: str) -> Image.Image:
    return Image.open(io.BytesIO(base64.b64decode(uri.partition("base64,")[2])))


def test_a_small_picture_is_kept_pixel_by_pixel(tmp_path: Path) -> None:
    pixels = np.random.default_rng(0).integers(0, 256, (28, 32, 3), dtype=np.uint8)
    Image.fromarray(pixels).save(tmp_path / "a.png")
    small = thumbnail(tmp_path, "a.png")
    assert small.tiny and small.uri.startswith("data:image/png;base64,")
    assert np.array_equal(np.asarray(opened(small.uri)), pixels)


@pytest.mark.parametrize("mode", ["RGB", "L", "RGBA", "P", "CMYK", "1"])
def test_a_large_picture_becomes_a_thumbnail(tmp_path: Path, mode: str) -> None:
    noise = np.random.default_rng(0).integers(0, 256, (600, 300, 3), dtype=np.uint8)
    file = "a.tif" if mode == "CMYK" else "a.png"
    Image.fromarray(noise).convert(mode).save(tmp_path / file)
    small = thumbnail(tmp_path, file)
    assert opened(small.uri).size == (48, 96) and not small.tiny
    assert len(small.uri) < 12_000


@pytest.mark.parametrize("path", ["../a.png", "x/../../a.png", "/etc/hostname", "b.png", "a.txt"])
def test_what_cannot_be_shown_is_none(tmp_path: Path, path: str) -> None:
    root = tmp_path / "root"
    root.mkdir()
    Image.new("RGB", (8, 8)).save(tmp_path / "a.png")
    (root / "a.txt").write_text("no picture")
    assert thumbnail(root, path) is None


def test_without_a_root_there_is_no_picture() -> None:
    assert thumbnail(None, "a.png") is None


def test_a_truncated_picture_is_none(tmp_path: Path) -> None:
    Image.new("RGB", (300, 300), "red").save(tmp_path / "whole.jpg")
    raw = (tmp_path / "whole.jpg").read_bytes()
    (tmp_path / "cut.jpg").write_bytes(raw[: len(raw) // 2])
    assert thumbnail(tmp_path, "cut.jpg") is None


def test_plain() -> None:
    assert plain("<image>\n<image>What   is\tthis?\n") == "What is this?"
    assert len(plain("word " * 100)) <= 160


def test_tiles_come_from_many_clusters_and_match_their_rows(run) -> None:
    tiles = selected_tiles(read_findings(run.folder), "5-vision_flan", 8)
    assert len({tile.cluster for tile in tiles}) == 8
    assert len({tile.dataset for tile in tiles}) >= 3
    pool = pq.read_table(run.folder / "steps/5-vision_flan/ingest/pool.parquet").to_pylist()
    texts = {tuple(plain(turn["text"]) for turn in row["turns"]) for row in pool}
    assert {(tile.question, tile.answer) for tile in tiles} <= texts


def test_datasets_take_the_place_of_missing_clusters(own_run) -> None:
    file = own_run.folder / "steps/3-minigpt4/select/selection.parquet"
    rows = [row | {"cluster": None} for row in pq.read_table(file).to_pylist()]
    pq.write_table(pa.Table.from_pylist(rows), file)
    tiles = selected_tiles(read_findings(own_run.folder), "3-minigpt4", 6)
    assert sorted(tile.dataset for tile in tiles) == sorted(["llava", "m3it", "minigpt4"] * 2)
    assert {tile.cluster for tile in tiles} == {None}


def test_notes(own_run) -> None:
    folder = own_run.folder / "steps/1-llava"
    rows = pq.read_table(folder / "ingest/pool.parquet").to_pylist()[:3]
    rows[0]["images"], rows[1]["images"], rows[2]["images"] = [], ["gone.png"], ["00.png", "01.png"]
    pq.write_table(pa.Table.from_pylist(rows), folder / "ingest/pool.parquet")
    chosen = [{"uid": row["uid"], "dataset": "llava", "cluster": 0} for row in rows]
    pq.write_table(pa.Table.from_pylist(chosen), folder / "select/selection.parquet")
    tiles = selected_tiles(read_findings(own_run.folder), "1-llava", 8)
    assert [tile.note for tile in tiles] == ["first of 2 images", "text only", "image not found"]
    assert [tile.picture is None for tile in tiles] == [False, True, True]
