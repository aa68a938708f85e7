"""The loop: residuals, a piece, a Newton step, one after the other (Algorithm of the chapter, numbered lines)."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from lib.backprop_free.gbnn.losses import _newton_step, _residuals
from lib.backprop_free.gbnn.network import Step
from lib.backprop_free.gbnn.pieces import _fit_piece

Floats = npt.NDArray[np.float64]
#: ``(y, F, h) -> rho``: another rule for the factor of a piece.
StepRule = Callable[[Floats, Floats, Floats], float]


@dataclass(frozen=True)
class Settings:
    """What a run of the loop needs beside the data, all checked."""

    loss: str
    units_per_step: int
    learning_rate: float
    subsample: float
    alpha: float
    max_iter: int
    tol: float
    activation: str
    newton: str | StepRule
    scale: float  #: residuals are divided by it before a piece is fit
    entropy: tuple[int, ...]  #: step t draws from a stream of its own, seeded by (entropy, t)


def boost(X: Floats, y: Floats, F: Floats, settings: Settings, steps: range) -> Iterator[tuple[Step, Floats]]:
    """Yield each step and the scores after it, shape of `y`; ends early where a piece has nothing to add.

    Step t does not depend on how many came before in this call: a run can be cut anywhere and resumed from its scores.
    """
    n_drawn = int(settings.subsample * len(X))
    for t in steps:
        rng = np.random.default_rng(np.random.SeedSequence([*settings.entropy, t]))
        r = _residuals(y, F, settings.loss) / settings.scale
        if not r.any():
            return
        rows: Any = slice(None) if n_drawn == len(X) else rng.choice(len(X), n_drawn, replace=False)
        piece = _fit_piece(
            X[rows],
            r[rows],
            settings.units_per_step,
            settings.alpha,
            settings.max_iter,
            settings.tol,
            settings.activation,
            rng,
        )
        h = piece(X, settings.activation).reshape(y.shape)  # all rows
        rho = settings.newton(y.copy(), F.copy(), h.copy()) if callable(settings.newton) else _rho(y, F, h, settings)
        if rho == 0 or not np.isfinite(rho) or not h.any():
            return
        step = Step(piece, settings.learning_rate * rho * settings.scale)  # (1)
        F = F + step.rate * h  # (1)
        yield step, F


def _rho(y: Floats, F: Floats, h: Floats, settings: Settings) -> float:
    return _newton_step(y, F, h, settings.loss, str(settings.newton))
