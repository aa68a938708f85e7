"""Rewards: what is right, short and clear, and how a quantity to be small becomes a reward."""

from __future__ import annotations

import re
from typing import Any

import numpy as np

from lib import checks

_MARKS = re.compile(r"(?mi)^[ \t]*(?:(?:step[ \t]+\d+|\d+[.)]|[a-z][.)])(?=\W|$)|[-*•](?=[ \t]))")
_ORDINALS = re.compile(r"\b(?:first|second|third|fourth|fifth|sixth|seventh|eighth|ninth|tenth|next|then)(?:ly)?\b", re.I)
#: Relative: equal measures are not below their mean, whatever the sum rounds to.
_ROUNDING = 1e-12
#: Marks of an enumeration, or ordinal words, that a clear answer has at least.
FEWEST_MARKS = 2


def boxed(text: str) -> str | None:
    r"""What stands in the last ``\boxed{...}`` of a text, or None.

    Braces inside are matched; a box that is not closed is none.

    Examples
    --------
    >>> from lib.policies.dynamic_reward_weighting import boxed
    >>> boxed(r"so \boxed{\frac{1}{2}}.")
    '\\frac{1}{2}'
    """
    text, last = _text("text", text), (-1, -1)
    boxes, opened = {m.end() for m in re.finditer(r"\\boxed\s*\{", text)}, []  # type: set[int], list[int]
    for brace in re.finditer(r"[{}]", text):
        if brace[0] == "{":
            opened.append(brace.end())
        elif opened and (start := opened.pop()) in boxes:
            last = max(last, (start, brace.start()))
    return text[slice(*last)] if last[0] >= 0 else None


def is_right(text: str, answer: str) -> bool:
    r"""Whether the boxed answer of a text is the given one, blanks aside.

    Examples
    --------
    >>> from lib.policies.dynamic_reward_weighting import is_right
    >>> is_right(r"3 + 4 = 7, so \boxed{7}", "7"), is_right("7", "7")
    (True, False)
    """
    found, wanted = boxed(text), _text("answer", answer)
    return found is not None and "".join(found.split()) == "".join(wanted.split())


def is_clear(text: str) -> bool:
    r"""Whether a text has a boxed answer that is not empty, and at least two marks of an enumeration or two ordinal words.

    Marks begin a line: "Step 1", "1.", "a)", a bullet. Ordinal words are first to tenth, next and then.

    Examples
    --------
    >>> from lib.policies.dynamic_reward_weighting import is_clear
    >>> is_clear(r"First 3 + 4 = 7, then 7 + 5 = 12: \boxed{12}"), is_clear(r"\boxed{12}")
    (True, False)
    """
    if not (boxed(text) or "").strip():
        return False
    return max(len(_MARKS.findall(text)), len(_ORDINALS.findall(text))) >= FEWEST_MARKS


def _text(name: str, value: Any) -> str:
    if not isinstance(value, str):
        raise TypeError(f"{name} must be a text, got {checks.shown(value)}")
    return value


class RunningRewards:
    """Rewards from what is measured of each response: as it is where it shall be large; where it shall be small, whether it is
    below its mean over all responses so far, these included.

    Parameters
    ----------
    maximize : sequence of bool, shape (K,)
        Which of the objectives shall be large.

    Attributes
    ----------
    totals : array, shape (K,)
        Sums over all responses so far.
    count : int
        Responses so far.

    Examples
    --------
    >>> from lib.policies.dynamic_reward_weighting import RunningRewards
    >>> rewards = RunningRewards(maximize=[True, False])
    >>> rewards([[1.0, 10.0], [0.0, 20.0]]).tolist()
    [[1.0, 1.0], [0.0, 0.0]]
    """

    def __init__(self, maximize: Any) -> None:
        self.maximize = directions(maximize)
        self.totals, self.count = np.zeros(len(self.maximize)), 0

    def __call__(self, measured: Any) -> np.ndarray:
        """Rewards, shape (n, K), of responses whose objectives measure (n, K); the means take them in first."""
        given = checks.array("measured", measured, shape=(None, len(self.maximize))).astype(float)
        with np.errstate(over="ignore"):
            totals = self.totals + given.sum(0)
        if not np.isfinite(totals).all():
            raise ValueError(f"measured must have sums that are finite, got up to {abs(given).max():.3g}")
        self.totals, self.count = totals, self.count + len(given)
        mean = self.totals / self.count
        short = given < mean - _ROUNDING * abs(mean)  # (2)
        return np.where(self.maximize, given, short)


def directions(maximize: Any, n: int | None = None) -> np.ndarray:
    """Which objectives shall be large, as an array of booleans, shape (K,)."""
    try:
        given = np.asarray(maximize)
    except ValueError:  # rows of different lengths
        given = np.empty(0)
    if given.dtype != bool or given.ndim != 1 or not given.size or (n is not None and len(given) != n):
        raise ValueError(f"maximize must hold {n or 'at least one'} of True and False, got {checks.shown(maximize)}")
    return given.copy()
