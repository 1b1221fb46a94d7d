"""Faults planted one at a time: the doctor names each, what to do, and the stages that it hits."""

from __future__ import annotations

import errno
import json
import os
import shutil
import socket
from collections import namedtuple
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import httpx2
import huggingface_hub
import pytest
import torch
from huggingface_hub import constants, errors
from PIL import Image

from adaptinf.models.loading import ModelSource
from config import load_recipe
from stages.doctor import device, libraries, room, shape, versions
from stages.doctor.examination import Diagnosis, examine
from stages.doctor.finding import MODEL_STAGES, STAGES
from stages.lock import locked


@dataclass
class Scene:
    """A recipe that nothing is wrong with, and ways to plant what is."""

    root: Path
    run: Path
    patch: pytest.MonkeyPatch
    stack: ExitStack

    def examined(self, *overrides: str) -> Diagnosis:
        recipe = load_recipe(self.root / "recipe.yaml", [f"output_dir={self.run}", *overrides])
        return examine(recipe)

    def installed(self, **given: str | None) -> None:
        """Have packages be there in these versions, or not at all (None)."""
        true = versions.version
        named = {name.replace("_", "-"): found for name, found in given.items()}

        def version(name: str) -> str:
            found = named.get(name.replace("_", "-"), "")
            if found is None:
                raise versions.PackageNotFoundError(name)
            return found or true(name)

        self.patch.setattr(versions, "version", version)

    def environment(self, **given: str) -> None:
        for name, value in given.items():
            self.patch.setenv(name, value)


@dataclass(frozen=True)
class Fault:
    """What is planted, by a function that gives overrides; and the finding that names it."""

    plant: Callable[[Scene], list[str] | None]
    check: str
    verdict: str
    seen: str
    todo: str
    stages: tuple[str, ...] = STAGES


def no_gpu(scene: Scene, driver: str | None = None, cuda: str | None = None) -> None:
    scene.patch.setattr(torch.cuda, "is_available", lambda: False)
    scene.patch.setattr(torch.accelerator, "is_available", lambda: False)
    scene.patch.setattr(torch.version, "cuda", cuda)
    for module in (device, libraries):
        scene.patch.setattr(module, "nvidia_driver", lambda: driver)


def both_flavours(scene: Scene) -> None:
    scene.installed(faiss_cpu="1.15.1", faiss_gpu_cu12="1.15.0")


def gpu_flavour(scene: Scene) -> None:
    no_gpu(scene)
    scene.installed(faiss_cpu=None, faiss_gpu_cu12="1.15.0")


def without_deepspeed(scene: Scene) -> list[str]:
    scene.installed(deepspeed=None)
    return ["train.deepspeed=zero2"]


def without_bitsandbytes(scene: Scene) -> list[str]:
    scene.installed(bitsandbytes=None)
    return ["model.quantize=4bit"]


def older_driver(scene: Scene) -> None:
    no_gpu(scene, driver="470.82", cuda="13.0")
    scene.patch.delenv("CUDA_VISIBLE_DEVICES", raising=False)
    nodes = scene.run.parent / "dev"
    nodes.mkdir()
    (nodes / "nvidia0").touch()
    scene.patch.setattr(device, "_NODES", nodes)


def half_precision(scene: Scene) -> list[str]:
    no_gpu(scene)
    return ["train.bf16=true"]


def full_disk(scene: Scene) -> None:
    usage = namedtuple("usage", "total used free")(10**9, 10**9 - 1000, 1000)
    scene.patch.setattr(shutil, "disk_usage", lambda path: usage)


def closed_folder(scene: Scene) -> None:
    # The tests may run as root, who may read everything.
    true, closed = os.access, scene.root / "data"
    scene.patch.setattr(os, "access", lambda path, mode: Path(path) != closed and true(path, mode))


def other_process(scene: Scene) -> None:
    scene.run.mkdir()
    scene.stack.enter_context(locked(scene.run))


def offline_without_cache(scene: Scene) -> list[str]:
    scene.patch.setattr(constants, "HF_HUB_OFFLINE", True)
    return ["model.name=adaptinf-tests/never-made"]


def gated(scene: Scene) -> list[str]:
    def refuse(url: str, **options: Any) -> None:
        assert options["timeout"] == 10
        answer = httpx2.Response(403, request=httpx2.Request("HEAD", url))
        raise errors.GatedRepoError("gated", response=answer)

    scene.patch.setattr(constants, "HF_HUB_OFFLINE", False)
    scene.patch.setattr(huggingface_hub, "get_hf_file_metadata", refuse)
    return ["model.name=adaptinf-tests/never-made"]


def lost_weights(scene: Scene) -> list[str]:
    folder = scene.run.parent / "model"
    shutil.copytree(ModelSource("tiny").path, folder)
    (folder / "model.safetensors").unlink()
    index = {"weight_map": {"a": "model-1.safetensors", "b": "model-2.safetensors"}}
    (folder / "model.safetensors.index.json").write_text(json.dumps(index))
    (folder / "model-1.safetensors").touch()
    return [f"model.name={folder}"]


def taken_port(scene: Scene) -> None:
    taken = scene.stack.enter_context(socket.socket())
    taken.bind(("", 0))
    taken.listen()
    port = str(taken.getsockname()[1])
    scene.environment(WORLD_SIZE="2", RANK="0", MASTER_ADDR="localhost", MASTER_PORT=port)


def no_sync(scene: Scene) -> None:
    def refuse(number: int) -> None:
        raise OSError(errno.EINVAL, "Invalid argument")

    scene.patch.setattr(os, "fsync", refuse)


def one_row_fits(scene: Scene) -> None:
    true = shape._step

    def refuse(case: Any, model: Any, samples: Any) -> Any:
        if len(samples) > 1:
            raise torch.OutOfMemoryError
        return true(case, model, samples)

    scene.patch.setattr(shape, "_step", refuse)


FAULTS = {
    "a library that is too old": Fault(
        lambda scene: scene.installed(transformers="4.40.0"),
        *("packages", "fail", "transformers 4.40.0; this release asks for transformers>=5.23"),
        'pip install "transformers>=5.23"',
    ),
    "libraries that do not fit one another": Fault(
        lambda scene: scene.installed(tokenizers="0.1.0"),
        *("packages", "warn", "tokenizers 0.1.0; transformers", 'pip install "tokenizers'),
        MODEL_STAGES,
    ),
    "both flavours of faiss": Fault(
        both_flavours,
        *("faiss", "fail", "write over each other's files", "pip uninstall faiss-cpu"),
        ("glance", "select", "prune"),
    ),
    "faiss for a GPU without one": Fault(
        gpu_flavour,
        *("faiss", "warn", "faiss-gpu-cu12 1.15.0, and no GPU", "pip install faiss-cpu"),
        ("glance", "select", "prune"),
    ),
    "no DeepSpeed where the recipe wants it": Fault(
        without_deepspeed,
        *("deepspeed", "fail", "not installed; train.deepspeed: zero2", "deepspeed>="),
        ("train",),
    ),
    "no bitsandbytes where the recipe wants it": Fault(
        without_bitsandbytes,
        *("bitsandbytes", "fail", "not installed; model.quantize: 4bit", "bitsandbytes>="),
        MODEL_STAGES,
    ),
    "a driver older than torch": Fault(
        older_driver,
        *("device", "fail", "CUDA 13.0, which driver 470.82 does not serve", "driver up to date"),
        MODEL_STAGES,
    ),
    "half precision without a GPU": Fault(
        half_precision,
        *("half precision", "warn", "train.bf16, and no GPU", "leave it out here"),
        ("train",),
    ),
    "a full disk": Fault(full_disk, "disk", "fail", "0.001 MB free", "make room"),
    "a data root that cannot be read": Fault(
        closed_folder, "data root", "fail", "data cannot be read", "chmod -R u+rX"
    ),
    "a run that another process has": Fault(
        other_process, "run folder", "fail", "another process is at work", "wait for it"
    ),
    "no cache and no hub": Fault(
        offline_without_cache,
        *("model", "fail", "never-made is not in the hub's cache", "unset HF_HUB_OFFLINE"),
        MODEL_STAGES,
    ),
    "a model that asks for consent": Fault(
        gated,
        *("model", "fail", "never-made: the hub asks for consent", "set HF_TOKEN"),
        MODEL_STAGES,
    ),
    "a model that lacks weights": Fault(
        lost_weights,
        *("model", "fail", "no model-2.safetensors", "complete the folder"),
        MODEL_STAGES,
    ),
    "rows longer than max_length": Fault(
        lambda scene: ["data.max_length=2"],
        *("task rows", "fail", "no row of rows can be used (seen: '3 too-long')", "max_length"),
    ),
    "half a launch": Fault(
        lambda scene: scene.environment(WORLD_SIZE="2"),
        *("launch", "fail", "WORLD_SIZE is set, but not RANK, MASTER_ADDR, MASTER_PORT", ""),
    ),
    "a port that is taken": Fault(
        taken_port, "launch", "fail", "cannot be opened", "set MASTER_PORT to a free port"
    ),
    "a model larger than the memory": Fault(
        lambda scene: scene.patch.setattr(room, "free_memory", lambda: (1000.0, "this machine")),
        *("memory", "fail", "the weights take", "model.quantize: 4bit"),
        MODEL_STAGES,
    ),
    "a file system that does not sync": Fault(
        no_sync, "file system", "fail", "does not sync and rename files", "on a local disk"
    ),
    "a benchmark that is not there": Fault(
        lambda scene: ["evaluate.benchmarks=[nowhere]"],
        *("benchmarks", "fail", "unknown benchmark (seen: 'nowhere')", ""),
        ("overlap", "evaluate", "report"),
    ),
    "a batch that does not fit the memory": Fault(
        one_row_fits,
        *("training step", "warn", "do not fit the memory, one does", "lower train.batch_size"),
        ("train",),
    ),
}


@pytest.fixture(scope="module")
def shop(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Three rows, a benchmark of one question, and a recipe."""
    root = tmp_path_factory.mktemp("shop")
    benchmarks = root / "data/benchmarks"
    benchmarks.mkdir(parents=True)
    for folder in (root / "data", benchmarks):
        Image.new("RGB", (8, 8), "white").save(folder / "cup.png")
    rows = [
        {
            "id": str(number),
            "image": "cup.png",
            "conversations": [
                {"from": "human", "value": "<image>\n" + "what " * number + "?"},
                {"from": "gpt", "value": "a cup"},
            ],
        }
        for number in range(1, 4)
    ]
    (root / "data/rows.json").write_text(json.dumps(rows))
    (benchmarks / "cup.yaml").write_text(
        "{name: cup, taught_by: [rows], metric: exact, questions: cup.jsonl}"
    )
    asked = {"question_id": "a", "image": "cup.png", "text": "what?", "answer": "a cup"}
    (benchmarks / "cup.jsonl").write_text(json.dumps(asked) + "\n")
    (root / "recipe.yaml").write_text(
        f"output_dir: run\ndata: {{root: {root}/data}}\ntasks: [{{dataset: data/rows.json}}]\n"
        "train: {batch_size: 2}\nevaluate: {batch_size: 2}\nselect: {budget: 2}\n"
    )
    return root


@pytest.fixture
def scene(shop: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Scene]:
    with ExitStack() as stack:
        yield Scene(shop, tmp_path / "run", monkeypatch, stack)


@pytest.mark.parametrize("name", FAULTS)
def test_a_planted_fault_is_named(scene: Scene, name: str) -> None:
    fault = FAULTS[name]
    diagnosis = scene.examined(*(fault.plant(scene) or []))
    found = [f for f in diagnosis.findings if f.check == fault.check and f.verdict != "ok"]
    named = [f for f in found if f.verdict == fault.verdict and fault.seen in f.seen]
    assert named, found
    assert fault.todo in named[0].todo
    assert named[0].seen.split()[-1] in diagnosis.text()
    hit = {stage for stage in diagnosis.stages if named[0] in diagnosis.about(stage)}
    assert hit == set(fault.stages) - {"rehearse"}  # which one task has no need of


HERE = tuple(stage for stage in STAGES if stage != "rehearse")
"""Stages of a recipe of one task."""


def test_so_many_faults_are_planted() -> None:
    print(f"\n{len(FAULTS)} planted faults")
    assert len(FAULTS) >= 10


def test_where_nothing_is_wrong_nothing_is_told(scene: Scene) -> None:
    """But for what this machine itself may lack."""
    no_gpu(scene)
    diagnosis = scene.examined()
    assert [f for f in diagnosis.findings if f.verdict != "ok"] == []
    assert diagnosis.stages == HERE
    told = {f.check: f.seen for f in diagnosis.findings}
    assert told["task rows"] == "3 rows; 3 of the first 3 can be used"
    assert told["benchmark cup"] == "1 questions"
    assert told["training step"].startswith("2 rows of ")
    assert " on tiny: loss " in told["training step"]
    assert not scene.run.exists()
    stages = json.loads(diagnosis.json())["stages"]
    assert stages == {stage: {"verdict": "ok", "because": []} for stage in HERE}


def test_a_stage_is_as_well_as_the_worst_of_its_findings(scene: Scene) -> None:
    no_gpu(scene)
    scene.installed(deepspeed=None)
    diagnosis = scene.examined("train.deepspeed=zero2", "train.bf16=true")
    stages = json.loads(diagnosis.json())["stages"]
    assert stages["train"] == {"verdict": "fail", "because": ["deepspeed", "half precision"]}
    assert stages["select"] == {"verdict": "ok", "because": []}
    assert "\nfail  train: deepspeed\n" in diagnosis.text()
    assert diagnosis.verdict == "fail"


def test_stages_that_the_recipe_has_not_are_left_out(scene: Scene) -> None:
    diagnosis = scene.examined("select.method=random", "data.overlap=false", "data.max_length=2")
    assert diagnosis.stages == ("ingest", "select", "train", "evaluate", "prune", "report")
    rehearsed = scene.examined("tasks=[{dataset: llava}, {dataset: mantis}]", "rehearse.rows=3")
    assert "rehearse" in rehearsed.stages
    [step] = [f for f in diagnosis.findings if f.check == "training step"]
    assert (step.verdict, step.seen) == ("warn", "not looked at: no task has rows that can be used")


def test_without_a_recipe_the_machine_alone_is_looked_at(scene: Scene) -> None:
    no_gpu(scene)
    diagnosis = examine(None)
    named = [f.check for f in diagnosis.findings]
    assert named == ["python", "packages", "faiss", "device", "launch", "disk"]
    assert diagnosis.stages == ()
    full_disk(scene)
    assert [f.check for f in examine(None).findings if f.verdict != "ok"] == ["disk"]


def test_an_install_that_is_older_than_the_need_hides_nothing(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(versions, "requires", lambda package: [])
    monkeypatch.setattr(versions, "installed", lambda package: None)
    found = versions.extra("bitsandbytes", "model.quantize: 4bit", ("train",))
    assert (found.verdict, found.seen) == ("fail", "not installed; model.quantize: 4bit needs it")
