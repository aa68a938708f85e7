"""Models of the chapter's size, and the training schemes that it compares."""

from __future__ import annotations

import math
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import numpy as np
import numpy.typing as npt
import torch

from lib import checks
from lib.policies.udc.divide import HeatmapPolicy
from lib.policies.udc.framework import UDC
from lib.policies.udc.problem import TSP, Problem
from lib.policies.udc.solvers import Solver, SubpathSolver, normalize

Floats = npt.NDArray[np.float64]

#: Sizes of the networks (paper: divider 12 x 64 with 100 neighbors, conqueror 6 x 128, pieces of 100).
SIZES = {"d": 32, "depth": 4, "k": 12, "solver_d": 32, "solver_depth": 2, "n": 10}
#: Cities of a training instance (paper: 500 to 1000).
N_CITIES = 50
#: Of every scheme (paper: 40 and 50 draws; Adam at 1e-4 without decay or clipping).
SETTINGS: dict[str, Any] = {"alpha": 16, "beta": 8, "clip": 1.0}
FIRST_LR = 1e-3
#: Training schemes of `train_scheme`; the first is the paper's.
SCHEMES = ("unified", "no reunion", "no normalization", "pre-trained, joint", "pre-trained, divider only")
#: Rules of `lib.policies.udc.study.sketch`.
RULES = ("random", "nearest neighbor", "random insertion")
#: Steps between two changes of the learning rate.
CHUNK = 20


@contextmanager
def initialized(seed: int, dtype: str) -> Iterator[None]:
    """Networks made inside are initialized by `seed` in `dtype`; in float64 to the same numbers on every CPU."""
    checks.choice("dtype", dtype, ("float32", "float64"))
    before = torch.get_default_dtype()
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        torch.set_default_dtype(getattr(torch, dtype))
        try:
            yield
        finally:
            torch.set_default_dtype(before)


def new_model(
    seed: int = 0,
    distance_prior: bool = False,
    problem: Problem = TSP,
    dtype: str = "float32",
    sizes: dict[str, int] | None = None,
) -> UDC:
    """An untrained model of the sizes `SIZES` (each can be replaced by name), initialized by `seed`.

    With ``dtype="float64"`` the draws of a short training run are the same on every CPU.

    Raises
    ------
    ValueError, TypeError
        For an unknown or bad size, or a bad seed.

    Examples
    --------
    >>> from lib.policies.udc.study import new_model
    >>> new_model(seed=0, sizes={"n": 12}).n
    12
    """
    size = SIZES | (sizes or {})
    if unknown := sorted(set(size) - set(SIZES)):
        raise ValueError(f"sizes: unknown {', '.join(unknown)}; allowed: {', '.join(SIZES)}")
    with initialized(checks.integer("seed", seed, low=0), dtype):
        divider = HeatmapPolicy(size["d"], size["depth"], size["k"], distance_prior)
        solver = SubpathSolver(size["solver_d"], size["solver_depth"])
    return UDC(divider, solver, size["n"], problem)


def swap_solver(model: UDC, solver: Solver, n: int | None = None) -> UDC:
    """The same divider with another conqueror and, where given, another piece length.

    Examples
    --------
    >>> from lib.policies.udc import HeldKarpSolver
    >>> from lib.policies.udc.study import new_model, swap_solver
    >>> swap_solver(new_model(), HeldKarpSolver(), n=12).n
    12
    """
    return UDC(model.divider, solver, model.n if n is None else n, model.problem)


def learning_rate(step: int, steps: int) -> float:
    """Cosine decay from `FIRST_LR` to a twentieth of it (paper: constant 1e-4 over 500 000 steps)."""
    return FIRST_LR * (0.05 + 0.95 * 0.5 * (1 + math.cos(math.pi * step / steps)))


def train_scheme(
    scheme: str,
    steps: int,
    seed: int,
    n_cities: int = N_CITIES,
    dtype: str = "float64",
    sizes: dict[str, int] | None = None,
    **settings: Any,
) -> tuple[UDC, Floats]:
    """Train a model from scratch by one of `SCHEMES`.

    All make the same number of steps with the divider, on the same instances. The one without reunion has one stage in each
    (so its conqueror gets half the updates); the pre-trained ones first train the conqueror alone, on as many paths as the
    unified scheme conquers, through uniform points; that comes on top. Without normalization the conqueror sees the pieces
    as they lie on the map, in training and in tests.

    Parameters
    ----------
    scheme : one of `SCHEMES`
    steps : int
    seed : int
        Of the networks and of all draws.
    n_cities : int
        Cities of the training instances.
    dtype : "float32" or "float64"
        Of the training; the model that comes back computes in float64.
    sizes : dict, optional
        Replaces some of `SIZES`.
    **settings
        Replace some of `SETTINGS`.

    Returns
    -------
    model : UDC
    history : float64, shape (steps, 3), as `UDC.fit` returns it

    Raises
    ------
    ValueError, TypeError
        For an unknown scheme, or bad numbers.

    Examples
    --------
    >>> from lib.policies.udc.study import train_scheme
    >>> tiny = {"d": 4, "depth": 1, "solver_d": 4, "solver_depth": 1}
    >>> model, history = train_scheme("unified", steps=2, seed=0, n_cities=20, sizes=tiny)
    >>> history.shape
    (2, 3)
    """
    checks.choice("scheme", scheme, SCHEMES)
    steps, seed = checks.integer("steps", steps, low=0), checks.integer("seed", seed, low=0)
    n_cities = checks.integer("n_cities", n_cities, low=4)
    problem = raw_pieces() if scheme == "no normalization" else TSP
    model = new_model(seed, problem=problem, dtype=dtype, sizes=sizes)
    options = SETTINGS | settings | {"reunion": scheme != "no reunion"}
    if scheme.startswith("pre-trained"):
        _pretrain(model, steps, 2 * options["alpha"] * (n_cities // model.n), options["beta"], seed)
        if scheme.endswith("only"):
            options["train"] = ("divider",)
    rng, curve = np.random.default_rng([seed, 0]), []
    for step in range(0, steps, CHUNK):
        lr = learning_rate(step, steps)
        curve.append(model.fit(lambda r: r.random((n_cities, 2)), min(CHUNK, steps - step), lr=lr, seed=rng, **options))
    for net in model.nets.values():
        net.double()
    return model, np.concatenate(curve) if curve else np.empty((0, 3))


def raw_pieces() -> Problem:
    """The traveling salesman without normalization of the pieces, for the ablation."""
    return Problem(TSP.length, TSP.split, TSP.merge, _as_is, TSP.instance, TSP.solutions)


def _as_is(pieces: torch.Tensor) -> torch.Tensor:
    return pieces


def _pretrain(model: UDC, steps: int, paths: int, beta: int, seed: int) -> None:
    """Train the conqueror alone on `paths` paths through uniform points per step: the first phase of separate training."""
    rng = np.random.default_rng([seed, 1])
    model.solver.train()  # type: ignore[attr-defined]
    for step in range(steps):
        generator = torch.Generator().manual_seed(int(rng.integers(2**62)))
        model.optimizers["solver"].param_groups[0]["lr"] = learning_rate(step, steps)
        pieces = normalize(torch.as_tensor(rng.random((paths, model.n, 2))))
        _, logp, length = model.solver.solve(pieces, beta, False, generator)
        model._update("solver", logp, length, SETTINGS["clip"])
