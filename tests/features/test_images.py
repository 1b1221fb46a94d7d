from __future__ import annotations

import pytest
import torch

from adaptinf.features.images import ImageParts
from adaptinf.features.inputs import Batch, BatchLayout

I = 5  # noqa: E741
LISTED = BatchLayout(I, filled=False)
FILLED = BatchLayout(I, filled=True)


def parts(ids, layout=LISTED, **images):
    ids = torch.tensor(ids)
    inputs = {"input_ids": ids, "attention_mask": (ids > 0).long(), **images}
    return ImageParts.of(Batch(inputs, torch.full_like(ids, -100)), layout)


def pixels(count, *shape):
    """Entries that tell their own place."""
    return torch.arange(1.0, count + 1).view(-1, *[1] * len(shape)).expand(count, *shape)


def places(found, name="pixel_values"):
    return [part[name].flatten(1)[:, 0].int().tolist() for part in found.of_row]


def test_tiles_of_one_size_are_counted_by_their_tokens():
    # Two tokens each: one tile, three tiles in one run, one tile twice.
    ids = [[0, 0, 0, 7, I, I], [I, I, I, I, I, I], [I, I, 7, I, I, 8]]
    assert places(parts(ids, pixel_values=pixels(6, 3, 2, 2))) == [[1], [2, 3, 4], [5, 6]]
    assert parts(ids, pixel_values=pixels(5, 3, 2, 2)) is None


def test_patches_are_counted_by_their_grids():
    ids = [[7, I, 7, I, I], [0, 7, I, 8, 0]]
    grids = torch.tensor([[1, 2, 2], [1, 2, 4], [1, 2, 2]])
    found = parts(ids, pixel_values=pixels(16, 6), image_grid_thw=grids)
    assert places(found) == [list(range(1, 13)), [13, 14, 15, 16]]
    assert [part["image_grid_thw"].tolist() for part in found.of_row] == [
        [[1, 2, 2], [1, 2, 4]],
        [[1, 2, 2]],
    ]
    batch = found.rows([1]).inputs
    assert batch["pixel_values"][:, 0].tolist() == [13, 14, 15, 16]
    assert batch["input_ids"].tolist() == ids[1:] and batch["image_grid_thw"].tolist() == [
        [1, 2, 2]
    ]


@pytest.mark.parametrize("told", [None, [2, 1]])
def test_images_with_sizes_are_counted_by_the_runs_of_their_tokens(told):
    ids = [[7, I, I, I, 7, I], [0, 7, I, I, 8, 0]]
    sizes = torch.tensor([[9, 9], [9, 8], [9, 7]])
    more = {} if told is None else {"batch_num_images": torch.tensor(told)}
    found = parts(ids, pixel_values=pixels(3, 4, 3, 2, 2), image_sizes=sizes, **more)
    assert places(found) == [[1, 2], [3]]
    assert places(found, "image_sizes") == [[9, 9], [9]]
    assert [part.get("batch_num_images") for part in found.of_row] == (
        [None] * 2 if not told else [2, 1]
    )
    assert found.rows([0, 1]) is found.batch


def test_images_that_touch_cannot_be_told_apart():
    ids = [[7, I, I, I, I, 7], [0, 7, I, I, 8, 0]]
    sizes = torch.ones(3, 2, dtype=torch.long)
    assert parts(ids, pixel_values=pixels(3, 4, 3, 2, 2), image_sizes=sizes) is None


def test_a_list_of_images_without_rows_is_not_split():
    ids = [[7, I, 7, I], [0, 7, I, 8]]
    sizes, flat = torch.ones(3, 2, dtype=torch.long), torch.ones(3, dtype=torch.long)
    values = pixels(3, 4, 3, 2, 2)
    assert parts(ids, pixel_values=values, image_sizes=sizes, batch_num_images=flat) is None


def test_images_of_zeros_are_no_images_of_a_row():
    values = pixels(2, 2, 3, 2, 2).clone()
    values[1, 1] = 0
    seen = torch.ones(2, 2, 2, 2)
    found = parts([[I, I], [0, I]], FILLED, pixel_values=values, pixel_attention_mask=seen)
    assert [part["pixel_values"].shape for part in found.of_row] == [
        (1, 2, 3, 2, 2),
        (1, 1, 3, 2, 2),
    ]
    assert [part["pixel_attention_mask"].shape for part in found.of_row] == [
        (1, 2, 2, 2),
        (1, 1, 2, 2),
    ]
    assert found.rows([1]).inputs["pixel_values"].shape == (1, 2, 3, 2, 2)


def test_tensors_without_a_known_place_are_not_split():
    values = pixels(1, 3, 2, 2)
    assert parts([[I, 7]], pixel_values=values, qformer_input_ids=torch.ones(1, 2)) is None
    assert parts([[I, 7]], FILLED, pixel_values=values[None], image_sizes=torch.ones(1, 2)) is None
