"""The simulation of the paper: a two-dimensional heat equation whose diffusion changes with time."""

from __future__ import annotations

from collections.abc import Callable, Iterator

import numpy as np
import scipy.sparse as sp
from numpy.typing import ArrayLike
from scipy.fft import dstn

from lib import checks
from lib.online.sor_bandit.solvers import Array
from lib.online.sor_bandit.study.instances import laplacian
from lib.online.sor_bandit.study.kernels import Counts, ssor_pcg_cost_table


def bump(points: ArrayLike, center: ArrayLike, radius: float) -> Array:
    """Smooth bump ``exp(1 - 1 / (1 - |x - center|^2 / radius^2))``, zero outside the disc, 1 at its center.

    Parameters
    ----------
    points : array, shape (n, 2)
    center : array, shape (2,)
    radius : float

    Returns
    -------
    array, shape (n,)

    Examples
    --------
    >>> from lib.online.sor_bandit.study import bump
    >>> bump([[0.5, 0.5], [0.9, 0.5]], [0.5, 0.5], 0.25)
    array([1., 0.])
    """
    places = checks.array("points", points, shape=(None, 2)).astype(np.float64)
    middle, radius = checks.array("center", center, shape=(2,)), checks.number("radius", radius, low=1e-100)
    squared = ((places - middle) ** 2).sum(axis=-1) / radius**2
    inside = squared < 1.0
    values = np.zeros(len(squared))
    values[inside] = np.exp(1.0 - 1.0 / (1.0 - squared[inside]))
    return values


def paper_coefficient(t: float) -> float:
    """Diffusion coefficient ``max(0.1 sin 2 pi t, -10 sin 2 pi t)``, in [0, 10]: slow half a period, fast the other half.

    Examples
    --------
    >>> from lib.online.sor_bandit.study import paper_coefficient
    >>> round(paper_coefficient(0.75), 9)
    10.0
    """
    t = checks.number("t", t)
    return float(max(0.1 * np.sin(2.0 * np.pi * t), -10.0 * np.sin(2.0 * np.pi * t)))


def paper_forcing(t: float, points: ArrayLike) -> Array:
    """A bump of height 32 and radius 1/8 that circles the center of the square eight times per unit of time.

    Examples
    --------
    >>> from lib.online.sor_bandit.study import paper_forcing
    >>> paper_forcing(0.0, [[0.75, 0.5]])
    array([32.])
    """
    angle = 16.0 * np.pi * checks.number("t", t)
    return 32.0 * bump(points, [0.5 + np.cos(angle) / 4.0, 0.5 + np.sin(angle) / 4.0], 0.125)


def paper_initial(points: ArrayLike) -> Array:
    """A bump of height 1 and radius 1/4 at the center.

    Examples
    --------
    >>> from lib.online.sor_bandit.study import paper_initial
    >>> paper_initial([[0.5, 0.5]])
    array([1.])
    """
    return bump(points, [0.5, 0.5], 0.25)


class HeatEquation2D:
    """Crank-Nicolson steps of ``u_t = a(t) Laplace(u) + f`` on the unit square with zero boundary, one linear system each.

    An iterator over ``(A, b, context)``: ``A = I - C L``, ``b = (I + C L) u + dt f`` with C and f at the middle of the step,
    context the coefficient a at its *start*. Hand the solution back by `advance`; when the next system is asked for without it,
    the step is finished with the exact solution.

    Parameters
    ----------
    nx : int
        Cells per side; ``n = (nx - 1)**2`` unknowns. Default 25 (the paper: 25, 50, 100, 200, 400).
    dt : float
        Time step, default 1e-3 (the paper's value).
    coefficient : callable, optional
        ``a(t) >= 0``; default `paper_coefficient`.
    forcing : callable, optional
        ``f(t, points)`` with points (n, 2), returns (n,); default `paper_forcing`.
    initial : callable, optional
        ``u(points)`` at t = 0; default `paper_initial`.
    stop_time : float
        End of the simulation, default 5 (the paper's value: 5000 steps).

    Attributes
    ----------
    u : array, shape (n,)
        Current solution: the warm start of the next solve.
    t : float
    step, n_steps : int
    points : array, shape (n, 2)

    Raises
    ------
    ValueError
        nx below 2, dt or stop_time not positive, a negative coefficient.

    Examples
    --------
    >>> from lib.online.sor_bandit import ssor_pcg
    >>> from lib.online.sor_bandit.study import HeatEquation2D
    >>> heat = HeatEquation2D(nx=10, dt=1e-3)
    >>> A, b, context = next(heat); heat.advance(ssor_pcg(A, b, 1.3, x0=heat.u).x)

    Source: Khodak et al. (2024), heat-equation experiments.
    """

    def __init__(
        self,
        nx: int = 25,
        dt: float = 1e-3,
        coefficient: Callable[[float], float] | None = None,
        forcing: Callable[[float, Array], Array] | None = None,
        initial: Callable[[Array], Array] | None = None,
        *,
        stop_time: float = 5.0,
    ) -> None:
        self.nx, self.dt = checks.integer("nx", nx, low=2, high=2000), checks.number("dt", dt, low=1e-9)
        self.n, self.n_steps = (self.nx - 1) ** 2, max(1, round(checks.positive("stop_time", stop_time) / self.dt))
        self.coefficient = paper_coefficient if coefficient is None else checks.function("coefficient", coefficient)
        self.forcing = paper_forcing if forcing is None else checks.function("forcing", forcing)
        self.initial = paper_initial if initial is None else checks.function("initial", initial)
        side = np.arange(1, self.nx) / self.nx
        self.points: Array = np.stack(np.meshgrid(side, side, indexing="ij"), axis=-1).reshape(-1, 2)
        # 4 I - S - S^T: the negative Laplacian times h^2, with eigenvalues known from the sine transform.
        self._stencil = laplacian(self.nx - 1)
        modes = 4.0 * np.sin(0.5 * np.pi * side) ** 2
        self._eigenvalues = modes[:, None] + modes[None, :]
        rows = np.repeat(np.arange(self.n), np.diff(self._stencil.indptr))
        self._on_diagonal = self._stencil.indices == rows
        self.reset()

    def reset(self) -> None:
        """Return to the initial state, for example to run another policy."""
        self.step = 0
        start = self.initial(self.points.copy())
        self.u: Array = checks.array("what initial returns", start, shape=(self.n,)).astype(np.float64)
        self._b: Array | None = None

    @property
    def t(self) -> float:
        """Time at the start of the current step."""
        return self.step * self.dt

    def __len__(self) -> int:
        return self.n_steps

    def __iter__(self) -> Iterator[tuple[sp.csr_array, Array, float]]:
        return self

    def strength(self) -> float:
        """The scalar of the step: ``A = I + strength * (4 I - S - S^T)``, ``strength = a dt / (2 h^2)`` at the half step."""
        a = float(self.coefficient(self.t + 0.5 * self.dt))
        if not (np.isfinite(a) and a >= 0.0):
            raise ValueError(f"the diffusion coefficient must be finite and nonnegative, got {a} at t = {self.t}")
        return 0.5 * a * self.dt * self.nx**2

    def __next__(self) -> tuple[sp.csr_array, Array, float]:
        if self._b is not None:
            self.advance(self.exact_solution())
        if self.step >= self.n_steps:
            raise StopIteration
        b = self.right_hand_side()
        data = self.strength() * self._stencil.data
        data[self._on_diagonal] += 1.0
        stencil = self._stencil
        A = sp.csr_array((data, stencil.indices.copy(), stencil.indptr.copy()), shape=stencil.shape)
        return A, b.copy(), float(self.coefficient(self.t))

    def right_hand_side(self) -> Array:
        """``b`` of the current step, shape (n,)."""
        half = self.t + 0.5 * self.dt
        given = self.forcing(half, self.points.copy())
        forcing = checks.array("what forcing returns", given, shape=(self.n,)).astype(np.float64)
        self._b = self.u - self.strength() * (self._stencil @ self.u) + self.dt * forcing
        return self._b

    def exact_solution(self) -> Array:
        """Solution of the current system by the sine transform, which diagonalizes A."""
        b = self.right_hand_side() if self._b is None else self._b
        spectrum = dstn(b.reshape(self._eigenvalues.shape), type=1, norm="ortho")
        return dstn(spectrum / (1.0 + self.strength() * self._eigenvalues), type=1, norm="ortho").ravel()

    def advance(self, u: ArrayLike) -> None:
        """Finish the step with the solution `u` of shape (n,) of its system."""
        self.u, self._b = checks.array("u", u, shape=(self.n,)).astype(np.float64), None
        self.step += 1


#: A row is copied if its first residual differs from that of a solved one by less than this share of the norm to reach.
_SAME = 1e-3


def heat_cost_table(
    simulation: HeatEquation2D,
    grid: ArrayLike | None,
    n_rounds: int | None = None,
    *,
    tol: float = 1e-8,
    max_iter: int = 10_000,
    period: int | None = None,
) -> dict[str, Array | Counts]:
    """SSOR-CG counts of every step at every relaxation parameter, each started from the exact solution before.

    A policy that solves to `tol` follows the exact trajectory up to that tolerance, so replaying this table gives the counts of
    the simulation it would have run (they differ by one iteration now and then).

    Parameters
    ----------
    simulation : HeatEquation2D
        Is run forward from its current state.
    grid : array, shape (d,), or None
        None counts conjugate gradients without a preconditioner.
    n_rounds : int, optional
        Number of steps T, default to the end.
    tol, max_iter
        As in `ssor_pcg`.
    period : int, optional
        Steps after which coefficient and forcing repeat (1000 for the paper's). Once the start is forgotten, the systems repeat
        too. A step is then not solved again if its system and its start are those of a solved step whole periods before:
        if its first residual can differ by at most ``1e-3 * tol * ||b||``. Default None: every step is solved.

    Returns
    -------
    dict
        ``costs`` int (T, d), ``contexts`` (T,) and ``solved``, bool (T,): False for rows that are copies.

    Examples
    --------
    >>> from lib.online.sor_bandit.study import HeatEquation2D, heat_cost_table
    >>> heat_cost_table(HeatEquation2D(nx=10), [1.0, 1.5], 5)["costs"].shape
    (5, 2)
    """
    left = simulation.n_steps - simulation.step
    rounds = left if n_rounds is None else min(checks.integer("n_rounds", n_rounds, low=1), left)
    phases = rounds if period is None else checks.integer("period", period, low=1)
    contexts, strengths, source = np.empty(rounds), np.empty(rounds), np.arange(rounds)
    costs = np.empty((rounds, 1 if grid is None else np.size(grid)), dtype=np.int64)
    latest: dict[int, tuple[int, Array, Array]] = {}  # phase -> the row that was solved last, its start, its right-hand side
    waiting: list[tuple[int, Array, Array]] = []
    # In pieces: all states of a fine grid at once would fill the memory.
    piece = max(1, 2_000_000 // simulation.n)
    for t in range(rounds):
        contexts[t], strengths[t] = simulation.coefficient(simulation.t), simulation.strength()
        start, right = simulation.u, simulation.right_hand_side()
        known = latest.get(t % phases)
        if known is not None and _first_residuals_differ(strengths[[known[0], t]], known[1:], (start, right)) <= _SAME * tol:
            source[t] = known[0]
        else:
            waiting.append((t, start, right))
            if period is not None:
                latest[t % phases] = waiting[-1]
        simulation.advance(simulation.exact_solution())
        if waiting and (len(waiting) == piece or t == rounds - 1):
            rows, starts, rights = (np.array(column) for column in zip(*waiting, strict=True))
            links = strengths[rows]
            costs[rows] = ssor_pcg_cost_table(1.0 + 4.0 * links, links, rights, grid, x0=starts, tol=tol, max_iter=max_iter)
            waiting = []
    return {"costs": costs[source], "contexts": contexts, "solved": source == np.arange(rounds)}


def _first_residuals_differ(strengths: Array, known: tuple[Array, Array], new: tuple[Array, Array]) -> float:
    """A bound on the difference of the residuals ``b - A u`` of two (u, b), relative to the norm of the new b."""
    (u0, b0), (u, b) = known, new
    # The stencil's norm is below 8.
    moved = 8.0 * abs(strengths[1] - strengths[0]) * np.linalg.norm(u0) + (1.0 + 8.0 * strengths[1]) * np.linalg.norm(u - u0)
    size = float(np.linalg.norm(b))
    return float(np.linalg.norm(b - b0) + moved) / size if size > 0.0 else np.inf
