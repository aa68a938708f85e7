"""The exact optimum over all orders, by dynamic programming over subsets of nodes."""

from __future__ import annotations

from itertools import combinations

import numpy as np
import numpy.typing as npt

from lib.constrained.topo_swaps.scores import Order, OrderFit, check_moments

#: 2^15 subsets: a second and a few MB.
MAX_NODES = 15


def exact_order_dp(S: npt.ArrayLike) -> tuple[float, Order]:
    """The best score of any order and an order that attains it.

    ``best(M) = min over j in M of best(M without j) + var(x_j | M without j) / 2``, where all conditional variances of a subset
    come from one inverse: var(x_j | M without j) = 1 / [(S_MM)^{-1}]_jj. 2^d inverses, done in stacks by subset size.

    Parameters
    ----------
    S : array, shape (d, d)
        Positive definite, 2 <= d <= 15.

    Returns
    -------
    score : float
    order : int array, shape (d,)

    Raises
    ------
    ValueError
        If S is not symmetric, positive definite and of that size.

    Examples
    --------
    >>> import numpy as np
    >>> from lib.constrained.topo_swaps import study
    >>> score, order = study.exact_order_dp(np.array([[1.0, 2.0], [2.0, 5.0]]))
    >>> score, order.tolist()
    (1.0, [0, 1])
    """
    S = check_moments(S)
    d = len(S)
    if d > MAX_NODES:
        raise ValueError(f"S must have at most {MAX_NODES} nodes (2^d subsets), got d = {d}")
    OrderFit.checked(S, np.arange(d))  # refuses a singular S
    best, last = np.zeros(1 << d), np.zeros(1 << d, dtype=np.intp)
    for size in range(1, d + 1):
        subsets = np.array(list(combinations(range(d), size)))
        codes = (1 << subsets).sum(axis=1)
        inverses = np.linalg.inv(S[subsets[:, :, None], subsets[:, None, :]])
        totals = best[codes[:, None] - (1 << subsets)] + 0.5 / np.diagonal(inverses, axis1=1, axis2=2)
        # Ties within rounding: the smallest index.
        choice = (totals <= totals.min(axis=1, keepdims=True) * (1 + 1e-12)).argmax(axis=1)
        best[codes], last[codes] = totals[np.arange(len(codes)), choice], subsets[np.arange(len(codes)), choice]
    left, order = (1 << d) - 1, []
    while left:
        order.append(last[left])
        left -= 1 << int(last[left])
    return float(best[-1]), np.array(order[::-1], dtype=np.intp)
