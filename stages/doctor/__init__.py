"""Whether this machine can do what a recipe asks: ``adaptinf doctor``."""
