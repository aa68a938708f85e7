"""Policies: what to ask next and what to recommend in the end, as functions of counts and sums of answers."""

from __future__ import annotations

import itertools
import math
from typing import Any

import numpy as np
import torch
from numpy.typing import ArrayLike, NDArray
from torch import nn

from lib import checks
from lib.online.learned_active_learning.lattice import Lattice
from lib.online.learned_active_learning.problem import BanditProblem

Array = NDArray[np.float64]


def most_fitting(problem: BanditProblem, sums: Array) -> Array:
    """The decision without learning: the hypothesis with the largest z . S, ties shared, as probabilities (B, K)."""
    scores = sums @ problem.Z.T
    size = (np.abs(sums) @ np.abs(problem.Z).T).max(1, keepdims=True)
    top = scores >= scores.max(1, keepdims=True) - 1e-9 * size
    return top / top.sum(1, keepdims=True)


class _Plays:
    """How a policy is used, one answer at a time: what to ask after a history, and what to recommend in the end."""

    problem: BanditProblem
    budget: int

    def probabilities(self, counts: ArrayLike, sums: ArrayLike) -> tuple[Array, Array]:
        """Probabilities of the next query and of the recommendation at counts and sums of answers."""
        raise NotImplementedError

    def query(self, history: Any = (), seed: Any = None) -> int:
        """The next query after a history, drawn from the policy's probabilities.

        Parameters
        ----------
        history : sequence of pairs
            Query (0 to n - 1) and answer (-1 or 1, or any number where answers are Gaussian), fewer than the budget; default
            none.
        seed : int or Generator, optional
        """
        rng, (counts, sums) = checks.generator("seed", seed), self._state(history, self.budget - 1)
        chances = self.probabilities(counts, sums)[0][0]
        return int(rng.choice(len(chances), p=chances / chances.sum()))

    def recommend(self, history: Any) -> int:
        """The most probable recommendation after a history of queries and answers; of equally probable ones the first."""
        counts, sums = self._state(history, self.budget)
        if counts.sum() < self.budget:
            raise ValueError(f"history must have {self.budget} answers before a recommendation, got {counts.sum():.0f}")
        return int(self.probabilities(counts, sums)[1][0].argmax())

    def _state(self, history: Any, most: int) -> tuple[Array, Array]:
        """Counts and sums (1, n) of a history of at most so many answers."""
        n = self.problem.n_queries
        counts, sums = np.zeros((1, n)), np.zeros((1, n))
        pairs = list(history)
        if len(pairs) > most:
            raise ValueError(f"history must have at most {most} queries and answers, got {len(pairs)}")
        for pair in pairs:
            asked, answer = checks.array("history", pair, shape=(2,)).tolist()
            where = checks.integer("history", asked, low=0, high=n - 1)
            if self.problem.noise == "bernoulli" and answer not in (-1, 1):
                raise ValueError(f"history must have answers of -1 or 1, got {answer:g}")
            counts[0, where] += 1
            sums[0, where] += answer
        return counts, sums


class QueryPolicy(_Plays, nn.Module):
    """A small network from counts N and sums S to the next query and the recommendation.

    Its inputs are N, S and the scores Z S, each over the square root of the budget, and the share of the budget that is spent.
    The recommendation's logits are the scores times a learned factor plus the network's own. The queries' logits are the
    network's own plus a learned multiple of what soft binary search looks at: how evenly a query splits a posterior, whose
    sharpness is learned, too.

    Parameters
    ----------
    problem : BanditProblem
        Gives queries and hypotheses.
    budget : int
        Number of queries that are asked.
    hidden : int
        Width of the two hidden layers (tanh).
    seed : int or Generator, optional
        Of the first weights.
    factor : float
        First value of the factor of the scores. May be negative.
    split : float
        First value of the multiple of the splits: 0 begins with random queries, large begins as soft binary search.
        May be negative.

    Examples
    --------
    >>> import torch
    >>> from lib.online.learned_active_learning import QueryPolicy, thresholds
    >>> policy = QueryPolicy(thresholds(3), budget=5, hidden=8, seed=0)
    >>> queries, decisions = policy(torch.zeros(1, 3), torch.zeros(1, 3))
    >>> queries.shape, decisions.shape
    (torch.Size([1, 3]), torch.Size([1, 4]))
    """

    Z: torch.Tensor

    def __init__(
        self, problem: BanditProblem, budget: int, hidden: int = 48, seed: Any = None, factor: float = 1.0, split: float = 3.0
    ) -> None:
        super().__init__()
        self.problem, self.budget = problem, checks.integer("budget", budget, low=1, high=100_000)
        hidden = checks.integer("hidden", hidden, low=1, high=10_000)
        n, K, rng = problem.n_queries, problem.n_hypotheses, checks.generator("seed", seed)
        widths = [2 * n + K + 1, hidden, hidden, n + K]
        self.layers = nn.ModuleList(nn.Linear(a, b, dtype=torch.float64) for a, b in itertools.pairwise(widths))
        self.factor = nn.Parameter(torch.tensor(checks.number("factor", factor), dtype=torch.float64))
        self.split = nn.Parameter(torch.tensor(checks.number("split", split), dtype=torch.float64))
        self.sharpness = nn.Parameter(torch.tensor(0.5, dtype=torch.float64))
        self.register_buffer("Z", torch.as_tensor(problem.Z))
        with torch.no_grad():
            for layer, width in zip(self.layers, widths, strict=False):
                assert isinstance(layer, nn.Linear)
                first = torch.as_tensor(rng.standard_normal(tuple(layer.weight.shape)) / math.sqrt(width))
                layer.weight.copy_(0.1 * first if layer is self.layers[-1] else first)  # the last layer begins small
                layer.bias.zero_()

    def forward(self, counts: torch.Tensor, sums: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        """Logits of the next query (B, n) and of the recommendation (B, K)."""
        counts, sums = counts.to(self.factor.dtype), sums.to(self.factor.dtype)
        scores = sums @ self.Z.T
        root = math.sqrt(self.budget)
        spent = counts.sum(1, keepdim=True) / self.budget
        x = torch.cat([counts / root, sums / root, scores / root, spent], dim=1)
        *inner, last = self.layers
        for layer in inner:
            x = torch.tanh(layer(x))
        queries, own = last(x).split([self.problem.n_queries, self.problem.n_hypotheses], dim=1)
        expected = torch.softmax(self.sharpness * scores, dim=1) @ self.Z
        return queries - self.split * expected.abs(), self.factor * scores + own

    def probabilities(self, counts: ArrayLike, sums: ArrayLike) -> tuple[Array, Array]:
        """Probabilities of the next query (B, n) and of the recommendation (B, K) as arrays."""
        shape = (None, self.problem.n_queries)
        asked = checks.array("counts", counts, shape=shape, low=0).astype(float)
        told = checks.array("sums", sums, shape=asked.shape).astype(float)
        with torch.no_grad():
            logits = self(torch.as_tensor(asked), torch.as_tensor(told))
            queries, decisions = (torch.softmax(part, dim=1).numpy() for part in logits)
        return queries, decisions


class TablePolicy(_Plays):
    """A policy by table: probabilities at each count of a lattice.

    Parameters
    ----------
    lattice : Lattice
        Lists the counts.
    queries : array_like, shape (S, n), optional
        Probabilities of the next query at each count; default uniform.
    decisions : array_like, shape (S_T, K), optional
        Probabilities of the recommendation at each final count; default the most fitting hypothesis, ties shared.

    Raises
    ------
    ValueError
        If rows do not sum to 1.

    Examples
    --------
    >>> from lib.online.learned_active_learning import Lattice, TablePolicy, thresholds
    >>> policy = TablePolicy(Lattice(thresholds(2), 3))
    >>> policy.probabilities([[2, 1]], [[2, -1]])[1].tolist()
    [[1.0, 0.0, 0.0]]
    """

    def __init__(self, lattice: Lattice, queries: ArrayLike | None = None, decisions: ArrayLike | None = None) -> None:
        problem, first = lattice.problem, lattice.starts[-2]
        self.problem, self.budget = problem, lattice.budget
        uniform = np.full((lattice.starts[-1], problem.n_queries), 1 / problem.n_queries)
        self.queries = uniform if queries is None else _rows("queries", queries, uniform.shape)
        final = most_fitting(problem, lattice.sums)
        self.decisions = final
        if decisions is not None:
            self.decisions[first:] = _rows("decisions", decisions, final[first:].shape)
        self._places = {row.tobytes(): i for i, row in enumerate(lattice.split.astype(np.int64))}

    def probabilities(self, counts: ArrayLike, sums: ArrayLike) -> tuple[Array, Array]:
        """Probabilities of the next query (B, n) and of the recommendation (B, K) at counts N and sums S of answers."""
        counts, sums = np.asarray(counts, dtype=float), np.asarray(sums, dtype=float)
        keys = np.rint(np.hstack([(counts + sums) / 2, (counts - sums) / 2])).astype(np.int64)
        if len(keys) == len(self._places):
            places = np.arange(len(keys))
            if [self._places.get(keys[i].tobytes()) for i in (0, len(keys) // 2, -1)] == [0, len(keys) // 2, len(keys) - 1]:
                return self.queries, self.decisions
        try:
            places = np.array([self._places[key.tobytes()] for key in keys])
        except KeyError:
            raise ValueError(f"counts and sums must be of at most {self.budget} answers of -1 or 1") from None
        return self.queries[places], self.decisions[places]


def normalized(weights: Array) -> Array:
    """Rows of weights as probabilities; a row of zeros becomes uniform."""
    sums = weights.sum(1, keepdims=True)
    return np.where(sums > 0, weights / np.where(sums > 0, sums, 1), 1 / weights.shape[1])


def _rows(name: str, value: ArrayLike, shape: tuple[int, ...]) -> Array:
    rows = checks.array(name, value, shape=shape, low=0).astype(float)
    if np.abs(rows.sum(1) - 1).max() > 1e-6:
        raise ValueError(f"{name} must be probabilities, rows that sum to 1, got sums up to {rows.sum(1).max():.6g}")
    return rows / rows.sum(1, keepdims=True)
