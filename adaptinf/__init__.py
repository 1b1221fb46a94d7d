"""Workshops of adaptinf: data, models, adapters, features, training, evaluation, report."""

__version__ = "0.1.0"
