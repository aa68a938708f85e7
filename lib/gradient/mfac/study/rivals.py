"""What M-FAC is compared with: pruning by magnitude, and the same vectors from one triangular solve."""

from __future__ import annotations

import math
from collections.abc import Sequence

import torch

from lib import checks

from ..pruning import PruneResult, prunable
from ..static import DAMP, working


def magnitude_prune(model: torch.nn.Module, sparsity: float, params: Sequence[torch.nn.Parameter] | None = None) -> PruneResult:
    """Set the smallest weights to zero, in place, all layers together (what ``torch.nn.utils.prune.global_unstructured`` does).

    Weights that are zero count as gone before; nothing else is moved.

    Parameters
    ----------
    model : torch.nn.Module
    sparsity : float
        In [0, 1).
    params : sequence of Parameter, optional
        Default `lib.gradient.mfac.prunable`.

    Examples
    --------
    >>> import torch
    >>> from lib.gradient.mfac.study import magnitude_prune
    >>> magnitude_prune(torch.nn.Linear(4, 2), 0.5).sparsity
    0.5
    """
    sparsity = checks.number("sparsity", sparsity, low=0, below=1)
    params = prunable(model) if params is None else list(params)
    sizes = torch.cat([p.detach().abs().flatten() for p in params])
    n_drop = math.floor(len(sizes) * sparsity + 1e-9)
    alive = torch.ones(len(sizes), dtype=torch.bool)
    alive[torch.argsort(sizes, stable=True)[:n_drop]] = False
    masks = [part.view(p.shape) for part, p in zip(alive.split([p.numel() for p in params]), params, strict=True)]
    with torch.no_grad():
        for p, mask in zip(params, masks, strict=True):
            p.masked_fill_(~mask, 0.0)
    return PruneResult(masks, n_drop / len(sizes), sizes)


def solved_vectors(grads: torch.Tensor, damp: float = DAMP) -> tuple[torch.Tensor, torch.Tensor]:
    """The vectors and scalars of `lib.gradient.mfac.rank_one_vectors`, from one factorization and one triangular solve.

    ``m I + c G G^T = L diag(q) L^T`` with a unit lower triangular L, and ``V = c L^-1 G``: the same O(d m^2) operations as
    products of matrices, which run faster than m products with vectors.

    Parameters
    ----------
    grads : tensor, shape (m, d)
    damp : float
        Above zero (1e-5).

    Examples
    --------
    >>> import torch
    >>> from lib.gradient.mfac.study import solved_vectors
    >>> V, q = solved_vectors(torch.tensor([[1.0, 2.0], [0.0, 1.0]]), damp=0.5)
    >>> V[0].tolist(), round(q[0].item(), 4)
    ([2.0, 4.0], 12.0)
    """
    G, damp = working("grads", grads, 2), checks.positive("damp", damp)
    S = G.double() @ G.double().T
    root = torch.linalg.cholesky(len(G) * torch.eye(len(G), dtype=torch.float64) + S / damp)
    unit = (root / root.diagonal()).to(G)
    V = torch.linalg.solve_triangular(unit, G / damp, upper=False, unitriangular=True)
    return V, (root.diagonal() ** 2).to(G)
