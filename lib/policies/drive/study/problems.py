"""Which problems are for demonstrations, for reinforcement learning and for tests: apart by words and by behavior."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cache
from typing import Any

from lib import checks
from lib.policies.drive.language import FILTERS, JOINS, LEVELS, MAPS, REDUCERS, TESTS, TOKEN, Problem, is_degenerate, singles

#: Held-out problems of each level, and problems with demonstrations for the base policy.
HELD_OUT = {"easy": 16, "medium": 32, "hard": 64}
DEMONSTRATED = {"easy": 12, "medium": 30, "hard": 40}
#: Hard problems that only the second stage trains on.
POOL = 120


@dataclass(frozen=True)
class Problems:
    """A division of problems; no two of them behave alike, on the lists that give the reward.

    demonstrated : the base policy has seen (noisy) solutions of these
    training : for reinforcement learning; the demonstrated ones are among them
    held_out : for evaluation only, by level

    Examples
    --------
    >>> from lib.policies.drive import study
    >>> [problem.level for problem in study.problems().tests(1)]
    ['easy', 'medium', 'hard']
    """

    demonstrated: tuple[Problem, ...]
    training: tuple[Problem, ...]
    held_out: dict[str, tuple[Problem, ...]]

    def broad(self, n: int) -> list[Problem]:
        """The broad set of stage 1: up to n easy and medium problems, and hard ones that are not in the pool for the rest."""
        short = [p for p in self.training if p.level != "hard"][: checks.integer("n", n, low=1) // 2]
        return [*short, *self._hard(POOL, n - len(short))]

    def pool(self, n: int) -> list[Problem]:
        """The first n hard problems of the second stage, at most 120."""
        return self._hard(0, checks.integer("n", n, low=1, high=POOL))

    def _hard(self, start: int, n: int) -> list[Problem]:
        found = [p for p in self.training if p.level == "hard"][start:]
        if n > len(found):
            raise ValueError(f"n asks for {n} hard problems, there are {len(found)}")
        return found[:n]

    def tests(self, n: int) -> list[Problem]:
        """The first n held-out problems of each level, or all that a level has."""
        return [p for level in LEVELS for p in self.held_out[level][: checks.integer("n", n, low=1)]]


@cache
def problems(seed: int = 0, n_hard: int = 400) -> Problems:
    """All easy and medium problems, and a draw of hard ones, divided once.

    Problems whose right output is nearly constant are dropped, and of several that behave alike the first stays.

    Parameters
    ----------
    seed : int
        Of the division.
    n_hard : int
        Hard problems for training, beside the held-out ones.

    Raises
    ------
    TypeError, ValueError
        For arguments out of range.

    Examples
    --------
    >>> from lib.policies.drive import study
    >>> len(study.problems().held_out["hard"])
    64
    """
    rng, n_hard = checks.generator("seed", seed), checks.integer("n_hard", n_hard, low=POOL + DEMONSTRATED["hard"], high=5000)
    kept: dict[str, list[Problem]] = {level: [] for level in LEVELS}
    seen: set[tuple[int, ...]] = set()

    def keep(problem: Problem) -> None:
        outputs = problem.outputs(TESTS)
        if outputs not in seen and not is_degenerate(problem):
            seen.add(outputs)
            kept[problem.level].append(problem)

    alone = singles()
    for index in rng.permutation(len(alone)):
        keep(alone[index])
    slots = [list(words) for words in (FILTERS, MAPS, REDUCERS, JOINS, FILTERS, MAPS, REDUCERS)]
    while len(kept["hard"]) < n_hard + HELD_OUT["hard"]:
        keep(Problem(tuple(str(rng.choice(words)) for words in slots)))
    test = {level: tuple(kept[level][: HELD_OUT[level]]) for level in LEVELS}
    rest = {level: kept[level][HELD_OUT[level] :] for level in LEVELS}
    shown = [p for level in LEVELS for p in rest[level][: DEMONSTRATED[level]]]
    single = [p for level in ("easy", "medium") for p in rest[level]]
    single = [single[i] for i in rng.permutation(len(single))]
    # Demonstrated hard problems come last: the policies of the second stage meet problems without demonstrations.
    hard = [*rest["hard"][DEMONSTRATED["hard"] :], *rest["hard"][: DEMONSTRATED["hard"]]]
    return Problems(tuple(shown), (*single, *hard), test)


def demonstration(problem: Problem, rng: Any, wrong: float = 0.25, wordy: float = 0.3) -> list[int]:
    """A noisy solution: with probability `wrong` that of a problem with another word, with probability `wordy` zeros in front.

    Parameters
    ----------
    problem : Problem
    rng : int or Generator
    wrong, wordy : float
        Probabilities. Zeros are one to four times "0 +", which changes no output and takes two tokens each.

    Raises
    ------
    TypeError, ValueError
        For probabilities out of range.

    Examples
    --------
    >>> from lib.policies.drive import study
    >>> problem = study.problems().demonstrated[0]
    >>> study.demonstration(problem, 0, wrong=0, wordy=0) == problem.answer
    True
    """
    wrong, wordy = checks.probability("wrong", wrong), checks.probability("wordy", wordy)
    rng = checks.generator("rng", rng)
    slots = [list(words) for words in (FILTERS, MAPS, REDUCERS, JOINS, FILTERS, MAPS, REDUCERS)]
    words = list(problem.words)
    if rng.random() < wrong:
        place = int(rng.integers(len(words)))
        words[place] = str(rng.choice([word for word in slots[place] if word != words[place]]))
    zeros = int(rng.integers(1, 5)) if rng.random() < wordy else 0
    return [*([TOKEN["0"], TOKEN["+"]] * zeros), *Problem(tuple(words)).answer]
