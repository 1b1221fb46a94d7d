"""The catalogue's datasets from a stand-in for the hub and other servers, on loopback."""

from __future__ import annotations

import hashlib
import io
import json
import random
import threading
import zipfile
from collections.abc import Iterator
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from urllib.parse import parse_qs, urlsplit

import httpx2
import pytest
from huggingface_hub import HfApi
from PIL import Image

from adaptinf.data import download as download_module
from adaptinf.data.benchmark_catalogue import BENCHMARK_CATALOGUE
from adaptinf.data.catalogue import CATALOGUE, Entry, Piece
from adaptinf.data.download import MANIFEST, Downloads, check, names_or_all
from adaptinf.data.names import DATASETS
from adaptinf.errors import UserError
from adaptinf.scoring.benchmarks import BENCHMARKS
from stages.downloads import check as check_downloads
from stages.downloads import described


def archive(files: dict[str, bytes]) -> bytes:
    raw = io.BytesIO()
    with zipfile.ZipFile(raw, "w") as file:
        for name, content in files.items():
            file.writestr(name, content)
    return raw.getvalue()


@dataclass
class Hub:
    """Files by ``repo/path``, served as the hub serves them, and at ``/plain/`` as others do."""

    files: dict[str, bytes] = field(default_factory=dict)
    asked: list[str] = field(default_factory=list)
    parts: bool = True
    sent: int = 0
    url: str = ""

    def info(self, repo: str, path: str) -> dict:
        content = self.files[f"{repo}/{path}"]
        told = {"type": "file", "path": path, "size": len(content), "oid": "0" * 40}
        if not path.endswith(".json"):
            digest = hashlib.sha256(content).hexdigest()
            told["lfs"] = {"oid": digest, "size": len(content), "pointerSize": 1}
        return told


@pytest.fixture
def hub() -> Iterator[Hub]:
    state = Hub()

    class Handler(BaseHTTPRequestHandler):
        def log_message(self, *_: object) -> None:
            pass

        def answer(self, body: bytes | None, head: bool = False) -> None:
            part = self.headers.get("Range") if body is not None and state.parts else None
            if part and not part.endswith("-"):
                first, last = map(int, part.removeprefix("bytes=").split("-"))
                self.send_response(206)
                self.send_header("Content-Range", f"bytes {first}-{last}/{len(body)}")
                body = body[first : last + 1]
                state.sent += len(body)
            else:
                self.send_response(404 if body is None else 200)
            self.send_header("Content-Length", str(len(body or b"")))
            self.end_headers()
            if not head:
                self.wfile.write(body or b"")

        def do_HEAD(self) -> None:
            self.answer(self.body(), head=True)

        def do_GET(self) -> None:
            self.answer(self.body())

        def body(self) -> bytes | None:
            path = urlsplit(self.path).path
            if path.startswith("/api/datasets/") and "/tree/" in path:
                repo, _, rest = path.removeprefix("/api/datasets/").partition("/tree/main/")
                found = [
                    n.removeprefix(f"{repo}/")
                    for n in state.files
                    if n.startswith(f"{repo}/{rest}/")
                ]
                return json.dumps([state.info(repo, name) for name in found]).encode()
            state.asked.append(path)
            name = path.removeprefix("/plain/").removeprefix("/datasets/")
            return state.files.get(name.replace("/resolve/main", ""))

        def do_POST(self) -> None:
            repo = self.path.removeprefix("/api/datasets/").partition("/paths-info/")[0]
            wanted = self.rfile.read(int(self.headers["Content-Length"])).decode()
            wanted = parse_qs(wanted)["paths"]
            known = [n.removeprefix(f"{repo}/") for n in state.files if n.startswith(f"{repo}/")]
            told = [state.info(repo, path) for path in known if path in wanted]
            self.answer(json.dumps(told).encode())

    httpd = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    state.url = f"http://127.0.0.1:{httpd.server_port}"
    threading.Thread(target=httpd.serve_forever, args=(0.01,), daemon=True).start()
    yield state
    httpd.shutdown()
    httpd.server_close()


class Silent:
    def begin(self, name: str, size: int | None) -> None:
        pass

    def advance(self, count: int) -> None:
        pass


@pytest.fixture
def downloads(hub, tmp_path) -> Iterator[Downloads]:
    with httpx2.Client(follow_redirects=True) as client:
        yield Downloads(tmp_path, client, Silent(), HfApi(endpoint=hub.url))


@pytest.fixture
def catalogue(monkeypatch, hub) -> dict[str, Entry]:
    """Three small datasets, one of each kind."""
    hub.files = {
        "me/talks/talks.json": b"[1, 2]",
        "coco.zip": archive({"train2017/1.jpg": b"one", "train2017/2.jpg": b"two"}),
        "more.zip": archive({"train2017/3.jpg": b"three", "val2017/1.jpg": b"four"}),
        "me/many/birds/train-0-of-1.parquet": b"table",
        "me/many/birds/train_images.zip": archive({"train_images/a.jpg": b"a"}),
        "me/many/birds/val-0-of-1.parquet": b"not wanted",
        "me/many/fish/train-0-of-1.parquet": b"another table",
    }
    entries = {
        "talks": Entry(
            "CC BY 4.0",
            "https://example.org/talks",
            pieces=(
                Piece("talks.json", repo="me/talks", path="talks.json"),
                Piece("coco", url=f"{hub.url}/plain/coco.zip", unpacked=True),
                Piece("coco", url=f"{hub.url}/plain/more.zip", unpacked=True),
            ),
        ),
        "many": Entry("MIT", "https://example.org/many", repo="me/many", subsets=("birds", "fish")),
        "brought": Entry(
            "?",
            "https://example.org/brought",
            by_hand="save it as {folder}/it.zip",
            brought=(Piece("", path="it.zip", unpacked=True, lifted=True),),
            proof="filter_cap.json",
        ),
    }
    monkeypatch.setattr(download_module, "CATALOGUE", entries)
    return entries


def contents(folder: Path) -> dict[str, bytes]:
    files = (file for file in folder.rglob("*") if file.is_file() and file.name != MANIFEST)
    return {file.relative_to(folder).as_posix(): file.read_bytes() for file in files}


TALKS = {
    "talks.json": b"[1, 2]",
    "coco/train2017/1.jpg": b"one",
    "coco/train2017/2.jpg": b"two",
    "coco/train2017/3.jpg": b"three",
    "coco/val2017/1.jpg": b"four",
}


def test_a_plan_tells_sizes_before_anything_comes(catalogue, hub, downloads, tmp_path):
    plan = downloads.plan("talks")
    sizes = [len(hub.files[n]) for n in ("me/talks/talks.json", "coco.zip", "more.zip")]
    assert [job.remote.size for job in plan.jobs] == sizes
    assert plan.size == sum(sizes)
    lines = "\n".join(described(plan))
    assert "licence: CC BY 4.0" in lines
    assert f"{hub.url}/plain/coco.zip" in lines
    assert list(tmp_path.iterdir()) == []


def test_files_come_to_their_places_and_only_once(catalogue, hub, downloads, tmp_path):
    downloads.get([downloads.plan("talks")])
    assert contents(tmp_path / "talks") == TALKS
    assert check(tmp_path, "talks") == []
    hub.asked.clear()
    again = downloads.plan("talks")
    assert (again.jobs, again.here) == ((), 3)
    downloads.get([again])
    assert not [path for path in hub.asked if path.startswith("/datasets/")]
    assert contents(tmp_path / "talks") == TALKS


def test_subsets_are_listed_on_the_hub(catalogue, downloads, tmp_path):
    downloads.get([downloads.plan("many")])
    assert contents(tmp_path / "many") == {
        "birds/train-0-of-1.parquet": b"table",
        "birds/train_images/a.jpg": b"a",
        "fish/train-0-of-1.parquet": b"another table",
    }


def test_what_needs_hands_is_told_and_then_unpacked(catalogue, downloads, tmp_path):
    plan = downloads.plan("brought")
    assert plan.by_hand == f"save it as {tmp_path}/brought/it.zip"
    downloads.get([plan])
    assert not (tmp_path / "brought").exists()
    (tmp_path / "brought").mkdir()
    raw = archive({"it/filter_cap.json": b"{}", "it/image/1.jpg": b"one"})
    (tmp_path / "brought" / "it.zip").write_bytes(raw)
    plan = downloads.plan("brought")
    assert plan.by_hand is None
    downloads.get([plan])
    assert contents(tmp_path / "brought") == {"filter_cap.json": b"{}", "image/1.jpg": b"one"}
    assert downloads.plan("brought").by_hand is None
    assert check(tmp_path, "brought") == []


def test_a_dataset_that_breaks_off_goes_on(catalogue, hub, downloads, tmp_path):
    bad = hub.files["more.zip"]
    hub.files["more.zip"] = archive({"../evil.txt": b"x"})
    with pytest.raises(UserError, match="leads out"):
        downloads.get([downloads.plan("talks")])
    assert not (tmp_path / "evil.txt").exists()
    hub.files["more.zip"] = bad
    for waiting in (tmp_path / "talks" / ".downloads").iterdir():
        waiting.unlink()
    plan = downloads.plan("talks")
    assert [job.name for job in plan.jobs] == ["more.zip"]
    downloads.get([plan])
    assert contents(tmp_path / "talks") == TALKS


def test_a_changed_file_on_the_hub_is_refused(catalogue, hub, downloads, tmp_path):
    plan = downloads.plan("many")
    hub.files["me/many/birds/train-0-of-1.parquet"] = b"other"
    with pytest.raises(UserError, match="not the file that was announced"):
        downloads.get([plan])
    assert contents(tmp_path / "many") == {}


def test_a_check_finds_what_is_missing_or_changed(catalogue, downloads, tmp_path):
    with pytest.raises(UserError, match="not downloaded"):
        check(tmp_path, "talks")
    downloads.get([downloads.plan("talks")])
    (tmp_path / "talks" / "talks.json").write_bytes(b"[1, 3]")
    (tmp_path / "talks" / "coco" / "train2017" / "2.jpg").unlink()
    lines = check(tmp_path, "talks")
    assert sorted(line.split(": ")[1].split(", of")[0] for line in lines) == [
        "3 of 4 files are left",
        "not the bytes that came",
    ]


def test_what_lies_elsewhere_is_linked(catalogue, downloads, tmp_path):
    catalogue["asked"] = Entry(
        "MIT",
        "https://example.org/asked",
        repo="me/many",
        subsets=("birds",),
        tables="val-",
        needs=("talks",),
        links=(("images", "talks/coco"),),
    )
    assert names_or_all(["asked"], catalogue) == ["talks", "asked"]
    plans = [downloads.plan(name) for name in ("talks", "asked")]
    downloads.get(plans)
    downloads.get([downloads.plan("asked")])
    assert (tmp_path / "asked" / "images" / "train2017" / "1.jpg").read_bytes() == b"one"
    assert (tmp_path / "asked" / "birds" / "val-0-of-1.parquet").read_bytes() == b"not wanted"
    assert not (tmp_path / "asked" / "birds" / "train-0-of-1.parquet").exists()
    assert check(tmp_path, "asked", catalogue) == []


def test_the_catalogue_of_benchmarks_has_those_that_can_be_fetched():
    images = {"coco_val2014", "coco_train2014"}
    made = {"targets", "transcription", "video", "chinese_captions"}  # of files of one's own
    assert set(BENCHMARK_CATALOGUE) - images == set(BENCHMARKS) - made
    for entry in BENCHMARK_CATALOGUE.values():
        assert set(entry.needs) <= images
        assert all(target.split("/")[0] in entry.needs for _, target in entry.links)


def test_unknown_names_and_a_silent_hub_are_told(catalogue, hub, downloads):
    with pytest.raises(UserError, match="did you mean 'talks'"):
        downloads.plan("talk")
    downloads.api = HfApi(endpoint="http://127.0.0.1:9")
    with pytest.raises(UserError, match="hub does not answer"):
        downloads.plan("talks")


def test_the_catalogue_has_every_dataset_of_recipes():
    assert set(CATALOGUE) == {*DATASETS, "coco2014"}
    assert {name for entry in CATALOGUE.values() for name in entry.needs} <= set(CATALOGUE)


def test_what_a_dataset_needs_comes_before_it():
    assert names_or_all(["lavin", "coco_text"]) == ["coco2014", "scienceqa", "lavin", "coco_text"]
    assert set(names_or_all([])) == set(CATALOGUE)
    with pytest.raises(UserError, match="did you mean 'lavin'"):
        names_or_all(["lavn"])


@pytest.fixture
def flowers(monkeypatch, hub) -> None:
    """A known dataset, of images in two archives."""
    noise = random.Random(0)
    raw = io.BytesIO()
    Image.new("RGB", (8, 8), "red").save(raw, "PNG")
    names = [f"{number:03}.png" for number in range(40)]
    rows = [
        {
            "id": name,
            "image": f"{'coco' if number % 2 else 'gqa/images'}/{name}",
            "conversations": [
                {"from": "human", "value": f"<image>\nWhich is {name}?"},
                {"from": "gpt", "value": name},
            ],
        }
        for number, name in enumerate(names)
    ]
    padding = noise.randbytes(4_000_000)
    hub.files = {
        "me/flowers/llava_v1_5_mix665k.json": json.dumps(rows).encode(),
        "coco.zip": archive({"big": padding, **{name: raw.getvalue() for name in names}}),
        "gqa.zip": archive({f"top/images/{name}": raw.getvalue() for name in names}),
    }
    pieces = (
        Piece("llava_v1_5_mix665k.json", repo="me/flowers", path="llava_v1_5_mix665k.json"),
        Piece("coco", url=f"{hub.url}/plain/coco.zip", unpacked=True, images=True),
        Piece("gqa", url=f"{hub.url}/plain/gqa.zip", unpacked=True, lifted=True, images=True),
    )
    entries = {"llava": Entry("MIT", "https://example.org", pieces=pieces)}
    monkeypatch.setattr(download_module, "CATALOGUE", entries)


def test_a_limit_takes_the_images_of_the_first_rows_only(flowers, hub, downloads, tmp_path):
    plan = downloads.plan("llava", 5)
    lines = "\n".join(described(plan, 5))
    assert "some of " in lines
    assert "first 5 rows" in lines
    downloads.get([plan], 5)
    here = {name for name in contents(tmp_path / "llava") if name.endswith(".png")}
    assert here == {
        *(f"gqa/images/{number:03}.png" for number in (0, 2, 4)),
        *(f"coco/{number:03}.png" for number in (1, 3)),
    }
    assert hub.sent < 2_000_000
    assert downloads.plan("llava", 5).jobs == downloads.plan("llava", 3).jobs == ()
    assert check(tmp_path, "llava") == []
    more = downloads.plan("llava", 7)
    assert [job.name for job in more.jobs] == ["coco.zip", "gqa.zip"]
    downloads.get([more], 7)
    assert (tmp_path / "llava" / "coco" / "005.png").is_file()
    whole = downloads.plan("llava")
    assert len(whole.jobs) == 2
    downloads.get([whole])
    found = [name for name in contents(tmp_path / "llava") if name.endswith(".png")]
    assert len(found) == 80
    assert downloads.plan("llava").jobs == ()


def test_a_limit_needs_a_server_that_gives_parts(flowers, hub, downloads):
    hub.parts = False
    with pytest.raises(UserError, match="gives no parts of a file"):
        downloads.get([downloads.plan("llava", 5)], 5)
    hub.parts = True
    hub.files["coco.zip"] = b"no archive" * 100
    with pytest.raises(UserError, match="cannot be read from afar"):
        downloads.get([downloads.plan("llava", 5)], 5)
    hub.files["coco.zip"] = archive({"../evil.png": b"x"})
    with pytest.raises(UserError, match="leads out"):
        downloads.get([downloads.plan("llava", 5)], 5)


def test_a_check_reads_the_first_rows(flowers, downloads, tmp_path, capsys):
    downloads.get([downloads.plan("llava", 5)], 5)
    check_downloads(tmp_path, ["llava"])
    told = capsys.readouterr().out
    assert "llava: complete" in told
    assert "40 rows; of the first 40: 5 usable, 35 missing-image" in told
