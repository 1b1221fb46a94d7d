"""What a stranger may hand over: each is refused in a line or counted, runs no code, stays inside.

Each entry of the corpus writes its files into a folder and says which command meets them
and what that tells. Archives have a corpus of their own in ``tests/data/test_unpack.py``, rows of
datasets in ``test_defects.py``, arrays in ``tests/stages/arrays``.
"""

from __future__ import annotations

import json
import os
import pickle
import shutil
import struct
import sys
import zipfile
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from stages import cli

ROOT = Path(__file__).parents[2]


@dataclass(frozen=True)
class Bomb:
    """Unpickled, it makes a file."""

    file: str

    def __reduce__(self) -> tuple[Any, ...]:
        return os.mkdir, (self.file,)


@dataclass(frozen=True)
class Hostile:
    """``make`` writes into a folder, ``command`` meets it there and says ``told``."""

    name: str
    make: Callable[[Path], None]
    command: str
    told: str


def text(name: str, content: str | bytes) -> Callable[[Path], None]:
    def make(folder: Path) -> None:
        file = folder / name
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_bytes(content.encode() if isinstance(content, str) else content)

    return make


def all_of(*makers: Callable[[Path], None]) -> Callable[[Path], None]:
    def make(folder: Path) -> None:
        for maker in makers:
            maker(folder)

    return make


# --- recipes

DRY = "run-lifelong r.yaml --dry-run"
TASKS = "output_dir: out\ntasks: [{dataset: llava}]\n"


def recipe(name: str, content: str | bytes, told: str) -> Hostile:
    return Hostile(f"recipe: {name}", text("r.yaml", content), DRY, told)


NO_FIT = "a: no adapter for this model"
TWICE = "a0: &a0 [x]\n" + "".join(f"a{n}: &a{n} [*a{n - 1}, *a{n - 1}]\n" for n in range(1, 40))
LAUGHS = "a0: &a0 [x, x, x, x, x, x, x, x, x]\n" + "".join(
    f"a{n}: &a{n} [{', '.join([f'*a{n - 1}'] * 9)}]\n" for n in range(1, 12)
)

RECIPES = [
    recipe("a tag that runs code", 'output_dir: !!python/object/apply:os.mkdir ["RAN"]', "YAML"),
    recipe("a tag that names a class", "output_dir: !!python/name:os.system", "not valid YAML"),
    recipe("a ring of aliases", TASKS + "select: &a {budget: *a}\n", "r.yaml:3"),
    recipe("a ring of lists", TASKS + "evaluate: {benchmarks: &a [*a]}\n", "r.yaml:3"),
    recipe("a ring of itself", "&a {output_dir: *a}", "r.yaml:1"),
    recipe("a billion laughs", TASKS + LAUGHS, "aliases make more of it"),
    recipe("forty doublings as a value", TASKS + TWICE + "seed: *a39\n", "r.yaml:"),
    recipe("brackets without end", "[" * 100_000, "r.yaml"),
    recipe("maps without end", "tasks: " + "{a: " * 3_000 + "}" * 3_000, "r.yaml"),
    recipe("bytes that are no text", b"\xff\xfe\x00\xd8output_dir", "not valid YAML"),
    recipe("a null byte", TASKS + 'model: {name: "a\\0b"}\n', "a"),
    recipe("a folder of a null byte", 'output_dir: "a\\0b"\ntasks: [{dataset: llava}]', "a"),
    recipe("infinite budget", TASKS + "select: {budget: .inf}", "r.yaml:3: select.budget"),
    recipe("a number of 6000 digits", TASKS + f"select: {{budget: {'9' * 6000}}}", "r.yaml"),
    recipe("a rank without end", TASKS + f"adapter: {{r: {10**12}}}", "adapter.r"),
    recipe("no number", TASKS + "train: {learning_rate: .nan}", "r.yaml:3: train.learning_rate"),
    recipe("an empty file", "", "a recipe is a mapping"),
    recipe("a list", "- 1", "a recipe is a mapping"),
    recipe("a key of a list", "? [a, b]\n: c", "r.yaml"),
    Hostile("recipe: a folder", lambda folder: (folder / "r.yaml").mkdir(), DRY, "cannot be read"),
    Hostile("recipe: a device", lambda f: (f / "r.yaml").symlink_to("/dev/full"), DRY, "r.yaml"),
]

# --- benchmarks of one's own

BENCHMARK = {"name": "shop", "questions": "q.jsonl", "metric": "exact"}
QUESTION = {"question_id": 1, "text": "What?", "answer": "red"}
ASK = "adaptinf evaluate tiny --benchmarks b.yaml --out out"


def benchmark(case: str, told: str, question: object = None, /, **spec: object) -> Hostile:
    lines = json.dumps(QUESTION if question is None else question) + "\n"
    made = all_of(text("b.yaml", json.dumps({**BENCHMARK, **spec})), text("q.jsonl", lines))
    return Hostile(f"benchmark: {case}", made, ASK, told)


def written(name: str, content: str | bytes, told: str) -> Hostile:
    return Hostile(f"benchmark: {name}", text("b.yaml", content), ASK, told)


BENCHMARKS = [
    written("a tag that runs code", '!!python/object/apply:os.mkdir ["RAN"]', "not valid YAML"),
    written("brackets without end", "[" * 100_000, "b.yaml"),
    written("bytes that are no text", b"\xff\xfe\x00\xd8", "b.yaml"),
    written("nothing", "", "a benchmark needs name, questions and metric"),
    benchmark("a name that climbs out", "b.yaml", name="../../../evil"),
    benchmark("a name from the root", "b.yaml", name="/tmp/evil"),
    benchmark("a name of a null byte", "b.yaml", name="a\0b"),
    benchmark("a name that is no text", "b.yaml", name={"a": 1}),
    benchmark("a list of questions", "b.yaml", questions=["q.jsonl"]),
    benchmark("questions that are not there", "nowhere.jsonl", questions="nowhere.jsonl"),
    benchmark("no number of tokens", "b.yaml", max_new_tokens="many"),
    benchmark("tokens without end", "b.yaml", max_new_tokens=-5),
    benchmark("taught by a number", "b.yaml", taught_by=5),
    benchmark("a metric from elsewhere", "metric", metric="../../evil.py:score"),
    benchmark("a picture that climbs out", "image", {**QUESTION, "image": "../../secret.png"}),
    benchmark("a picture from the root", "image", {**QUESTION, "image": "/etc/passwd"}),
    benchmark("a picture of a number", "q.jsonl:1", {**QUESTION, "image": 5}),
    benchmark("pictures of numbers", "q.jsonl:1", {**QUESTION, "image": [[1]]}),
    benchmark("a question of a number", "q.jsonl:1", {**QUESTION, "text": 5}),
    benchmark("a row that is a list", "q.jsonl:1", [1]),
    benchmark("rows without end", "q.jsonl:1", json.loads("[" * 900 + "]" * 900)),
    Hostile(
        "benchmark: questions that are no text",
        all_of(text("b.yaml", json.dumps(BENCHMARK)), text("q.jsonl", b"\xff\xfe")),
        ASK,
        "q.jsonl",
    ),
]

# --- adapters and models

EVALUATE = all_of(
    text("b.yaml", json.dumps(BENCHMARK)), text("q.jsonl", json.dumps(QUESTION) + "\n")
)
LORA = {"peft_type": "LORA", "base_model_name_or_path": "tiny", "r": 4, "target_modules": ["q"]}
INSPECT = "adaptinf adapter inspect a"
USE = f"{ASK} --adapter a"


def pickled(name: str) -> Callable[[Path], None]:
    def make(folder: Path) -> None:
        text(name, pickle.dumps({"weight": Bomb(str(folder / "RAN"))}))(folder)

    return make


def zipped_pickle(name: str) -> Callable[[Path], None]:
    """As ``torch.save`` writes it."""

    def make(folder: Path) -> None:
        file = folder / name
        file.parent.mkdir(parents=True, exist_ok=True)
        with zipfile.ZipFile(file, "w") as archive:
            archive.writestr("archive/data.pkl", pickle.dumps(Bomb(str(folder / "RAN")), 2))
            archive.writestr("archive/version", "3\n")

    return make


def tensors(header: object, size: int | None = None, body: bytes = b"") -> bytes:
    raw = header if isinstance(header, bytes) else json.dumps(header).encode()
    return struct.pack("<Q", len(raw) if size is None else size) + raw + body


def adapter(
    name: str, told: str, config: object, weights: bytes, command: str = INSPECT
) -> Hostile:
    raw = config if isinstance(config, bytes) else json.dumps(config).encode()
    made = all_of(
        EVALUATE, text("a/adapter_config.json", raw), text("a/adapter_model.safetensors", weights)
    )
    return Hostile(f"adapter: {name}", made, command, told)


ONE = tensors({"x": {"dtype": "F32", "shape": [1], "data_offsets": [0, 4]}}, body=b"\0" * 4)


def model_folder(**changes: object) -> Callable[[Path], None]:
    """The shipped model without its weights, its configuration changed."""

    def make(folder: Path) -> None:
        shutil.copytree(ROOT / "adaptinf/models/tiny", folder / "m")
        (folder / "m" / "model.safetensors").unlink()
        config = json.loads((folder / "m" / "config.json").read_text())
        (folder / "m" / "config.json").write_text(json.dumps({**config, **changes}))

    return make


MODEL = "adaptinf evaluate m --benchmarks b.yaml --out out"
REMOTE = {"auto_map": {n: "evil.Evil" for n in ("AutoConfig", "AutoModelForImageTextToText")}}

WEIGHTS = [
    Hostile(
        "adapter: a pickle for weights",
        all_of(
            EVALUATE,
            text("a/adapter_config.json", json.dumps(LORA)),
            pickled("a/adapter_model.bin"),
        ),
        USE,
        "no adapter_model.safetensors here",
    ),
    adapter("a pickle by another name", "cannot be read", LORA, pickle.dumps(Bomb("RAN"))),
    adapter("a header without end", "cannot be read", LORA, tensors(b"{", 2**62)),
    adapter("a header that lies", "cannot be read", LORA, tensors({"x": 5})),
    adapter("places out of the file", "cannot be read", LORA, ONE[:-4]),
    adapter("a configuration that is no JSON", "adapter_config.json", b"{", ONE),
    adapter("a configuration that is no text", "adapter_config.json", b"\xff\xfe", ONE),
    adapter("a configuration that is a list", "adapter_config.json", [], ONE),
    adapter("brackets without end", "adapter_config.json", b"[" * 100_000, ONE),
    adapter("MixLoRA without numbers", "adapter_config.json", {"peft_type": "MIXLORA"}, ONE),
    adapter(
        "MixLoRA of no experts",
        "adapter_config.json",
        {"peft_type": "MIXLORA", "rank": 4, "num_experts": 0},
        ONE,
    ),
    adapter(
        "a kind that is none",
        NO_FIT,
        {**LORA, "peft_type": "EVIL"},
        ONE,
        USE,
    ),
    adapter("nothing that fits the model", NO_FIT, LORA, ONE, USE),
    adapter("a rank below nothing", NO_FIT, {**LORA, "r": -4}, ONE, USE),
    Hostile(
        "model: a pickle for weights",
        all_of(EVALUATE, model_folder(), zipped_pickle("m/pytorch_model.bin")),
        MODEL,
        "a pickle that wants to run code, which is refused",
    ),
    Hostile(
        "model: code of its own",
        all_of(
            EVALUATE,
            model_folder(model_type="evil", **REMOTE),
            text("m/evil.py", "import os; os.mkdir('RAN')\nclass Evil: pass\n"),
        ),
        MODEL,
        "model.name: the model cannot be loaded",
    ),
    Hostile(
        "model: a configuration that is no JSON",
        all_of(EVALUATE, model_folder(), text("m/config.json", "{")),
        MODEL,
        "model.name: the model cannot be loaded",
    ),
    Hostile(
        "model: sizes without end",
        all_of(EVALUATE, model_folder(text_config={"hidden_size": -1})),
        MODEL,
        "model.name: the model cannot be loaded",
    ),
]

# --- finished runs, for the report

REPORT = "forgetting-report run"
MATRIX = {
    "steps": ["base", "1-shop"],
    "benchmarks": [{"name": "shop", "skill": "s", "metric": "exact", "n": 1, "learned_at": 1}],
    "scores": [[0.0], [50.0]],
}


def matrix(name: str, content: object, told: str = "matrix.json") -> Hostile:
    raw = content if isinstance(content, str | bytes) else json.dumps(content)
    return Hostile(f"matrix: {name}", text("run/matrix.json", raw), REPORT, told)


def beside(name: str, file: str, content: str | bytes, told: str) -> Hostile:
    made = all_of(text("run/matrix.json", json.dumps(MATRIX)), text(f"run/{file}", content))
    return Hostile(f"run: {name}", made, REPORT, told)


FALLEN = {**MATRIX, "steps": ["base", "1-shop", "2-home"], "scores": [[0.0], [100.0], [0.0]]}
RIGHT = {"question_id": 1, "prompt": "?", "text": "a", "answer": "a", "score": 1.0}


def predicted(name: str, line: object) -> Hostile:
    """Of a step that knew an answer that the last one has lost."""
    raw = line if isinstance(line, str | bytes) else json.dumps(line)
    made = all_of(
        text("run/matrix.json", json.dumps(FALLEN)),
        text("run/steps/1-shop/evaluate/shop/predictions.jsonl", raw),
    )
    return Hostile(f"predictions: {name}", made, REPORT, "predictions.jsonl:1")


BENCH = MATRIX["benchmarks"][0]
RUNS = [
    matrix("no JSON", "{"),
    matrix("no text", b"\xff\xfe"),
    matrix("a list", []),
    matrix("brackets without end", "[" * 100_000),
    matrix("scores that are text", {**MATRIX, "scores": [["<script>"], ["x"]]}),
    matrix("scores that are objects", {**MATRIX, "scores": [[{}], [{}]]}),
    matrix("scores without end", '{"steps": ["base"], "benchmarks": [], "scores": [[1e999]]}'),
    matrix("scores of another shape", {**MATRIX, "scores": [[1.0, 2.0]]}),
    matrix("steps that are numbers", {**MATRIX, "steps": [1, 2]}),
    matrix("steps that climb out", {**MATRIX, "steps": ["base", "../../../etc"]}),
    matrix("steps of a null byte", {**MATRIX, "steps": ["base", "1-\0"]}),
    matrix("names that are numbers", {**MATRIX, "benchmarks": [{**BENCH, "name": 5}]}),
    matrix("names that climb out", {**MATRIX, "benchmarks": [{**BENCH, "name": "../../../x"}]}),
    matrix("numbers that are text", {**MATRIX, "benchmarks": [{**BENCH, "n": "<b>"}]}),
    matrix("learned at a word", {**MATRIX, "benchmarks": [{**BENCH, "learned_at": "x"}]}),
    matrix("intervals of another shape", {**MATRIX, "intervals": [[1]]}),
    beside("a bill of words", "cost.json", '{"steps": [{"step": "a", "stages": 5}]}', "cost.json"),
    beside(
        "seconds that are words",
        "cost.json",
        '{"steps": [{"step": "a", "stages": {"train": {"seconds": "<b>"}}}]}',
        "cost.json",
    ),
    beside("a bill that is a list", "cost.json", '{"steps": 5}', "cost.json"),
    beside("versions that are a list", "environment.json", '{"versions": [1]}', "environment"),
    beside("roots that are a list", "environment.json", '{"image_roots": [1]}', "environ"),
    beside("environment of no text", "environment.json", b"\xff\xfe", "environment.json"),
    beside(
        "a recipe that runs code",
        "config.resolved.yaml",
        '!!python/object/new:os.mkdir ["RAN"]',
        "not valid YAML",
    ),
    beside(
        "a recipe that is no text", "config.resolved.yaml", b"\xff\xfe\x00\xd8", "config.resolved"
    ),
    beside("a recipe without end", "config.resolved.yaml", "[" * 100_000, "config.resolved.yaml"),
    beside(
        "a selection of words",
        "steps/1-shop/select/summary.json",
        '{"method": 1, "n": "x", "selected": {}, "share": []}',
        "summary.json",
    ),
    predicted("no JSON", "{"),
    predicted("numbers", "5"),
    predicted("brackets without end", "[" * 100_000),
    predicted("a score that is text", {**RIGHT, "score": "<script>"}),
    predicted("a question that is a list", {**RIGHT, "question_id": []}),
    predicted("an answer that is an object", {**RIGHT, "answer": {"<b>": 1}}),
    predicted("pictures that are numbers", {**RIGHT, "images": [5]}),
]

# --- answers of others, for the scorers

SCORE = "adaptinf score --benchmark pope --answers a.jsonl --labels l.jsonl"
LABEL = json.dumps({"question_id": 1, "image": "x.jpg", "text": "Is it?", "label": "yes"}) + "\n"


def answers(name: str, content: str | bytes, told: str, labels: str | bytes = LABEL) -> Hostile:
    made = all_of(text("a.jsonl", content), text("l.jsonl", labels))
    return Hostile(f"answers: {name}", made, SCORE, told)


GOOD = json.dumps({"question_id": 1, "text": "yes"}) + "\n"
ANSWERS = [
    answers("no JSON", "{", "a.jsonl"),
    answers("no text", b"\xff\xfe\xd8", "a.jsonl"),
    answers("numbers", "5\n", "a.jsonl"),
    answers("brackets without end", "[" * 100_000, "a.jsonl"),
    answers("an answer that is an object", '{"question_id": 1, "text": {"a": 1}}\n', "a.jsonl"),
    answers("a question that is a list", '{"question_id": [1], "text": "yes"}\n', "a.jsonl"),
    answers("nothing", "", "a.jsonl"),
    answers("labels of numbers", GOOD, "l.jsonl", "5\n"),
    answers("labels of no text", GOOD, "l.jsonl", b"\xff\xfe"),
    answers(
        "labels that are lists",
        GOOD,
        "l.jsonl",
        '{"question_id": 1, "label": [1], "text": "", "image": ""}\n',
    ),
]

CORPUS = [*RECIPES, *BENCHMARKS, *WEIGHTS, *RUNS, *ANSWERS]


def tree(folder: Path) -> dict[str, bytes]:
    return {
        str(path.relative_to(folder)): path.read_bytes() if path.is_file() else b""
        for path in sorted(folder.rglob("*"))
    }


def call(monkeypatch: pytest.MonkeyPatch, command: str) -> int:
    """Run the command in this process; any error but the end of the program goes on to the test."""
    program, *arguments = command.split()
    monkeypatch.setattr(sys, "argv", [program, *arguments])
    with pytest.raises(SystemExit) as ended:
        getattr(cli, program.replace("-", "_"))()
    return int(ended.value.code or 0)


@pytest.fixture
def inside(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The folder of a command, several folders deep in one that must not change."""
    folder = tmp_path / "home" / "work" / "inside"
    folder.mkdir(parents=True)
    (tmp_path / "secret.png").write_bytes(b"secret")
    (tmp_path / "home" / "evil.py").write_text("import os; os.mkdir('RAN')\nscore = None\n")
    monkeypatch.chdir(folder)
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    return folder


@pytest.mark.parametrize("hostile", CORPUS, ids=lambda hostile: hostile.name)
def test_it_is_refused_in_a_line(
    hostile: Hostile,
    inside: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture,
) -> None:
    hostile.make(inside)
    outside = {name for name in tree(tmp_path) if not name.startswith("home/work/inside")}
    code = call(monkeypatch, hostile.command)
    told = capsys.readouterr().err
    assert code == 2, told
    assert hostile.told in told
    assert max(map(len, told.splitlines())) < 2_000
    assert "Traceback" not in told
    assert not list(tmp_path.rglob("RAN"))
    now = {name for name in tree(tmp_path) if not name.startswith("home/work/inside")}
    assert now == outside


def test_markup_from_a_run_is_text_in_its_report(
    inside: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture
) -> None:
    script = "<script>alert(1)</script>"
    attribute = "\" onload='alert(2)"
    columns = [{**BENCH, "name": script}, {**BENCH, "name": "shop", "skill": attribute}]
    scores = [[0.0, 0.0], [100.0, 100.0], [0.0, 0.0]]
    told = {"steps": ["base", "1-" + attribute, "2-home"], "benchmarks": columns, "scores": scores}
    lost = {**RIGHT, "prompt": script, "text": script, "answer": attribute, "images": [script]}
    for name, value in {
        "matrix.json": told,
        "cost.json": {"steps": [{"step": script, "stages": {attribute: {"seconds": 1.0}}}]},
        "environment.json": {"versions": {script: script}, "image_roots": {}},
        "config.resolved.yaml": {"output_dir": script},
        f"steps/1-{attribute}/evaluate/shop/predictions.jsonl": lost,
        "steps/2-home/evaluate/shop/predictions.jsonl": {**lost, "score": 0.0},
    }.items():
        text(f"run/{name}", json.dumps(value))(inside)
    assert call(monkeypatch, REPORT) == 0
    page = (inside / "run" / "report.html").read_text()
    assert "alert(1)" in page and script not in page
    assert "alert(2)" in page and attribute not in page


def test_the_corpus_is_told(record_property: Callable[[str, object], None]) -> None:
    """Its size is a part of the test's report, and each name in it is one of a kind."""
    names = [hostile.name for hostile in CORPUS]
    assert len(set(names)) == len(names) >= 90
    record_property("hostile_inputs", len(names))
    print(f"{len(names)} hostile inputs")
