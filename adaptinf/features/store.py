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
from adaptinf.features.batched import BatchedArrays, Batches
from adaptinf.features.shards import SHARD_ROWS, Shards
from adaptinf.files import write_atomically
from selection.names import SCORES

if TYPE_CHECKING:
    from adaptinf.features.extractor import BatchFeatures

VERSION = 2
_COLUMNS = (*SCORES, "gradient_norm", "n_answer")
_TYPES = (*(pa.float64() for _ in SCORES), pa.float32(), pa.int32())


class FeatureStore:
    """The features of ``rows`` rows in dataset order, computed in planned ``batches``.

    Files: ``gradients-*.npy`` [rows, dim] and ``embeddings-*.npy`` [rows, hidden] float16,
    ``manifest.json``, and at the end ``scores.parquet``. Until then ``scores-*.npy`` hold the score
    columns, beside the marks of the batches that are done.
    """

    def __init__(self, folder: Path, batches: Batches, shard_rows: int) -> None:
        """The store in ``folder``; use ``create`` or ``open``."""
        self.folder = folder
        self._rows = json.loads((folder / "manifest.json").read_text())["rows"]
        self._unplanned = self._rows - sum(map(len, batches))
        finished = (folder / "scores.parquet").exists()
        self._arrays = None if finished else _arrays(folder, self._rows, batches, shard_rows)

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
        Shards.create(folder, "scores", rows, len(_COLUMNS), shard_rows, np.float64)
        BatchedArrays.begin(folder, batches)
        manifest = _manifest(rows, dim, hidden, batches, settings, shard_rows)
        _write_manifest(folder, manifest)
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
    def arrays(self) -> BatchedArrays:
        """What is filled batch by batch.

        Raises:
            ValueError: the store is finished.
        """
        if self._arrays is None:
            raise ValueError(f"the features in {self.folder} are finished")
        return self._arrays

    @property
    def pending(self) -> list[int]:
        """Numbers of the batches still to be computed, in order."""
        return [] if self._arrays is None else self._arrays.pending

    def write(self, number: int, features: BatchFeatures, parts: int = 1) -> None:
        """Keep the features of batch ``number``; once this returns they survive a kill.

        ``parts``: in how many the batch was computed, because the whole did not fit the memory.
        """
        columns = [features.scores[name].numpy() for name in SCORES]
        columns += [features.gradient_norms.numpy(), features.n_answer.numpy()]
        values = {
            "gradients": features.gradients.numpy(),
            "embeddings": features.embeddings.numpy(),
            "scores": np.stack(columns, axis=1),
        }
        self.arrays.put(number, values, parts)

    def rows_from(self, folder: Path, mapping: NDArray[np.int64]) -> None:
        """Copy rows bit by bit from the finished store in ``folder``.

        ``mapping`` [rows] is each row's position there, -1 for rows that are not copied. Call it
        before the batches, on a resumed store again: the bytes are the same.
        """
        if self._arrays is None:
            return
        self._unplanned -= int((mapping >= 0).sum())
        self._arrays.copy(_finished_arrays(folder), mapping)

    def batches_from(self, folder: Path, given: Mapping[int, NDArray[np.int64]]) -> None:
        """Copy whole batches bit by bit from the finished store in ``folder``: they are done then.

        ``given``: by number of the batch, the positions of its rows there.
        """
        pending = set(self.pending).intersection(given)
        theirs = _finished_arrays(folder) if pending else {}
        for number in sorted(pending):
            rows = given[number]
            self.arrays.put(number, {name: array[rows] for name, array in theirs.items()})

    def finish(self, uids: Sequence[str]) -> None:
        """Write ``scores.parquet`` and remove what only a running pass needs.

        Batches that were computed in parts are told in the manifest.

        Raises:
            ValueError: batches are missing, or there is not one uid per row.
        """
        if self._arrays is not None:
            if self.pending or self._unplanned or len(uids) != self._rows:
                raise ValueError(
                    f"{len(self.pending)} batches are not computed, {self._unplanned} rows are in"
                    f" none and not copied, {len(uids)} uids for {self._rows} rows"
                )
            self._tell_parts(self._arrays.parts)
            sink = pa.BufferOutputStream()
            pq.write_table(_score_table(uids, self._arrays.shards["scores"].whole()), sink)
            write_atomically(self.folder / "scores.parquet", sink.getvalue().to_pybytes())
            self._arrays = None
        BatchedArrays.end(self.folder)
        for file in self.folder.glob("scores-*.npy"):
            file.unlink()

    def _tell_parts(self, parts: NDArray[np.int64]) -> None:
        if np.any(parts > 1):
            manifest = json.loads((self.folder / "manifest.json").read_text())
            told = {str(i): int(parts[i]) for i in np.flatnonzero(parts > 1)}
            _write_manifest(self.folder, {**manifest, "parts": told})


def batch_digest(batches: Batches) -> str:
    """SHA-256 of a plan: which rows share a batch, and in which order."""
    plan = hashlib.sha256()
    for batch in batches:
        plan.update(len(batch).to_bytes(8, "little"))
        plan.update(np.asarray(batch, dtype="<i8").tobytes())
    return plan.hexdigest()


def load_gradients(folder: Path) -> NDArray[np.float16]:
    """Projected gradients [rows, dim] of a finished store: unit vectors, mapped if in one file."""
    return _open_finished(folder)["gradients"].whole()


def load_embeddings(folder: Path) -> NDArray[np.float16]:
    """Embeddings [rows, hidden] of a finished store, mapped if in one file."""
    return _open_finished(folder)["embeddings"].whole()


def load_features(folder: Path, kind: str) -> NDArray[np.float16]:
    """What rows are clustered by: ``gradients``, ``embeddings``, or units of both side by side."""
    if kind == "embeddings":
        return load_embeddings(folder)
    gradients = load_gradients(folder)
    if kind != "both":
        return gradients
    return np.concatenate([_unit(gradients), _unit(load_embeddings(folder))], axis=1)


def _unit(vectors: NDArray[np.float16]) -> NDArray[np.float16]:
    wide = np.asarray(vectors, dtype=np.float32)
    norms = np.linalg.norm(wide, axis=1, keepdims=True)
    return np.asarray(wide / np.where(norms > 0, norms, 1), dtype=np.float16)


def load_scores(folder: Path) -> pa.Table:
    """``uid``, the five scores, ``gradient_norm`` and ``n_answer`` of a finished store."""
    return pq.read_table(folder / "scores.parquet")


def _finished_arrays(folder: Path) -> dict[str, Shards | NDArray[Any]]:
    """Gradients, embeddings and the columns of scores, float64, of a finished store."""
    table = load_scores(folder)
    scores = np.stack([table[name].to_numpy().astype(np.float64) for name in _COLUMNS], axis=1)
    return {**_open_finished(folder), "scores": scores}


def _open_finished(folder: Path) -> dict[str, Shards]:
    manifest = json.loads((folder / "manifest.json").read_text())
    names = ("gradients", "embeddings")
    rows, shard_rows = manifest["rows"], manifest["shard_rows"]
    return {name: Shards.open(folder, name, rows, shard_rows, "r") for name in names}


def _arrays(folder: Path, rows: int, batches: Batches, shard_rows: int) -> BatchedArrays:
    names = ("gradients", "embeddings", "scores")
    shards = {name: Shards.open(folder, name, rows, shard_rows, "r+") for name in names}
    return BatchedArrays(folder, batches, shards)


def _manifest(
    rows: int,
    dim: int,
    hidden: int,
    batches: Batches,
    settings: Mapping[str, Any] | None,
    shard_rows: int,
) -> dict[str, Any]:
    return {
        "version": VERSION,
        "rows": rows,
        "dim": dim,
        "hidden": hidden,
        "dtype": "float16",
        "shard_rows": shard_rows,
        "batches": {"count": len(batches), "sha256": batch_digest(batches)},
        "settings": json.loads(json.dumps(dict(settings or {}))),
    }


def _score_table(uids: Sequence[str], scores: NDArray[np.float64]) -> pa.Table:
    columns = {"uid": pa.array(uids, pa.string())}
    for name, kind, values in zip(_COLUMNS, _TYPES, scores.T, strict=True):
        whole = values.astype(np.int32) if kind == pa.int32() else values
        columns[name] = pa.array(whole, kind)
    return pa.table(columns)


def _write_manifest(folder: Path, manifest: Mapping[str, Any]) -> None:
    write_atomically(folder / "manifest.json", json.dumps(manifest, indent=2).encode())
