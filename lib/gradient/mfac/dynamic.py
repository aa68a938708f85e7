"""The dynamic algorithm: a sliding window of gradients, and products with the inverse of its Fisher matrix."""

from __future__ import annotations

from typing import Any

import torch

from lib import checks

from .static import DAMP, check_overflow, working


def window_factors(gram: torch.Tensor, damp: float = DAMP) -> tuple[torch.Tensor, torch.Tensor]:
    """The matrices D and B of the dynamic algorithm, from the Gram matrix of the gradients alone.

    With ``v_i`` of the static algorithm: ``d_ij = v_i . g_j`` for ``j >= i`` and ``v_i = sum_k b_ik g_k``. Both come from
    one factorization without pivoting, ``m I + S / damp = L U``: the upper part of ``D = U - m I``, and
    ``B = L^-1 / damp``.

    Parameters
    ----------
    gram : tensor, shape (m, m)
        ``S = G G^T``; symmetric, positive semidefinite.
    damp : float
        Damping, above zero (1e-5).

    Returns
    -------
    D : tensor, shape (m, m), upper triangular
    B : tensor, shape (m, m), lower triangular

    Raises
    ------
    ValueError
        If `gram` is not square and symmetric, or so far from positive semidefinite that damping does not make up for it, or
        `damp` is not above zero.

    Examples
    --------
    >>> import torch
    >>> from lib.gradient.mfac import window_factors
    >>> D, B = window_factors(torch.tensor([[5.0, 2.0], [2.0, 1.0]]), damp=0.5)
    >>> D
    tensor([[10.0000,  4.0000],
            [ 0.0000,  0.6667]])
    >>> B
    tensor([[ 2.0000,  0.0000],
            [-0.6667,  2.0000]])
    """
    S, damp = working("gram", gram, 2), checks.positive("damp", damp)
    if S.shape[0] != S.shape[1] or not torch.allclose(S, S.mT, rtol=1e-4, atol=1e-6 * float(S.abs().max())):
        raise ValueError(f"gram must be a symmetric matrix, got shape {tuple(S.shape)}")
    root = _factor(S, damp)
    if root is None:
        raise ValueError("gram must be positive semidefinite: it has no Cholesky factor after damping")
    eye = torch.eye(len(S), dtype=root.dtype, device=root.device)
    unit = root / root.diagonal()  # (5)
    U = root.diagonal()[:, None] * root.mT  # (5)
    D = U - len(S) * eye  # (5)
    B = torch.linalg.solve_triangular(unit, eye, upper=False, unitriangular=True) / damp  # (5)
    return D.triu().to(S), B.to(S)


def _factor(S: torch.Tensor, damp: float, m: int | None = None) -> torch.Tensor | None:
    """The Cholesky factor of ``m I + S / damp`` in float64; None if there is none."""
    eye = torch.eye(len(S), dtype=torch.float64, device=S.device)
    root, failed = torch.linalg.cholesky_ex((m or len(S)) * eye + S.double() / damp)  # (5)
    return None if failed or not torch.isfinite(root).all() else root


class DynamicFisherInverse:
    """The inverse of ``F = damp I + (1/m) sum_i g_i g_i^T`` over a sliding window of the last m gradients.

    Replacing the oldest gradient takes O(d m + m^3) operations, a product O(d m + m^2); memory is O(d m). The window starts
    with m gradients that are zero, so its divisor is m from the first step on.

    Parameters
    ----------
    m : int
        Gradients in the window, at least 1 (the authors' default: 1024).
    d : int
        Length of a gradient.
    damp : float
        Damping, above zero (1e-5). May be set between calls.
    dtype : torch.dtype
        Of the window: float32 (default) or float64. The m x m algebra is in float64 always.
    device : optional
        Of the window.

    Raises
    ------
    TypeError, ValueError
        For settings out of range or another `dtype`.

    Examples
    --------
    >>> import torch
    >>> from lib.gradient.mfac import DynamicFisherInverse
    >>> window = DynamicFisherInverse(2, 3, damp=0.5, dtype=torch.float64)
    >>> window.update_mul([2.0, 0.0, 0.0])
    tensor([0.8000, 0.0000, 0.0000], dtype=torch.float64)
    >>> window.mul([1.0, 1.0, 0.0])
    tensor([0.4000, 2.0000, 0.0000], dtype=torch.float64)
    """

    def __init__(self, m: int, d: int, damp: float = DAMP, dtype: torch.dtype = torch.float32, device: Any = None) -> None:
        self.m, self.d = checks.integer("m", m, low=1), checks.integer("d", d, low=1)
        self.damp = damp
        if dtype not in (torch.float32, torch.float64):
            raise TypeError(f"dtype must be torch.float32 or torch.float64, got {checks.shown(dtype)}")
        self.G = torch.zeros(self.m, self.d, dtype=dtype, device=device)
        self.S = torch.zeros(self.m, self.m, dtype=torch.float64, device=device)
        self.n_updates = 0

    @property
    def damp(self) -> float:
        """Damping, above zero."""
        return self._damp

    @damp.setter
    def damp(self, value: float) -> None:
        self._damp = checks.positive("damp", value)

    @property
    def filled(self) -> int:
        """Rows of the window that hold a gradient; the others are zero and cost nothing."""
        return min(self.n_updates, self.m)

    def update(self, g: torch.Tensor) -> None:
        """Replace the oldest gradient by `g`, shape (d,)."""
        self._replace(self._vector("g", g))

    def mul(self, x: torch.Tensor) -> torch.Tensor:
        """The product of the inverse and `x`, shape (d,); FloatingPointError where it overflows."""
        given = self._vector("x", x)
        n, c = self.filled, 1 / self.damp
        if not n:
            check_overflow(c * given, self.damp)
            return c * given
        inner = (self.G[:n] @ given).double()[:, None]  # (6)
        weights = c * c * torch.cholesky_solve(inner, self._root(n))[:, 0]  # (6)
        product = c * given - self.G[:n].mT @ weights.to(given)  # (6)
        check_overflow(product, self.damp)
        return product

    def update_mul(self, g: torch.Tensor) -> torch.Tensor:
        """Replace the oldest gradient by `g`, then return the product of the new inverse and `g`.

        Since `g` is in the window, the product is a combination of the window's rows alone: no large terms cancel, and the
        products ``G g`` that the update needs are all that is needed.

        Raises
        ------
        FloatingPointError
            If the gradients are too large beside the damping, or the damping too small for the window's type; the window is
            then as before.
        """
        given, i = self._vector("g", g), self.n_updates % self.m
        before = self.G[i].clone(), self.S[i].clone()
        n, newest = self._replace(given)
        unit = torch.zeros(n, 1, dtype=torch.float64, device=self.S.device)
        unit[newest] = 1.0
        try:
            weights = self.m / self.damp * torch.cholesky_solve(unit, self._root(n))[:, 0]  # (7)
            product = self.G[:n].mT @ weights.to(given)  # (7)
            check_overflow(product, self.damp)
            return product
        except FloatingPointError:
            self.G[i], self.S[i], self.S[:, i] = before[0], before[1], before[1]
            self.n_updates -= 1
            raise

    def _replace(self, g: torch.Tensor) -> tuple[int, int]:
        """Write the row, and its products with all rows into row and column of S; returns rows in use, and the newest."""
        i = self.n_updates % self.m
        self.G[i] = g
        self.n_updates += 1
        n = self.filled
        self.S[i, :n] = self.S[:n, i] = (self.G[:n] @ g).double()
        return n, i

    def _root(self, n: int) -> torch.Tensor:
        root = _factor(self.S[:n, :n], self.damp, self.m)
        if root is None:  # products rounded in float32 may leave S indefinite: take them in float64
            wide = self.G[:n].double()
            self.S[:n, :n] = wide @ wide.mT
            root = _factor(self.S[:n, :n], self.damp, self.m)
        if root is None:
            raise FloatingPointError(f"damp = {self.damp:g} is too small beside gradients of this size")
        return root

    def _vector(self, name: str, x: torch.Tensor) -> torch.Tensor:
        given = working(name, x, 1).to(self.G)
        if len(given) != self.d:
            raise ValueError(f"{name} must have d = {self.d} entries, got {len(given)}")
        return given

    def state_dict(self) -> dict[str, Any]:
        """Window, Gram matrix and count, as copies: what `load_state_dict` needs to go on as if never stopped."""
        return {"G": self.G.clone(), "S": self.S.clone(), "n_updates": self.n_updates, "damp": self.damp}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Take over a saved state of a window of the same size.

        Raises
        ------
        ValueError
            If the saved window has another size.
        """
        if tuple(state["G"].shape) != (self.m, self.d):
            raise ValueError(f"the saved window is {tuple(state['G'].shape)}, this one ({self.m}, {self.d})")
        self.G, self.S = state["G"].to(self.G, copy=True), state["S"].to(self.S, copy=True)
        self.n_updates = checks.integer("n_updates", state["n_updates"], low=0)
        self.damp = state["damp"]

    def __repr__(self) -> str:
        return f"DynamicFisherInverse(m={self.m}, d={self.d}, damp={self.damp:g}, filled={self.filled})"
