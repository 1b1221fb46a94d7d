"""Time one MixLoRA layer against LoRA, and against forming each row's weight product.

A step is forward and backward of one adapted linear module, width x width, on [rows, tokens, width]
inputs that need a gradient themselves, as in the middle of a model. "adapter" is the adapter's path
alone, without the base module; "layer" is the whole. The plain way ("product") makes the same
choices and applies the same formulas, but multiplies each row's factors to a [width, width] matrix
first. Rounds of all ways take turns, and the median counts, so that a busy machine disturbs all
alike. Peak memory is the most that is allocated at one time in one step beyond what was there
before, as torch's profiler counts it.

``OMP_NUM_THREADS=1 python scripts/bench_adapters.py --out docs/bench/adapters.json --page
docs/adapters.md`` (add ``--device cuda --dtype bfloat16``).
"""

from __future__ import annotations

import argparse
import itertools
import json
import statistics
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from peft import LoraConfig, get_peft_model
from torch import Tensor, nn

from adaptinf.adapters.mixlora import MixLoraConfig
from adaptinf.adapters.mixlora.mixture import Mixture
from adaptinf.adapters.mixlora.routing import Route
from pages import put

MIXLORA = {"mixlora ifs": "input", "mixlora cfs": "input_lora_a_param"}
Step = Callable[[], None]


@dataclass(frozen=True, slots=True)
class Shape:
    """What is measured: sizes of the input, and of the adapter."""

    rows: int
    tokens: int
    width: int
    rank: int
    experts: int


@dataclass(frozen=True, slots=True)
class Way:
    """One step of the adapter's path alone, and of the whole layer where there is one."""

    name: str
    adapter: Step
    layer: Step | None = None


class Model(nn.Module):
    """One linear module with a mask beside it, as a model has."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.linear = nn.Linear(width, width, bias=False)

    def forward(self, inputs_embeds: Tensor, attention_mask: Tensor) -> Tensor:
        """The linear map; the mask is only there for whoever listens."""
        result: Tensor = self.linear(inputs_embeds)
        return result


def main() -> None:
    """Measure every shape and print the table."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--width", type=int, nargs="+", default=[1024, 2048])
    parser.add_argument("--rows", type=int, default=8)
    parser.add_argument("--tokens", type=int, nargs="+", default=[64])
    parser.add_argument("--rank", type=int, default=4)
    parser.add_argument("--experts", type=int, default=16)
    parser.add_argument("--rounds", type=int, default=15)
    parser.add_argument("--device", default="cpu")
    parser.add_argument("--dtype", default="float32", choices=["float32", "bfloat16"])
    parser.add_argument("--out", type=Path, help="keep the results as JSON")
    parser.add_argument("--page", type=Path, help="put the table there")
    o = parser.parse_args()
    torch.set_default_device(o.device)
    torch.set_default_dtype(getattr(torch, o.dtype))
    shapes = [
        Shape(o.rows, tokens, width, o.rank, o.experts)
        for width, tokens in itertools.product(o.width, o.tokens)
    ]
    results = [cell for shape in shapes for cell in measured(shape, o.rounds)]
    text = table_of(results)
    if o.out:
        o.out.write_text(json.dumps(results, indent=1) + "\n")
    if o.page:
        put(o.page, str(o.out), f"```\n{text}\n```\n")
    print(text)


def measured(shape: Shape, rounds: int) -> list[dict[str, Any]]:
    """One result per way, with its ratio to LoRA and how far the product is behind it."""
    torch.manual_seed(0)
    x = torch.randn(shape.rows, shape.tokens, shape.width, requires_grad=True)
    signal = torch.randn_like(x)
    ways = [lora(shape, x, signal)]
    for name, routing in MIXLORA.items():
        ways += mixlora(name, routing, shape, x, signal)
    adapter = interleaved([way.adapter for way in ways], rounds)
    layers = [way.layer for way in ways if way.layer is not None]
    layer = dict(zip(layers, interleaved(layers, rounds), strict=True))
    results = []
    for way, seconds in zip(ways, adapter, strict=True):
        whole = layer[way.layer] if way.layer is not None else None
        results.append(
            {
                "width": shape.width,
                "rows": shape.rows,
                "tokens": shape.tokens,
                "rank": shape.rank,
                "way": way.name,
                "adapter_ms": round(1e3 * seconds, 2),
                "adapter_peak_mib": round(peak_bytes(way.adapter) / 2**20, 2),
                "layer_ms": None if whole is None else round(1e3 * whole, 2),
                "layer_vs_lora": None if whole is None else round(whole / layer[ways[0].layer], 2),
            }
        )
    return [_with_product_ratios(cell, results) for cell in results]


def _with_product_ratios(cell: dict[str, Any], results: list[dict[str, Any]]) -> dict[str, Any]:
    """``cell`` and how many times slower and larger the product of the same routing is."""
    product = next((r for r in results if r["way"] == f"{cell['way']}, product"), None)
    ratios = {
        f"product_{ratio}": None if product is None else round(product[key] / cell[key], 1)
        for ratio, key in (("times", "adapter_ms"), ("memory", "adapter_peak_mib"))
    }
    return cell | ratios


def lora(shape: Shape, x: Tensor, signal: Tensor) -> Way:
    """PEFT's own LoRA of the same rank."""
    config = LoraConfig(r=shape.rank, lora_alpha=shape.rank, target_modules=["linear"])
    model = get_peft_model(Model(shape.width), config)
    module = model.base_model.model.linear
    a, b = module.lora_A["default"], module.lora_B["default"]
    mask = x.new_ones(x.shape[:2], dtype=torch.long)
    return Way(
        "lora",
        stepping(lambda: b(a(x)) * module.scaling["default"], model, x, signal),
        stepping(lambda: model(inputs_embeds=x, attention_mask=mask), model, x, signal),
    )


def mixlora(name: str, routing: str, shape: Shape, x: Tensor, signal: Tensor) -> list[Way]:
    """The layer of this library, and the plain way with the same weights."""
    config = MixLoraConfig(
        target_modules=["linear"],
        routing=routing,
        num_experts=shape.experts,
        rank=shape.rank,
        dropout=0.0,
    )
    model = get_peft_model(Model(shape.width), config)
    mixture = model.base_model.model.linear.mixlora_factors["default"]
    nn.init.normal_(mixture.pool_b)
    # A third of each row is answer or padding.
    mask = torch.arange(shape.tokens).expand(shape.rows, -1) < 2 * shape.tokens // 3
    torch.testing.assert_close(
        mixture(x, Route(mask)), product(mixture, x, mask), rtol=1e-2, atol=1e-2
    )
    return [
        Way(
            name,
            stepping(lambda: mixture(x, Route(mask)), mixture, x, signal),
            stepping(lambda: model(inputs_embeds=x, attention_mask=mask), model, x, signal),
        ),
        Way(
            f"{name}, product",
            stepping(lambda: product(mixture, x, mask), mixture, x, signal),
        ),
    ]


def product(mixture: Mixture, x: Tensor, mask: Tensor) -> Tensor:
    """The plain way: the weights [rows, out, in] of all rows, then one product per row."""
    choice, weights = mixture.choose(x, Route(mask))
    a, b = mixture.pool_a[choice.a], mixture.pool_b[choice.b]
    gates = torch.ones_like(choice.a) if weights is None else weights
    gated = b * (mixture.scaling * gates).to(b.dtype).unsqueeze(-1)
    return torch.bmm(x, torch.bmm(gated.transpose(1, 2), a).transpose(1, 2))


def stepping(forward: Callable[[], Tensor], module: nn.Module, x: Tensor, signal: Tensor) -> Step:
    """A whole step: forward, and backward with ``signal`` to every parameter and to ``x``."""

    def step() -> None:
        x.grad = None
        module.zero_grad(set_to_none=True)
        forward().backward(signal)
        if x.is_cuda:
            torch.cuda.synchronize()

    return step


def interleaved(steps: list[Step], rounds: int) -> list[float]:
    """Median seconds of each step; the steps take turns, after one round that does not count."""
    seconds: list[list[float]] = [[] for _ in steps]
    for _ in range(rounds + 1):
        for step, mine in zip(steps, seconds, strict=True):
            started = time.perf_counter()
            step()
            mine.append(time.perf_counter() - started)
    return [statistics.median(mine[1:]) for mine in seconds]


def peak_bytes(step: Step) -> int:
    """The most bytes that one step holds at one time, beyond those held before it."""
    step()
    activities = [torch.profiler.ProfilerActivity.CPU]
    if torch.get_default_device().type == "cuda":
        activities.append(torch.profiler.ProfilerActivity.CUDA)
    with torch.profiler.profile(activities=activities, profile_memory=True) as profile:
        step()
    held = peak = 0
    events = [e for e in profile.profiler.kineto_results.events() if e.name() == "[memory]"]
    for event in sorted(events, key=lambda event: event.start_ns()):
        held += event.nbytes()
        peak = max(peak, held)
    return peak


def table_of(results: list[dict[str, Any]]) -> str:
    """The results as a plain table."""
    from adaptinf.console import table

    names = [name for name in results[0] if name not in ("rows", "rank")]
    cells = [["" if r[n] is None else str(r[n]) for n in names] for r in results]
    return table(cells, [name.replace("_", " ") for name in names])


if __name__ == "__main__":
    main()
