"""Fresh samples of a policy: pass rates, pass@k, entropy, truncation."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Protocol

import numpy as np
import torch
from torch import Tensor

from lib import checks
from lib.networks import Rollouts, Transformer, generate, response_log_probs
from lib.policies.drive.groups import pass_at_k
from lib.policies.drive.tasks import CheckResult

#: Samples that are drawn together.
CHUNK = 512


class Task(Protocol):
    """What a policy is trained on; `ProgramTask` is one.

    end, pad : tokens of the end of an answer and of padding
    prompt(problem) : its tokens
    check(problem, tokens, hidden) : what the tests say of an answer
    """

    end: int
    pad: int

    def prompt(self, problem: Any) -> list[int]: ...
    def check(self, problem: Any, tokens: Sequence[int], hidden: bool = False) -> CheckResult: ...


@dataclass(frozen=True)
class Evaluation:
    """What fresh samples of each problem showed.

    successes : right answers of each problem, shape (N,)
    samples : drawn of each
    entropy : mean over tokens of the policy's entropy, in nats, on its own samples; NaN where it was not asked for
    truncated : share of answers that the window cut off
    length : mean tokens of an answer
    errors : how many answers failed with each kind of error; wrong outputs count as "wrong"
    """

    successes: np.ndarray
    samples: int
    entropy: float
    truncated: float
    length: float
    errors: dict[str, int]

    @property
    def pass_rates(self) -> np.ndarray:
        """Share of right answers of each problem: an estimate of pass@1, the paper's avg@1."""
        return self.successes / self.samples

    def pass_at(self, k: int) -> np.ndarray:
        """Unbiased pass@k of each problem."""
        return np.asarray(pass_at_k(self.samples, self.successes, k))


def draw_answers(
    policy: Transformer, task: Task, problems: Sequence[Any], samples: int, max_new: int, temperature: float, rng: Any
) -> Rollouts:
    """Samples of each problem, one after the other."""
    prompts = [prompt for problem in problems for prompt in [task.prompt(problem)] * samples]
    return generate(policy, prompts, max_new, end=task.end, pad=task.pad, temperature=temperature, seed=rng)


def checked(task: Task, problems: Sequence[Any], drawn: Rollouts, samples: int, hidden: bool = False) -> list[CheckResult]:
    """What the tests say of each answer; padding is cut off, the end token stays."""
    rows = zip(drawn.responses.tolist(), drawn.lengths.tolist(), strict=True)
    return [task.check(problems[i // samples], row[:length], hidden) for i, (row, length) in enumerate(rows)]


def entropy_of(policy: Transformer, states: Tensor, mask: Tensor, pad: int | None, temperature: float) -> float:
    """Mean entropy of the policy over the tokens that count, from the states before them."""
    with torch.no_grad():
        scores = policy.logits(states[mask])
        if pad is not None:  # it is never drawn
            scores = torch.cat([scores[:, :pad], scores[:, pad + 1 :]], 1)
        logs = (scores / temperature).log_softmax(1)
        return float(-(logs.exp() * logs).sum(1).mean())


def token_entropy(policy: Transformer, rollouts: Rollouts, temperature: float = 1.0) -> float:
    """Mean entropy, in nats, of a policy over the tokens of sampled answers, the end token included.

    Parameters
    ----------
    policy : Transformer
    rollouts : Rollouts
        Drawn from this policy; entropies are compared on the same prompts and at the same temperature only.
    temperature : float
        That of the draws, above 0.

    Examples
    --------
    >>> from lib.networks import Transformer, generate
    >>> from lib.policies.drive import token_entropy
    >>> model = Transformer(vocab_size=10, context=8, width=16, n_heads=2, seed=0)
    >>> round(token_entropy(model, generate(model, [[1, 2]], max_new=4, end=9, pad=0, seed=0)), 1)
    2.2
    """
    temperature = checks.positive("temperature", temperature)
    with torch.no_grad():
        _, states = response_log_probs(policy, rollouts, temperature)
    return entropy_of(policy, states, rollouts.mask, rollouts.pad, temperature)


def evaluate(
    policy: Transformer, task: Task, problems: Sequence[Any], samples: Any = 16, max_new: Any = 44, *, temperature: Any = 1.0,
    hidden: Any = True, entropy: Any = True, seed: Any = None,
) -> Evaluation:  # fmt: skip
    """Draw fresh samples of each problem and run them.

    Parameters
    ----------
    policy : Transformer
    task : Task
    problems : sequence
        Not empty.
    samples : int
        Of each problem. At least 16 where the hardest are to be told: with 8, a problem of pass rate 0.1 looks unsolvable
        with probability 0.43.
    max_new : int
        Window: longest answer; a longer one is cut off and fails.
    temperature : float
        Above 0; 1 by default.
    hidden : bool
        Whether hidden tests are run too, so that a program that only fits the visible ones fails. True by default.
    entropy : bool
        Whether the entropy is measured, which takes a third of the time. True by default.
    seed : None, int or Generator

    Returns
    -------
    Evaluation

    Raises
    ------
    TypeError, ValueError
        For arguments out of range.

    Examples
    --------
    >>> from lib.networks import Transformer
    >>> from lib.policies.drive import Problem, ProgramTask, evaluate
    >>> task = ProgramTask([Problem(("all", "same", "sum"))])
    >>> policy = Transformer(task.vocab_size, context=16, width=16, n_heads=2, seed=0)
    >>> evaluate(policy, task, task.problems, samples=4, max_new=8, seed=0).successes.tolist()
    [0]
    """
    samples, max_new = checks.integer("samples", samples, low=1), checks.integer("max_new", max_new, low=1)
    temperature, rng = checks.positive("temperature", temperature), checks.generator("seed", seed)
    hidden, entropy = checks.boolean("hidden", hidden), checks.boolean("entropy", entropy)
    problems = list(problems)
    if not problems:
        raise ValueError("problems must hold at least one, got none")
    each, results, entropies, lengths = max(1, CHUNK // samples), [], [], []
    for start in range(0, len(problems), each):
        some = problems[start : start + each]
        drawn = draw_answers(policy, task, some, samples, max_new, temperature, rng)
        results += checked(task, some, drawn, samples, hidden)
        tokens = int(drawn.lengths.sum())
        entropies.append(tokens * (token_entropy(policy, drawn, temperature) if entropy else float("nan")))
        lengths.append(tokens)
    passed = np.array([result.passed for result in results]).reshape(len(problems), samples)
    errors: dict[str, int] = {}
    for result in results:
        if not result.passed:
            errors[result.error or "wrong"] = errors.get(result.error or "wrong", 0) + 1
    return Evaluation(
        passed.sum(1), samples, sum(entropies) / sum(lengths), errors.get("truncated", 0) / len(results),
        sum(lengths) / len(results), errors,
    )  # fmt: skip
