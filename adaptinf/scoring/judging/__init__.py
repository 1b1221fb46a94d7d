"""Verdicts of a language model: asking for them, and keeping them."""
