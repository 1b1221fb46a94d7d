"""From files to pool: what enters, what stays out and why, and that it is always the same."""

from __future__ import annotations

import json
from dataclasses import dataclass, replace
from pathlib import Path

import pytest
from PIL import Image

from adaptinf.data.encoder import Encoder
from adaptinf.data.images import load_image, locate
from adaptinf.data.ingest import Counts, ingest
from adaptinf.data.pool import PoolBuilder, PoolTable, write_pool
from adaptinf.data.rows import Remark
from adaptinf.data.source import Source
from adaptinf.errors import UserError


def row(ident: str, image: str | list[str] | None, *texts: str) -> dict:
    speakers = ("human", "gpt")
    turns = [{"from": speakers[i % 2], "value": text} for i, text in enumerate(texts)]
    return {"id": ident, "conversations": turns} | ({"image": image} if image else {})


@pytest.fixture
def source(tmp_path, write_image) -> Source:
    """Good rows and every kind of bad one, in LLaVA's format."""
    root = tmp_path / "toy"
    for seed, name in enumerate(["a.jpg", "b.jpg"]):
        write_image(root / name, seed=seed, format="JPEG")
    write_image(root / "gif.jpg", seed=3, format="GIF")
    write_image(root / "tiny.png", seed=4, size=(1, 1))
    (root / "zero.jpg").touch()
    (root / "text.jpg").write_text("no image")
    Image.new("1", (20_000, 20_000)).save(root / "bomb.png")
    (tmp_path / "secret.png").write_bytes((root / "tiny.png").read_bytes())
    (root / "link.png").symlink_to(tmp_path / "secret.png")
    asked = "<image>\nWhat?"
    rows = [
        row("1", "a.jpg", asked, "red", "And now?", "blue"),
        row("1", "b.jpg", "What?\n<image>", "green"),
        row("2", None, "Write.", "A haiku."),
        row("3", ["a.jpg", "b.jpg"], "<image><image>Same?", "no"),
        row("4", "gif.jpg", asked, "a book"),
        row("5", "tiny.png", asked, "a dot"),
        row("6", "gone.jpg", asked, "x"),
        row("7", "zero.jpg", asked, "x"),
        row("8", "text.jpg", asked, "x"),
        row("9", "bomb.png", asked, "x"),
        row("10", "../secret.png", asked, "x"),
        row("11", "/etc/passwd", asked, "x"),
        row("12", "link.png", asked, "x"),
        row("13", "a.jpg", "What?", "x"),
        row("14", "a.jpg", asked, " "),
        row("15", None, "Write."),
        row("16", None),
        row("17", "a.jpg", asked, "red", "And now?", "blue"),
        row("18", None, "Half \ud83d", "x"),
        row("19", None, "Close </s> it", "x"),
        row("20", None, "Long", "x " * 200),
        row("21", "a.jpg", "long " * 200 + "<image>", "x"),
        "no row",
    ]
    path = root / "rows.json"
    path.write_text(json.dumps(rows))
    return Source("toy", "llava", path, root, "MIT")


DROPPED = {
    "5": "single-pixel-image",
    "6": "missing-image",
    "7": "empty-image",
    "8": "undecodable-image",
    "9": "oversized-image",
    "10": "unsafe-path",
    "11": "unsafe-path",
    "12": "unsafe-path",
    "13": "image-mark-mismatch",
    "14": "empty-answer",
    "15": "last-role-not-assistant",
    "16": "no-turns",
    "17": "exact-duplicate",
    "18": "malformed-row",
    "19": "not-encodable",
    "21": "too-long",
    "22": "malformed-row",
}


@pytest.fixture
def encoder(llava_processor) -> Encoder:
    return Encoder(llava_processor, 120)


@dataclass
class Run:
    pool: PoolTable
    dropped: list[Remark]
    noted: list[Remark]
    counts: Counts


def run(source: Source, encoder: Encoder | None = None, pool=None, retired=(), **options) -> Run:
    """The rows of a source behind those of a pool."""
    old = PoolTable.empty() if pool is None else pool
    tables = [old.table]
    settings = {"arrived": 1, "media": Path("media"), **options}
    told = ingest(source, PoolBuilder(tables.append, old.uids, retired), encoder, **settings)
    return Run(PoolTable.of(tables), told.dropped, told.noted, told.counts)


def test_every_row_is_kept_or_dropped_for_its_reason(source, encoder):
    result = run(source, encoder)
    assert result.pool.strings("source_id") == ["1", "1", "2", "3", "4", "20"]
    assert {row.source_id: row.reason for row in result.dropped} == DROPPED
    assert [row.row for row in result.dropped] == [*range(5, 20), 21, 22]
    noted = [(1, "1", "repeated-id"), (4, "4", "misnamed-image")]
    assert [(row.row, row.source_id, row.reason) for row in result.noted] == noted
    by_reason: dict[str, int] = {}
    for reason in DROPPED.values():
        by_reason[reason] = by_reason.get(reason, 0) + 1
    assert result.counts == Counts(23, 6, by_reason, 1, {"misnamed-image": 1, "repeated-id": 1})
    assert set(result.pool.strings("arrived")) == {1}
    assert set(result.pool.strings("licence")) == {"MIT"}


def test_details_name_no_place_of_this_machine(source, encoder, tmp_path):
    assert not [row for row in run(source, encoder).dropped if str(tmp_path) in row.detail]


def test_lengths_are_those_of_the_batch(source, encoder):
    pool = run(source, encoder).pool
    samples = [pool.sample(i) for i in range(len(pool))]
    images = [[load_image(locate(source.images, name)) for name in s.images] for s in samples]
    batch = encoder.encode(samples, images)
    assert pool.strings("n_tokens") == batch["attention_mask"].sum(dim=1).tolist()
    assert max(pool.strings("n_tokens")) == 120


def test_without_an_encoder_nothing_is_measured(source):
    pool = run(source).pool
    assert pool.strings("source_id")[-3:] == ["19", "20", "21"]
    assert set(pool.strings("n_tokens")) == {0}


def test_a_second_delivery_adds_only_what_is_new(source, encoder):
    first = run(source, encoder)
    rows = json.loads(source.annotations.read_text())
    path = source.annotations.with_name("v2.json")
    path.write_text(json.dumps([*rows[:7][::-1], row("new", None, "Fresh?", "yes")]))
    retired = {first.pool.uids[2]}
    kept = first.pool.take([0, 1, 3, 4, 5])
    again = run(replace(source, annotations=path), encoder, kept, retired=retired, arrived=2)
    assert again.pool.uids[:5] == kept.uids
    assert again.pool.strings("source_id")[5:] == ["new"]
    assert again.pool.strings("arrived") == [1] * 5 + [2]
    assert again.counts.dropped == {
        "exact-duplicate": 4,
        "missing-image": 1,
        "seen-before": 1,
        "single-pixel-image": 1,
    }
    assert len(set(again.pool.uids)) == 6


def test_pool_is_the_same_every_time_and_elsewhere(source, encoder, tmp_path):
    moved = source.images.rename(tmp_path / "elsewhere")
    there = replace(source, annotations=moved / "rows.json", images=moved)
    for name in ("a", "b"):
        write_pool(tmp_path / f"{name}.parquet", run(there, encoder).pool)
    moved.rename(source.images)
    write_pool(tmp_path / "c.parquet", run(source, encoder).pool)
    content = {(tmp_path / f"{name}.parquet").read_bytes() for name in "abc"}
    assert len(content) == 1


def test_limit_takes_the_first_kept_rows(source, encoder):
    result = run(source, encoder, limit=3)
    assert result.pool.strings("source_id") == ["1", "1", "2"]
    assert result.counts == Counts(3, 3, {}, 0, {"repeated-id": 1})


def test_strict_stops_at_the_first_row_that_cannot_be_used(source, encoder):
    with pytest.raises(UserError, match=r"rows.json: row 5 \(5\): single-pixel-image"):
        run(source, encoder, strict=True)
    rows = json.loads(source.annotations.read_text())
    repeated = source.annotations.with_name("again.json")
    repeated.write_text(json.dumps([rows[0], rows[0]]))
    result = run(replace(source, annotations=repeated), encoder, strict=True)
    assert result.counts.dropped == {"exact-duplicate": 1}


def test_progress_counts_rows_read(source):
    told: list[int] = []
    run(source, progress=told.append)
    assert told == list(range(1, 24))


def test_nothing_usable_is_a_user_error(source):
    empty = source.images / "nowhere"
    path = source.images / "rows.jsonl"
    path.write_text(json.dumps(row("1", "a.jpg", "<image>\nq", "a")) + "\n")
    with pytest.raises(UserError, match=r"no row of toy.*1 missing-image.*relative to .*nowhere"):
        run(replace(source, annotations=path, images=empty))
    path.write_text("\n")
    with pytest.raises(UserError, match="no rows"):
        run(replace(source, annotations=path))
