"""The loop of LV-HBA over many problems, starts or settings at once: the last axis holds the variable."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import torch
from torch import Tensor

from lib.constrained.lv_hba.core import State, Steps, iterate
from lib.constrained.lv_hba.solver import LVHBA
from lib.problems.bilevel import BilevelProblem


def steps_of(solver: LVHBA, scale: Any, **changes: Any) -> Steps:
    """The solver's constants, some of them replaced by tensors."""
    known = {name: getattr(solver, name) for name in ("alpha", "alpha_x", "beta", "eta", "gamma1", "gamma2", "r")}
    return Steps(**(known | {"scale": scale} | changes))


def times(n: int, n_records: int) -> list[int]:
    """About `n_records` iterations up to n, the last of them n, evenly spaced on a logarithmic axis."""
    return np.unique(np.geomspace(n, 1, n_records).round().astype(int)).tolist()


def follow(
    problem: BilevelProblem,
    x: Tensor,
    y: Tensor,
    steps: Steps,
    weight: Callable[[int], Any],
    n: int,
    visit: Callable[[State, State, Any], None],
    when: list[int] | None = None,
) -> State:
    """Run n iterations from a feasible start with multipliers 0; `visit` sees the states before and after those in `when`.

    It sees all iterations where `when` is left out.
    """
    lam = problem.constraints(x, y) * 0  # type: ignore[misc]
    s, wanted = State(x, y, y.clone(), lam, lam.clone()), set(range(1, n + 1) if when is None else when)
    for _ in range(n):
        c = weight(s.k)
        new = iterate(problem, s, c, steps)
        if new.k in wanted:
            visit(s, new, c)
        s = new
    return s


def finite(s: State) -> bool:
    """Whether nothing has left all bounds."""
    return bool(torch.isfinite(s.x).all() and torch.isfinite(s.y).all() and torch.isfinite(s.theta).all())
