"""The static algorithm: the inverse of a Fisher matrix of m fixed gradients, in memory and time linear in the dimension."""

from __future__ import annotations

import math

import torch

from lib import checks

#: Damping of the authors' code, optimizer and pruner alike.
DAMP = 1e-5


def working(name: str, value: object, ndim: int) -> torch.Tensor:
    """A finite floating-point tensor without history; half precision becomes float32, NumPy arrays and lists are taken too."""
    if isinstance(value, torch.Tensor):
        given = checks.tensor(name, value, ndim=ndim).detach()
    else:
        given = torch.as_tensor(checks.array(name, value, ndim=ndim))
    return given.float() if given.dtype in (torch.float16, torch.bfloat16) else given


def check_overflow(products: torch.Tensor, damp: float) -> None:
    """Refuse products with infinity or NaN: FloatingPointError."""
    if not float(products.abs().max()) < math.inf:
        raise FloatingPointError(f"products overflow {products.dtype}: gradients too large, or damp = {damp:g} too small")


def rank_one_vectors(grads: torch.Tensor, damp: float = DAMP) -> tuple[torch.Tensor, torch.Tensor]:
    """The vectors v_i and scalars q_i of (3), from which every product with the inverse and every element of it follows.

    Parameters
    ----------
    grads : tensor, shape (m, d) or (b, m, d)
        Gradients g_i as rows; a leading axis holds independent blocks, treated at once.
    damp : float
        Damping, above zero (1e-5).

    Returns
    -------
    V : tensor, shape of `grads`
        ``v_i = F_{i-1}^-1 g_i``, with ``F_i`` the damped sum of the first i outer products over m.
    q : tensor, shape (m,) or (b, m)
        ``q_i = m + g_i . v_i``. Time O(m^2 d), memory O(m d).

    Raises
    ------
    TypeError, ValueError
        For `grads` that are no finite tensor of that shape, or a `damp` that is not above zero.
    FloatingPointError
        If the gradients are too large for their type beside the damping.

    Examples
    --------
    >>> import torch
    >>> from lib.gradient.mfac import rank_one_vectors
    >>> V, q = rank_one_vectors(torch.tensor([[1.0, 2.0], [0.0, 1.0]]), damp=0.5)
    >>> V[0].tolist(), q[0].item()
    ([2.0, 4.0], 12.0)
    """
    given = working("grads", grads, getattr(grads, "ndim", 2) if getattr(grads, "ndim", 2) in (2, 3) else 2)
    damp = checks.positive("damp", damp)
    V, q = _rank_one_vectors(given if given.ndim == 3 else given[None], 1 / damp)
    check_overflow(q, damp)
    return (V, q) if given.ndim == 3 else (V[0], q[0])


def _rank_one_vectors(G: torch.Tensor, c: float) -> tuple[torch.Tensor, torch.Tensor]:
    m = G.shape[1]
    if G.shape[2] == 1:
        return _scalar_vectors(G, c)
    V, q = torch.empty_like(G), G.new_empty(G.shape[:2])
    for i in range(m):
        g, before = G[:, i, :, None], V[:, :i]
        share = _apply(before, g) / q[:, :i, None]  # (3)
        V[:, i] = (c * g - _apply(before.mT, share))[..., 0]  # (3)
        q[:, i] = m + (g[..., 0] * V[:, i]).sum(1)  # (3)
    return V, q


def _scalar_vectors(G: torch.Tensor, c: float) -> tuple[torch.Tensor, torch.Tensor]:
    """The same where every block is one weight: F_{i-1} is a number, so (3) is a division by a running sum."""
    m = G.shape[1]
    earlier = torch.nn.functional.pad(G[:, :-1] ** 2, (0, 0, 1, 0)).cumsum(1)
    F = 1 / c + earlier / m  # (3)
    V = G / F  # (3)
    return V, (m + G * V)[..., 0]  # (3)


def _apply(A: torch.Tensor, x: torch.Tensor) -> torch.Tensor:
    """The batched product ``A @ x``; many tiny blocks are quicker entry by entry."""
    return (A * x.mT).sum(-1, keepdim=True) if min(A.shape[1:]) < 4 < len(A) else A @ x


class StaticFisherInverse:
    """The inverse of the damped empirical Fisher matrix ``F = damp I + (1/m) sum_i g_i g_i^T`` of m given gradients.

    The set-up takes O(d m^2) operations, a product O(d m), one element O(m), the diagonal O(d m); memory is O(d m). With a
    `block_size` B, F is block diagonal, its blocks being those of consecutive coordinates.

    Parameters
    ----------
    grads : tensor, shape (m, d)
        Gradients as rows, each usually the mean gradient of a mini-batch. Computation is in their type; half precision
        becomes float32. NumPy arrays and lists of rows are taken, too.
    damp : float
        Damping, above zero (1e-5, the authors' default).
    block_size : int, optional
        B, at least 1; None (default) and anything from d on give one block. The authors' pruner has 128.

    Raises
    ------
    TypeError, ValueError
        For gradients that are not finite, not (m, d) or empty, and for settings out of range.
    FloatingPointError
        If the gradients are too large for their type beside the damping.

    Examples
    --------
    >>> import torch
    >>> from lib.gradient.mfac import StaticFisherInverse
    >>> inverse = StaticFisherInverse(torch.tensor([[1.0, 2.0], [0.0, 1.0]]), damp=0.5)
    >>> inverse.diag()
    tensor([1.5000, 0.5000])
    >>> round(inverse.element(0, 1), 4)
    -0.5
    >>> inverse.mul(torch.tensor([1.0, 0.0]))
    tensor([ 1.5000, -0.5000])
    """

    def __init__(self, grads: torch.Tensor, damp: float = DAMP, block_size: int | None = None) -> None:
        G = working("grads", grads, 2)
        self.damp = checks.positive("damp", damp)
        self.m, self.d = G.shape
        wanted = self.d if block_size is None else checks.integer("block_size", block_size, low=1)
        self.block_size = min(wanted, self.d)
        self.V, self.q = _rank_one_vectors(self._blocks(G).transpose(0, 1).contiguous(), 1 / self.damp)
        check_overflow(self.q, self.damp)

    def _blocks(self, x: torch.Tensor) -> torch.Tensor:
        """Rows cut into blocks, (..., d) to (..., b, B); the last block is filled with zeros."""
        n = -(-self.d // self.block_size)
        x = torch.nn.functional.pad(x, (0, n * self.block_size - self.d))
        return x.unflatten(-1, (n, self.block_size))

    def mul(self, x: torch.Tensor) -> torch.Tensor:
        """The product of the inverse and `x`, shape (d,), in O(d m) operations; FloatingPointError where it overflows."""
        given = self._vector(x)
        blocks = self._blocks(given)[:, :, None]
        share = _apply(self.V, blocks) / self.q[..., None]  # (4)
        product = given / self.damp - _apply(self.V.mT, share).flatten()[: self.d]  # (4)
        check_overflow(product, self.damp)
        return product

    def diag(self) -> torch.Tensor:
        """The diagonal of the inverse, shape (d,), in O(d m) operations; each entry is above zero.

        Raises
        ------
        FloatingPointError
            If rounding left an entry that is not: damping too small for the type of the gradients.
        """
        found = 1 / self.damp - (self.V**2 / self.q[..., None]).sum(1).flatten()[: self.d]  # (4)
        if not (found > 0).all():
            raise FloatingPointError(
                f"{int((found <= 0).sum())} of {self.d} entries of the diagonal are not above zero: "
                f"damp = {self.damp:g} is too small for {self.V.dtype}; give float64 gradients or more damping"
            )
        return found

    def element(self, i: int, j: int) -> float:
        """One element of the inverse in O(m) operations, for ``0 <= i, j < d``."""
        a = checks.integer("i", i, low=0, high=self.d - 1)
        b = checks.integer("j", j, low=0, high=self.d - 1)
        k, B = a // self.block_size, self.block_size
        if b // B != k:
            return 0.0
        inner = (self.V[k, :, a % B] * self.V[k, :, b % B] / self.q[k]).sum()  # (4)
        return (a == b) / self.damp - float(inner)  # (4)

    def _vector(self, x: torch.Tensor) -> torch.Tensor:
        given = working("x", x, 1).to(self.V)
        if len(given) != self.d:
            raise ValueError(f"x must have d = {self.d} entries, got {len(given)}")
        return given

    def __repr__(self) -> str:
        return f"StaticFisherInverse(m={self.m}, d={self.d}, damp={self.damp:g}, block_size={self.block_size})"
