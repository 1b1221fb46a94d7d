"""Trainings by two ranks of one launch, beside one rank's."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from PIL import Image
from safetensors.torch import load_file

from adaptinf.adapters import attach
from adaptinf.data.collator import Collator
from adaptinf.data.encoder import IGNORED, Encoder
from adaptinf.data.sample import Sample, Turn
from adaptinf.distributed import Ranks
from adaptinf.models.loading import ModelSource, load_model, load_processor
from adaptinf.notice import Interrupted
from adaptinf.training.batches import UIDS, EvenOrder, Row, Rows, TrainingCollator
from adaptinf.training.trainer import TrainSettings, train_adapter
from tests.conftest import ROOT, TORCHRUN

SEES = {"conlora": "11000011011010101", "dora": "110000110000100100100"}
"""Which rows have images. Each of two ranks has half of each batch of four: there are images at one
rank and text at the other, images at both, text only, and a last batch of one row. Where the vision
tower is trained, no whole batch is of text only: ZeRO takes no gradient for one of zero."""
TRAININGS = {
    "plain": ("conlora", None),
    "zero2": ("conlora", "zero2"),
    "zero3": ("conlora", "zero3"),
    "dora": ("dora", "zero3"),
}
"""Routes, and what two ranks of one launch divide them by. The plain one has two epochs of shuffled
rows, and two ranks are interrupted in the second."""


def samples(sees: str) -> list[Sample]:
    """Rows of one, two or no images."""
    rows = []
    for i, mark in enumerate(sees):
        images = ("red.png", "blue.png")[: 1 + i % 2] if mark == "1" else ()
        turns = (Turn("user", "<image>" * len(images) + f"Say {i}"), Turn("assistant", "so " * i))
        rows.append(Sample(f"rows:{i}", str(i), str(i), "rows", None, None, None, images, turns))
    return rows


def collator(images: Path) -> Collator:
    return Collator(Encoder(load_processor(ModelSource("tiny")), 256), lambda _: images)


def train(name: str, folder: Path, images: Path, ranks: Ranks) -> None:
    route, deepspeed = TRAININGS[name]
    settings = TrainSettings(
        learning_rate=1e-3,
        batch_size=4,
        epochs=2 if name == "plain" else 1,
        deepspeed=deepspeed if ranks.size > 1 else None,
    )
    rows = samples(SEES[route])
    if name != "plain":
        # Where the shuffle of the first epoch will have them.
        draw = torch.randperm(len(rows), generator=torch.Generator().manual_seed(0)).tolist()
        rows = [rows[draw.index(place)] for place in range(len(rows))]
    folder.mkdir(parents=True, exist_ok=True)
    done = [0]

    def advance(more: int) -> None:
        done[0] += more
        if name == "plain" and ranks.size > 1 and done[0] == 28:
            raise Interrupted

    def go_on() -> None:
        model = attach(load_model(ModelSource("tiny")), route, r=4, dropout=0.0).train()
        train_adapter(
            model,
            collator(images),
            rows,
            settings,
            folder,
            base="tiny",
            ranks=ranks,
            advance=advance,
        )

    try:
        go_on()
    except Interrupted:
        go_on()


@pytest.fixture(scope="module")
def images(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("images")
    for name in ("red", "blue"):
        Image.new("RGB", (32, 32), name).save(folder / f"{name}.png")
    return folder


def test_an_order_is_filled_up_with_a_row_that_only_goes_along() -> None:
    order = EvenOrder(range(5), 4)
    assert list(order) == [0, 1, 2, 3, 4, -1, -1, -1]
    assert len(order) == 8
    assert list(EvenOrder(range(4), 4)) == [0, 1, 2, 3]
    given = samples("001")
    assert Rows(given)[-1] == Row(given[2], counts=False)
    assert Rows(given)[2] == Row(given[2], counts=True)


def test_a_batch_of_text_gets_an_image_that_only_goes_along(images: Path) -> None:
    given = samples("1001")
    alone = TrainingCollator(collator(images))
    together = TrainingCollator.for_ranks(collator(images), given)
    text, mixed = ([Row(given[i]) for i in places] for places in ((1, 2), (0, 1)))
    assert "pixel_values" not in alone(text)
    batch = together(text)
    assert batch["pixel_values"].shape[0] == 1
    assert batch["input_ids"].shape[0] == 3
    assert (batch["labels"][2] == IGNORED).all()
    assert (batch["labels"][:2] != IGNORED).any(1).all()
    assert batch[UIDS] == ["rows:1", "rows:2"]
    assert together(mixed)["input_ids"].shape[0] == 2
    filled = together([*mixed, Row(given[2], counts=False)])
    assert filled[UIDS] == ["rows:0", "rows:1"]
    assert (filled["labels"][2] == IGNORED).all()


@pytest.fixture(scope="module")
def launched(images: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder of all trainings by two ranks."""
    folder = tmp_path_factory.mktemp("ranks")
    command = [*TORCHRUN, "-m", "tests.training.test_ranks", str(folder), str(images)]
    done = subprocess.run(
        command, capture_output=True, text=True, cwd=ROOT, check=False, timeout=300
    )
    assert done.returncode == 0, done.stderr
    return folder


@pytest.mark.parametrize("name", TRAININGS)
def test_two_ranks_train_batches_of_text_and_images_as_one_does(
    name: str, launched: Path, images: Path, tmp_path: Path
) -> None:
    train(name, tmp_path, images, Ranks())
    losses = [
        [json.loads(line)["loss"] for line in (folder / "log.jsonl").read_text().splitlines()]
        for folder in (tmp_path, launched / name)
    ]
    assert len(losses[0]) == {"plain": 10, "dora": 6}.get(name, 5)
    assert losses[1] == pytest.approx(losses[0], abs=1e-5)
    one, two = (
        load_file(folder / "adapter" / "adapter_model.safetensors")
        for folder in (tmp_path, launched / name)
    )
    assert one.keys() == two.keys()
    assert max(float((one[key] - two[key]).abs().max()) for key in one) < 1e-5


def main(folder: str, images: str) -> None:
    ranks = Ranks.of_launch()
    for name in TRAININGS:
        train(name, Path(folder, name), Path(images), ranks)
    ranks.part()


if __name__ == "__main__":
    main(*sys.argv[1:])
