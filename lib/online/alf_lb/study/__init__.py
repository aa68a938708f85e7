"""What the chapter's experiments use: a text, a small language model, instances with known optima, rivals, protocols."""

from lib.online.alf_lb.study.language import LanguageModel, Training, train
from lib.online.alf_lb.study.text import Text, bible

__all__ = ["LanguageModel", "Text", "Training", "bible", "train"]
