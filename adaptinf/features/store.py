"""Features of a pool on disk: written batch by batch, resumable, the same bytes in the end."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from numpy.typing import NDArray

from adaptinf.errors import UserError
from adaptinf.features.shards import SHARD_ROWS, Shards
from selection.names import SCORES

if TYPE_CHECKING:
    from adaptinf.features.extractor import BatchFeatures

VERSION = 1
_COLUMNS = (*SCORES, "gradient_norm", "n_answer")
_TYPES = (*(pa.float64() for _ in SCORES), pa.float32(), pa.int32())
_COPIED_ROWS = 8192

Batches = Sequence[NDArray[np.int64]]


class FeatureStore:
    """The features of ``rows`` rows in dataset order, computed in planned ``batches``.

    Files: ``gradients-*.npy`` [rows, dim] and ``embeddings-*.npy`` [rows, hidden] float16,
    ``manifest.json``, and at the end ``scores.parquet``. Until then ``scores.npy`` holds the score
    columns and ``done.npy`` one flag per batch, set once the batch is on disk: a pass that is
    killed loses the batch it was in and nothing else.
    """

    def __init__(self, folder: Path, batches: Batches, shard_rows: int) -> None:
        """The store in ``folder``; use ``create`` or ``open``."""
        self.folder = folder
        self._batches = batches
        self._gradients = Shards.open(folder, "gradients", shard_rows, "r+")
        self._embeddings = Shards.open(folder, "embeddings", shard_rows, "r+")
        self._finished = (folder / "scores.parquet").exists()
        if not self._finished:
            self._scores = np.load(folder / "scores.npy", mmap_mode="r+", allow_pickle=False)
            self._done = np.load(folder / "done.npy", mmap_mode="r+", allow_pickle=False)

    @classmethod
    def create(
        cls,
        folder: Path,
        rows: int,
        dim: int,
        hidden: int,
        batches: Batches,
        settings: Mapping[str, Any] | None = None,
        shard_rows: int = SHARD_ROWS,
    ) -> FeatureStore:
        """An empty store in ``folder``, in place of any that is there.

        ``settings`` (JSON values) say what the features were computed with; they are kept in the
        manifest.
        """
        folder.mkdir(parents=True, exist_ok=True)
        for pattern in ("manifest.json", "*.npy", "scores.parquet"):
            for file in folder.glob(pattern):
                file.unlink()
        Shards.create(folder, "gradients", rows, dim, shard_rows)
        Shards.create(folder, "embeddings", rows, hidden, shard_rows)
        scores = np.full((rows, len(_COLUMNS)), np.nan)
        np.save(folder / "scores.npy", scores, allow_pickle=False)
        np.save(folder / "done.npy", np.zeros(len(batches), np.bool_), allow_pickle=False)
        manifest = _manifest(rows, dim, hidden, batches, settings, shard_rows)
        _write_whole(folder / "manifest.json", json.dumps(manifest, indent=2).encode())
        return cls(folder, batches, shard_rows)

    @classmethod
    def open(
        cls,
        folder: Path,
        rows: int,
        dim: int,
        hidden: int,
        batches: Batches,
        settings: Mapping[str, Any] | None = None,
        shard_rows: int = SHARD_ROWS,
    ) -> FeatureStore:
        """The store begun in ``folder``, to go on with; an empty one if there is none yet.

        Raises:
            UserError: the store there was begun with other rows, batches or settings.
        """
        file = folder / "manifest.json"
        if not file.exists():
            return cls.create(folder, rows, dim, hidden, batches, settings, shard_rows)
        found = json.loads(file.read_text())
        wanted = _manifest(rows, dim, hidden, batches, settings, shard_rows)
        different = [key for key in wanted if found.get(key) != wanted[key]]
        if different:
            raise UserError(
                f"features here were begun with different {', '.join(different)}",
                where=str(file),
                seen={key: found.get(key) for key in different},
                hint="remove the folder to compute them anew",
            )
        return cls(folder, batches, shard_rows)

    @property
    def pending(self) -> list[int]:
        """Numbers of the batches still to be computed, in order."""
        return [] if self._finished else np.flatnonzero(~self._done).tolist()

    def write(self, number: int, features: BatchFeatures) -> None:
        """Keep the features of batch ``number``; once this returns they survive a kill."""
        rows = self._batches[number]
        columns = [features.scores[name].numpy() for name in SCORES]
        columns += [features.gradient_norms.numpy(), features.n_answer.numpy()]
        self._gradients.put(rows, features.gradients.numpy())
        self._embeddings.put(rows, features.embeddings.numpy())
        self._put_scores(rows, np.stack(columns, axis=1))
        self._done[number] = True
        self._done.flush()

    def rows_from(self, folder: Path, mapping: NDArray[np.int64]) -> None:
        """Copy rows bit by bit from the finished store in ``folder``.

        ``mapping`` [rows] is each row's position there, -1 for rows that are not copied. Call it
        before the batches, on a resumed store again: the bytes are the same.
        """
        if self._finished:
            return
        theirs = _open_finished(folder)
        table = load_scores(folder)
        scores = np.stack([table[name].to_numpy().astype(np.float64) for name in _COLUMNS], axis=1)
        copied = np.flatnonzero(mapping >= 0)
        for start in range(0, len(copied), _COPIED_ROWS):
            rows = copied[start : start + _COPIED_ROWS]
            self._gradients.put(rows, theirs["gradients"].take(mapping[rows]))
            self._embeddings.put(rows, theirs["embeddings"].take(mapping[rows]))
            self._put_scores(rows, scores[mapping[rows]])

    def finish(self, uids: Sequence[str]) -> None:
        """Write ``scores.parquet`` and remove what only a running pass needs.

        Raises:
            ValueError: rows are missing, or there is not one uid per row.
        """
        if not self._finished:
            missing = int(np.isnan(self._scores[:, _COLUMNS.index("n_answer")]).sum())
            if missing or self.pending or len(uids) != len(self._scores):
                raise ValueError(
                    f"{missing} rows and {len(self.pending)} batches are not computed,"
                    f" {len(uids)} uids for {len(self._scores)} rows"
                )
            sink = pa.BufferOutputStream()
            pq.write_table(_score_table(uids, self._scores), sink)
            _write_whole(self.folder / "scores.parquet", sink.getvalue().to_pybytes())
            self._finished = True
        for name in ("scores.npy", "done.npy"):
            (self.folder / name).unlink(missing_ok=True)

    def _put_scores(self, rows: NDArray[np.int64], values: NDArray[np.float64]) -> None:
        self._scores[rows] = values
        self._scores.flush()


def load_gradients(folder: Path) -> NDArray[np.float16]:
    """Projected gradients [rows, dim] of a finished store: unit vectors, mapped if in one file."""
    return _open_finished(folder)["gradients"].whole()


def load_embeddings(folder: Path) -> NDArray[np.float16]:
    """Embeddings [rows, hidden] of a finished store, mapped if in one file."""
    return _open_finished(folder)["embeddings"].whole()


def load_scores(folder: Path) -> pa.Table:
    """``uid``, the five scores, ``gradient_norm`` and ``n_answer`` of a finished store."""
    return pq.read_table(folder / "scores.parquet")


def _open_finished(folder: Path) -> dict[str, Shards]:
    manifest = json.loads((folder / "manifest.json").read_text())
    names = ("gradients", "embeddings")
    return {name: Shards.open(folder, name, manifest["shard_rows"], "r") for name in names}


def _manifest(
    rows: int,
    dim: int,
    hidden: int,
    batches: Batches,
    settings: Mapping[str, Any] | None,
    shard_rows: int,
) -> dict[str, Any]:
    plan = hashlib.sha256()
    for batch in batches:
        plan.update(len(batch).to_bytes(8, "little"))
        plan.update(np.asarray(batch, dtype="<i8").tobytes())
    return {
        "version": VERSION,
        "rows": rows,
        "dim": dim,
        "hidden": hidden,
        "dtype": "float16",
        "shard_rows": shard_rows,
        "batches": {"count": len(batches), "sha256": plan.hexdigest()},
        "settings": json.loads(json.dumps(dict(settings or {}))),
    }


def _score_table(uids: Sequence[str], scores: NDArray[np.float64]) -> pa.Table:
    columns = {"uid": pa.array(uids, pa.string())}
    for name, kind, values in zip(_COLUMNS, _TYPES, scores.T, strict=True):
        whole = values.astype(np.int32) if kind == pa.int32() else values
        columns[name] = pa.array(whole, kind)
    return pa.table(columns)


def _write_whole(file: Path, content: bytes) -> None:
    part = file.with_name(f"{file.name}.part")
    part.write_bytes(content)
    part.replace(file)
