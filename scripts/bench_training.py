"""Time training by this project beside a plain Trainer, on rows of LLaVA-665k's lengths.

One LLaVA of random weights with LoRA, the same rows from the same collator, the same arguments of
the Trainer; what the plain one has not is this project's: rows known by name, losses and gradients
looked at before each step of the optimiser, sealed checkpoints, an adapter that is read again. The
losses of both must be equal, bit by bit. ``grouped``: the same with rows of like lengths in a batch
(``train.group_by_length``). Ways take turns, after one short round that does not count, and the
medians of the rounds' ratios count, in seconds of the processor, so that a busy machine disturbs
all alike.

Lengths are drawn, as ``bench_data.py`` has it, from the sources of LLaVA-665k: their shares of
rows, turns and words, 1.3 tokens a word and 8 a turn, cut at 2,048 tokens. All is a ninth of that:
an image has 64 tokens here, and 576 there.

``OMP_NUM_THREADS=1 python scripts/bench_training.py`` (a smaller trial: ``--rows 64 --rounds 1``).
"""

from __future__ import annotations

import argparse
import json
import os
import random
import statistics
import tempfile
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from bench_data import SHARES
from peft import PeftModel
from PIL import Image
from transformers import LlavaForConditionalGeneration, Trainer

from pages import markdown, put

IMAGE_TOKENS, THEIR_IMAGE_TOKENS, LONGEST = 64, 576, 2048
WORD_TOKENS, TURN_TOKENS = 1.3, 8
SIDE = 64
WORDS = ("red", "green", "blue", "white", "one", "two", "three", "four", "five", "six")
LEAST_OF_PLAIN, LEAST_GROUPED = 0.97, 1.2

Losses = list[float]


@dataclass(frozen=True, slots=True)
class Bench:
    """What all ways share: rows and how they are read, and sizes."""

    samples: Sequence[Any]
    lengths: Mapping[str, int]
    collator: Any
    settings: Any
    layers: int
    width: int

    def model(self) -> PeftModel:
        """A fresh model with its adapter, the same at every call."""
        from adaptinf.adapters import attach
        from adaptinf.models.loading import ModelSource, load_config

        config = load_config(ModelSource("tiny"))
        text, vision = config.text_config, config.vision_config
        text.hidden_size, text.intermediate_size = self.width, 11 * self.width // 4
        text.num_hidden_layers, text.head_dim = self.layers, self.width // 4
        vision.image_size, config.image_seq_length = SIDE, IMAGE_TOKENS
        torch.manual_seed(0)
        return attach(LlavaForConditionalGeneration(config).float(), r=16, dropout=0.05).train()

    def ours(self, model: PeftModel, folder: Path, *, grouped: bool = False) -> Losses:
        """Train as a run does."""
        from adaptinf.training import train_adapter

        lengths = self.lengths if grouped else None
        train_adapter(
            model, self.collator, self.samples, self.settings, folder, base="tiny", lengths=lengths
        )
        log = (folder / "log.jsonl").read_text().splitlines()
        return [json.loads(line)["loss"] for line in log]

    def plain(self, model: PeftModel, folder: Path) -> Losses:
        """Train as a script of Transformers does."""
        from adaptinf.training.arguments import Order, training_arguments

        order = Order(len(self.samples), 0, False, self.settings.batch_size, 1)
        trainer = Trainer(
            model=model,
            args=training_arguments(self.settings, folder, order),
            data_collator=self.collator,
            train_dataset=self.samples,
        )
        trainer.train()
        trainer.save_model(str(folder / "adapter"))
        return [entry["loss"] for entry in trainer.state.log_history if "loss" in entry]


def make_bench(folder: Path, options: argparse.Namespace) -> Bench:
    """Rows with their images in a folder."""
    from adaptinf.data.collator import Collator
    from adaptinf.data.encoder import Encoder
    from adaptinf.data.images import inspect_image
    from adaptinf.models.loading import ModelSource, load_processor
    from adaptinf.training import TrainSettings

    processor = load_processor(ModelSource("tiny"))
    processor.image_processor.size = {"shortest_edge": SIDE}
    processor.image_processor.crop_size = {"height": SIDE, "width": SIDE}
    encoder = Encoder(processor, LONGEST)
    samples = make_samples(folder, options.rows)
    images = [[inspect_image(folder / name) for name in s.images] for s in samples]
    measured = encoder.lengths(samples, images)
    lengths = {s.uid: m.n_tokens for s, m in zip(samples, measured, strict=True)}
    settings = TrainSettings(batch_size=options.batch)
    collator = Collator(encoder, lambda _: folder)
    return Bench(samples, lengths, collator, settings, options.layers, options.width)


def make_samples(folder: Path, rows: int) -> list[Any]:
    """Rows of one question and one answer, as long as a ninth of rows of LLaVA-665k."""
    from adaptinf.data.sample import Sample, Turn, marked

    draw = random.Random(0)
    noise = np.random.default_rng(0)
    samples = []
    for number, share in enumerate(draw.choices(SHARES, [s.rows for s in SHARES], k=rows)):
        words = sum(share.question + draw.randint(1, 2 * share.answer) for _ in range(share.turns))
        image = THEIR_IMAGE_TOKENS if share.folder else 0
        text = min(WORD_TOKENS * words + TURN_TOKENS * share.turns, LONGEST - image)
        count = max(2, round(text * IMAGE_TOKENS / THEIR_IMAGE_TOKENS))
        told = [" ".join(draw.choices(WORDS, k=k)) for k in (count // 2, count - count // 2)]
        name = f"{number}.png"
        if share.folder:
            pixels = noise.integers(0, 256, (SIDE, SIDE, 3), dtype=np.uint8)
            Image.fromarray(pixels).save(folder / name)
        turns = (Turn("user", marked(told[0], bool(share.folder))), Turn("assistant", told[1]))
        images = (name,) if share.folder else ()
        samples.append(
            Sample(f"rows:{number}", name, name, "rows", None, None, None, images, turns)
        )
    return samples


def time_ways(bench: Bench, rounds: int) -> dict[str, dict[str, list[float]]]:
    """Seconds of the clock and of the processor of every round, by way."""
    ways: dict[str, Callable[[PeftModel, Path], Losses]] = {
        "plain": bench.plain,
        "adaptinf": bench.ours,
        "adaptinf, grouped": lambda model, folder: bench.ours(model, folder, grouped=True),
    }
    seconds: dict[str, dict[str, list[float]]] = {w: {"clock": [], "cpu": []} for w in ways}
    for number in range(rounds):
        losses = {}
        for name in list(ways) if number % 2 else list(reversed(ways)):
            model = bench.model()
            with tempfile.TemporaryDirectory() as folder:
                started = time.perf_counter(), time.process_time()
                losses[name] = ways[name](model, Path(folder))
                ended = time.perf_counter(), time.process_time()
            for kind, start, end in zip(seconds[name], started, ended, strict=True):
                seconds[name][kind].append(end - start)
        if losses["plain"] != losses["adaptinf"]:
            raise SystemExit("the two ways do not train alike")
    return seconds


def padded(bench: Bench, *, grouped: bool) -> float:
    """Tokens that are computed for each token of a row."""
    from adaptinf.training.grouping import grouped_order

    tokens, batch = list(bench.lengths.values()), bench.settings.batch_size
    order = (
        grouped_order(tokens, batch, 0)
        if grouped
        else torch.randperm(len(tokens), generator=torch.Generator().manual_seed(0)).tolist()
    )
    batches = [[tokens[i] for i in order[s : s + batch]] for s in range(0, len(order), batch)]
    return sum(len(b) * max(b) for b in batches) / sum(tokens)


HEADS = {
    "way": "way",
    "rate": "rows a second",
    "ratio": "times plain",
    "padded": "tokens computed for one of a row",
}


def main() -> None:
    """Print the table, and keep it where the command line says."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--rows", type=int, default=512)
    parser.add_argument("--batch", type=int, default=16)
    parser.add_argument("--layers", type=int, default=2)
    parser.add_argument("--width", type=int, default=256)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--out", type=Path, help="keep the numbers as JSON")
    parser.add_argument("--page", type=Path, help="put the table on this page")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        bench = make_bench(Path(folder), options)
        time_ways(replace(bench, samples=bench.samples[: options.batch]), 1)
        seconds = time_ways(bench, options.rounds)
        padding = {grouped: padded(bench, grouped=grouped) for grouped in (False, True)}
    lines, ratios = [], {}
    for way, taken in seconds.items():
        pairs = zip(seconds["plain"]["cpu"], taken["cpu"], strict=True)
        ratios[way] = statistics.median(plain / mine for plain, mine in pairs)
        lines.append(
            {
                "way": way,
                "rate": f"{options.rows / statistics.median(taken['cpu']):.1f}",
                "ratio": f"{ratios[way]:.3f}",
                "padded": f"{padding['grouped' in way]:.2f}",
            }
        )
    told = {
        "lines": lines,
        "seconds": {
            w: {k: [round(s, 2) for s in v] for k, v in t.items()} for w, t in seconds.items()
        },
        "rows": options.rows,
        "cores": os.cpu_count(),
        "threads": torch.get_num_threads(),
        "bars": {
            "adaptinf": [LEAST_OF_PLAIN, ratios["adaptinf"] >= LEAST_OF_PLAIN],
            "adaptinf, grouped": [LEAST_GROUPED, ratios["adaptinf, grouped"] >= LEAST_GROUPED],
        },
    }
    text = markdown(HEADS, lines)
    print(text)
    print(json.dumps({key: told[key] for key in ("seconds", "bars")}, indent=1))
    if options.out:
        options.out.write_text(json.dumps(told, indent=1) + "\n")
    if options.page:
        put(options.page, str(options.out or "bench_training"), text)


if __name__ == "__main__":
    main()
