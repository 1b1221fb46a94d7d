"""Time the feature pass on the shape of LLaVA-1.5-7B with random weights, per row.

576 image and 225 text tokens a row, 128 of these the answer, bfloat16, LoRA of rank 64 on all
linear modules of the text model, gradients of the middle layer. In turns: a bare forward pass, the
feature pass without and with image grounding, the plain way of ``bench_features.py``, and the
gradients alone as ``bergson`` takes them, which is spared the layers below (2.5.1, where it is
installed: ``pip install --no-deps bergson==2.5.1 jaxtyping wadler-lindig natsort ml_dtypes petname
simple-parsing docstring-parser``). ``matrix rate`` is what this machine reaches in one large
product of matrices; the share of it counts all operations of a way, attention included. Memory is
the peak beyond the weights.

``python scripts/bench_gpu.py`` needs some 30 GiB of a GPU; ``--tiny`` takes a small shape anywhere.
"""

from __future__ import annotations

import argparse
import importlib.metadata
import json
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import torch
from peft import LoraConfig, PeftModel, get_peft_model
from torch import nn
from torch.utils.flop_counter import FlopCounterMode
from transformers import CLIPVisionConfig, LlamaConfig, LlavaConfig, LlavaForConditionalGeneration

from adaptinf.console import table
from adaptinf.features import FeatureExtractor
from bench_features import (
    DENSE_BLOCK,
    DENSE_DIM,
    DENSE_ROWS,
    IMAGE_TOKEN,
    PlainWay,
    Rows,
    forward,
    mean_losses,
    medians,
)
from pages import put

Results = dict[str, object]


@dataclass(frozen=True, slots=True)
class Shape:
    """Sizes of a LLaVA and of its rows."""

    text: tuple[int, int, int, int]  # width, inner width, layers, heads
    vision: tuple[int, int, int, int]
    image: int
    patch: int
    vocabulary: int
    text_tokens: int
    answer_tokens: int
    rank: int
    matrix: int

    @property
    def image_tokens(self) -> int:
        """Patches of an image."""
        return (self.image // self.patch) ** 2


WHOLE = Shape(
    text=(4096, 11008, 32, 32),
    vision=(1024, 4096, 24, 16),
    image=336,
    patch=14,
    vocabulary=32_064,
    text_tokens=225,
    answer_tokens=128,
    rank=64,
    matrix=8192,
)
TINY = Shape(
    text=(64, 128, 4, 4),
    vision=(32, 64, 2, 2),
    image=28,
    patch=7,
    vocabulary=512,
    text_tokens=20,
    answer_tokens=8,
    rank=4,
    matrix=256,
)


def main() -> None:
    """Measure, and print the tables."""
    options = arguments()
    device = torch.accelerator.current_accelerator() if torch.accelerator.is_available() else "cpu"
    shape, dtype = (TINY, torch.float32) if options.tiny else (WHOLE, torch.bfloat16)
    torch.manual_seed(0)
    results = measured(shape, torch.device(device), dtype, options)
    if options.out:
        options.out.write_text(json.dumps(results, indent=1) + "\n")
    text = tables_of(results)
    if options.page:
        put(options.page, str(options.out), f"```\n{text}\n```\n")
    print(json.dumps(results, indent=1) if options.json else text)


def arguments() -> argparse.Namespace:
    """What the command line asks for."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--tiny", action="store_true", help="a small shape, in float32")
    parser.add_argument("--rows", type=int, default=16, help="rows in a batch")
    parser.add_argument("--plain-rows", type=int, default=4, help="rows the plain way takes a turn")
    parser.add_argument("--repeats", type=int, default=5)
    parser.add_argument("--json", action="store_true")
    parser.add_argument("--out", type=Path, metavar="FILE", help="keep the results as JSON")
    parser.add_argument("--page", type=Path, help="put the tables there")
    return parser.parse_args()


def measured(
    shape: Shape, device: torch.device, dtype: torch.dtype, options: argparse.Namespace
) -> Results:
    """What every way costs."""
    model = make_model(shape, device, dtype)
    rows = make_rows(shape, options.rows, device, dtype)
    ways = ways_of(model, rows, options.plain_rows)
    seconds = medians(
        {name: (count, synchronised(run, device)) for name, (count, run) in ways.items()},
        options.repeats,
    )
    rate = matrix_rate(shape.matrix, device, dtype)
    cells = {}
    for name, (count, run) in ways.items():
        flops = operations(run) / count
        cells[name] = {
            "seconds_per_row": seconds[name],
            "rows_per_second": 1 / seconds[name],
            "share_of_matrix_rate": flops / seconds[name] / rate,
            "memory_gib": peak_memory(run, device),
        }
    dense = cells.pop("projection", None)
    second = cells.pop("second forward")
    plain = cells["plain"]["seconds_per_row"] + second["seconds_per_row"]
    cells["plain, grounding"] = {"seconds_per_row": plain, "rows_per_second": 1 / plain}
    if dense:
        whole = plain + dense["seconds_per_row"] * DENSE_DIM / DENSE_BLOCK
        cells["plain, grounding, projection"] = {
            "seconds_per_row": whole,
            "rows_per_second": 1 / whole,
        }
    return {
        "machine": machine(device),
        "rows": options.rows,
        "tokens": shape.image_tokens + shape.text_tokens,
        "matrix_rate_tflops": rate / 1e12,
        "ways": cells,
    }


def machine(device: torch.device) -> dict[str, object]:
    """What the numbers are of."""
    cuda = device.type == "cuda"
    name = torch.cuda.get_device_name(device) if cuda else f"CPU, {torch.get_num_threads()} threads"
    return {"name": name, "torch": torch.__version__}


def make_model(shape: Shape, device: torch.device, dtype: torch.dtype) -> PeftModel:
    """LLaVA of random weights with LoRA that has left its zero start, in evaluation mode."""
    names = ("hidden_size", "intermediate_size", "num_hidden_layers", "num_attention_heads")
    config = LlavaConfig(
        text_config=LlamaConfig(
            **dict(zip(names, shape.text, strict=True)), vocab_size=shape.vocabulary
        ),
        vision_config=CLIPVisionConfig(
            **dict(zip(names, shape.vision, strict=True)),
            image_size=shape.image,
            patch_size=shape.patch,
        ),
        image_token_index=IMAGE_TOKEN,
        image_seq_length=shape.image_tokens,
    )
    targets = r".*language_model\.layers\.\d+\.(self_attn|mlp)\..*_proj"
    lora = LoraConfig(r=shape.rank, lora_alpha=2 * shape.rank, target_modules=targets)
    with torch.device(device):
        model = LlavaForConditionalGeneration._from_config(config, dtype=dtype)
    model = get_peft_model(model, lora, autocast_adapter_dtype=False)
    for name, parameter in model.named_parameters():
        if "lora_B" in name:
            nn.init.normal_(parameter, std=0.02)
    return model.eval()


def make_rows(shape: Shape, count: int, device: torch.device, dtype: torch.dtype) -> Rows:
    """A start token, an image, a question and its answer in every row; none is padded."""
    tokens = shape.image_tokens + shape.text_tokens
    ids = torch.randint(6, shape.vocabulary, (count, tokens))
    ids[:, 0], ids[:, 1 : shape.image_tokens + 1] = 1, IMAGE_TOKEN
    labels = ids.clone()
    labels[:, : -shape.answer_tokens] = -100
    pixels = torch.randn(count, 3, shape.image, shape.image).to(dtype)
    mask = torch.ones_like(ids)
    rows = {"input_ids": ids, "attention_mask": mask, "labels": labels, "pixel_values": pixels}
    return {name: value.to(device) for name, value in rows.items()}


def ways_of(
    model: PeftModel, rows: Rows, plain_rows: int
) -> dict[str, tuple[int, Callable[[], object]]]:
    """Every way by name: how many rows it takes at a time, and its work."""
    few = {name: value[:plain_rows] for name, value in rows.items()}
    features = FeatureExtractor(model, grounding=None)
    grounded = FeatureExtractor(model)
    plain = PlainWay(model, grounded.layer)
    count = len(rows["labels"])

    def with_grounding() -> None:
        with grounded.model_unchanged():
            grounded(rows)

    ways: dict[str, tuple[int, Callable[[], object]]] = {
        "forward": (count, lambda: forward(model, rows)),
        "features": (count, lambda: features(rows)),
        "features, grounding": (count, with_grounding),
        "plain": (len(few["labels"]), lambda: plain.gradients(few)),
        "second forward": (len(few["labels"]), lambda: plain.blank_losses(few)),
        "projection": (DENSE_ROWS, lambda: plain.project(1)),
    }
    try:
        importlib.metadata.version("bergson")
    except importlib.metadata.PackageNotFoundError:
        return ways
    bergson = Bergson(model, grounded.layer, count)
    return {**ways, "gradients, bergson": (count, lambda: bergson(rows))}


class Bergson:
    """Gradients of one layer's LoRA matrices by bergson's hooks, 64 by 64 numbers a matrix."""

    def __init__(self, model: PeftModel, layer: int, rows: int) -> None:
        from bergson.collector.in_memory_collector import InMemoryCollector
        from bergson.config.config import IndexConfig
        from bergson.gradients import GradientProcessor
        from datasets import Dataset

        part = f".language_model.layers.{layer}."
        self._model = model
        self._weights = {n: p for n, p in model.named_parameters() if "lora_" in n}
        self._wanted = {name for name in self._weights if part in name}
        self._collector = InMemoryCollector(
            model=model,
            data=Dataset.from_dict({"input_ids": [[0]] * rows, "length": [1] * rows}),
            cfg=IndexConfig(run_path="unused", token_batch_size=1 << 20),
            processor=GradientProcessor(projection_dim=64),
            target_modules={name.removesuffix(".weight") for name in self._wanted},
        )

    def __call__(self, rows: Rows) -> None:
        """A forward and a backward pass that ends at the layer."""
        flags = {name: weight.requires_grad for name, weight in self._weights.items()}
        inputs = {name: value for name, value in rows.items() if name != "labels"}
        try:
            for name, weight in self._weights.items():
                weight.requires_grad_(name in self._wanted)
            with self._collector.with_batch(inputs["attention_mask"].bool()):
                logits = self._model(**inputs, use_cache=False).logits
                losses = mean_losses(logits, rows["labels"])
                losses.sum().backward()
            self._model.zero_grad()
            self._collector.process_batch(list(range(len(losses))), losses=losses)
        finally:
            for name, weight in self._weights.items():
                weight.requires_grad_(flags[name])


def synchronised(run: Callable[[], object], device: torch.device) -> Callable[[], None]:
    """The work, and the wait until the device has done it."""

    def wait() -> None:
        run()
        if device.type != "cpu":
            torch.accelerator.synchronize()

    return wait


def matrix_rate(side: int, device: torch.device, dtype: torch.dtype) -> float:
    """Operations a second in products of square matrices: the best of 10."""
    left, right = (torch.randn(side, side, device=device, dtype=dtype) for _ in range(2))
    multiply = synchronised(lambda: left @ right, device)
    multiply()
    taken = []
    for _ in range(10):
        started = time.perf_counter()
        multiply()
        taken.append(time.perf_counter() - started)
    return 2 * side**3 / min(taken)


def operations(run: Callable[[], object]) -> int:
    """Floating-point operations of the work, in matrix products and attention."""
    with FlopCounterMode(display=False) as counter:
        run()
    return int(counter.get_total_flops())


def peak_memory(run: Callable[[], object], device: torch.device) -> float | None:
    """Most GPU memory beyond what was there before, in GiB; None where there is no GPU."""
    if device.type != "cuda":
        return None
    torch.cuda.empty_cache()
    before = torch.cuda.memory_allocated(device)
    torch.cuda.reset_peak_memory_stats(device)
    run()
    return (torch.cuda.max_memory_allocated(device) - before) / 2**30


def tables_of(results: Results) -> str:
    """The results as a plain table under a line that names the machine."""
    rows = []
    for way, cell in results["ways"].items():
        share, memory = cell.get("share_of_matrix_rate"), cell.get("memory_gib")
        rows.append(
            [
                way,
                f"{cell['rows_per_second']:.2f}",
                "" if share is None else f"{share:.0%}",
                "" if memory is None else f"{memory:.1f}",
            ]
        )
    heads = ["way", "rows a second", "of the matrix rate", "memory, GiB"]
    about = (
        f"{results['machine']['name']}, torch {results['machine']['torch']}, "
        f"{results['matrix_rate_tflops']:.3g} TFLOP/s, batches of {results['rows']}"
    )
    return f"{about}\n\n{table(rows, heads)}"


if __name__ == "__main__":
    main()
