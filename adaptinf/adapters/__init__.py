"""Adapter routes: how the model is made trainable, always in PEFT's own format."""

from adaptinf.adapters.names import ROUTES

__all__ = ["ROUTES", "attach"]


def __getattr__(name: str) -> object:
    if name == "attach":
        from adaptinf.adapters.attachment import attach

        return attach
    raise AttributeError(name)
