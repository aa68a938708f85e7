"""A learned schedule on a noisy quadratic, where the gradient through a window and through the whole life are exact."""

from __future__ import annotations

import numpy as np
import torch

from lib import checks

#: Curvatures, variance of the noise, first second moment and lifetime.
CURVATURES, NOISE, FIRST, LIFETIME = (1.0, 0.1, 0.01), 0.1, 1.0, 100


def schedule_loss(intercept: float, slope: float, window: int | None = None) -> tuple[float, np.ndarray]:
    """Loss of the schedule a_n = exp(A + B n/N), and its gradient in (A, B), exactly or through windows.

    The second moments follow e <- (1 - a h)^2 e + a^2 s^2, and the loss is the sum of h e / 2. With a window of K updates, e is
    cut off from the past at the start of each window, and the gradients of the windows' last losses are averaged.

    Parameters
    ----------
    intercept, slope : float
        A and B, between -20 and 2; may be negative.
    window : int, optional
        K, a divisor of 100; default the whole life.

    Returns
    -------
    tuple
        Last loss, gradient (2,).

    Examples
    --------
    >>> import numpy as np
    >>> from lib.policies.temporal_lpg.study import schedule_loss
    >>> bool(schedule_loss(np.log(0.2), 0.0)[1][0] > 0 > schedule_loss(np.log(0.2), 0.0, window=5)[1][0])
    True
    """
    values = [checks.number(name, v, low=-20, high=2) for name, v in (("intercept", intercept), ("slope", slope))]
    K = LIFETIME if window is None else checks.integer("window", window, low=1, high=LIFETIME)
    if LIFETIME % K:
        raise ValueError(f"window must divide {LIFETIME}, got {K}")
    given = torch.tensor(values, dtype=torch.float64, requires_grad=True)
    h = torch.tensor(CURVATURES, dtype=torch.float64)
    e, ends = FIRST * torch.ones_like(h), []
    for n in range(1, LIFETIME + 1):
        a = torch.exp(given[0] + given[1] * n / LIFETIME)
        e = (1 - a * h) ** 2 * e + a**2 * NOISE  # (17)
        if n % K == 0:
            ends.append(0.5 * (h * e).sum())
            e = e.detach()
    (slope_of,) = torch.autograd.grad(torch.stack(ends).mean(), given)
    return ends[-1].item(), slope_of.numpy()
