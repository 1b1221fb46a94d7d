"""Pixels and tokens as the authors of LLaVA-1.5 had them, and how processors are told apart."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image
from transformers import AutoProcessor, CLIPImageProcessorPil, LlavaImageProcessorPil

from adaptinf.data.encoder import Encoder
from adaptinf.data.sample import Turn
from adaptinf.errors import UserError
from adaptinf.models.preprocessing import pads_to_square, preprocessing, require_preprocessing
from tests.families.processors import PROCESSORS, processor_of, tiny_llava

MEAN = np.array([0.48145466, 0.4578275, 0.40821073])
STD = np.array([0.26862954, 0.26130258, 0.27577711])
SIDE = 32
SIZE = {"size": {"shortest_edge": SIDE}, "crop_size": {"height": SIDE, "width": SIDE}}


def picture(width: int, height: int) -> Image.Image:
    drawn = np.random.default_rng(width * height).integers(0, 256, (height, width, 3))
    return Image.fromarray(drawn.astype(np.uint8))


def padded_by_hand(image: Image.Image) -> np.ndarray:
    """LLaVA-1.5: on a square of CLIP's mean colour, in its middle; then smaller; then scaled."""
    pixels = np.asarray(image)
    height, width, _ = pixels.shape
    side = max(height, width)
    square = np.empty((side, side, 3), np.uint8)
    square[:] = (122, 116, 104)
    top, left = (side - height) // 2, (side - width) // 2
    square[top : top + height, left : left + width] = pixels
    small = Image.fromarray(square).resize((SIDE, SIDE), Image.Resampling.BICUBIC)
    return ((np.asarray(small) / 255 - MEAN) / STD).transpose(2, 0, 1)


def llava_15() -> Any:
    processor = tiny_llava()
    processor.image_processor = LlavaImageProcessorPil(do_pad=True, **SIZE)
    return processor


@pytest.mark.parametrize("size", [(50, 20), (21, 64), (33, 33), (7, 40), (100, 99)], ids=str)
def test_an_image_is_padded_to_a_square_as_by_hand(size: tuple[int, int], tmp_path: Path) -> None:
    """Through the encoder, with a processor that was saved and loaded."""
    llava_15().save_pretrained(tmp_path)
    encoder = Encoder(AutoProcessor.from_pretrained(tmp_path), 200)
    image = picture(*size)
    turns = [[Turn("user", "<image>What?")]]
    made = encoder.encode_prompts(turns, [[image]])["pixel_values"][0].numpy()
    np.testing.assert_allclose(made, padded_by_hand(image), atol=1e-5)
    cropped = CLIPImageProcessorPil(**SIZE)(image)["pixel_values"][0]
    assert (np.abs(cropped - made).max() < 1e-5) == (size[0] == size[1])


def test_the_colour_of_the_border() -> None:
    """A flat black image, so that a border is what is left."""
    made = llava_15().image_processor(Image.new("RGB", (32, 8)))["pixel_values"][0]
    np.testing.assert_allclose(
        made[:, 0, 0], (np.array([122, 116, 104]) / 255 - MEAN) / STD, atol=1e-6
    )
    np.testing.assert_allclose(made[:, 16, 16], -MEAN / STD, atol=1e-6)


@pytest.mark.parametrize("family", PROCESSORS)
def test_a_processor_is_the_same_after_it_was_saved(family: str, tmp_path: Path) -> None:
    processor = processor_of(family)
    told = preprocessing(processor)
    assert json.loads(json.dumps(told)) == told
    (tmp_path / "lineage.json").write_text(json.dumps({"processor": told}))
    require_preprocessing(tmp_path, preprocessing(processor_of(family)))


def test_what_differs_is_named(tmp_path: Path) -> None:
    (tmp_path / "lineage.json").write_text(json.dumps({"processor": preprocessing(llava_15())}))
    with pytest.raises(UserError, match=r"image\.do_pad true, now unset"):
        require_preprocessing(tmp_path, preprocessing(tiny_llava()))
    other = llava_15()
    other.chat_template += " "
    with pytest.raises(UserError, match=r"seen: 'chat_template'"):
        require_preprocessing(tmp_path, preprocessing(other))
    other = llava_15()
    other.tokenizer.add_tokens(["new"])
    other.num_additional_image_tokens = 1
    told = r"seen: 'tokenizer; image_tokens\.num_additional_image_tokens 0, now 1'"
    with pytest.raises(UserError, match=told):
        require_preprocessing(tmp_path, preprocessing(other))
    smaller = processor_of("qwen2_5_vl")
    (tmp_path / "lineage.json").write_text(json.dumps({"processor": preprocessing(smaller)}))
    smaller.image_processor.size = {"shortest_edge": 64, "longest_edge": 256}
    with pytest.raises(UserError, match=r"image\.size .*1024.*now .*256"):
        require_preprocessing(tmp_path, preprocessing(smaller))


def test_adapters_that_tell_nothing_are_taken(tmp_path: Path) -> None:
    require_preprocessing(tmp_path, preprocessing(tiny_llava()))
    for text in ("{}", "[]", "not JSON", '{"processor": null}'):
        (tmp_path / "lineage.json").write_text(text)
        require_preprocessing(tmp_path, preprocessing(tiny_llava()))


def test_who_pads() -> None:
    assert pads_to_square(llava_15())
    assert not pads_to_square(tiny_llava())
