"""Datasets of the catalogue onto disk: what is to come, getting it, and checking what is there."""

from __future__ import annotations

import hashlib
import json
import shutil
from collections.abc import Container, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import islice
from pathlib import Path, PurePosixPath
from typing import Any, Protocol

import httpx2
from huggingface_hub import HfApi, get_token, hf_hub_url
from huggingface_hub.errors import HfHubHTTPError
from huggingface_hub.hf_api import RepoFile

from adaptinf.data import readers
from adaptinf.data.catalogue import CATALOGUE, Entry, Piece
from adaptinf.data.fetch import Fetcher, Remote
from adaptinf.data.names import DATASETS
from adaptinf.data.remote_zip import take_files
from adaptinf.data.source import find_source
from adaptinf.data.unpack import unpack
from adaptinf.errors import UserError, suggestion

MANIFEST = "manifest.json"


class Progress(Protocol):
    """What hears of the bytes of one file."""

    def begin(self, name: str, size: int | None) -> None:
        """A file begins; its bytes are told from now on."""

    def advance(self, count: int) -> None:
        """So many bytes more."""


@dataclass(frozen=True, slots=True)
class Job:
    """A piece to get: from where, and what becomes of it. ``hub``: with the hub's credentials."""

    piece: Piece
    remote: Remote
    hub: bool

    @property
    def headers(self) -> dict[str, str]:
        """What a request of it needs."""
        token = get_token() if self.hub else None
        return {"Authorization": f"Bearer {token}"} if token else {}

    @property
    def name(self) -> str:
        """The file's name on its server."""
        return self.remote.url.split("?")[0].rsplit("/", 1)[1]


@dataclass(frozen=True, slots=True)
class Plan:
    """What a dataset needs: ``jobs`` still to do, and how many pieces are here already."""

    name: str
    entry: Entry
    folder: Path
    jobs: tuple[Job, ...]
    here: int

    @property
    def size(self) -> int | None:
        """Bytes to come; None where a server does not tell."""
        sizes = [job.remote.size for job in self.jobs]
        known = [size for size in sizes if size is not None]
        return sum(known) if len(known) == len(sizes) else None

    @property
    def by_hand(self) -> str | None:
        """What a person has to do before anything else."""
        entry = self.entry
        if entry.by_hand is None or (entry.proof and any(self.folder.glob(entry.proof))):
            return None
        if entry.brought and all((self.folder / str(p.path)).is_file() for p in entry.brought):
            return None
        return entry.by_hand.format(folder=self.folder)


@dataclass(slots=True)
class Downloads:
    """The catalogue's datasets below ``root``."""

    root: Path
    client: httpx2.Client
    progress: Progress
    api: HfApi
    catalogue: Mapping[str, Entry] = field(default_factory=lambda: CATALOGUE)

    def plan(self, name: str, limit: int | None = None) -> Plan:
        """What is to come of a dataset; asks servers for names and sizes, and fetches nothing.

        With a ``limit``, of its images those of the first so many rows are enough.

        Raises:
            UserError: an unknown name, or the hub does not answer.
        """
        entry, folder = _entry(name, self.catalogue), self.root / name
        done = _Manifest(folder)
        pieces = [*entry.pieces, *self._subset_pieces(entry)]
        jobs = [job for job in map(self._job, pieces) if not done.has(job.remote.url, limit)]
        here = len(pieces) - len(jobs) + sum(done.has(str(p.path)) for p in entry.brought)
        return Plan(name, entry, folder, tuple(jobs), here)

    def get(self, plans: Sequence[Plan], limit: int | None = None) -> None:
        """Do what is planned, one piece after the other; what is done stays done after a kill.

        With a ``limit``, archives of images stay where they are, and of their files come those that
        the first so many rows of each dataset name.

        Raises:
            UserError: a piece cannot be had, is not what was announced, or does not fit.
        """
        for plan in plans:
            for job in plan.jobs:
                if limit is None or not job.piece.images:
                    self._get_whole(plan, job)
            self._put_brought(plan)
            self._link(plan)
        if limit is not None:
            wanted = {path for plan in plans for path in _images_of(self.root, plan, limit)}
            for plan in plans:
                for job in (job for job in plan.jobs if job.piece.images):
                    self._get_part(plan, job, wanted, limit)

    def _link(self, plan: Plan) -> None:
        """Images that lie elsewhere, under the names by which this entry looks for them."""
        for name, target in plan.entry.links:
            place = plan.folder / name
            if not place.is_symlink() and not place.exists():
                plan.folder.mkdir(parents=True, exist_ok=True)
                place.symlink_to(Path("..") / target, target_is_directory=True)

    def _get_whole(self, plan: Plan, job: Job) -> None:
        self.progress.begin(f"{plan.name}: {job.name}", job.remote.size)
        fetcher = Fetcher(self.client, job.headers, self.progress.advance)
        digest = hashlib.sha256(job.remote.url.encode()).hexdigest()[:8]
        file = fetcher.fetch(job.remote, plan.folder / ".downloads" / f"{digest}-{job.name}")
        _Manifest(plan.folder).add(job.remote.url, self._put(plan, job.piece, file))
        waiting_room = plan.folder / ".downloads"
        if not any(waiting_room.iterdir()):
            waiting_room.rmdir()

    def _get_part(self, plan: Plan, job: Job, wanted: Container[Path], limit: int) -> None:
        """The wanted files of an archive of images."""
        self.progress.begin(f"{plan.name}: some of {job.name}", None)
        place = plan.folder / job.piece.place

        def place_of(member: PurePosixPath) -> Path | None:
            inner = PurePosixPath(*member.parts[1:]) if job.piece.lifted else member
            return place / inner if place / inner in wanted else None

        url, advance = job.remote.url, self.progress.advance
        taken = take_files(self.client, url, job.headers, place_of, advance)
        names = sorted(path.relative_to(plan.folder).as_posix() for path in taken)
        plan.folder.mkdir(parents=True, exist_ok=True)
        _Manifest(plan.folder).add(url, {"files": names, "limit": limit})

    def _put_brought(self, plan: Plan) -> None:
        """What a person has brought, unpacked."""
        done = _Manifest(plan.folder)
        for brought in plan.entry.brought:
            file = plan.folder / str(brought.path)
            if file.is_file() and not done.has(str(brought.path)):
                self.progress.begin(f"{plan.name}: {file.name}", None)
                done.add(str(brought.path), self._put(plan, brought, file))

    def _put(self, plan: Plan, piece: Piece, file: Path) -> dict[str, Any]:
        """A fetched file at its place, an archive as what is in it; what the manifest keeps."""
        with file.open("rb") as stream:
            told: dict[str, Any] = {"sha256": hashlib.file_digest(stream, "sha256").hexdigest()}
        told["bytes"] = file.stat().st_size
        place = plan.folder / piece.place
        if not piece.unpacked:
            place.parent.mkdir(parents=True, exist_ok=True)
            file.replace(place)
            return {**told, "files": [piece.place]}
        draft = plan.folder / f".{file.name}"
        shutil.rmtree(draft, ignore_errors=True)
        unpack(file, draft)
        inner = draft
        if piece.lifted and len(list(draft.iterdir())) == 1:
            (inner,) = draft.iterdir()
        place.mkdir(parents=True, exist_ok=True)
        names = sorted(path.name for path in inner.iterdir())
        for name in names:
            _merge(inner / name, place / name)
        count = sum(1 for name in names for _ in _files(place / name))
        shutil.rmtree(draft)
        file.unlink()
        inside = [f"{piece.place}/{name}".lstrip("/") for name in names]
        return {**told, "files": inside, "count": count}

    def _job(self, piece: Piece) -> Job:
        if piece.url is not None:
            return Job(piece, Remote(piece.url, self._size(piece.url)), hub=False)
        repo, path = str(piece.repo), str(piece.path)
        url = hf_hub_url(repo, path, repo_type="dataset", endpoint=self.api.endpoint)
        try:
            (info,) = self.api.get_paths_info(repo, path, repo_type="dataset")
        except (HfHubHTTPError, httpx2.TransportError) as error:
            raise _hub_silent(repo, error) from error
        except ValueError:
            raise UserError("no such file on the hub", where=repo, seen=path) from None
        return Job(piece, _remote(url, info), hub=True)

    def _subset_pieces(self, entry: Entry) -> Iterator[Piece]:
        for subset in entry.subsets:
            repo = str(entry.repo)
            try:
                found = list(self.api.list_repo_tree(repo, subset, repo_type="dataset"))
            except (HfHubHTTPError, httpx2.TransportError) as error:
                raise _hub_silent(repo, error) from error
            for path in sorted(item.path for item in found if isinstance(item, RepoFile)):
                name = path.rsplit("/", 1)[1]
                if name.startswith(entry.tables) and name.endswith(".parquet"):
                    yield Piece(path, repo=repo, path=path)
                elif name == "train_images.zip":
                    yield Piece(subset, repo=repo, path=path, unpacked=True, images=True)

    def _size(self, url: str) -> int | None:
        try:
            answer = self.client.head(url)
        except httpx2.TransportError:
            return None
        length = answer.headers.get("Content-Length")
        return int(length) if answer.is_success and length else None


def check(root: Path, name: str, catalogue: Mapping[str, Entry] | None = None) -> list[str]:
    """What is wrong with a dataset that was downloaded: a line each, none if all is there.

    Raises:
        UserError: it has not been downloaded.
    """
    folder = root / name
    done = _Manifest(folder)
    proof = _entry(name, CATALOGUE if catalogue is None else catalogue).proof
    if not done.told and not (proof and any(folder.glob(proof))):
        raise UserError("not downloaded", where=str(folder), hint=f"download-datasets {name}")
    lines = []
    for url, piece in done.told.items():
        places = [folder / file for file in piece["files"]]
        lines += [f"{place}: missing, of {url}" for place in places if not place.exists()]
        if "count" in piece:
            count = sum(1 for place in places for _ in _files(place))
            if count < piece["count"]:
                lines.append(f"{folder}: {count} of {piece['count']} files are left, of {url}")
        elif "sha256" in piece and places[0].is_file():
            with places[0].open("rb") as stream:
                if hashlib.file_digest(stream, "sha256").hexdigest() != piece["sha256"]:
                    lines.append(f"{places[0]}: not the bytes that came, of {url}")
    return lines


@dataclass(slots=True)
class _Manifest:
    """``manifest.json``: what has come, by where it is from."""

    folder: Path

    @property
    def told(self) -> dict[str, Any]:
        file = self.folder / MANIFEST
        if not file.is_file():
            return {}
        try:
            told: dict[str, Any] = json.loads(file.read_text())["pieces"]
        except (ValueError, KeyError) as error:
            hint = "remove it; files that are there are found again"
            raise UserError("not a manifest", where=str(file), hint=hint) from error
        return told

    def has(self, source: str, limit: int | None = None) -> bool:
        """Whether a piece is here: all of it, or what ``limit`` rows need."""
        if source not in self.told:
            return False
        of = self.told[source].get("limit")
        return of is None or (limit is not None and limit <= of)

    def add(self, source: str, piece: dict[str, Any]) -> None:
        pieces = {**self.told, source: piece}
        draft = self.folder / f"{MANIFEST}.draft"
        draft.write_text(json.dumps({"pieces": pieces}, indent=1, sort_keys=True) + "\n")
        draft.replace(self.folder / MANIFEST)


def _images_of(root: Path, plan: Plan, limit: int) -> Iterator[Path]:
    """Where the images of a dataset's first rows have to be."""
    if plan.name not in DATASETS or plan.by_hand:
        return
    media = plan.folder / ".media"
    source = find_source(plan.name, root=root, media=media, recipe_dir=root)
    if source.embedded:
        return
    for row in islice(readers.read(source, media), limit):
        yield from (source.images / name for name in row.images)


def _merge(source: Path, target: Path) -> None:
    """Move a file or folder, into the folder that is there if there is one."""
    if not target.exists():
        source.replace(target)
    elif source.is_dir() and target.is_dir():
        for child in sorted(source.iterdir()):
            _merge(child, target / child.name)
    else:
        source.replace(target)


def _files(place: Path) -> Iterator[Path]:
    if place.is_file():
        yield place
    else:
        yield from (file for file in place.rglob("*") if file.is_file())


def _remote(url: str, info: Any) -> Remote:
    return Remote(url, info.size, info.lfs.sha256 if info.lfs else None)


def _hub_silent(repo: str, error: Exception) -> UserError:
    return UserError(
        f"the hub does not answer: {str(error).splitlines()[0] if str(error) else error!r}",
        where=repo,
        hint="check the network, log in (hf auth login), or set HF_ENDPOINT to a mirror",
    )


def names_or_all(names: Sequence[str], catalogue: Mapping[str, Entry] | None = None) -> list[str]:
    """The names given, or all there are, each after those that it needs.

    Raises:
        UserError: an unknown name.
    """
    ordered: list[str] = []
    known = CATALOGUE if catalogue is None else catalogue
    for name in names or known:
        ordered += [*_entry(name, known).needs, name]
    return list(dict.fromkeys(ordered))


def _entry(name: str, catalogue: Mapping[str, Entry]) -> Entry:
    if name not in catalogue:
        raise UserError("unknown name", seen=name, hint=suggestion(name, catalogue))
    return catalogue[name]
