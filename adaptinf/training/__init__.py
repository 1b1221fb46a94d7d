"""Training the current adapter on the selected rows."""

from adaptinf.training.arguments import TrainSettings
from adaptinf.training.averages import Average
from adaptinf.training.trainer import train_adapter

__all__ = ["Average", "TrainSettings", "train_adapter"]
