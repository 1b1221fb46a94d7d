"""Training the current adapter on the selected rows."""

from adaptinf.training.trainer import Average, TrainSettings, train_adapter

__all__ = ["Average", "TrainSettings", "train_adapter"]
