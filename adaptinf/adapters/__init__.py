"""Adapter routes: how the model is made trainable, always in PEFT's own format.

Importing this package makes PEFT know the tuners that are not its own.
"""

from adaptinf.adapters import adem, mixlora
from adaptinf.adapters.attachment import attach, learning_rates, load_adapter
from adaptinf.adapters.removal import detach, merge

__all__ = ["adem", "attach", "detach", "learning_rates", "load_adapter", "merge", "mixlora"]
