"""Min-max optimization of a policy against weighted, moving instances."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import torch
from numpy.typing import ArrayLike, NDArray
from scipy.optimize import OptimizeResult

from lib import checks
from lib.callbacks import asks_to_stop
from lib.online.learned_active_learning.attack import ascend, losses_and_slopes
from lib.online.learned_active_learning.hardness import complexity
from lib.online.learned_active_learning.lattice import Lattice
from lib.online.learned_active_learning.policy import QueryPolicy, TablePolicy, normalized
from lib.online.learned_active_learning.problem import BanditProblem
from lib.online.learned_active_learning.rollouts import instance_scores, policy_surrogate, rollout

Array = NDArray[np.float64]


class MAPO:
    """Min-max adaptive policy optimization: a policy descends, weights and instances ascend.

    Parameters
    ----------
    problem : BanditProblem
        Queries, hypotheses and loss.
    budget : int
        Number of queries that are asked.
    thetas : array_like, shape (M, n)
        First instances, entries between -1 and 1, or of any size where answers are Gaussian. May be negative.
    limits : float or array_like, shape (M,), optional
        Largest complexity of each instance, kept while they move; default their own.
    offsets : float or array_like, shape (M,)
        What is subtracted from each loss: 0 for a specialist, the levels' values for the robust policy. May be negative.
    policy : QueryPolicy, optional
        Where to start; it is copied. Default a new one of `hidden` units.
    rollouts : {"exact", "sampled"}
        All histories at once with their probabilities (small tasks and answers of -1 or 1 only), or `batch` sampled episodes.
    iterations : int
        Length of training, over which the step size falls to 0.
    lr : float
        First step size of Adam.
    rate, forget, mix : float
        Of the weights, (9): step, for losses of about 1 (divide it by a regret's unit), decay, and the uniform share. A rate
        of 0 weighs all instances equally: no adversary.
    move, every : float, int
        Length of the instances' first step, and iterations between steps; they shrink to 0 as the policy's do. A length of 0
        leaves the instances where they are.
    movers : float
        Share of the instances that move, spread evenly; the others hold the class covered.
    batch : int
        Sampled episodes in one iteration.
    hidden : int
        Width of a new policy.
    seed : int or Generator, optional
        Of first weights and episodes.

    Attributes
    ----------
    policy : QueryPolicy
        The policy so far.
    thetas, weights : array, shapes (M, n) and (M,)
        Instances, and their probabilities.
    losses : array, shape (M,)
        Their losses: exact, or running means.
    history : list of float
        The largest loss minus offset of each iteration.

    Examples
    --------
    >>> from lib.online.learned_active_learning import MAPO, thresholds
    >>> mapo = MAPO(thresholds(1), budget=3, thetas=[[0.5], [-0.5]], iterations=40, hidden=4, seed=0).run()
    >>> round(float(mapo.losses.max()), 2)
    0.16
    """

    def __init__(
        self,
        problem: BanditProblem,
        budget: int,
        thetas: ArrayLike,
        limits: ArrayLike | None = None,
        offsets: ArrayLike | float = 0.0,
        policy: QueryPolicy | None = None,
        rollouts: str = "exact",
        iterations: int = 400,
        lr: float = 0.02,
        rate: float = 0.1,
        forget: float = 0.01,
        mix: float = 0.1,
        move: float = 0.0,
        every: int = 10,
        movers: float = 0.5,
        batch: int = 512,
        hidden: int = 32,
        seed: Any = None,
    ) -> None:
        self.problem, self.budget = problem, checks.integer("budget", budget, low=1, high=100_000)
        self.thetas: Array = problem.instances("thetas", thetas).copy()
        M = len(self.thetas)
        self.offsets = _spread("offsets", offsets, M)
        self.limits = complexity(self.thetas, problem)[0] * 1.01 if limits is None else _spread("limits", limits, M, above=0)
        self.rollouts = checks.choice("rollouts", rollouts, ("exact", "sampled"))
        self.iterations = checks.integer("iterations", iterations, low=1)
        self.lr, self.rate = checks.positive("lr", lr), checks.number("rate", rate, low=0)
        self.forget, self.mix = checks.probability("forget", forget), checks.probability("mix", mix)
        self.move, self.every = checks.number("move", move, low=0, high=2), checks.integer("every", every, low=1)
        share = checks.probability("movers", movers)
        self.moving = np.flatnonzero(np.diff(np.floor(np.arange(M + 1) * share + 1e-9)) > 0)
        self.batch = checks.integer("batch", batch, low=1, high=1_000_000)
        self.rng = checks.generator("seed", seed)
        hidden = checks.integer("hidden", hidden, low=1, high=10_000)
        self.policy = QueryPolicy(problem, self.budget, hidden, self.rng)
        if policy is not None:
            self.policy = _copied(policy, problem, self.budget)
        self.optimizer = torch.optim.Adam(self.policy.parameters(), lr=self.lr)
        self.lattice = Lattice(problem, self.budget) if rollouts == "exact" else None
        self.logits, self.losses, self._seen = np.zeros(M), np.full(M, np.nan), np.zeros(M)
        self._slopes = np.zeros_like(self.thetas)
        self.history: list[float] = []
        if self.lattice is not None:
            self._flows = np.zeros_like(self.lattice.counts)
            last = self.lattice.layer(self.budget)
            self._finals = np.zeros((last.stop - last.start, problem.n_hypotheses))
        self._prepare()

    @property
    def weights(self) -> Array:
        """The adversary's probabilities of the instances."""
        soft = np.exp(self.logits - self.logits.max())
        return (1 - self.mix) * soft / soft.sum() + self.mix / len(soft)  # (9)

    def run(self, iterations: int | None = None, callback: Callable[..., Any] | None = None) -> MAPO:
        """Train on, to the end or for some iterations; a second call goes on where the first one stopped.

        Parameters
        ----------
        iterations : int, optional
            At most that many.
        callback : callable, optional
            ``callback(intermediate_result)`` after each iteration, with ``x`` (the instances), ``fun`` (the largest loss minus
            offset) and ``nit``; a true answer or StopIteration ends the run.
        """
        left = self.iterations - len(self.history)
        count = left if iterations is None else min(left, checks.integer("iterations", iterations, low=1))
        if callback is not None:
            checks.function("callback", callback)
        for _ in range(count):
            self.step()
            if callback is not None:
                state = OptimizeResult(x=self.thetas.copy(), fun=self.history[-1], nit=len(self.history))
                if asks_to_stop(callback, state):
                    break
        return self

    def step(self) -> None:
        """One iteration: gradients, the policy's step, the weights' step and, now and then, the instances' step."""
        if len(self.history) >= self.iterations:
            raise ValueError(f"training has ended after iterations={self.iterations}")
        for group in self.optimizer.param_groups:
            group["lr"] = self.lr * (1 - len(self.history) / self.iterations)
        value = self._exact() if self.lattice is not None else self._sampled()
        self.optimizer.zero_grad()
        value.backward()
        torch.nn.utils.clip_grad_norm_(self.policy.parameters(), 1.0)
        self.optimizer.step()  # (6)
        excess = self._excess()
        self.logits = (1 - self.forget) * self.logits + self.rate * (excess - excess.mean())  # (9)
        self.history.append(float(excess.max()))
        if self.move > 0 and len(self.history) % self.every == 0:
            self._move()

    def average(self) -> TablePolicy:
        """The average of the policies of the second half of training, as a table: its losses are their average losses.

        Raises
        ------
        ValueError
            Before half of the training, or with sampled episodes.
        """
        if self.lattice is None or len(self.history) <= self.iterations // 2:
            raise ValueError("an average needs exact rollouts and more than half of the iterations")
        return TablePolicy(self.lattice, normalized(self._flows), normalized(self._finals))

    def answer(self) -> Any:
        """What training hands over: the average with exact rollouts, the last network with sampled ones."""
        return self.policy if self.lattice is None else self.average()

    def instance_losses(self) -> Array:
        """Losses of `answer` on the instances, shape (M,): exact, or the running means."""
        return self.losses if self.lattice is None else self.lattice.losses(self.answer(), self.thetas)

    def _excess(self) -> Array:
        """Losses minus offsets; an instance that was never played counts as the mean of the others."""
        seen = np.isfinite(self.losses)
        excess = self.losses - self.offsets
        return np.where(seen, excess, excess[seen].mean())

    def _prepare(self) -> None:
        self._costs = self.problem.losses(self.thetas)
        if self.lattice is not None:
            self._likelihood = self.lattice.likelihood(self.thetas)

    def _ends(self) -> tuple[torch.Tensor, torch.Tensor]:
        assert self.lattice is not None
        lattice = self.lattice
        queries, decisions = self.policy(torch.as_tensor(lattice.counts), torch.as_tensor(lattice.sums))
        return torch.softmax(queries, dim=1), torch.softmax(decisions[lattice.layer(lattice.budget)], dim=1)

    def _exact(self) -> torch.Tensor:
        assert self.lattice is not None
        queries, decisions = self._ends()
        reach = self.lattice.reach(queries)
        ends = reach[self.lattice.layer(self.budget), None] * decisions
        if len(self.history) >= self.iterations // 2:
            self._flows += (reach[:, None] * queries).detach().numpy()
            self._finals += ends.detach().numpy()
        told = self._likelihood.T @ ends
        losses = (told * torch.as_tensor(self._costs)).sum(1)  # (15)
        self.losses = losses.detach().numpy().copy()
        return torch.as_tensor(self.weights) @ losses  # (6)

    def _sampled(self) -> torch.Tensor:
        who = self.rng.choice(len(self.thetas), self.batch, p=self.weights)
        played = rollout(self.policy, self.problem, self.thetas[who], self.budget, self.rng)
        known = np.where(np.isfinite(self.losses), self.losses, np.nanmean(self.losses) if self._seen.any() else 0.0)
        value, losses = policy_surrogate(self.policy, played, self._costs[who], known[who])
        if self.move > 0:
            slopes = (losses - known[who])[:, None] * instance_scores(played, self.thetas[who])  # (8)
            if self.problem.loss == "regret":
                slopes += self.problem.Z[self.problem.best(self.thetas[who])] - played.decisions @ self.problem.Z
            np.add.at(self._slopes, who, slopes)
        sums, plays = np.zeros(len(self.thetas)), np.bincount(who, minlength=len(self.thetas))
        np.add.at(sums, who, losses)
        new = plays > 0
        mean = sums[new] / plays[new]
        share = plays[new] / np.minimum(self._seen[new] + plays[new], 60.0)  # a running mean over some sixty episodes
        old = np.where(np.isfinite(self.losses[new]), self.losses[new], mean)
        self.losses[new] = old + np.minimum(share, 1.0) * (mean - old)
        self._seen[new] += plays[new]
        return value

    def _move(self) -> None:
        slopes = self._slopes
        if self.lattice is not None:
            with torch.no_grad():
                ends = self.lattice.ends(*self._ends())
            _, slopes = losses_and_slopes(self.lattice, ends, self.thetas)  # (8), exact
        length = self.move * (1 - len(self.history) / self.iterations)  # shrinks with the policy's own steps
        at = self.moving
        self.thetas[at] = ascend(self.thetas[at], slopes[at], length, self.limits[at], self.problem)  # (6)
        self._slopes = np.zeros_like(self.thetas)
        self._prepare()


def _spread(name: str, value: Any, count: int, above: float | None = None) -> Array:
    given = checks.array(name, value, ndim=(0, 1), above=above).astype(float)
    return checks.array(name, np.full(count, given) if given.ndim == 0 else given, shape=(count,)).copy()


def _copied(policy: QueryPolicy, problem: BanditProblem, budget: int) -> QueryPolicy:
    if not isinstance(policy, QueryPolicy):
        raise TypeError(f"policy must be a QueryPolicy, got {checks.shown(policy)}")
    if policy.budget != budget or not np.array_equal(policy.problem.Z, problem.Z):
        raise ValueError("policy must be one for this problem and budget")
    copy = QueryPolicy(problem, budget, policy.layers[1].in_features, 0)  # type: ignore[arg-type]
    copy.load_state_dict(policy.state_dict())
    return copy
