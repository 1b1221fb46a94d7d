"""Batches and labels, against hand-made rows and against processors of several families."""

from __future__ import annotations

from types import SimpleNamespace

import numpy as np
import pytest
import torch
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from PIL import Image
from tokenizers.processors import TemplateProcessing

from adaptinf.data.encoder import IGNORED, Encoder, Measured
from adaptinf.data.images import ImageInfo
from adaptinf.errors import UserError
from tests.families.processors import PROCESSORS, processor_of, tiny_llava

# One row with an image, one with three images of which the last two come in a later turn, one
# without. 1x1 and 3-pixel-high images are where channels and rows are mistaken for one another.
TEXTS = (
    ("<image>\nWhat colour is it?", "red bus"),
    ("<image>\nhi", "yes", "and <image><image>\nnow?", "no dogs"),
    ("hello", "é 海"),
)
SIZES = (((40, 90),), ((1, 1), (50, 3), (50, 100)), ())


@pytest.fixture(scope="module")
def rows(make_sample, picture):
    pictures = [[picture(*size) for size in row] for row in SIZES]
    return SimpleNamespace(
        samples=[make_sample(*texts) for texts in TEXTS],
        pictures=pictures,
        infos=[[ImageInfo(p.width, p.height, "") for p in row] for row in pictures],
    )


@pytest.fixture(scope="module")
def encoder(llava_processor):
    return Encoder(llava_processor, 1000)


def taught(encoder, batch, row):
    """The text of the labelled positions of a row."""
    labels = batch["labels"][row]
    return encoder.processor.tokenizer.decode(labels[labels != IGNORED])


def test_mixed_batch_by_hand(encoder, rows):
    batch = encoder.encode(rows.samples, rows.pictures)
    decode = encoder.processor.tokenizer.decode
    image = "<image>" * 16
    first = f"USER: {image}\nWhat colour is it?\nASSISTANT: red bus</s>\n"
    assert decode(batch["input_ids"][0][batch["attention_mask"][0] == 1]) == first
    assert taught(encoder, batch, 0) == " red bus</s>"
    assert taught(encoder, batch, 1) == " yes</s> no dogs</s>"
    assert taught(encoder, batch, 2) == " é 海</s>"
    assert batch["pixel_values"].shape == (4, 3, 32, 32)
    # Right padded: the mask falls once and nothing on padding is a label.
    assert (batch["attention_mask"].diff(dim=1) <= 0).all()
    assert (batch["labels"][batch["attention_mask"] == 0] == IGNORED).all()
    labelled = batch["labels"] != IGNORED
    assert (batch["labels"][labelled] == batch["input_ids"][labelled]).all()


def test_text_only_batch_has_no_pixels(encoder, rows):
    batch = encoder.encode(rows.samples[2:], [[]])
    assert "pixel_values" not in batch
    assert taught(encoder, batch, 0) == " é 海</s>"


def test_row_is_the_same_alone_and_in_a_batch(encoder, rows):
    together = encoder.encode(rows.samples, rows.pictures)
    for i in range(3):
        alone = encoder.encode(rows.samples[i : i + 1], rows.pictures[i : i + 1])
        n = alone["input_ids"].shape[1]
        for key in ("input_ids", "attention_mask", "labels"):
            torch.testing.assert_close(together[key][i, :n], alone[key][0])


def test_prompts_are_left_padded_and_start_the_full_row(encoder, rows):
    prompts = encoder.encode_prompts([s.turns[:-1] for s in rows.samples], rows.pictures)
    full = encoder.encode(rows.samples, rows.pictures)
    assert (prompts["attention_mask"].diff(dim=1) >= 0).all()
    for i in range(3):
        ids = prompts["input_ids"][i][prompts["attention_mask"][i] == 1]
        assert torch.equal(ids, full["input_ids"][i, : len(ids)])
        assert full["labels"][i, len(ids)] != IGNORED
        assert full["labels"][i, len(ids) - 1] == IGNORED


@pytest.fixture(params=PROCESSORS)
def family_encoder(request):
    return Encoder(processor_of(request.param), 1000)


def test_every_family_labels_the_answers_and_measures_exactly(family_encoder, rows):
    encoder = family_encoder
    batch = encoder.encode(rows.samples, rows.pictures)
    for i, texts in enumerate(TEXTS):
        ends = " {}</s>" if type(encoder.processor).__name__ == "LlavaProcessor" else "{}<|im_end|>"
        assert taught(encoder, batch, i) == "".join(ends.format(text) for text in texts[1::2])
        assert encoder.length(rows.samples[i], rows.infos[i]) == Measured(
            int(batch["attention_mask"][i].sum()), "whole"
        )


words = st.text(st.sampled_from("ab 海é.\n"), min_size=1, max_size=12).map(lambda t: t + "x")


@st.composite
def conversations(draw):
    """Texts of 1 to 3 exchanges with 0 to 2 marks per user turn, and the size of every image."""
    texts, sizes = [], []
    for _ in range(draw(st.integers(1, 3))):
        marks = draw(st.integers(0, 2))
        sizes += [draw(st.sampled_from([(1, 1), (3, 9), (30, 7)])) for _ in range(marks)]
        before = draw(st.integers(0, marks))
        texts += ["<image>\n" * before + draw(words) + "\n<image>" * (marks - before), draw(words)]
    return texts, sizes


@given(batch=st.lists(conversations(), min_size=1, max_size=4), limit=st.integers(8, 90))
@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.too_slow])
def test_any_batch_is_labelled_measured_and_cut_as_stated(
    encoder, make_sample, picture, batch, limit
):
    samples = [make_sample(*texts) for texts, _ in batch]
    pictures = [[picture(*size) for size in sizes] for _, sizes in batch]
    infos = [[ImageInfo(w, h, "") for w, h in sizes] for _, sizes in batch]
    whole = encoder.encode(samples, pictures)
    short = Encoder(encoder.processor, limit)
    for i, (texts, _) in enumerate(batch):
        assert taught(encoder, whole, i) == "".join(f" {answer}</s>" for answer in texts[1::2])
        total = int(whole["attention_mask"][i].sum())
        labels = whole["labels"][i]
        image_ids = whole["input_ids"][i] == encoder.processor.image_token_id
        measured = short.length(samples[i], infos[i])
        left = int((labels[:limit] != IGNORED).sum())
        if total <= limit:
            assert measured == Measured(total, "whole")
        elif left and not image_ids[limit:].any():
            assert measured == Measured(limit, "shortened")
            cut = short.encode(samples[i : i + 1], pictures[i : i + 1])
            for key in ("input_ids", "attention_mask", "labels"):
                assert torch.equal(cut[key][0], whole[key][i, :limit])
        else:
            assert measured == Measured(total, "too-long")
            with pytest.raises(UserError, match="cannot be cut"):
                short.encode(samples[i : i + 1], pictures[i : i + 1])


def test_start_token_is_neither_doubled_nor_lost(make_sample):
    counts = []
    for opening in ("", "{{ bos_token }}"):
        processor = tiny_llava(
            opening + "{% for m in messages %}{{ m['content'][0]['text'] }}</s>{% endfor %}"
        )
        start = processor.tokenizer.bos_token_id
        processor.tokenizer.backend_tokenizer.post_processor = TemplateProcessing(
            single="<s> $A", special_tokens=[("<s>", start)]
        )
        encoder = Encoder(processor, 100)
        sample = make_sample("one", "two")
        ids = encoder.encode([sample], [[]])["input_ids"][0]
        assert encoder.length(sample, []).n_tokens == len(ids)
        assert ids[0] == start
        counts.append(int((ids == start).sum()))
    assert counts == [1, 1]


def test_tokenizer_without_padding_is_refused():
    processor = tiny_llava()
    processor.tokenizer.pad_token = None
    with pytest.raises(UserError, match="no padding token"):
        Encoder(processor, 100)


def test_processor_that_hides_its_expansion_is_refused():
    processor = tiny_llava()
    original = type(processor).__call__

    class Silent(type(processor)):
        def __call__(self, *args, **kwargs):
            batch = original(self, *args, **kwargs)
            batch.pop("text_replacement_offsets")
            return batch

    processor.__class__ = Silent
    with pytest.raises(UserError, match="does not tell where"):
        Encoder(processor, 100)


def test_pixels_follow_the_order_of_the_marks(encoder, make_sample, picture):
    one, two = picture(32, 32, seed=1), picture(32, 32, seed=2)
    sample = make_sample("<image>\nfirst", "a", "<image>\nsecond", "b")
    pixels = encoder.encode([sample], [[one, two]])["pixel_values"].numpy()
    direct = encoder.processor.image_processor([one, two], return_tensors="np")["pixel_values"]
    np.testing.assert_array_equal(pixels, direct)


@pytest.mark.parametrize("size", [(1, 1), (50, 3), (3, 50), (3, 3)])
def test_small_images_keep_their_colours(encoder, make_sample, size):
    red = Image.new("RGB", size, (255, 0, 0))
    pixels = encoder.encode([make_sample("<image>\nq", "a")], [[red]])["pixel_values"][0]
    settings = encoder.processor.image_processor
    expected = (np.array([1, 0, 0]) - settings.image_mean) / settings.image_std
    np.testing.assert_allclose(pixels.mean(dim=(1, 2)).numpy(), expected, rtol=1e-4)


def test_image_in_an_answer_is_no_label(encoder, make_sample, picture):
    sample = make_sample("draw one", "here <image>\nit is")
    batch = encoder.encode([sample], [[picture(8, 8)]])
    assert taught(encoder, batch, 0) == " here \n it is</s>"
    assert (batch["input_ids"] == encoder.processor.image_token_id).sum() == 16
