"""The embedded world: five small datasets in their real formats, and a benchmark per skill."""

from adaptinf.data.world.build import build_world, world_fingerprint

__all__ = ["build_world", "world_fingerprint"]
