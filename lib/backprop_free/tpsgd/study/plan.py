"""How a run divides its draws: rates are chosen on draws of their own, then each rule trains once on the rows of the run."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import partial
from typing import Any

from lib import experiment
from lib.backprop_free.tpsgd.study.grid import Setting
from lib.backprop_free.tpsgd.study.tasks import Stream, Task, draw_task

#: Rates of a run with seed s are chosen with the generators of seed CHOOSING + s; no record has such a seed. (The grids
#: themselves were set in trials with seed 200.)
CHOOSING = 100
Tasks = tuple[Task, Task]  # to choose rates by; to race on


@dataclass(frozen=True)
class Plan:
    """Rows of one experiment: `n` to train on and `n_test` to judge by; `few` to train on in the draw that chooses rates.

    That draw has other rows, first weights and patterns; its held-out rows are as many as `n_test`, none of them test rows.
    """

    seed: int
    n: int
    few: int
    n_test: int
    bits: int

    @property
    def stream(self) -> Stream:
        """Generators of the race."""
        return partial(experiment.rng, self.seed)

    @property
    def other(self) -> Stream:
        """Generators of the draw that rates are chosen on."""
        return partial(experiment.rng, CHOOSING + self.seed)

    def tasks(self, name: str, key: str, *shape: int, side: int = 28, change: str = "none") -> Tasks:
        """Both draws; what has the same key has the same rows."""
        look: dict[str, Any] = {"side": side, "change": change, "bits": self.bits}
        few = draw_task(name, self.other("rows " + key), n=self.few, n_valid=self.n_test, n_test=1, **look)
        all_rows = draw_task(name, self.stream("rows " + key), n=self.n, n_valid=1, n_test=self.n_test, **look)
        return (few.shaped(*shape), all_rows.shaped(*shape)) if shape else (few, all_rows)

    def race(self, tasks: Tasks, rule: str, setting: Setting, run: Callable[[Task, Setting, Stream], Any]) -> Any:
        """Choose a pair of rates on the first task, then train with it on the second: ``run(task, setting, stream)``."""
        tried = run(tasks[0], replace(setting, curve=False), self.other)
        return replace(run(tasks[1], setting.alone(rule, tried.chosen), self.stream), tried=tried)
