"""Build the shipped tiny LLaVA: tokenizer, processor, model, trained to see the embedded world.

One command, from the root of the checkout: ``python scripts/build_tiny_vlm.py`` (about six minutes
on 2 cores). It teaches what a real vision-language model knows before the sequence starts: to say
what a drawing, one corner of it, or two drawings show, to read a handwritten digit, and, its
language model, to repeat words. Of the sequence's questions it meets only the plain caption.
"""

from __future__ import annotations

import argparse
import hashlib
import json
import time
from dataclasses import asdict, dataclass
from pathlib import Path

import numpy as np
import torch
from tokenizers import Tokenizer, decoders, models, pre_tokenizers, trainers
from transformers import (
    CLIPImageProcessorPil,
    CLIPVisionConfig,
    LlamaConfig,
    LlavaConfig,
    LlavaForConditionalGeneration,
    LlavaProcessor,
    PreTrainedTokenizerFast,
)

from adaptinf.data.world.build import WorldSizes
from adaptinf.data.world.drawing import NUMBERS, PLACES, SIDE, Digits, draw_scene, random_scene
from adaptinf.data.world.formats import question_in
from adaptinf.data.world.skills import SKILLS, Item, Source

CHAT_TEMPLATE = (
    "{% for message in messages %}"
    "{% if message['role'] == 'user' %}USER: {% else %}ASSISTANT: {% endif %}"
    "{% if message['content'] is string %}{{ message['content'] }}{% else %}"
    "{% for part in message['content'] %}"
    "{% if part['type'] == 'image' %}{{ '<image>\n' }}{% else %}{{ part['text'] }}{% endif %}"
    "{% endfor %}{% endif %}"
    "{% if message['role'] == 'user' %} {% else %}</s>{% endif %}"
    "{% endfor %}"
    "{% if add_generation_prompt %}ASSISTANT:{% endif %}"
)
PATCH = 8
IMAGE_TOKENS = (SIDE // PATCH) ** 2


@dataclass(frozen=True, slots=True)
class Settings:
    """Everything that decides the weights."""

    seed: int = 0
    steps: int = 2000
    batch: int = 64
    learning_rate: float = 1e-3
    rows: int = 40_000
    width: int = 128
    vision_layers: int = 3
    text_layers: int = 4
    vocabulary: int = 1000


@dataclass(frozen=True, slots=True)
class Row:
    """One training row: the token ids of prompt and answer, and the pixels of its pictures."""

    prompt: list[int]
    answer: list[int]
    pictures: list[np.ndarray]


def world_words(seed: int, items: int = 200) -> list[str]:
    """Every word, with its punctuation, that the world's datasets are written in."""
    digits, texts = Digits.load(), [" ".join(NUMBERS)]
    for dataset, skills in WorldSizes().datasets.items():
        for index, skill in enumerate(skills):
            source = Source(np.random.default_rng([seed, index]), digits, held_out=False)
            for _ in range(items):
                item = SKILLS[skill](source)
                texts += [question_in(dataset, item), item.answer]
    return sorted({word for text in texts for word in text.split()})


def tokenizer_texts(words: list[str], seed: int, texts: int = 4_000) -> list[str]:
    """Random runs of the words, so that each becomes one token, also at the start of a line."""
    rng = np.random.default_rng(seed)
    return ["USER: ASSISTANT:\n" + "\n".join(rng.choice(words, 4)) for _ in range(texts)] + [
        "USER: ASSISTANT: " + " ".join(rng.choice(words, 12)) for _ in range(texts)
    ]


def build_processor(settings: Settings, words: list[str]) -> LlavaProcessor:
    """Byte-level BPE tokenizer (any text can be written in it) and CLIP preprocessing at 32 px."""
    tokenizer = Tokenizer(models.BPE())
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer.decoder = decoders.ByteLevel()
    specials = ["<pad>", "<s>", "</s>", "<image>"]
    trainer = trainers.BpeTrainer(
        vocab_size=settings.vocabulary,
        special_tokens=specials,
        initial_alphabet=pre_tokenizers.ByteLevel.alphabet(),
        show_progress=False,
    )
    tokenizer.train_from_iterator(tokenizer_texts(words, settings.seed), trainer)
    fast = PreTrainedTokenizerFast(
        tokenizer_object=tokenizer,
        bos_token="<s>",
        eos_token="</s>",
        pad_token="<pad>",
        extra_special_tokens={"image_token": "<image>"},
        model_max_length=512,
    )
    images = CLIPImageProcessorPil(
        size={"shortest_edge": SIDE}, crop_size={"height": SIDE, "width": SIDE}
    )
    return LlavaProcessor(
        image_processor=images,
        tokenizer=fast,
        patch_size=PATCH,
        vision_feature_select_strategy="default",
        num_additional_image_tokens=1,
        chat_template=CHAT_TEMPLATE,
    )


def build_model(settings: Settings, processor: LlavaProcessor) -> LlavaForConditionalGeneration:
    """The untrained network: a 3-layer CLIP tower, a two-layer projector, a 4-layer Llama."""
    width = settings.width
    tokenizer = processor.tokenizer
    config = LlavaConfig(
        vision_config=CLIPVisionConfig(
            hidden_size=width,
            intermediate_size=2 * width,
            num_hidden_layers=settings.vision_layers,
            num_attention_heads=4,
            image_size=SIDE,
            patch_size=PATCH,
            projection_dim=width,
        ),
        text_config=LlamaConfig(
            vocab_size=len(tokenizer),
            hidden_size=width,
            intermediate_size=2 * width,
            num_hidden_layers=settings.text_layers,
            num_attention_heads=4,
            num_key_value_heads=4,
            max_position_embeddings=512,
            bos_token_id=tokenizer.bos_token_id,
            eos_token_id=tokenizer.eos_token_id,
            pad_token_id=tokenizer.pad_token_id,
            tie_word_embeddings=False,
        ),
        image_token_index=processor.image_token_id,
        vision_feature_layer=-1,
        vision_feature_select_strategy="default",
        image_seq_length=IMAGE_TOKENS,
    )
    torch.manual_seed(settings.seed)
    model = LlavaForConditionalGeneration(config)
    model.generation_config.pad_token_id = tokenizer.pad_token_id
    return model


def build_rows(settings: Settings, processor: LlavaProcessor, words: list[str]) -> list[Row]:
    """Captions of whole scenes, of one corner, of two pictures; written digits; words to repeat."""
    rng = np.random.default_rng(settings.seed)
    source = Source(rng, Digits.load(), held_out=False)
    makers = (
        (0.35, lambda: _scene(source)),
        (0.20, lambda: _corner(source)),
        (0.10, lambda: _pair(source)),
        (0.15, lambda: _digit(source)),
        (0.20, lambda: _words(source, words)),
    )
    shares = [share for share, _ in makers]
    chosen = rng.choice(len(makers), settings.rows, p=shares)
    return [_row(processor, makers[index][1]()) for index in chosen]


def _scene(source: Source) -> Item:
    scene = random_scene(source.rng)
    question = source.pick("Describe the image.", "List every object in the image.")
    return Item("scene", question, scene.caption(), (draw_scene(scene, source.rng),))


def _corner(source: Source) -> Item:
    scene = random_scene(source.rng)
    place = source.pick(*PLACES)
    seen = [f"a {t.colour} {t.shape}" for t in scene.things if t.place == place]
    answer = seen[0] if seen else "nothing"
    return Item("corner", f"Describe the {place}.", answer, (draw_scene(scene, source.rng),))


def _pair(source: Source) -> Item:
    scenes = [random_scene(source.rng, int(source.rng.integers(1, 3))) for _ in range(2)]
    pictures = tuple(draw_scene(scene, source.rng) for scene in scenes)
    first, second = (scene.caption() for scene in scenes)
    return Item("pair", "Describe the images.", f"first {first}, second {second}", pictures)


def _digit(source: Source) -> Item:
    picture, name = source.digits.draw(source.rng, held_out=False)
    return Item("read", "Read the digit.", f"the digit {name}", (picture,))


def _words(source: Source, words: list[str]) -> Item:
    said = " ".join(source.rng.choice(words, int(source.rng.integers(1, 13))))
    return Item("repeat", f"Repeat: {said}", said, ())


def _row(processor: LlavaProcessor, item: Item) -> Row:
    content = [{"type": "image"} for _ in item.pictures]
    prompt = processor.apply_chat_template(
        [{"role": "user", "content": [*content, {"type": "text", "text": item.question}]}],
        add_generation_prompt=True,
    )
    prompt = prompt.replace("<image>", "<image>" * IMAGE_TOKENS)
    pixels = [
        processor.image_processor(picture, return_tensors="np")["pixel_values"][0]
        for picture in item.pictures
    ]
    ids = processor.tokenizer
    return Row(ids(prompt)["input_ids"], ids(f" {item.answer}</s>")["input_ids"], pixels)


def collate(rows: list[Row], pad: int) -> dict[str, torch.Tensor]:
    """Right-padded batch with labels on answers only."""
    longest = max(len(r.prompt) + len(r.answer) for r in rows)
    ids = torch.full((len(rows), longest), pad)
    labels = torch.full((len(rows), longest), -100)
    mask = torch.zeros((len(rows), longest), dtype=torch.long)
    for i, row in enumerate(rows):
        end = len(row.prompt) + len(row.answer)
        ids[i, :end] = torch.tensor(row.prompt + row.answer)
        labels[i, len(row.prompt) : end] = torch.tensor(row.answer)
        mask[i, :end] = 1
    pixels = torch.tensor(np.stack([p for r in rows for p in r.pictures]))
    return {"input_ids": ids, "attention_mask": mask, "labels": labels, "pixel_values": pixels}


def train(model: LlavaForConditionalGeneration, rows: list[Row], settings: Settings) -> float:
    """AdamW with a one-cycle rate; returns the mean loss of the last hundred steps."""
    optimiser = torch.optim.AdamW(model.parameters(), settings.learning_rate, weight_decay=0.01)
    schedule = torch.optim.lr_scheduler.OneCycleLR(
        optimiser, settings.learning_rate, total_steps=settings.steps, pct_start=0.05
    )
    order = np.random.default_rng(settings.seed + 1)
    pad, losses, started = model.generation_config.pad_token_id, [], time.monotonic()
    model.train()
    for step in range(settings.steps):
        picked = order.choice(len(rows), settings.batch, replace=False)
        loss = model(**collate([rows[i] for i in picked], pad)).loss
        loss.backward()
        torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        optimiser.step()
        schedule.step()
        optimiser.zero_grad(set_to_none=True)
        losses.append(loss.item())
        if step % 100 == 99:
            mean = float(np.mean(losses[-100:]))
            print(f"step {step + 1} loss {mean:.4f} {time.monotonic() - started:.0f} s", flush=True)
    return float(np.mean(losses[-100:]))


def main() -> None:
    """Train, round the weights to float16 and write the folder with its manifest."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--out", type=Path, default=Path("adaptinf/models/tiny"))
    parser.add_argument("--steps", type=int, default=Settings().steps)
    options = parser.parse_args()
    settings = Settings(steps=options.steps)
    torch.use_deterministic_algorithms(True)
    words = world_words(settings.seed)
    processor = build_processor(settings, words)
    model = build_model(settings, processor)
    print(f"{sum(p.numel() for p in model.parameters()):,} parameters", flush=True)
    loss = train(model, build_rows(settings, processor, words), settings)
    model.eval().half().save_pretrained(options.out)
    processor.save_pretrained(options.out)
    manifest = {
        "made_by": "scripts/build_tiny_vlm.py",
        "settings": asdict(settings),
        "parameters": sum(p.numel() for p in model.parameters()),
        "final_loss": round(loss, 4),
        "torch": torch.__version__,
        "sha256": {
            path.name: hashlib.sha256(path.read_bytes()).hexdigest()
            for path in sorted(options.out.iterdir())
            if path.name != "manifest.json"
        },
    }
    (options.out / "manifest.json").write_text(json.dumps(manifest, indent=2) + "\n")


if __name__ == "__main__":
    main()
