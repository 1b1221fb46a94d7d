"""Every route on models of several families: what an adapter of any kind has to hold to."""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Any

import pytest
import torch
import torch.nn.functional as F
from peft import PeftModel
from torch import Tensor, nn
from transformers import PreTrainedModel

from adaptinf.adapters import attach, detach, load_adapter, merge
from adaptinf.adapters.adem import ADD, REPLACE
from adaptinf.adapters.adem.families import eyes_of
from adaptinf.errors import UserError
from adaptinf.models.parts import connector, text_layers, vision_layers
from adaptinf.training.trainer import save_adapter
from tests.families import FAMILIES, Family, Shape

NAMES = ("llava", "qwen2_5_vl", "internvl", "gemma3", "smolvlm", "instructblip")
_SMALL = {"down_sample_num": (16, 4), "hidden_proj": 8, "alpha": 0.5, "beta": 1.0}
_ADEM = {"add": ADD, "replace": REPLACE}
ROUTES: dict[str, dict[str, Any]] = {
    "lora": {"route": "lora", "r": 4},
    "dora": {"route": "dora", "r": 4},
    "conlora": {"route": "conlora"},
    "mixlora": {"route": "mixlora", "r": 2, "num_experts": 6},
    "dora with connector": {"route": "dora", "placement": "dora-llava"},
    "adem": {"route": "adem", "mode": "add", "adapter_dim": 4, **_SMALL},
    "adem in place of images": {"route": "adem", "mode": "replace", **_SMALL},
    "full": {"route": "full"},
}
TRIED = [
    (name, route)
    for name in NAMES
    for route, options in ROUTES.items()
    if name in _ADEM.get(options.get("mode"), NAMES)
]
"""Pairs of family and route; ADEM's tests show what it refuses."""


@dataclass
class Case:
    family: Family
    options: dict[str, Any] = field(default_factory=dict)

    @cached_property
    def batch(self) -> dict[str, Tensor]:
        return self.family.batch(self.family.rows([Shape(6, 4, 1), Shape(9, 3, 1)]))

    @cached_property
    def settled(self) -> PeftModel:
        """A trained one, for tests that leave it as it is."""
        return self.trained()

    def fresh(self, **more: Any) -> PeftModel:
        return attach(self.family.build(), **{"dropout": 0.0, **self.options, **more})

    def logits(self, model: nn.Module) -> Tensor:
        return self.family.logits(model, unlabelled(self.batch))

    @torch.no_grad()
    def answers(self, model: nn.Module) -> Tensor:
        return self.logits(model.eval())

    def loss(self, model: nn.Module) -> Tensor:
        logits, labels = self.logits(model), self.batch["labels"]
        return F.cross_entropy(logits[:, :-1].flatten(0, 1), labels[:, 1:].flatten())

    def trained(self, seed: int = 0, steps: int = 3, **more: Any) -> PeftModel:
        """After some steps: at the first, what meets a factor of zeros has no gradient."""
        model = self.fresh(seed=seed, **more).train()
        trained = [p for p in model.parameters() if p.requires_grad]
        optimiser = torch.optim.AdamW(trained, lr=0.02, weight_decay=0.0)
        for _ in range(steps):
            optimiser.zero_grad()
            self.loss(model).backward()
            optimiser.step()
        return model


@pytest.fixture(scope="module", params=TRIED, ids=" ".join)
def case(request: pytest.FixtureRequest) -> Case:
    family, route = request.param
    return Case(FAMILIES[family], ROUTES[route])


def inside(model: PreTrainedModel, parts: Iterator[nn.Module] | list[nn.Module]) -> set[str]:
    """Names of the modules in these parts."""
    wanted = {id(module) for part in parts for module in part.modules()}
    return {name for name, module in model.named_modules() if id(module) in wanted}


def expected(case: Case) -> set[str]:
    """Names of the linear modules that get an adapter, from the model itself."""
    model = case.family.build()
    linears = {name for name, module in model.named_modules() if isinstance(module, nn.Linear)}
    text = linears & inside(model, [text_layers(model)])
    if case.options["route"] == "full":
        return set()
    if case.options["route"] == "adem":
        blocks = [text_layers(model)[0], *eyes_of(model, "add").blocks]
        # What the text layers share is in the first of them.
        wanted = {id(block.mlp) for block in blocks}
        return {name for name, module in model.named_modules() if id(module) in wanted}
    if case.options["route"] != "conlora":
        return text
    ends = ("q_proj", "v_proj", "query", "value", "qkv")
    # Of two blocks the upper 0.64 is one; LLaVA looks at the states before its last block.
    upper = 0 if case.family is FAMILIES["llava"] else 1
    vision = linears & inside(model, [vision_layers(model)[upper]])
    joining = linears & inside(model, list(connector(model)))
    attending = {name for name in joining if name.endswith(ends)}
    kept = {name for name in text | vision if name.endswith(ends)}
    return kept | (attending or joining)


def whole_parts(case: Case) -> list[str]:
    """Names of the modules that are trained themselves."""
    model = case.family.build()
    full = case.options["route"] == "full"
    if not full and "placement" not in case.options:
        return []
    parts = {id(module) for module in [*connector(model), *(text_layers(model) if full else [])]}
    return [name for name, module in model.named_modules() if id(module) in parts]


def test_it_is_the_identity_at_the_start(case: Case) -> None:
    same = torch.equal(case.answers(case.fresh()), case.answers(case.family.build()))
    assert same == (case.options.get("mode") != "replace")


def test_it_trains_what_it_is_placed_on_and_nothing_else(case: Case) -> None:
    before, model = dict(case.fresh().named_parameters()), case.trained()
    moved = {n for n, p in model.named_parameters() if not torch.equal(p, before[n])}
    # What comes of the question in the Q-Former's last layer goes nowhere.
    dead = re.compile(r".*qformer\.modules_to_save.*\.1\.(intermediate|output)\..*")
    trained = {n for n, p in model.named_parameters() if p.requires_grad and not dead.match(n)}
    assert moved == trained
    adapted = {re.split(r"\.(?:lora|mixlora|adem)_", n)[0] for n in moved if "modules_to_" not in n}
    assert {name.removeprefix("base_model.model.") for name in adapted} == expected(case)
    whole = {re.split(r"\.modules_to_save\.", n)[0] for n in moved if "modules_to_" in n}
    assert whole == {f"base_model.model.{name}" for name in whole_parts(case)}


def test_saved_and_loaded_it_answers_the_same(case: Case, tmp_path: Path) -> None:
    model, other = case.trained(), case.trained(seed=1)
    answers, others = case.answers(model), case.answers(other)
    save_adapter(model, tmp_path / "one", "tiny")
    save_adapter(other, tmp_path / "other", "tiny")
    loaded = load_adapter(case.family.build(), tmp_path / "one")
    base = case.answers(case.family.build())
    assert torch.equal(case.answers(loaded), answers)
    assert not torch.equal(answers, base)
    with loaded.disable_adapter():
        assert torch.equal(case.answers(loaded), base)
    loaded.load_adapter(str(tmp_path / "other"), "other")
    loaded.set_adapter("other")
    assert torch.equal(case.answers(loaded), others)
    loaded.set_adapter("default")
    assert torch.equal(case.answers(loaded), answers)
    assert torch.equal(case.answers(detach(loaded)), base)


def test_merged_it_answers_the_same_or_says_why_not(case: Case) -> None:
    model = case.trained()
    answers = case.answers(model)
    if case.options["route"] in ("mixlora", "adem"):
        with pytest.raises(UserError, match="cannot be merged"):
            merge(model)
    else:
        merged = case.answers(merge(model))
        assert (merged - answers).norm() / answers.norm() < 1e-5


def test_dropout_is_for_training(case: Case) -> None:
    model = case.trained(dropout=0.5)
    first = case.answers(model)
    assert torch.equal(case.answers(model), first)
    if case.options["route"] != "full":
        with torch.no_grad():
            assert not torch.equal(case.logits(model.train()), first)


def gradients(case: Case, model: PeftModel) -> dict[str, Tensor]:
    """Gradients by name, with the same dropout inside of the Q-Former at each call."""
    model.zero_grad()
    with torch.random.fork_rng():
        torch.manual_seed(0)
        case.loss(model).backward()
    return {n: p.grad for n, p in model.named_parameters() if p.grad is not None}


def test_gradient_checkpointing_gives_the_same_gradients(case: Case) -> None:
    model = case.trained().train()
    plain = gradients(case, model)
    model.get_base_model().gradient_checkpointing_enable()
    for name, gradient in gradients(case, model).items():
        assert torch.allclose(gradient, plain[name], atol=1e-6), name


@pytest.mark.parametrize("side", ["left", "right"])
def test_neither_padding_nor_other_rows_have_a_say(case: Case, side: str) -> None:
    model = case.settled.eval()
    # InstructBLIP has a question for its images in every row or in none.
    images = int("qformer_input_ids" in case.batch)
    rows = case.family.rows([Shape(6, 4, 1), Shape(13, 3, images), Shape(4, 2, 1)])
    batch = unlabelled(case.family.batch(rows, side))
    with torch.no_grad():
        alone = [case.family.logits(model, unlabelled(case.family.batch([row]))) for row in rows]
        together = model(**batch).logits
    for i, row in enumerate(rows):
        seen = together[i][batch["attention_mask"][i].bool()]
        read = row.labels != -100
        torch.testing.assert_close(seen[read], alone[i][0][read], rtol=1e-4, atol=1e-5)


def test_with_a_cache_and_without_the_same_is_written(case: Case) -> None:
    model = case.settled.eval()
    rows = case.family.rows([Shape(6, 1, 1), Shape(9, 1, 1)])
    how = {"max_new_tokens": 5, "do_sample": False, "eos_token_id": []}
    with torch.no_grad():
        written = [
            model.generate(**unlabelled(case.family.batch(rows, "left")), **how, use_cache=cache)
            for cache in (True, False)
        ]
    assert torch.equal(*written)


def unlabelled(batch: dict[str, Tensor]) -> dict[str, Tensor]:
    """What a model is given to write on."""
    return {name: value for name, value in batch.items() if name != "labels"}
