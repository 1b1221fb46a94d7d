"""The skills of the embedded world: each makes question, answer and pictures from a seed."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace

import numpy as np
from PIL import Image

from adaptinf.data.world.drawing import (
    NUMBERS,
    PLACES,
    Digits,
    Scene,
    Thing,
    draw_scene,
    random_scene,
)


@dataclass(frozen=True, slots=True)
class Exchange:
    """One question and its answer."""

    question: str
    answer: str


@dataclass(frozen=True, slots=True)
class Item:
    """One question about zero or more pictures, with its answer; some go on with a second one."""

    skill: str
    question: str
    answer: str
    pictures: tuple[Image.Image, ...]
    follow_up: Exchange | None = None


@dataclass(frozen=True, slots=True)
class Source:
    """Where an item's chance comes from; benchmarks use digits that training never sees."""

    rng: np.random.Generator
    digits: Digits
    held_out: bool

    def pick(self, *options: str) -> str:
        """One of the options."""
        return str(self.rng.choice(options))


def _scene_with_focus(source: Source) -> tuple[Scene, Thing]:
    scene = random_scene(source.rng)
    return scene, scene.things[int(source.rng.integers(len(scene.things)))]


def _scene_item(source: Source, skill: str, scene: Scene, question: str, answer: str) -> Item:
    return Item(skill, question, answer, (draw_scene(scene, source.rng),))


def caption(source: Source) -> Item:
    """List every object with colour, shape and place."""
    scene = random_scene(source.rng)
    question = source.pick("Describe the image.", "List every object in the image.")
    return _scene_item(source, "caption", scene, question, scene.caption())


def story(source: Source) -> Item:
    """The same content in the long-winded style of detailed captions."""
    scene = random_scene(source.rng)
    noun = "object" if len(scene.things) == 1 else "objects"
    parts = [f"a {t.colour} {t.shape} in the {t.place} corner" for t in scene.things]
    answer = f"The image shows {NUMBERS[len(parts)]} {noun}: {', and '.join(parts)}."
    question = source.pick(
        "Describe this image in detail.",
        "Take a look at this image and describe what you notice.",
        "Please provide a detailed description of the picture.",
        "Could you describe the contents of this image for me?",
    )
    return _scene_item(source, "story", scene, question, answer)


def colour(source: Source) -> Item:
    """Colour of the object at a place; every fourth training row asks for its shape too."""
    scene, thing = _scene_with_focus(source)
    question = source.pick(
        f"What colour is the {thing.place} object?", f"Which colour do you see {thing.place}?"
    )
    item = _scene_item(source, "colour", scene, question, thing.colour)
    if source.held_out or source.rng.random() > 0.25:
        return item
    return replace(item, follow_up=Exchange("And what shape is it?", thing.shape))


def shape(source: Source) -> Item:
    """Shape of the object at a place."""
    scene, thing = _scene_with_focus(source)
    question = source.pick(
        f"What shape is the {thing.place} object?", f"Name the shape that you see {thing.place}."
    )
    return _scene_item(source, "shape", scene, question, thing.shape)


def place(source: Source) -> Item:
    """Place of the only object."""
    scene = random_scene(source.rng, 1)
    question = source.pick("Where is the object?", "In which corner is the object?")
    return _scene_item(source, "place", scene, question, scene.things[0].place)


def larger(source: Source) -> Item:
    """Text only: the larger, or the smaller, of two numbers; a third of the pairs is held out."""
    while True:
        low, high = sorted(int(n) for n in source.rng.choice(len(NUMBERS), 2, replace=False))
        if ((low * 7 + high) % 3 == 0) == source.held_out:
            break
    first, second = (low, high) if source.rng.random() < 0.5 else (high, low)
    wanted = source.pick("larger", "smaller")
    question = f"Which number is {wanted}, {NUMBERS[first]} or {NUMBERS[second]}?"
    return Item("larger", question, NUMBERS[high if wanted == "larger" else low], ())


def count(source: Source) -> Item:
    """Number of objects."""
    scene = random_scene(source.rng)
    question = source.pick("How many objects are there?", "Count the objects in the image.")
    return _scene_item(source, "count", scene, question, NUMBERS[len(scene.things)])


def presence(source: Source) -> Item:
    """Whether a place holds an object; yes and no are equally frequent."""
    wanted = source.rng.random() < 0.5
    scene = random_scene(source.rng, int(source.rng.integers(1, 4)))
    taken = {thing.place for thing in scene.things}
    asked = source.pick(*(p for p in PLACES if (p in taken) == wanted))
    question = source.pick(f"Is there an object {asked}?", f"Do you see anything {asked}?")
    return _scene_item(source, "presence", scene, question, "yes" if wanted else "no")


def digit(source: Source) -> Item:
    """The written digit, as a word."""
    picture, name = source.digits.draw(source.rng, source.held_out)
    question = source.pick("Which digit is written here?", "Identify the handwritten digit.")
    return Item("digit", question, name, (picture,))


def parity(source: Source) -> Item:
    """Whether the written digit is odd or even."""
    picture, name = source.digits.draw(source.rng, source.held_out)
    question = source.pick("Is the digit odd or even?", "Tell whether this digit is even or odd.")
    answer = "odd" if NUMBERS.index(name) % 2 else "even"
    return Item("parity", question, answer, (picture,))


def second(source: Source) -> Item:
    """Two pictures of one object each: the object of the one that is asked for."""
    scenes = [random_scene(source.rng, 1) for _ in range(2)]
    asked = int(source.rng.integers(2))
    question = f"What is in the {('first', 'second')[asked]} image?"
    thing = scenes[asked].things[0]
    pictures = tuple(draw_scene(scene, source.rng) for scene in scenes)
    return Item("second", question, f"a {thing.colour} {thing.shape}", pictures)


def both(source: Source) -> Item:
    """Two pictures of one object each: both colours, in order."""
    scenes = [random_scene(source.rng, 1) for _ in range(2)]
    question = source.pick("Name the colours of both images.", "Which colours do the images show?")
    answer = " and ".join(scene.things[0].colour for scene in scenes)
    return Item("both", question, answer, tuple(draw_scene(s, source.rng) for s in scenes))


def more(source: Source) -> Item:
    """Two pictures: which one shows more objects."""
    few, many = sorted(int(n) for n in source.rng.choice(4, 2, replace=False) + 1)
    flip = source.rng.random() < 0.5
    scenes = [random_scene(source.rng, n) for n in ((many, few) if flip else (few, many))]
    question = "Which image shows more objects?"
    return Item(
        "more",
        question,
        "first" if flip else "second",
        tuple(draw_scene(s, source.rng) for s in scenes),
    )


def empty(source: Source) -> Item:
    """The only place without an object."""
    scene = random_scene(source.rng, 3)
    (answer,) = set(PLACES) - {thing.place for thing in scene.things}
    question = source.pick("Which corner is empty?", "Where is no object?")
    return _scene_item(source, "empty", scene, question, answer)


SKILLS: dict[str, Callable[[Source], Item]] = {
    maker.__name__: maker
    for maker in (
        caption, colour, place, larger, count, presence, digit, parity, story, second, both,
        more, shape, empty,
    )
}  # fmt: skip
