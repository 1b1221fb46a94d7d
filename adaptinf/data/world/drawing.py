"""Pictures of the embedded world: drawn scenes and scikit-learn's handwritten digits."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from PIL import Image, ImageDraw

SIDE = 32
"""Width and height of every picture, in pixels."""

SHAPES = ("circle", "square", "triangle", "cross")
COLOURS = {
    "red": (220, 50, 50),
    "green": (60, 180, 75),
    "blue": (70, 100, 235),
    "yellow": (235, 210, 60),
    "purple": (170, 70, 190),
    "white": (240, 240, 240),
}
PLACES = ("top left", "top right", "bottom left", "bottom right")
NUMBERS = (
    *("zero", "one", "two", "three", "four", "five", "six", "seven", "eight", "nine", "ten"),
    *("eleven", "twelve", "thirteen", "fourteen", "fifteen", "sixteen", "seventeen", "eighteen"),
    "nineteen",
)

_OVERSAMPLE = 4
_CELL = SIDE // 2


@dataclass(frozen=True, slots=True)
class Thing:
    """One object of a scene: where it stands is its place in a two by two grid."""

    shape: str
    colour: str
    place: str

    def phrase(self) -> str:
        """``a red circle top left``."""
        return f"a {self.colour} {self.shape} {self.place}"


@dataclass(frozen=True, slots=True)
class Scene:
    """Objects in reading order (top left first)."""

    things: tuple[Thing, ...]

    def caption(self) -> str:
        """Every object with colour, shape and place, comma separated."""
        return ", ".join(thing.phrase() for thing in self.things)


def random_scene(rng: np.random.Generator, count: int | None = None) -> Scene:
    """A scene of ``count`` objects (1 to 4 when not given), places without repetition."""
    count = int(rng.integers(1, 5)) if count is None else count
    places = sorted(rng.permutation(4)[:count])
    return Scene(
        tuple(
            Thing(str(rng.choice(SHAPES)), str(rng.choice(list(COLOURS))), PLACES[place])
            for place in places
        )
    )


def draw_scene(scene: Scene, rng: np.random.Generator) -> Image.Image:
    """An RGB picture of the scene; ``rng`` moves and sizes the objects a little and adds noise."""
    scale = _OVERSAMPLE
    shade = int(rng.integers(15, 40))
    canvas = Image.new("RGB", (SIDE * scale, SIDE * scale), (shade, shade, shade))
    pen = ImageDraw.Draw(canvas)
    for thing in scene.things:
        row, column = divmod(PLACES.index(thing.place), 2)
        x = (column + 0.5) * _CELL + rng.uniform(-1.2, 1.2)
        y = (row + 0.5) * _CELL + rng.uniform(-1.2, 1.2)
        _draw_thing(pen, thing, x * scale, y * scale, rng.uniform(4.8, 6.4) * scale)
    small = canvas.resize((SIDE, SIDE), Image.Resampling.BOX)
    noise = rng.integers(-6, 7, (SIDE, SIDE, 3))
    return Image.fromarray(np.clip(np.asarray(small, dtype=np.int16) + noise, 0, 255).astype("u1"))


def _draw_thing(pen: ImageDraw.ImageDraw, thing: Thing, x: float, y: float, r: float) -> None:
    colour = COLOURS[thing.colour]
    if thing.shape == "circle":
        pen.ellipse((x - r, y - r, x + r, y + r), fill=colour)
    elif thing.shape == "square":
        side = 0.86 * r
        pen.rectangle((x - side, y - side, x + side, y + side), fill=colour)
    elif thing.shape == "triangle":
        pen.polygon(((x, y - r), (x - r, y + 0.8 * r), (x + r, y + 0.8 * r)), fill=colour)
    else:
        bar = 0.3 * r
        pen.rectangle((x - r, y - bar, x + r, y + bar), fill=colour)
        pen.rectangle((x - bar, y - r, x + bar, y + r), fill=colour)


@dataclass(frozen=True, slots=True)
class Digits:
    """scikit-learn's 1,797 handwritten digits; every third one is kept for the benchmarks."""

    images: np.ndarray
    labels: np.ndarray

    @classmethod
    def load(cls) -> Digits:
        """Read them from the scikit-learn package (no download)."""
        from sklearn.datasets import load_digits

        data = load_digits()
        return cls(data.images.astype(np.float32), data.target.astype(np.int64))

    def draw(self, rng: np.random.Generator, held_out: bool) -> tuple[Image.Image, str]:
        """A random digit of the chosen part as an RGB picture, and its name."""
        rows = np.flatnonzero((np.arange(len(self.labels)) % 3 == 0) == held_out)
        row = int(rng.choice(rows))
        grey = np.clip(20 + self.images[row] * 13, 0, 255).astype("u1")
        picture = Image.fromarray(grey).resize((SIDE, SIDE), Image.Resampling.BILINEAR)
        return picture.convert("RGB"), NUMBERS[self.labels[row]]
