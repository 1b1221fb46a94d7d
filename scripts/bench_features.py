"""Time the feature pass against a bare forward pass and against the plain way, per row.

One LLaVA of random weights, the middle layer, the same rows for all. ``forward`` is a batched
forward pass that makes the logits of one token, the floor. The plain way is what the method's
released code does: batches of one, all logits, backward through all layers into the ``.grad`` of
every LoRA matrix, one-hot targets; then a second forward pass with zero pixels; then a dense
projection of +-1 of 16 rows' gradients at a time to 8192 numbers. Rounds of all ways take turns and
the median counts, so that a busy machine disturbs all alike. Of the dense matrix a few blocks of
128 columns are timed and counted for all 64: drawing them is nearly all of it.

``score memory`` is the peak of resident memory, each way in a process of its own, of scores and
their gradient from given last hidden states: from all logits, and streamed.

``python scripts/bench_features.py`` (a smaller trial: ``--rows 4 --repeats 1 --layers 2``).
"""

from __future__ import annotations

import argparse
import json
import os
import statistics
import subprocess
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import torch
from peft import LoraConfig, PeftModel, get_peft_model
from torch import Tensor, nn
from torch.nn import functional
from transformers import CLIPVisionConfig, LlamaConfig, LlavaConfig, LlavaForConditionalGeneration

from pages import put

IMAGE_TOKEN, IMAGE_TOKENS, TEXT_TOKENS, ANSWER_TOKENS = 5, 64, 64, 32
WIDTH, VOCABULARY, RANK = 512, 32_000, 64
DENSE_DIM, DENSE_BLOCK, DENSE_ROWS = 8192, 128, 16

Cell = dict[str, float | str]
Rows = dict[str, Tensor]


@dataclass(frozen=True, slots=True)
class Bar:
    """What a ratio of two cells should be at most, or at least."""

    name: str
    over: str
    under: str
    limit: float
    most: bool

    def judged(self, values: dict[str, float]) -> Cell:
        """The ratio, its limit and whether it is kept."""
        ratio = values[self.over] / values[self.under]
        met = ratio <= self.limit if self.most else ratio >= self.limit
        bound = f"{'<=' if self.most else '>='} {self.limit}"
        return {"bar": self.name, "ratio": round(ratio, 3), "limit": bound, "met": str(met)}


BARS = (
    Bar("features / forward", "features", "forward", 1.6, True),
    Bar("features and grounding / forward", "features, grounding", "forward", 2.4, True),
    Bar("plain / features", "plain", "features", 1.7, False),
    Bar("plain, grounding / same", "plain, grounding", "features, grounding", 1.7, False),
    Bar("plain, all / same", "plain, grounding, projection", "features, grounding", 20, False),
    Bar("score memory / all logits", "streamed", "all logits", 0.15, True),
)


def main() -> None:
    """Measure, and print the tables."""
    options = arguments()
    if options.memory:
        print(score_memory(options.memory, options.rows))
        return
    seconds = time_ways(options)
    memory = {way: in_process(way, options.rows) for way in SCORINGS}
    results = {
        "machine": {"cores": os.cpu_count(), "threads": torch.get_num_threads()},
        "rows": options.rows,
        "seconds_per_row": {way: round(value, 5) for way, value in seconds.items()},
        "score_memory_mib": {way: round(value, 1) for way, value in memory.items()},
        "bars": [bar.judged({**seconds, **memory}) for bar in BARS],
    }
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
    parser.add_argument("--rows", type=int, default=16, help="rows in a batch")
    parser.add_argument("--plain-rows", type=int, default=4, help="rows the plain way takes a turn")
    parser.add_argument("--layers", type=int, default=8)
    parser.add_argument("--repeats", type=int, default=5)
    parser.add_argument("--blocks", type=int, default=1, help="blocks of the dense matrix timed")
    parser.add_argument("--json", action="store_true")
    parser.add_argument("--out", type=Path, metavar="FILE", help="keep the results as JSON")
    parser.add_argument("--page", type=Path, help="put the tables there")
    parser.add_argument("--memory", choices=list(SCORINGS), help=argparse.SUPPRESS)
    return parser.parse_args()


def make_model(layers: int) -> PeftModel:
    """LLaVA of random weights with LoRA that has left its zero start, in evaluation mode."""
    torch.manual_seed(0)
    config = LlavaConfig(
        text_config=LlamaConfig(
            hidden_size=WIDTH,
            intermediate_size=1376,
            num_hidden_layers=layers,
            num_attention_heads=8,
            vocab_size=VOCABULARY,
        ),
        vision_config=CLIPVisionConfig(
            hidden_size=256,
            intermediate_size=1024,
            num_hidden_layers=4,
            num_attention_heads=4,
            image_size=112,
            patch_size=14,
        ),
        image_token_index=IMAGE_TOKEN,
        image_seq_length=IMAGE_TOKENS,
    )
    targets = r".*language_model\.layers\.\d+\.(self_attn|mlp)\..*_proj"
    lora = LoraConfig(r=RANK, lora_alpha=2 * RANK, target_modules=targets)
    model = get_peft_model(LlavaForConditionalGeneration(config).float(), lora)
    for name, parameter in model.named_parameters():
        if "lora_B" in name:
            nn.init.normal_(parameter, std=0.02)
    return model.eval()


def make_rows(count: int) -> Rows:
    """A start token, an image, a question and its answer in every row; none is padded."""
    generator = torch.Generator().manual_seed(1)
    ids = torch.randint(6, VOCABULARY, (count, IMAGE_TOKENS + TEXT_TOKENS), generator=generator)
    ids[:, 0], ids[:, 1 : IMAGE_TOKENS + 1] = 1, IMAGE_TOKEN
    labels = ids.clone()
    labels[:, :-ANSWER_TOKENS] = -100
    pixels = torch.randn(count, 3, 112, 112, generator=generator)
    mask = torch.ones_like(ids)
    return {"input_ids": ids, "attention_mask": mask, "labels": labels, "pixel_values": pixels}


def time_ways(options: argparse.Namespace) -> dict[str, float]:
    """Seconds per row of every way, the median of turns; the plain ways are sums of their parts."""
    from adaptinf.features import FeatureExtractor

    model, rows = make_model(options.layers), make_rows(options.rows)
    few = {name: value[: options.plain_rows] for name, value in rows.items()}
    features = FeatureExtractor(model, grounding=None)
    grounded = FeatureExtractor(model)
    plain = PlainWay(model, grounded.layer)
    with grounded.model_unchanged():
        check_agreement(grounded(few).scores, plain.scores(few))
        ways: dict[str, tuple[int, Callable[[], object]]] = {
            "forward": (options.rows, lambda: forward(model, rows)),
            "features": (options.rows, lambda: features(rows)),
            "features, grounding": (options.rows, lambda: grounded(rows)),
            "plain": (options.plain_rows, lambda: plain.gradients(few)),
            "second forward": (options.plain_rows, lambda: plain.blank_losses(few)),
            "projection": (DENSE_ROWS, lambda: plain.project(options.blocks)),
        }
        found = medians(ways, options.repeats)
    blocks = DENSE_DIM // DENSE_BLOCK
    found["projection"] *= blocks / options.blocks
    found["plain, grounding"] = found["plain"] + found.pop("second forward")
    found["plain, grounding, projection"] = found["plain, grounding"] + found.pop("projection")
    return found


def medians(ways: dict[str, tuple[int, Callable[[], object]]], repeats: int) -> dict[str, float]:
    """Median seconds per row of ways that take turns, after a first turn that does not count."""
    taken: dict[str, list[float]] = {name: [] for name in ways}
    for turn in range(repeats + 1):
        for name, (count, run) in ways.items():
            started = time.perf_counter()
            run()
            if turn:
                taken[name].append((time.perf_counter() - started) / count)
    return {name: statistics.median(values) for name, values in taken.items()}


def forward(model: PeftModel, rows: Rows) -> None:
    """The floor: a batched forward pass that makes the logits of one token in each row."""
    inputs = {name: value for name, value in rows.items() if name != "labels"}
    with torch.no_grad():
        model(**inputs, logits_to_keep=1, use_cache=False)


class PlainWay:
    """Batches of one, all logits, a full backward pass, one-hot targets, a dense projection."""

    def __init__(self, model: PeftModel, layer: int) -> None:
        self._model = model
        part = f".language_model.layers.{layer}."
        self._wanted = [p for n, p in model.named_parameters() if "lora_" in n and part in n]
        self._gradient = self._wanted[0].new_zeros(sum(p.numel() for p in self._wanted))
        self._generator = torch.Generator(self._gradient.device).manual_seed(0)

    def gradients(self, rows: Rows) -> list[dict[str, float]]:
        """Scores of rows; the gradient of the layer's LoRA matrices is laid together for each."""
        return [self._scored(row) for row in singly(rows)]

    def _scored(self, row: Rows) -> dict[str, float]:
        labels = row.pop("labels")
        output = self._model(**row, output_hidden_states=True, use_cache=False)
        scores = one_hot_scores(output.logits, labels)
        scores["nll"].sum().backward()
        self._gradient = torch.cat([p.grad.flatten() for p in self._wanted])
        self._model.zero_grad()
        scores["perplexity"] = scores.pop("nll").exp()
        scores["grand"] = self._gradient.norm()
        scores["embedding"] = output.hidden_states[-1].mean(1).norm()
        return {name: float(value.detach()) for name, value in scores.items()}

    def blank_losses(self, rows: Rows) -> list[float]:
        """Losses of rows with pixels of zero."""
        losses = []
        for row in singly(rows):
            labels = row.pop("labels")
            row["pixel_values"] = torch.zeros_like(row["pixel_values"])
            with torch.no_grad():
                losses.append(
                    float(mean_losses(self._model(**row, use_cache=False).logits, labels))
                )
        return losses

    def scores(self, rows: Rows) -> dict[str, list[float]]:
        """All scores of rows by name."""
        found = self.gradients(rows)
        columns = {name: [row[name] for row in found] for name in found[0]}
        seen = torch.tensor(columns["perplexity"]).log()
        unseen = torch.tensor(self.blank_losses(rows))
        return {**columns, "image_grounding": (unseen - seen).exp().tolist()}

    def project(self, blocks: int) -> Tensor:
        """The first blocks of the dense projection of as many gradients as are taken at a time."""
        gradients = self._gradient.expand(DENSE_ROWS, -1)
        parts = []
        for _ in range(blocks):
            signs = gradients.new_empty(gradients.shape[1], DENSE_BLOCK)
            signs.bernoulli_(0.5, generator=self._generator).mul_(2).sub_(1)
            parts.append(gradients @ signs)
        return torch.cat(parts, 1)


def singly(rows: Rows) -> list[Rows]:
    """Batches of one."""
    return [
        {name: value[i : i + 1] for name, value in rows.items()} for i in range(len(rows["labels"]))
    ]


def mean_losses(logits: Tensor, labels: Tensor) -> Tensor:
    """Mean NLL [b] over the answer tokens, from logits [b, T, V]."""
    wanted = labels[:, 1:]
    losses = functional.cross_entropy(logits[:, :-1].mT, wanted, reduction="none")
    return losses.sum(1) / (wanted != -100).sum(1)


def one_hot_scores(logits: Tensor, labels: Tensor) -> dict[str, Tensor]:
    """Scores [b] from all logits [b, T, V]; NLL has a gradient."""
    nll = mean_losses(logits, labels)
    with torch.no_grad():
        answered = labels[:, 1:] != -100
        q = logits[:, :-1].softmax(2)
        entropy = -(q * (q + 1e-10).log()).sum(2)
        hot = functional.one_hot(labels[:, 1:].clamp_min(0), q.shape[2])
        el2n = (q - hot).norm(dim=2)
        means = [(x * answered).sum(1) / answered.sum(1) for x in (el2n, entropy)]
    return {"nll": nll, "el2n": means[0], "entropy": means[1]}


def check_agreement(ours: dict[str, Tensor], plain: dict[str, list[float]]) -> None:
    """Both ways compute the same, or their times are not comparable.

    Raises:
        RuntimeError: a score differs by more than 1 in 1000.
    """
    for name, column in ours.items():
        expected = torch.tensor(plain[name], dtype=torch.float64)
        if not torch.allclose(column, expected, rtol=1e-3):
            raise RuntimeError(f"{name}: {column.tolist()} here, {expected.tolist()} the plain way")


def all_logits(states: Tensor, head: nn.Linear, labels: Tensor) -> None:
    """Scores and their gradient by the logits of every position."""
    one_hot_scores(head(states), labels)["nll"].sum().backward()


def streamed(states: Tensor, head: nn.Linear, labels: Tensor) -> None:
    """Scores and their gradient as the feature pass computes them."""
    from adaptinf.features.tokens import AnswerTokens, token_scores

    answers = AnswerTokens.of(labels)
    scores = token_scores(answers.states(states), head, answers.targets)
    answers.row_means(scores.nll).sum().backward()


SCORINGS = {"all logits": all_logits, "streamed": streamed}


def score_memory(way: str, count: int) -> float:
    """Peak of resident memory in MiB beyond what was there before the scores."""
    torch.manual_seed(0)
    head = nn.Linear(WIDTH, VOCABULARY, bias=False).requires_grad_(False)
    labels = make_rows(count)["labels"]
    score = SCORINGS[way]
    few = torch.randn(1, labels.shape[1], WIDTH, requires_grad=True)
    score(few, head, labels[:1])
    states = torch.randn(*labels.shape, WIDTH, requires_grad=True)
    # Linux: from here on the peak is counted anew.
    Path("/proc/self/clear_refs").write_text("5")
    before = resident("VmRSS")
    score(states, head, labels)
    return resident("VmHWM") - before


def resident(field: str) -> float:
    """A field of this process's status in MiB (Linux)."""
    return int(Path("/proc/self/status").read_text().split(f"{field}:")[1].split()[0]) / 1024


def in_process(way: str, rows: int) -> float:
    """The memory of one way of scoring, in a process of its own."""
    command = [sys.executable, __file__, "--memory", way, "--rows", str(rows)]
    return float(subprocess.run(command, stdout=subprocess.PIPE, text=True, check=True).stdout)


def tables_of(results: dict[str, object]) -> str:
    """The results as plain tables."""
    from adaptinf.console import table

    seconds, memory, bars = (
        results[name] for name in ("seconds_per_row", "score_memory_mib", "bars")
    )
    floor = seconds["forward"]
    parts = [
        table(
            [[way, f"{value:.4f}", f"{value / floor:.2f}"] for way, value in seconds.items()],
            ["way", "seconds a row", "forward passes"],
        ),
        table([[way, f"{value:.0f}"] for way, value in memory.items()], ["scores", "MiB"]),
        table([[str(cell) for cell in bar.values()] for bar in bars], list(bars[0])),
    ]
    return "\n\n".join(parts)


if __name__ == "__main__":
    main()
