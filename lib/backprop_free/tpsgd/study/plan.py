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
#: So many pairs of rates are compared again on as many rows as race: few rows may want higher rates than many.
FINALISTS = 3
Tasks = tuple[Task, Task, Task]  # to choose finalists by, to choose among them by, to race on


@dataclass(frozen=True)
class Plan:
    """Rows of one experiment: `n` to train on and `n_test` to judge by; `few` to train on with a whole grid of rates.

    The latter are of another draw, with other rows, first weights and patterns. There the best pairs are compared again on `n`
    rows. Its held-out rows are as many as `n_test`, none of them test rows.
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
        """Both draws; what has the same key has the same rows, the first task a part of the second one's."""
        look: dict[str, Any] = {"side": side, "change": change, "bits": self.bits}
        few, many = (
            draw_task(name, self.other("rows " + key), n=n, n_valid=self.n_test, n_test=1, **look) for n in (self.few, self.n)
        )
        raced = draw_task(name, self.stream("rows " + key), n=self.n, n_valid=1, n_test=self.n_test, **look)
        return (few.shaped(*shape), many.shaped(*shape), raced.shaped(*shape)) if shape else (few, many, raced)

    def race(self, tasks: Tasks, rule: str, setting: Setting, run: Callable[[Task, Setting, Stream], Any]) -> Any:
        """Choose a pair of rates in two rounds, then train with it on the last task: ``run(task, setting, stream)``."""
        tried = run(tasks[0], replace(setting, curve=False), self.other)
        final = run(tasks[1], replace(setting, curve=False, pairs=tried.leading(FINALISTS)), self.other)
        chosen = run(tasks[2], replace(setting, pairs=(final.chosen,)), self.stream)
        return replace(chosen, tried=replace(final, tried=tried))
