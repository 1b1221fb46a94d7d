"""The pool: rows survive the file, bytes are the rows' alone, uids are never used twice."""

from __future__ import annotations

import hashlib

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from adaptinf.data import pool as pool_module
from adaptinf.data.pool import (
    POOL_SCHEMA,
    PoolBuilder,
    PoolRow,
    PoolTable,
    TableWriter,
    read_pool,
    read_remarks,
    stream_pool,
    write_pool,
    write_remarks,
)
from adaptinf.data.rows import Remark
from adaptinf.errors import UserError


@pytest.fixture
def rows(make_sample):
    return [
        PoolRow(make_sample("<image>\nq", "a", images=("x/1.png",)), 1, 20),
        PoolRow(make_sample("é", "海", dataset="other"), 1),
        PoolRow(make_sample("<image><image>q", "a", images=("1.png", "2.png")), 2, 40),
    ]


def test_rows_survive_the_file(tmp_path, rows):
    write_pool(tmp_path / "pool.parquet", PoolTable.from_rows(rows))
    pool = read_pool(tmp_path / "pool.parquet")
    assert len(pool) == 3
    assert [pool.row(i) for i in range(3)] == rows
    assert pool.sample(1) == rows[1].sample
    assert pool.uids == [row.sample.uid for row in rows]
    assert pool.strings("skill") == [None, None, None]
    np.testing.assert_array_equal(pool.numbers("n_tokens"), [20, 0, 40])
    np.testing.assert_array_equal(pool.numbers("arrived"), [1, 1, 2])


def test_file_holds_the_stated_schema(tmp_path, rows):
    write_pool(tmp_path / "pool.parquet", PoolTable.from_rows(rows))
    assert pq.read_schema(tmp_path / "pool.parquet").equals(POOL_SCHEMA)


def test_bytes_do_not_tell_how_the_pool_was_put_together(tmp_path, make_sample):
    # More than the megabyte of a page, or pages would not show the difference.
    noise = np.random.default_rng(0).bytes(2_000_000).hex()
    texts = [noise[i : i + 2000] for i in range(0, len(noise), 2000)]
    pool = PoolTable.from_rows(PoolRow(make_sample(text, "a"), 1) for text in texts)
    write_pool(tmp_path / "a.parquet", pool)
    pieces = pool.take(range(333)).concat(pool.take(range(333, 2000)))
    write_pool(tmp_path / "b.parquet", pieces)
    assert (tmp_path / "a.parquet").read_bytes() == (tmp_path / "b.parquet").read_bytes()


def test_groups_of_rows_keep_their_order(tmp_path, rows, monkeypatch):
    monkeypatch.setattr(pool_module, "_ROWS_PER_GROUP", 2)
    write_pool(tmp_path / "pool.parquet", PoolTable.from_rows(rows))
    assert [row.sample.uid for row in rows] == read_pool(tmp_path / "pool.parquet").uids


def test_take_and_concat(rows):
    pool = PoolTable.from_rows(rows)
    assert [row.sample.uid for row in rows[::-1]] == pool.take(np.array([2, 1, 0])).uids
    assert pool.take([]).uids == []
    assert pool.take([0]).concat(pool.take([2])).uids == [pool.uids[0], pool.uids[2]]
    assert pool.samples([2, 0]) == [rows[2].sample, rows[0].sample]
    with pytest.raises(IndexError, match="of a pool of 3"):
        pool.take([0, 3])
    with pytest.raises(IndexError):
        pool.row(3)
    with pytest.raises(IndexError):
        pool.sample(-1)


def test_no_uid_twice(rows):
    kept: list[pa.Table] = []
    builder = PoolBuilder(kept.append, [rows[0].sample.uid], retired={rows[1].sample.uid})
    reasons = [builder.repeats(row.sample.uid) for row in rows]
    assert reasons == ["exact-duplicate", "seen-before", None]
    builder.add(rows[2])
    assert builder.repeats(rows[2].sample.uid) == "exact-duplicate"
    for row in rows:
        with pytest.raises(ValueError, match=r"exact-duplicate|seen-before"):
            builder.add(row)
    builder.flush()
    builder.flush()
    assert PoolTable.of(kept).uids == [rows[2].sample.uid]


def test_rows_are_taken_from_any_chunk(rows):
    pool = PoolTable.of([PoolTable.from_rows([row]).table for row in rows])
    whole = PoolTable.from_rows(rows)
    for positions in ([2, 0, 1, 1], [1], [0, 2], []):
        assert pool.take(positions).table.equals(whole.table.take(pa.array(positions, pa.int64())))


def test_a_pool_streams_in_tables(tmp_path, rows, monkeypatch):
    monkeypatch.setattr(pool_module, "_ROWS_PER_BATCH", 2)
    write_pool(tmp_path / "pool.parquet", PoolTable.from_rows(rows))
    tables = list(stream_pool(tmp_path / "pool.parquet"))
    assert [len(table) for table in tables] == [2, 1]
    with TableWriter(tmp_path / "again.parquet") as writer:
        for table in tables:
            writer.write(table)
    assert (tmp_path / "again.parquet").read_bytes() == (tmp_path / "pool.parquet").read_bytes()


def test_many_rows_keep_their_order(make_sample, monkeypatch):
    monkeypatch.setattr(pool_module, "_ROWS_PER_BATCH", 4)
    rows = [PoolRow(make_sample(str(i), "a"), 1, i) for i in range(11)]
    np.testing.assert_array_equal(PoolTable.from_rows(rows).numbers("n_tokens"), np.arange(11))


def test_empty_pool(tmp_path):
    write_pool(tmp_path / "pool.parquet", PoolTable.empty())
    assert len(read_pool(tmp_path / "pool.parquet")) == 0


def test_other_files_are_refused(tmp_path):
    (tmp_path / "text").write_text("no")
    pq.write_table(pa.table({"uid": ["a"]}), tmp_path / "other.parquet")
    for name in ("text", "other.parquet", "gone"):
        with pytest.raises(UserError, match=name):
            read_pool(tmp_path / name)
        with pytest.raises(UserError, match=name):
            list(stream_pool(tmp_path / name))


def test_dropped_rows_survive_the_file(tmp_path):
    dropped = [
        Remark("7", "toy", 3, "empty-answer", "turn 1"),
        Remark("a\ud83d", "toy", 4, "missing-image"),
    ]
    write_remarks(tmp_path / "dropped.parquet", dropped)
    read = read_remarks(tmp_path / "dropped.parquet")
    assert read == [dropped[0], Remark("a?", "toy", 4, "missing-image")]
    before = hashlib.sha256((tmp_path / "dropped.parquet").read_bytes()).hexdigest()
    write_remarks(tmp_path / "dropped.parquet", dropped)
    assert hashlib.sha256((tmp_path / "dropped.parquet").read_bytes()).hexdigest() == before
