"""Problems, prompts, and the reward: 1 where a program passes all tests, else 0."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from functools import lru_cache

from lib import checks
from lib.policies.drive.language import END, HIDDEN, PAD, TESTS, VOCABULARY, Problem, text_of
from lib.policies.drive.sandbox import Failure, Limits, run_sandboxed

LIMITS = Limits()


@dataclass(frozen=True)
class CheckResult:
    """What the tests say of a program: whether all passed, how many did, and why it gave no outputs, else "".

    `error` is one of the kinds of `Failure`, or "truncated" for an answer without an end token.
    """

    passed: bool
    n_passed: int
    error: str = ""


def _run(source: str, hidden: bool) -> tuple[object, ...] | Failure:
    found = run_sandboxed(source, TESTS + HIDDEN if hidden else TESTS, LIMITS)
    return found if isinstance(found, Failure) else tuple(found)


@lru_cache(maxsize=2**16)
def _cached_run(source: str, hidden: bool) -> tuple[object, ...] | Failure:
    return _run(source, hidden)


@lru_cache(maxsize=2**14)
def _wanted(problem: Problem, hidden: bool) -> tuple[int, ...]:
    return problem.outputs(TESTS + HIDDEN if hidden else TESTS)


class ProgramTask:
    """Problems of the small language and their tests; programs really run, in the sandbox.

    Parameters
    ----------
    problems : sequence of Problem
        Not empty.
    cache : bool
        Whether a program that was seen before is looked up by its text: sampled programs repeat a lot.

    Raises
    ------
    TypeError, ValueError
        For anything else.

    Examples
    --------
    >>> from lib.policies.drive import Problem, ProgramTask
    >>> task = ProgramTask([Problem(("even", "square", "sum"))])
    >>> task.reference(task.problems[0])
    'sum ( [ v * v for v in x if v % 2 == 0 ] )'
    >>> task.check(task.problems[0], task.problems[0].answer)
    CheckResult(passed=True, n_passed=10, error='')
    """

    #: Tokens of the end and of padding, and how many there are.
    end, pad, vocab_size = END, PAD, len(VOCABULARY)

    def __init__(self, problems: Iterable[Problem], cache: bool = True) -> None:
        self.problems = tuple(problems)
        if not self.problems or not all(isinstance(problem, Problem) for problem in self.problems):
            raise ValueError(f"problems must hold at least one Problem and nothing else, got {checks.shown(self.problems)}")
        self.cache = checks.boolean("cache", cache)

    @property
    def prompts(self) -> list[list[int]]:
        """Tokens of each problem's specification."""
        return [problem.prompt for problem in self.problems]

    @property
    def difficulty(self) -> list[str]:
        """ "easy", "medium" or "hard", for each problem."""
        return [problem.level for problem in self.problems]

    def prompt(self, problem: Problem) -> list[int]:
        """Tokens of a specification, ending with the token that starts an answer."""
        return problem.prompt

    def reference(self, problem: Problem) -> str:
        """A right program."""
        return problem.source

    def check(self, problem: Problem, tokens: Sequence[int], hidden: bool = False) -> CheckResult:
        """Run an answer on the problem's tests; hidden ones too where asked, which no training should see.

        Parameters
        ----------
        problem : Problem
        tokens : sequence of int
            Of the answer; what follows the first end token does not count. Without an end token nothing is run: the answer
            was cut off and fails.
        hidden : bool
        """
        tokens = list(tokens)
        if END not in tokens:
            return CheckResult(False, 0, "truncated")
        return self.check_source(problem, text_of(tokens), hidden)

    def check_source(self, problem: Problem, source: str, hidden: bool = False) -> CheckResult:
        """Run a program on the problem's tests."""
        found = (_cached_run if self.cache else _run)(source, checks.boolean("hidden", hidden))
        if isinstance(found, Failure):
            return CheckResult(False, 0, found.kind)
        wanted = _wanted(problem, hidden)
        right = sum(type(output) is int and output == target for output, target in zip(found, wanted, strict=True))
        return CheckResult(right == len(wanted), right)

    def reward(self, problem: Problem, tokens: Sequence[int]) -> float:
        """1.0 where the answer passes all tests that give the reward, else 0.0."""
        return float(self.check(problem, tokens).passed)
