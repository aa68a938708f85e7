"""Tune every method of the chapter with one budget, on a seed that no experiment uses.

    python -m lib.objectives.mogfn.study.tuning

prints the tables behind the settings of `study.protocols`. The sampler is judged by its fit (on the grid, total variation;
on strings, the mean loss of the last tenth of its updates), its rivals by what they maximize: mean reward, hypervolume.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np

from lib import checks, experiment
from lib.objectives.mogfn import MOGFN, HyperGrid, MOReinforce, NGramTask, hypervolume, simplex_grid
from lib.objectives.mogfn.study import protocols
from lib.objectives.mogfn.study.rivals import nsga2_strings

__all__ = ["GRIDS", "VARIANTS", "tune"]

_SEED = 10_000
#: What is tried: learning rates of each method, exponents of MO-Reinforce, mutations of NSGA-II.
GRIDS: dict[str, list[float]] = {
    "sampler, grid": [0.0025, 0.005, 0.01, 0.02, 0.04],
    "thermometer, grid": [0.0025, 0.005, 0.01, 0.02, 0.04],
    "separate, grid": [0.01, 0.02, 0.04, 0.08, 0.16],
    "equal weights, grid": [0.0025, 0.005, 0.01, 0.02, 0.04],
    "one a batch, grid": [0.0025, 0.005, 0.01, 0.02, 0.04],
    "Dirichlet(0.2), grid": [0.0025, 0.005, 0.01, 0.02, 0.04],
    "Dirichlet(5), grid": [0.0025, 0.005, 0.01, 0.02, 0.04],
    "sampler, strings": [0.0005, 0.001, 0.002, 0.004, 0.008],
    "raw, strings": [0.001, 0.004, 0.016, 0.032, 0.064],
    "rival, grid": [0.00025, 0.0005, 0.001, 0.002, 0.004],
    "rival, strings": [0.00025, 0.0005, 0.001, 0.002, 0.004],
    "NSGA-II, strings": [0.25, 0.5, 1.0, 2.0, 4.0],
}
#: Exponents of MO-Reinforce's reward.
EXPONENTS = (0.5, 1.0, 4.0, 16.0, 64.0, 256.0)
#: Keys of `protocols.VARIANTS` behind those names on the grid; separate models are none of them.
VARIANTS = {
    "sampler": "plain", "thermometer": "thermometer", "equal weights": "middle only", "one a batch": "one omega",
    "Dirichlet(0.2)": "corners", "Dirichlet(5)": "middle",
}  # fmt: skip


def tune(method: str, steps: int, batch: int = 64, horizon: int = 12, max_len: int = 18) -> Iterator[tuple[Any, ...]]:
    """What each setting of a method gives: (setting, score), or (setting, exponent, score, diversity) of MO-Reinforce.

    Parameters
    ----------
    method : str
        A key of `GRIDS`.
    steps, batch : int
        Updates and their batch; NSGA-II gets as many evaluations.
    horizon, max_len : int
        Sizes of the grid and of the strings.

    Examples
    --------
    >>> from lib.objectives.mogfn.study import tuning
    >>> len(list(tuning.tune("sampler, grid", 2, 8, horizon=3)))
    5
    """
    checks.choice("method", method, GRIDS)
    name, where = method.split(", ")
    grid, task = (
        HyperGrid(["branin", "currin"], horizon),
        NGramTask(["AV", "VC", "CA"], max(1, max_len - 2), max_len, max_count=max_len / 2),
    )
    omega = simplex_grid(2, 11) if where == "grid" else simplex_grid(3, 4)
    for value in GRIDS[method]:
        if name == "NSGA-II":
            volumes = [
                hypervolume(task.evaluate(nsga2_strings(task, steps * batch, 100, value, seed=_SEED + k))) for k in range(3)
            ]
            yield value, float(np.mean(volumes))
        elif name == "rival":
            for beta in EXPONENTS:
                yield value, beta, *_rival(grid if where == "grid" else task, omega, steps, batch, lr=value, beta=beta)
        elif where == "grid":
            yield value, float(_on_grid(name, grid, omega, steps, batch, {"lr": value, "lr_z": 10 * value}).mean())
        else:
            changes: dict[str, Any] = {
                "lr": value,
                "lr_z": max(0.1, 10 * value),
                "encoding": "raw" if name == "raw" else "thermometer",
            }
            sampler = MOGFN(task, beta=48.0, seed=_SEED, **{**protocols.STRINGS, **changes})
            losses = sampler.fit(steps, batch).losses
            yield value, float(np.mean(losses[-max(1, steps // 10) :]))


def _on_grid(name: str, grid: HyperGrid, omega: np.ndarray, steps: int, batch: int, rates: dict[str, Any]) -> np.ndarray:
    if name == "separate":
        return protocols.separate_samplers(grid, omega, steps, batch, seed=_SEED, **rates)
    model = protocols.grid_sampler(grid, steps, batch, variant=VARIANTS[name], seed=_SEED, **rates)
    return protocols.judge(model, omega).variation


def _rival(env: Any, omega: np.ndarray, steps: int, batch: int, **changes: Any) -> tuple[float, float]:
    base = protocols.GRID_RIVAL if isinstance(env, HyperGrid) else protocols.STRINGS_RIVAL
    model = MOReinforce(env, seed=_SEED, **{**base, **changes})
    model.fit(steps, batch)
    if isinstance(env, HyperGrid):
        fit = protocols.judge(model, omega)
        return float(fit.reward.mean()), float(np.exp(fit.entropy).mean())
    _, diversity, mean = protocols.near_best(env, model.sample(omega, 128), omega)
    return float(mean.mean()), float(diversity.mean())


if __name__ == "__main__":
    import sys

    experiment.one_thread()
    for chosen in sys.argv[1:] or GRIDS:
        for row in tune(chosen, 330 if "grid" in chosen else 500):
            sys.stdout.write(f"{chosen}: " + ", ".join(f"{x:.5g}" for x in row) + "\n")
            sys.stdout.flush()
