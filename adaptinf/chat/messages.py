"""What is said in a conversation, and what of it the model is asked."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from PIL import Image

from adaptinf.data.sample import IMAGE_MARK, Role, Turn
from adaptinf.errors import UserError
from adaptinf.evaluation.benchmark import asked


@dataclass(frozen=True, slots=True, eq=False)
class Message:
    """One utterance; ``images`` stand before its words, as those of a benchmark's question do."""

    role: Role
    text: str
    images: tuple[Image.Image, ...] = ()


@dataclass(frozen=True, slots=True, eq=False)
class Prompt:
    """A conversation as the encoder takes it."""

    turns: list[Turn]
    images: list[Image.Image]


def prompt_of(messages: Sequence[Message]) -> Prompt:
    """A conversation that the model is to answer.

    Raises:
        UserError: roles do not alternate from user to user, a message is empty, an answer has
            images, or a text holds the mark of an image.
    """
    for number, message in enumerate(messages):
        where = f"message {number + 1}"
        if message.role != ("user", "assistant")[number % 2]:
            hint = "user and assistant take turns, and the user begins"
            raise UserError("out of turn", where=where, seen=message.role, hint=hint)
        if IMAGE_MARK in message.text:
            hint = "leave it out; images stand before the words"
            raise UserError(f"{IMAGE_MARK} in a text", where=where, hint=hint)
        if message.role == "user" and not (message.text.strip() or message.images):
            raise UserError("nothing is asked", where=where)
        if message.role == "assistant" and message.images:
            raise UserError("an answer has no images", where=where)
    if len(messages) % 2 == 0:
        raise UserError("nothing is asked", where="messages", hint="the last message is the user's")
    turns = [
        asked(message.text, len(message.images))
        if message.role == "user"
        else Turn("assistant", message.text)
        for message in messages
    ]
    return Prompt(turns, [image for message in messages for image in message.images])


def latest(messages: Sequence[Message]) -> Prompt:
    """The last question by itself, with all images that have been shown until then."""
    images = [image for message in messages for image in message.images]
    return Prompt([asked(messages[-1].text, len(images))], images)
