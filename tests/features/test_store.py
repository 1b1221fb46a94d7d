from __future__ import annotations

import json

import numpy as np
import pytest
import torch

from adaptinf.errors import UserError
from adaptinf.features import batched
from adaptinf.features.extractor import BatchFeatures
from adaptinf.features.store import (
    SCORES,
    FeatureStore,
    load_embeddings,
    load_gradients,
    load_scores,
)

ROWS, DIM, HIDDEN = 11, 6, 5
BATCHES = [np.array(rows) for rows in ([9, 0, 4], [1, 10, 2, 3], [8, 7], [5, 6])]
UIDS = [f"llava:{i}" for i in range(ROWS)]


def features(rows, shift=0.0):
    """Numbers by which each row and column is recognised; one row has no answer."""
    base = torch.tensor(rows, dtype=torch.float64)[:, None] + shift
    scores = {name: base[:, 0] + k / 10 for k, name in enumerate(SCORES)}
    scores["el2n"] = torch.where(torch.tensor(rows) == 3, torch.nan, scores["el2n"])
    return BatchFeatures(
        gradients=(base + torch.arange(DIM) / 16).float(),
        gradient_norms=(base[:, 0] + 0.1).float(),
        embeddings=(100 + base + torch.arange(HIDDEN) / 8).float(),
        scores=scores,
        n_answer=torch.tensor(rows),
    )


def begin(folder, **options):
    return FeatureStore.open(folder, ROWS, DIM, HIDDEN, BATCHES, {"layer": 1}, **options)


def fill(store):
    for number in store.pending:
        store.write(number, features(BATCHES[number].tolist()))


def contents(folder):
    return {file.name: file.read_bytes() for file in folder.iterdir()}


def test_files_beyond_the_rows_of_the_manifest_are_not_read(tmp_path):
    store = begin(tmp_path, shard_rows=4)
    fill(store)
    store.finish(UIDS)
    before = load_gradients(tmp_path)
    for name in ("gradients-00003.npy", "gradients-0.npy", "gradients-old.npy"):
        np.save(tmp_path / name, np.ones((4, DIM), np.float16))
    assert np.array_equal(load_gradients(tmp_path), before)
    assert before.shape == (ROWS, DIM)
    (tmp_path / "gradients-00001.npy").unlink()
    with pytest.raises(FileNotFoundError, match="gradients-00001"):
        load_gradients(tmp_path)


@pytest.mark.parametrize("shard_rows", [4, 11, 100])
def test_rows_come_back_in_dataset_order(tmp_path, shard_rows):
    store = begin(tmp_path, shard_rows=shard_rows)
    fill(store)
    store.finish(UIDS)
    everything = features(list(range(ROWS)))
    gradients, embeddings = load_gradients(tmp_path), load_embeddings(tmp_path)
    assert gradients.dtype == embeddings.dtype == np.float16
    assert isinstance(gradients, np.memmap) == (shard_rows > 4)
    np.testing.assert_array_equal(gradients, everything.gradients.half())
    np.testing.assert_array_equal(embeddings, everything.embeddings.half())
    table = load_scores(tmp_path)
    assert table.column_names == ["uid", *SCORES, "gradient_norm", "n_answer"]
    assert [str(kind) for kind in table.schema.types] == [
        "string",
        *["double"] * 5,
        "float",
        "int32",
    ]
    assert table["uid"].to_pylist() == UIDS
    for name in SCORES:
        np.testing.assert_array_equal(table[name].to_numpy(), everything.scores[name])
    np.testing.assert_array_equal(table["gradient_norm"].to_numpy(), everything.gradient_norms)
    assert table["n_answer"].to_pylist() == list(range(ROWS))
    shards = sorted(file.name for file in tmp_path.glob("gradients-*.npy"))
    assert shards == [f"gradients-{i:05d}.npy" for i in range(-(-ROWS // shard_rows))]


def test_the_finished_folder_holds_nothing_else(tmp_path):
    store = begin(tmp_path)
    fill(store)
    store.finish(UIDS)
    names = {"gradients-00000.npy", "embeddings-00000.npy", "manifest.json", "scores.parquet"}
    assert set(contents(tmp_path)) == names
    manifest = json.loads((tmp_path / "manifest.json").read_text())
    assert manifest["rows"] == ROWS and manifest["settings"] == {"layer": 1}


@pytest.mark.parametrize("kept", range(len(BATCHES) + 1))
def test_an_interrupted_pass_goes_on_to_the_same_bytes(tmp_path, kept):
    whole = begin(tmp_path / "whole", shard_rows=4)
    fill(whole)
    whole.finish(UIDS)
    broken = begin(tmp_path / "broken", shard_rows=4)
    for number in range(kept):
        broken.write(number, features(BATCHES[number].tolist()))
    if kept < len(BATCHES):
        # Killed after the next batch's data, before its mark: what is there is written over.
        broken.arrays.shards["gradients"].put(BATCHES[kept][:1], np.full((1, DIM), 77.0))
    del broken
    again = begin(tmp_path / "broken", shard_rows=4)
    assert again.pending == list(range(kept, len(BATCHES)))
    fill(again)
    again.finish(UIDS)
    assert contents(tmp_path / "broken") == contents(tmp_path / "whole")


def test_killed_while_it_finishes(tmp_path):
    store = begin(tmp_path)
    fill(store)
    names = ("scores-00000.npy", "done.npy", "parts.npy")
    working = {name: (tmp_path / name).read_bytes() for name in names}
    store.finish(UIDS)
    finished = contents(tmp_path)
    for left in (["done.npy"], ["parts.npy"], list(names), []):
        for name in left:
            (tmp_path / name).write_bytes(working[name])
        again = begin(tmp_path)
        assert again.pending == []
        again.finish(UIDS)
        assert contents(tmp_path) == finished


def test_killed_before_the_manifest_begins_anew(tmp_path):
    begin(tmp_path)
    (tmp_path / "manifest.json").unlink()
    (tmp_path / "gradients-00000.npy").write_bytes(b"half a file")
    store = begin(tmp_path)
    assert store.pending == [0, 1, 2, 3]


def test_another_plan_or_setting_is_refused(tmp_path):
    begin(tmp_path)
    other = [*BATCHES[:-1], BATCHES[-1][::-1]]
    with pytest.raises(UserError, match="different batches"):
        FeatureStore.open(tmp_path, ROWS, DIM, HIDDEN, other, {"layer": 1})
    with pytest.raises(UserError, match="different dim, settings"):
        FeatureStore.open(tmp_path, ROWS, DIM + 1, HIDDEN, BATCHES, {"layer": 2})


def test_an_unfinished_pass_cannot_be_finished(tmp_path):
    store = begin(tmp_path)
    store.write(0, features(BATCHES[0].tolist()))
    with pytest.raises(ValueError, match="3 batches are not computed"):
        store.finish(UIDS)
    fill(store)
    with pytest.raises(ValueError, match="10 uids for 11 rows"):
        store.finish(UIDS[:-1])
    few = FeatureStore.open(tmp_path / "few", ROWS, DIM, HIDDEN, BATCHES[:-1])
    fill(few)
    with pytest.raises(ValueError, match="2 rows are in none and not copied"):
        few.finish(UIDS)


def test_parts_that_did_not_fit_the_memory_are_told(tmp_path):
    store = begin(tmp_path)
    store.write(0, features(BATCHES[0].tolist()), parts=2)
    del store
    store = begin(tmp_path)
    assert store.arrays.parts.tolist() == [2, 1, 1, 1]
    fill(store)
    store.finish(UIDS)
    assert json.loads((tmp_path / "manifest.json").read_text())["parts"] == {"0": 2}
    assert begin(tmp_path).pending == []


def test_what_several_have_computed_becomes_one(tmp_path):
    whole = begin(tmp_path / "whole")
    fill(whole)
    whole.finish(UIDS)
    first, second = begin(tmp_path / "first"), begin(tmp_path / "second", shard_rows=4)
    for store, numbers in ((first, (0, 2)), (second, (1, 3))):
        for number in numbers:
            store.write(number, features(BATCHES[number].tolist()))
    first.arrays.absorb(second.arrays)
    assert first.pending == []
    first.finish(UIDS)
    assert contents(tmp_path / "first") == contents(tmp_path / "whole")


@pytest.mark.parametrize("shard_rows", [4, 100])
def test_rows_are_reused_from_an_earlier_step(tmp_path, shard_rows):
    old = begin(tmp_path / "old", shard_rows=shard_rows)
    fill(old)
    old.finish(UIDS)
    # New pool: old rows 10, 3, 0 in places 4, 0, 2; places 1 and 3 are new rows.
    mapping = np.array([3, -1, 0, -1, 10])
    batches = [np.array([3, 1])]
    new = FeatureStore.open(tmp_path / "new", 5, DIM, HIDDEN, batches, shard_rows=2)
    new.rows_from(tmp_path / "old", mapping)
    new.write(0, features([21, 20]))
    new.finish(list("abcde"))
    order = [3, 20, 0, 21, 10]
    expected = features(order)
    np.testing.assert_array_equal(load_gradients(tmp_path / "new"), expected.gradients.half())
    np.testing.assert_array_equal(load_embeddings(tmp_path / "new"), expected.embeddings.half())
    table = load_scores(tmp_path / "new")
    assert table["n_answer"].to_pylist() == order
    np.testing.assert_array_equal(table["perplexity"].to_numpy(), expected.scores["perplexity"])
    np.testing.assert_array_equal(table["el2n"].to_numpy(), expected.scores["el2n"])
    np.testing.assert_array_equal(table["gradient_norm"].to_numpy(), expected.gradient_norms)


def test_a_store_of_no_rows_is_a_store(tmp_path):
    store = FeatureStore.open(tmp_path, 0, DIM, HIDDEN, [])
    store.finish([])
    assert load_gradients(tmp_path).shape == (0, DIM)
    assert load_embeddings(tmp_path).shape == (0, HIDDEN)
    assert load_scores(tmp_path).num_rows == 0


def test_marks_that_are_half_written_are_no_beginning(tmp_path, monkeypatch):
    batches = [np.arange(3)]
    wrote = batched.write_atomically

    def killed_at_the_last(file, content):
        if file.name == "done.npy":
            raise KeyboardInterrupt
        wrote(file, content)

    monkeypatch.setattr(batched, "write_atomically", killed_at_the_last)
    with pytest.raises(KeyboardInterrupt):
        batched.BatchedArrays.begin(tmp_path, batches)
    assert not batched.BatchedArrays.are_begun(tmp_path)
    monkeypatch.undo()
    batched.BatchedArrays.begin(tmp_path, batches)
    assert batched.BatchedArrays(tmp_path, batches, {}).pending == [0]
