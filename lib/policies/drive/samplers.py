"""Which prompts come next: uniform, the hardest, only informative groups, or those that are half solved."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from lib import checks

#: Phases of the paper's second stage: problems kept and steps; 64 rollouts of each prompt.
PAPER_PHASES = ((72, 64), (50, 32), (25, 32))


def hardest(pass_rates: Any, keep: Any, above: Any = None, below: Any = None) -> np.ndarray:
    """Places of the lowest pass rates, hardest first; of equal ones the first come first.

    Parameters
    ----------
    pass_rates : array_like, shape (n,)
        From 0 to 1.
    keep : int
        How many at most, at least 1.
    above, below : float, optional
        Only rates strictly above and below these: ``above=0`` leaves out problems that were never solved, which give no
        gradient. The paper keeps them: None.

    Returns
    -------
    array of int
        At most `keep` places; fewer where fewer are left.

    Raises
    ------
    TypeError, ValueError
        For arguments out of range.

    Examples
    --------
    >>> from lib.policies.drive import hardest
    >>> hardest([0.5, 0.0, 0.25, 0.25], keep=3).tolist()
    [1, 2, 3]
    >>> hardest([0.5, 0.0, 0.25, 0.25], keep=2, above=0).tolist()
    [2, 3]
    """
    rates, keep = checks.array("pass_rates", pass_rates, ndim=1, low=0, high=1), checks.integer("keep", keep, low=1)
    allowed = np.ones(len(rates), dtype=bool)
    if above is not None:
        allowed &= rates > checks.probability("above", above)
    if below is not None:
        allowed &= rates < checks.probability("below", below)
    order = np.argsort(rates, kind="stable")
    return order[allowed[order]][:keep]  # Algorithm 1: the k problems of lowest pass rate


class PromptSampler:
    """Base class: a pool of problems, of which `draw` gives the next prompts.

    Subclasses override `draw` or `weights`; `observe` tells them how a group went, `accepts` whether it is trained on.

    Parameters
    ----------
    pool : sequence
        Problems, not empty.

    Raises
    ------
    ValueError
        For an empty pool.

    Examples
    --------
    >>> import numpy as np
    >>> from lib.policies.drive import PromptSampler
    >>> sorted(PromptSampler("abc").draw(3, np.random.default_rng(0)))
    ['a', 'b', 'c']
    """

    #: How often at most a step draws prompts until it has enough accepted groups.
    max_draws = 1

    def __init__(self, pool: Sequence[Any]) -> None:
        self.pool = tuple(pool)
        if not self.pool:
            raise ValueError("pool must hold at least one problem, got none")

    def weights(self) -> np.ndarray | None:
        """Relative probability of each problem of the pool; None for all alike."""
        return None

    def draw(self, n: int, rng: Any) -> list[Any]:
        """The next n prompts: different ones as long as the pool has enough, else in turns."""
        n, rng = checks.integer("n", n, low=1), checks.generator("rng", rng)
        weights, whole, size = self.weights(), [], len(self.pool)
        if weights is None:  # the whole pool as often as it fits, then some
            whole, n = list(self.pool) * (n // size), n % size
        chance = None if weights is None else weights / weights.sum()
        places = rng.choice(size, size=n, replace=n > size, p=chance)
        return whole + [self.pool[place] for place in places]

    def observe(self, problem: Any, successes: int, tries: int) -> None:
        """What a group of samples of a problem showed."""

    def accepts(self, successes: float, tries: int) -> bool:
        """Whether a group is trained on."""
        return True


class Uniform(PromptSampler):
    """All problems alike: stage 1 of the paper.

    Parameters
    ----------
    pool : sequence
        Problems, not empty.

    Examples
    --------
    >>> import numpy as np
    >>> from lib.policies.drive import Uniform
    >>> len(Uniform(range(10)).draw(4, np.random.default_rng(0)))
    4
    """


class HardFocus(PromptSampler):
    """Only the problems with the lowest pass rates: a phase of stage 2 of the paper.

    Parameters
    ----------
    pool : sequence
        Problems, not empty.
    keep : int
        How many are kept; all where the pool has fewer.
    estimator : function or array_like
        ``estimator(pool)`` returns pass rates, or the rates themselves, shape (n,): measured on fresh samples, at least 16
        for each problem, or the hardest are mostly unlucky.
    above, below : float, optional
        As for `hardest`.

    Attributes
    ----------
    pool : tuple
        The kept problems, hardest first.
    pass_rates : array
        Theirs.

    Raises
    ------
    TypeError, ValueError
        For arguments out of range, or if no problem is left.

    Examples
    --------
    >>> from lib.policies.drive import HardFocus
    >>> HardFocus("abcd", 2, [0.5, 0.0, 0.25, 0.25]).pool
    ('b', 'c')
    """

    def __init__(
        self, pool: Sequence[Any], keep: Any, estimator: Callable[..., Any] | Any, above: Any = None, below: Any = None
    ) -> None:
        super().__init__(pool)
        rates = checks.array("estimator", estimator(self.pool) if callable(estimator) else estimator, ndim=1, low=0, high=1)
        if len(rates) != len(self.pool):
            raise ValueError(f"estimator must give one pass rate for each of {len(self.pool)} problems, got {len(rates)}")
        kept = hardest(rates, keep, above, below)
        if not len(kept):
            raise ValueError(f"above and below leave no problem of {len(self.pool)}")
        self.pool, self.pass_rates = tuple(self.pool[place] for place in kept), rates[kept]


class DynamicSampling(PromptSampler):
    """Draw until every group of a step is informative (dynamic sampling of DAPO, Yu et al. 2025); discarded samples count.

    Parameters
    ----------
    pool : sequence
        Problems, not empty.
    max_draws : int
        How often at most a step draws; then it goes on with what it has.

    Examples
    --------
    >>> from lib.policies.drive import DynamicSampling
    >>> sampler = DynamicSampling("abc", max_draws=3)
    >>> sampler.accepts(0, 8), sampler.accepts(1, 8), sampler.accepts(8, 8)
    (False, True, False)
    """

    def __init__(self, pool: Sequence[Any], max_draws: Any = 8) -> None:
        super().__init__(pool)
        self.max_draws = checks.integer("max_draws", max_draws, low=1)

    def accepts(self, successes: float, tries: int) -> bool:
        """Whether a group holds both a success and a failure."""
        return 0 < successes < tries


class Priority(PromptSampler):
    """Problems in proportion to p(1 - p), with p estimated from the groups seen so far.

    Parameters
    ----------
    pool : sequence
        Problems, not empty, of a kind that can be looked up.
    memory : float
        By what factor an older observation counts less at each new one, from 0 to 1.
    prior : float
        Successes and failures that a problem starts with: with none seen all problems are alike.

    Raises
    ------
    TypeError, ValueError
        For arguments out of range.

    Examples
    --------
    >>> from lib.policies.drive import Priority
    >>> sampler = Priority("ab")
    >>> sampler.observe("a", 0, 64)
    >>> sampler.weights().round(3).tolist()
    [0.015, 0.25]
    """

    def __init__(self, pool: Sequence[Any], memory: Any = 0.5, prior: Any = 1.0) -> None:
        super().__init__(pool)
        self.memory, self.prior = checks.probability("memory", memory), checks.positive("prior", prior)
        self.counts = dict.fromkeys(self.pool, (0.0, 0.0))

    def observe(self, problem: Any, successes: int, tries: int) -> None:
        """Add what a group of samples of a problem showed: so many successes, from 0 to `tries`."""
        if problem not in self.counts:
            raise ValueError(f"problem must be one of the pool, got {checks.shown(problem)}")
        tries = checks.integer("tries", tries, low=1)
        successes = checks.integer("successes", successes, low=0, high=tries)
        before = self.counts[problem]
        self.counts[problem] = self.memory * before[0] + successes, self.memory * before[1] + tries

    def weights(self) -> np.ndarray:
        """p(1 - p) of each problem."""
        seen = np.array([self.counts[problem] for problem in self.pool])
        rates = (seen[:, 0] + self.prior) / (seen[:, 1] + 2 * self.prior)
        return rates * (seen[:, 1] - seen[:, 0] + self.prior) / (seen[:, 1] + 2 * self.prior)


@dataclass(frozen=True)
class PreGRPOSchedule:
    """The second stage's curriculum: in each phase measure pass rates, keep the hardest problems, train on them.

    phases : pairs of problems kept and steps; the paper's are (72, 64), (50, 32), (25, 32)
    rollouts : samples of each prompt; the paper's abstract and set-up say 64, its section 3 says 80
    above, below : pass rates that a problem must lie strictly between; the paper sets no such limits
    """

    phases: tuple[tuple[int, int], ...] = PAPER_PHASES
    rollouts: int = 64
    above: float | None = None
    below: float | None = None

    def __post_init__(self) -> None:
        try:
            pairs = [(keep, steps) for keep, steps in self.phases]
        except (TypeError, ValueError):
            text = "phases must hold pairs of problems and steps, such as ((72, 64), (50, 32))"
            raise ValueError(f"{text}, got {checks.shown(self.phases)}") from None
        if not pairs:
            raise ValueError("phases must hold at least one pair of problems and steps, got none")
        whole = [
            (checks.integer("problems kept in phases", keep, low=1), checks.integer("steps in phases", steps, low=0))
            for keep, steps in pairs
        ]
        object.__setattr__(self, "phases", tuple(whole))
        checks.integer("rollouts", self.rollouts, low=2)
        for name in ("above", "below"):
            if getattr(self, name) is not None:
                checks.probability(name, getattr(self, name))

    def select(self, pass_rates: Any, phase: int = 0) -> np.ndarray:
        """Places of the problems that a phase keeps, hardest first; see `hardest`."""
        phase = checks.integer("phase", phase, low=0, high=len(self.phases) - 1)
        return hardest(pass_rates, self.phases[phase][0], self.above, self.below)
