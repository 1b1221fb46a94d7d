"""Blank images behind a shared beginning, against the plain second forward pass."""

from __future__ import annotations

from dataclasses import dataclass, replace

import pytest
import torch
from peft import PeftModel
from torch import Tensor

from adaptinf.features.forward import Forward
from adaptinf.features.grounding import UnseenLosses
from adaptinf.features.inputs import Batch, BatchLayout
from adaptinf.features.prefix import PREFIXES
from adaptinf.models.parts import text_layers
from tests.families import FAMILIES, Family, Row
from tests.families.adapter import adapted
from tests.families.rows import IMAGE, Picture, join, words

APART = ("paligemma", "paligemma2", "instructblip")
"""Families in which the beginning of a row depends on its end."""

SHARING = [name for name in FAMILIES if name not in APART]
SYSTEM = torch.tensor([11, 12, 13])


@dataclass
class Bench:
    """A family's model, the losses under test, and how much text went through the decoder."""

    family: Family
    model: PeftModel
    unseen: UnseenLosses
    forward: Forward
    layout: BatchLayout
    ran: list[tuple[int, int]]

    @classmethod
    def of(cls, family: Family, dtype: torch.dtype = torch.float32) -> Bench:
        model = adapted(family).to(dtype)
        layout, forward = BatchLayout.of(model), Forward(model)
        bench = cls(family, model, UnseenLosses("blank", layout, forward), forward, layout, [])
        text_layers(model)[0].register_forward_hook(
            lambda _, args, output: bench.ran.append(tuple(args[0].shape[:2]))
        )
        return bench

    def batch(self, rows: list[Row], side: str = "right") -> Batch:
        inputs = self.family.batch(rows, side)
        if "pixel_values" in inputs:
            inputs["pixel_values"] = inputs["pixel_values"].to(self.model.dtype)
        return Batch(inputs, inputs.pop("labels"))

    def found(self, rows: list[Row], side: str = "right") -> Tensor:
        """The losses, and ``ran`` is what it took."""
        self.ran.clear()
        with torch.no_grad():
            return self.unseen(self.batch(rows, side), torch.full((len(rows),), -1.0))

    def plain(self, rows: list[Row]) -> Tensor:
        """Every row alone, in whole; -1 for one without an image."""
        losses = torch.full((len(rows),), -1.0)
        for i, row in enumerate(rows):
            if row.pictures:
                with torch.no_grad():
                    losses[i] = self.forward(self.layout.blanked(self.batch([row]))).losses[0]
        return losses


class Rows:
    """Rows that begin with the same words and an image of one layout or another."""

    def __init__(self, family: Family, seed: int = 3) -> None:
        self._family = family
        self._generator = torch.Generator().manual_seed(seed)
        self._layouts: list[Picture] = []
        for _ in range(40):
            picture = family.picture(self._generator, True)
            if not any(_alike(picture, other) for other in self._layouts):
                self._layouts.append(picture)

    def __len__(self) -> int:
        """How many layouts there are."""
        return len(self._layouts)

    def row(self, prompt: int, answer: int, layout: int | None = 0, system: Tensor = SYSTEM) -> Row:
        """A row with one image of its own, or without one."""
        text, said = words(self._generator, prompt), words(self._generator, answer)
        if layout is None:
            return join(text, said, [], False)
        first = self._family.images_first
        row = join(torch.cat([system[:1], text]), said, [self._picture(layout)], first)
        return row if first else _led(row, system[1:])

    def several(self) -> Row:
        """A row with two images."""
        pictures = [self._family.picture(self._generator, False) for _ in range(2)]
        text, said = words(self._generator, 5), words(self._generator, 3)
        return join(text, said, pictures, self._family.images_first)

    def _picture(self, layout: int) -> Picture:
        picture = self._layouts[layout % len(self._layouts)]
        pixels = picture.tensors["pixel_values"]
        noise = torch.randn(pixels.shape, generator=self._generator)
        if "pixel_attention_mask" in picture.tensors:
            noise *= picture.tensors["pixel_attention_mask"][:, None]
        return replace(picture, tensors={**picture.tensors, "pixel_values": noise})


def _alike(one: Picture, other: Picture) -> bool:
    return all(
        one.tensors[name].shape == other.tensors[name].shape
        and (name == "pixel_values" or torch.equal(one.tensors[name], other.tensors[name]))
        for name in one.tensors
    )


def _led(row: Row, before: Tensor) -> Row:
    labels = torch.cat([torch.full_like(before, -100), row.labels])
    return Row(torch.cat([before, row.input_ids]), labels, row.pictures)


def mixed(rows: Rows) -> list[Row]:
    """Two layouts, of which one row each has another length; text alone; two images; a stranger."""
    return [
        rows.row(6, 4),
        rows.row(9, 2, None),
        rows.row(4, 3, 1),
        rows.row(17, 5),
        rows.several(),
        rows.row(3, 6, 1),
        rows.row(5, 2, system=torch.tensor([11, 14, 13])),
        rows.row(3, 1),
    ]


@pytest.fixture(scope="module", params=SHARING)
def bench(request):
    return Bench.of(FAMILIES[request.param])


@pytest.mark.parametrize("side", ["left", "right"])
def test_losses_equal_those_of_whole_rows_alone(bench, side):
    rows = mixed(Rows(bench.family))
    expected = bench.plain(rows)
    torch.testing.assert_close(bench.found(rows, side), expected, rtol=1e-5, atol=0)
    whole = bench.batch(rows).inputs["input_ids"].numel()
    assert len(bench.ran) > 1 and sum(b * t for b, t in bench.ran) < whole


def test_a_beginning_runs_once_and_then_only_the_text(bench):
    rows = [Rows(bench.family).row(n, 2) for n in (4, 9, 6)]
    start = int(last_image(rows[0])) + 1
    with bench.unseen.model_unchanged():
        first = bench.found(rows)
        assert bench.ran == [(1, start), (3, len(rows[1]) - start)]
        assert torch.equal(bench.found(rows), first)
        assert bench.ran == [(3, len(rows[1]) - start)]
    bench.found(rows)
    assert bench.ran[0] == (1, start)


def last_image(row: Row) -> Tensor:
    return (row.input_ids == IMAGE).nonzero().max()


def test_bytes_do_not_depend_on_what_came_before(bench):
    drawn = Rows(bench.family)
    batches = [[drawn.row(n, 3, layout) for n in (4, 7)] for layout in (0, 1, 0, 1)]
    batches.append([drawn.row(5, 2)])
    fresh = [bench.found(rows) for rows in batches]
    with bench.unseen.model_unchanged():
        kept = [bench.found(rows) for rows in batches]
    with bench.unseen.model_unchanged():
        backwards = [bench.found(rows) for rows in reversed(batches)]
    for one, other, third in zip(fresh, kept, reversed(backwards), strict=True):
        assert torch.equal(one, other) and torch.equal(one, third)


def test_losses_do_not_depend_on_the_batch(bench):
    rows = mixed(Rows(bench.family))
    together = bench.found(rows)
    alone = torch.cat([bench.found([row]) for row in rows])
    pairs = torch.cat([bench.found(rows[i : i + 2]) for i in range(0, len(rows), 2)])
    torch.testing.assert_close(together, alone, rtol=1e-5, atol=0)
    torch.testing.assert_close(together, pairs, rtol=1e-5, atol=0)


def test_images_of_other_layouts_do_not_share_a_beginning(bench):
    drawn = Rows(bench.family)
    rows = [drawn.row(5, 3, layout) for layout in (0, 1, 0, 1)]
    bench.found(rows)
    assert [b for b, _ in bench.ran] == ([1, 2, 1, 2] if len(drawn) > 1 else [1, 4])


@pytest.mark.parametrize("name", ["qwen2_5_vl", "qwen3_vl"])
def test_layouts_of_as_many_tokens_do_not_share_a_beginning(name):
    bench = Bench.of(FAMILIES[name])
    drawn = Rows(bench.family)
    rows = [drawn.row(5, 3, layout) for layout in (0, 0, 1, 1)]
    wide = next(row for row in rows if row.pictures[0].tensors["image_grid_thw"][0, 2] == 6)
    (picture,) = wide.pictures
    turned = {**picture.tensors, "image_grid_thw": torch.tensor([[1, 6, 4]])}
    rows = [wide, wide, *[replace(wide, pictures=(replace(picture, tensors=turned),))] * 2]
    expected = bench.plain(rows)
    torch.testing.assert_close(bench.found(rows), expected, rtol=1e-5, atol=0)
    assert [b for b, _ in bench.ran] == [1, 2, 1, 2]


def test_half_precision_stays_within_its_noise():
    for name in ("llava", "qwen2_5_vl", "gemma3"):
        bench = Bench.of(FAMILIES[name], torch.bfloat16)
        rows = [Rows(bench.family).row(n, 4) for n in (5, 8)]
        exact = Bench.of(FAMILIES[name]).plain(rows)
        # Three layers of numbers with 8 bits each.
        torch.testing.assert_close(bench.found(rows), exact, rtol=0.02, atol=0)
        assert len(bench.ran) == 2


@pytest.mark.parametrize("name", APART)
def test_families_that_look_ahead_run_whole_rows(name):
    bench = Bench.of(FAMILIES[name])
    rows = [Rows(bench.family).row(n, 3) for n in (4, 9)]
    torch.testing.assert_close(bench.found(rows), bench.plain(rows), rtol=1e-5, atol=0)
    assert bench.ran[0] == (2, len(rows[1]))


@pytest.fixture
def llava():
    return Bench.of(FAMILIES["llava"])


def test_a_changed_adapter_changes_the_losses(llava):
    rows = [Rows(llava.family).row(n, 3) for n in (4, 7)]
    before = llava.found(rows)
    parameter = next(
        p for n, p in llava.model.named_parameters() if "layers.0" in n and "v_proj.lora_B" in n
    )
    # Where nothing counts versions, as an optimiser on the side may write.
    parameter.data.mul_(3)
    after = llava.found(rows)
    assert (after - before).abs().min() > 1e-4
    torch.testing.assert_close(after, llava.plain(rows), rtol=1e-5, atol=0)
    with llava.model.disable_adapter():
        torch.testing.assert_close(llava.found(rows), llava.plain(rows), rtol=1e-5, atol=0)
    with llava.unseen.model_unchanged():
        assert torch.equal(llava.found(rows), after)
    parameter.data.div_(3)
    with llava.unseen.model_unchanged():
        torch.testing.assert_close(llava.found(rows), before, rtol=1e-5, atol=0)


def test_the_last_beginnings_are_kept_and_no_more(llava):
    drawn = Rows(llava.family)
    rows = [drawn.row(4, 2, system=torch.tensor([11, 20 + i, 13])) for i in range(PREFIXES + 1)]
    with llava.unseen.model_unchanged():
        for row in rows:
            llava.found([row])
        llava.found(rows[-1:])
        assert len(llava.ran) == 1
        llava.found(rows[:1])
        assert len(llava.ran) == 2


def answered_early(row: Row, place: int) -> Row:
    labels = row.labels.clone()
    labels[place] = row.input_ids[place]
    return replace(row, labels=labels)


def test_rows_that_answer_before_their_text_run_whole(llava):
    drawn = Rows(llava.family)
    row = drawn.row(6, 2)
    end = int(last_image(row)) + 1
    for place, whole in ((1, True), (end, True), (end + 1, False)):
        rows = [answered_early(drawn.row(6, 2), place) for _ in range(2)]
        torch.testing.assert_close(llava.found(rows), llava.plain(rows), rtol=1e-5, atol=0)
        assert (llava.ran[0] == (2, len(row))) == whole


@pytest.mark.parametrize("name", ["llava", "qwen2_5_vl", "smolvlm"])
def test_strange_inputs_send_the_batch_through_whole(name):
    bench = Bench.of(FAMILIES[name])
    rows = [Rows(bench.family).row(n, 3) for n in (4, 7)]
    batch = bench.batch(rows)
    length = batch.labels.shape[1]
    strange = {**batch.inputs, "position_ids": torch.arange(length).expand(2, -1)}
    if name == "qwen2_5_vl":
        strange["position_ids"] = strange["position_ids"].expand(3, -1, -1)
    with torch.no_grad():
        bench.unseen(Batch(strange, batch.labels), torch.zeros(2))
    assert bench.ran == [(2, length)]
