"""Training the current adapter on the selected rows."""

from adaptinf.training.trainer import TrainSettings, train_adapter

__all__ = ["TrainSettings", "train_adapter"]
