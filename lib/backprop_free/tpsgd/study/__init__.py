"""What only the chapter's experiments use: data, rivals, protocols."""

from __future__ import annotations

from .dense import Trained, train
from .grid import HIDDEN, RULES, Outcome, Setting, deeper
from .modules import DEEP, SHALLOW, LocalHead, conv_net, convolution, fit, linear, with_heads
from .sequences import train_recurrent
from .tasks import Task, accuracy, draw_task

__all__ = [
    "DEEP",
    "HIDDEN",
    "RULES",
    "SHALLOW",
    "LocalHead",
    "Outcome",
    "Setting",
    "Task",
    "Trained",
    "accuracy",
    "conv_net",
    "convolution",
    "deeper",
    "draw_task",
    "fit",
    "linear",
    "train",
    "train_recurrent",
    "with_heads",
]
