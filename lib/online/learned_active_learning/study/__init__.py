"""Study."""
from lib.online.learned_active_learning.study.digits import Digits, digit_questions
from lib.online.learned_active_learning.study.rivals import KnownAnswers, SoftBinarySearch, Uniform
__all__ = ["Digits", "KnownAnswers", "SoftBinarySearch", "Uniform", "digit_questions"]
