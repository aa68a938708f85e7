"""The chapter's experiments: rivals that need no training, real questions about digits and jokes, how policies are compared."""

from lib.online.learned_active_learning.study.digits import Digits, digit_questions
from lib.online.learned_active_learning.study.jester import RATINGS, Jokes, jester
from lib.online.learned_active_learning.study.protocols import NOISES, heuristics, largest_gaps, worst_losses
from lib.online.learned_active_learning.study.rivals import KnownAnswers, SoftBinarySearch, Uniform

__all__ = [
    "NOISES",
    "RATINGS",
    "Digits",
    "Jokes",
    "KnownAnswers",
    "SoftBinarySearch",
    "Uniform",
    "digit_questions",
    "heuristics",
    "jester",
    "largest_gaps",
    "worst_losses",
]
