"""A row's route depends on its prompt alone, and holds until its answer ends."""

from __future__ import annotations

import copy
from collections.abc import Callable
from contextlib import nullcontext
from typing import Any

import pytest
import torch
from torch import Tensor
from transformers import DynamicCache

from adaptinf.adapters.mixlora import MixLoraConfig, routes_of
from adaptinf.adapters.mixlora.routing import prompt_tokens
from adaptinf.errors import UserError
from adaptinf.models.prompts import prompts_of

Make = Callable[..., Any]
CONDITIONAL = {"routing": "input_lora_a_param"}
# A random model may well say the image's token.
GREEDY = {"do_sample": False, "suppress_tokens": [5]}


def chosen(model: Any) -> Tensor:
    """All choices of the newest pass: [rows, everything]."""
    return torch.cat([torch.cat([c.a, c.b], 1) for c in routes_of(model).values()], 1)


@torch.no_grad()
def logits(model: Any, batch: dict[str, Tensor]) -> Tensor:
    return model(**batch).logits


def test_prompt_tokens_by_hand() -> None:
    mask = torch.tensor([[0, 0, 1, 1, 1, 1, 1], [1, 1, 1, 1, 1, 0, 0], [1, 1, 1, 0, 0, 0, 0]])
    skip = -100
    labels = torch.tensor(
        [
            # Two turns: what the user says in the second comes after an answer.
            [skip, skip, skip, skip, 7, skip, 7],
            # Everything is trained on: the first token is never predicted.
            [7, 7, 7, 7, 7, skip, skip],
            # Nothing is.
            [skip, skip, skip, skip, skip, skip, skip],
        ]
    )
    expected = [[0, 0, 1, 1, 0, 0, 0], [1, 0, 0, 0, 0, 0, 0], [1, 1, 1, 0, 0, 0, 0]]
    assert prompt_tokens(mask, labels).int().tolist() == expected
    assert torch.equal(prompt_tokens(mask, None), mask.bool())


@pytest.mark.parametrize("side", ["left", "right"])
def test_padding_and_batch_mates_change_nothing(
    make_adapted: Make, collate: Make, rows: list[Any], side: str
) -> None:
    model = make_adapted(**CONDITIONAL)
    together = logits(model, collate(rows, side))
    routes = chosen(model)
    assert len(routes.unique(dim=0)) == len(rows)
    for i, row in enumerate(rows):
        alone = logits(model, collate([row]))[0]
        assert torch.equal(chosen(model)[0], routes[i])
        length = len(row["ids"])
        mine = together[i, -length:] if side == "left" else together[i, :length]
        torch.testing.assert_close(mine, alone, rtol=1e-4, atol=1e-4)


def test_training_routes_by_the_prompt_that_generation_sees(
    make_adapted: Make, collate: Make, rows: list[Any], prompts: list[Any]
) -> None:
    model = make_adapted(**CONDITIONAL)
    logits(model, collate(prompts))
    routes = chosen(model)
    batch = collate(rows, labels=True)
    logits(model, batch)
    assert torch.equal(chosen(model), routes)
    # Without labels the answers would count.
    logits(model, collate(rows))
    assert not torch.equal(chosen(model), routes)
    # Positional arguments, and a caller that goes past the head and has no labels to give.
    labels = batch.pop("labels")
    bare = model.get_base_model()
    with torch.no_grad(), prompts_of(model, labels):
        bare(batch.pop("input_ids"), batch.pop("pixel_values"), **batch)
        assert torch.equal(chosen(model), routes)
    batch = collate(rows)
    with torch.no_grad(), prompts_of(model, labels):
        bare.model(**batch, use_cache=False)
        assert torch.equal(chosen(model), routes)
    assert isinstance(prompts_of(torch.nn.Linear(1, 1), labels), nullcontext)


@pytest.mark.parametrize("kind", [{}, CONDITIONAL, {"routers": "frozen"}])
def test_generation_with_and_without_cache_is_that_of_each_prompt_alone(
    make_adapted: Make, collate: Make, prompts: list[Any], kind: dict[str, str]
) -> None:
    model = make_adapted(**kind)
    settings = {"max_new_tokens": 6, **GREEDY}
    batch = collate(prompts)
    cached = model.generate(**batch, **settings)
    route = chosen(model)
    bare = model.get_base_model().generate(**batch, **settings)
    assert torch.equal(bare, cached)
    uncached = model.generate(**batch, **settings, use_cache=False)
    assert torch.equal(chosen(model), route)
    assert torch.equal(uncached, cached)
    with model.disable_adapter():
        assert not torch.equal(model.generate(**batch, **settings), cached)
    for prompt, answer in zip(prompts, cached, strict=True):
        alone = model.generate(**collate([prompt]), **settings)
        assert torch.equal(alone[0, -6:], answer[-6:])


def test_generated_tokens_have_the_logits_of_a_training_pass(
    make_adapted: Make, collate: Make, prompts: list[Any]
) -> None:
    """The route of the prompt is applied to the answer's tokens, as it is in training."""
    model, prompt = make_adapted(), prompts[1]
    out = model.generate(
        **collate([prompt]),
        max_new_tokens=5,
        **GREEDY,
        output_logits=True,
        return_dict_in_generate=True,
    )
    labels = out.sequences[0].clone()
    labels[: len(prompt["ids"])] = -100
    whole = {**prompt, "ids": out.sequences[0], "labels": labels}
    expected = logits(model, collate([whole], labels=True))[0, -6:-1]
    torch.testing.assert_close(torch.cat(out.logits), expected, rtol=1e-4, atol=1e-4)


def test_beams_keep_their_rows_routes(
    make_adapted: Make, collate: Make, prompts: list[Any]
) -> None:
    model = make_adapted()
    settings = {"max_new_tokens": 4, "num_beams": 3, **GREEDY}
    together = model.generate(**collate(prompts), **settings)
    for prompt, answer in zip(prompts, together, strict=True):
        alone = model.generate(**collate([prompt]), **settings)
        assert torch.equal(alone[0, -4:], answer[-4:])


def test_a_cache_keeps_its_own_route(make_adapted: Make, collate: Make, prompts: list[Any]) -> None:
    """Two conversations that take turns do not take each other's routes."""
    model = make_adapted()
    batches = [collate([prompts[0]]), collate([prompts[3]])]
    token = torch.tensor([[9]])

    def step(batch: dict[str, Tensor], cache: Any) -> Tensor:
        mask = torch.cat([batch["attention_mask"], torch.ones_like(token)], 1)
        out = model(input_ids=token, attention_mask=mask, past_key_values=cache)
        return out.logits

    with torch.no_grad():
        caches = [model(**batch, use_cache=True).past_key_values for batch in batches]
        turns = [step(b, c) for b, c in zip(batches, caches, strict=True)]
        for batch, turn in zip(batches, turns, strict=True):
            cache = DynamicCache()
            model(**batch, past_key_values=cache)
            torch.testing.assert_close(step(batch, cache), turn)
        with pytest.raises(UserError, match="filled elsewhere"):
            step(batches[0], copy.deepcopy(caches[0]))
        model.add_adapter("other", MixLoraConfig(target_modules=["q_proj"]))
        model.set_adapter("other")
        with pytest.raises(UserError, match="switch adapters before the prompt"):
            step(batches[0], caches[0])
        model.set_adapter("default")
        # The errors left nothing behind.
        step(batches[0], caches[0])
        with pytest.raises(UserError, match="rows x tokens"):
            model(input_ids=token, attention_mask=torch.ones(1, 1, 1, 1))
        model(**batches[0])


@pytest.mark.parametrize("kind", [{}, CONDITIONAL, {"routers": "frozen"}])
@pytest.mark.parametrize("reentrant", [True, False])
def test_gradient_checkpointing_computes_the_same(
    make_adapted: Make, collate: Make, rows: list[Any], kind: dict[str, str], reentrant: bool
) -> None:
    """Two passes before one backward: each pass is computed again on its own route."""
    batches = [collate(rows[:2], labels=True), collate(rows[2:], labels=True)]

    def gradients(checkpointing: bool) -> dict[str, Tensor]:
        model = make_adapted(**kind, dropout=0.3)
        if checkpointing:
            model.gradient_checkpointing_enable({"use_reentrant": reentrant})
            model.enable_input_require_grads()
        model.train()
        torch.manual_seed(5)
        losses = [model(**batch).loss for batch in batches]
        # A pass in between, as an evaluation would be.
        logits(model, batches[0])
        sum(losses).backward()
        return {n: p.grad for n, p in model.named_parameters() if p.requires_grad}

    plain, again = gradients(False), gradients(True)
    for name, gradient in plain.items():
        torch.testing.assert_close(again[name], gradient, msg=name)


def test_a_copy_of_the_model_has_a_routing_of_its_own(
    make_adapted: Make, collate: Make, rows: list[Any]
) -> None:
    model = make_adapted()
    batch = collate(rows)
    expected = logits(model, batch)
    twin = copy.deepcopy(model)
    assert twin.base_model.routing is not model.base_model.routing
    logits(model, collate(rows[:1]))
    assert torch.equal(logits(twin, batch), expected)
    assert len(chosen(twin)) == len(rows)
    assert len(chosen(model)) == 1
