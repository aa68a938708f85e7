"""The chapter's experiments: rivals that need no training, real questions about digits and jokes, how policies are compared."""

from lib.online.learned_active_learning.study.digits import Digits, digit_questions
from lib.online.learned_active_learning.study.jester import Jokes
from lib.online.learned_active_learning.study.protocols import (
    NOISES,
    OPTIONS,
    Contest,
    all_episodes,
    contest,
    heuristics,
    largest_gaps,
    worst_losses,
)
from lib.online.learned_active_learning.study.rivals import Halving, KnownAnswers, SoftBinarySearch, TopTwo, Uniform

__all__ = [
    "NOISES",
    "OPTIONS",
    "Contest",
    "Digits",
    "Halving",
    "Jokes",
    "KnownAnswers",
    "SoftBinarySearch",
    "TopTwo",
    "Uniform",
    "all_episodes",
    "contest",
    "digit_questions",
    "heuristics",
    "largest_gaps",
    "worst_losses",
]
