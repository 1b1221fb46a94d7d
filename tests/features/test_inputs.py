from __future__ import annotations

import numpy as np
import pytest
import torch
from PIL import Image
from transformers import Idefics2ImageProcessorPil, Idefics3ImageProcessorPil

from adaptinf.features.inputs import Batch, BatchLayout

IMAGE = 5
LISTED = BatchLayout(IMAGE, filled=False)
FILLED = BatchLayout(IMAGE, filled=True)


def batch(**inputs):
    """A row of text, one with two images, and one with one image; padded on the left."""
    ids = torch.tensor([[0, 0, 0, 7, 8], [5, 7, 5, 8, 9], [0, 7, 5, 5, 8]])
    mask = torch.tensor([[0, 0, 0, 1, 1], [1, 1, 1, 1, 1], [0, 1, 1, 1, 1]])
    labels = torch.where(ids >= 8, ids, -100)
    return Batch({"input_ids": ids, "attention_mask": mask, **inputs}, labels)


def test_rows_with_an_image_are_those_that_hold_its_token():
    assert LISTED.with_image(batch().inputs).tolist() == [False, True, True]


def test_images_in_one_list_stay_when_text_rows_are_left_out():
    kinds = torch.arange(15).reshape(3, 5)
    # Three images and three rows: the list must not be taken for a column of the rows.
    pixels, sizes = torch.rand(3, 3, 2, 2), torch.arange(6).reshape(3, 2)
    part, rows = LISTED.text_left_out(
        batch(pixel_values=pixels, image_sizes=sizes, token_type_ids=kinds)
    )
    assert rows.tolist() == [1, 2]
    assert part.inputs["pixel_values"] is pixels and part.inputs["image_sizes"] is sizes
    assert part.inputs["token_type_ids"].tolist() == [[5, 6, 7, 8, 9], [10, 11, 12, 13, 14]]
    assert part.inputs["input_ids"].tolist() == [[5, 7, 5, 8, 9], [0, 7, 5, 5, 8]]
    assert part.labels.tolist() == [[-100, -100, -100, 8, 9], [-100, -100, -100, -100, 8]]


def test_images_and_questions_of_each_row_are_taken_with_it():
    pixels, asked = torch.rand(3, 2, 3, 2, 2), torch.arange(6).reshape(3, 2)
    part, _ = FILLED.text_left_out(batch(pixel_values=pixels, qformer_input_ids=asked))
    assert torch.equal(part.inputs["pixel_values"], pixels[1:])
    assert part.inputs["qformer_input_ids"].tolist() == [[2, 3], [4, 5]]


@pytest.mark.parametrize("strange", [torch.rand(3, 7), torch.rand(2), 3, ["a", "b", "c"]])
def test_all_rows_stay_where_a_tensor_cannot_be_taken_apart(strange):
    whole = batch(pixel_values=torch.rand(3, 3, 2, 2), something_new=strange)
    part, rows = LISTED.text_left_out(whole)
    assert part is whole and rows.tolist() == [0, 1, 2]


def test_blank_images_of_a_list_are_zero():
    pixels = torch.rand(3, 3, 2, 2)
    blank = LISTED.blanked(batch(pixel_values=pixels, image_sizes=torch.ones(3, 2)))
    assert not blank.inputs["pixel_values"].any() and pixels.any()
    assert blank.inputs["image_sizes"].all()
    with pytest.raises(ValueError, match="image tokens but no pixel_values"):
        LISTED.blanked(batch())


@pytest.mark.parametrize("told", [True, False])
@pytest.mark.parametrize("make", [Idefics2ImageProcessorPil, Idefics3ImageProcessorPil])
def test_blank_images_of_filled_rows_are_those_of_a_black_picture(make, told):
    processor = make(size={"longest_edge": 16, "shortest_edge": 8}, do_image_splitting=False)

    def processed(shade):
        noise = np.random.default_rng(0).integers(1, 256, (16, 16, 3), dtype=np.uint8)
        picture = Image.fromarray(noise * shade)
        low = picture if told is False else picture.resize((16, 8))
        return processor([[], [picture, low], [picture]], return_tensors="pt")

    seen, black = processed(1), processed(0)
    if not told:
        del seen["pixel_attention_mask"]
    blank = FILLED.blanked(batch(**seen)).inputs["pixel_values"]
    torch.testing.assert_close(blank, black["pixel_values"])


def test_dropped_images_leave_the_text_in_order():
    kinds = torch.tensor([[0, 0, 0, 1, 2], [9, 3, 9, 4, 5], [0, 6, 9, 9, 7]])
    text = LISTED.images_dropped(batch(pixel_values=torch.rand(3, 3, 2, 2), token_type_ids=kinds))
    assert {name: value.tolist() for name, value in text.inputs.items()} == {
        "input_ids": [[7, 8, 0], [7, 8, 9], [7, 8, 0]],
        "attention_mask": [[1, 1, 0], [1, 1, 1], [1, 1, 0]],
        "token_type_ids": [[1, 2, 0], [3, 4, 5], [6, 7, 0]],
    }
    assert text.labels.tolist() == [[-100, 8, -100], [-100, 8, 9], [-100, 8, -100]]
