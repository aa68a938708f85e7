"""M-FAC: products with the inverse of an empirical Fisher matrix, without ever forming a matrix of the network's size.

Elias Frantar, Eldar Kurtic and Dan Alistarh, "M-FAC: Efficient Matrix-Free Approximations of Second-Order Information",
NeurIPS 2021, arXiv:2107.03356.

Implemented: the static algorithm, full and in blocks (`static`), the dynamic algorithm over a sliding window (`dynamic`), the
optimizer (`optimizer`) with its option for networks that are sparse from the start, one-shot pruning with recomputation
(`surgeon`, `pruning`) and what gradual pruning needs (`gradual`). Not implemented: streaming of gradient pages between CPU and
GPU (the algebra is the same), the CUDA kernel. What only the chapter's experiments use is in `study`.

===========  =========================  ========  ==================================================================
symbol       name                       shape     meaning
===========  =========================  ========  ==================================================================
G            ``grads``, ``window.G``    (m, d)    gradients g_i as rows
F            the matrix itself: never   (d, d)    ``damp I + (1/m) sum_i g_i g_i^T``, equation (1)
lambda, c    ``damp``, ``1 / damp``     float     damping; the authors' code calls c ``lambd``
V, q         ``V``, ``q``               (m, d)    vectors of the rank-one updates (3), products and elements (4)
S            ``window.S``               (m, m)    ``G G^T``, float64
D, B         `window_factors`           (m, m)    of the dynamic algorithm (5), products (6), (7)
mu           ``momentum``               float     of the preconditioned direction (8)
rho_i        `obs_saliency`             (d,)      ``w_i^2 / (2 [F^-1]_ii)`` (9), the move (10), densities (11)
===========  =========================  ========  ==================================================================
"""

from __future__ import annotations

from .dynamic import DynamicFisherInverse, window_factors
from .gradual import KeepPruned, PruneSchedule
from .optimizer import MFAC
from .pruning import PruneResult, collect_gradients, obs_prune, prunable
from .static import DAMP, StaticFisherInverse, rank_one_vectors
from .surgeon import obs_saliency, obs_step, sparsity_path

__all__ = [
    "DAMP",
    "MFAC",
    "DynamicFisherInverse",
    "KeepPruned",
    "PruneResult",
    "PruneSchedule",
    "StaticFisherInverse",
    "collect_gradients",
    "obs_prune",
    "obs_saliency",
    "obs_step",
    "prunable",
    "rank_one_vectors",
    "sparsity_path",
    "window_factors",
]
