"""Presets, seeds and determinism of a chapter's experiments.

`start` opens a chapter's run: it reads what the preset means from the paper's sheet, seeds every generator, keeps the
numerical libraries to one thread and starts the clock. `rng` derives independent generators per axis (data, noise,
repetition, ...), so that methods that are compared share their data and noise.
"""

from __future__ import annotations

import os
import random
import sys
import time
import zlib
from collections.abc import Callable
from typing import Any

import numpy as np

from lib import checks, papers


class Config:
    """The settings of one run, as attributes (``config.n_folds``), with ``slug``, ``preset``, ``seed`` and ``changed``."""

    def __init__(self, slug: str, preset: str, seed: int, values: dict[str, Any], changed: dict[str, Any]) -> None:
        self.slug, self.preset, self.seed = slug, preset, seed
        self.values, self.changed = values, changed
        self.started = time.perf_counter()
        self.imports_s = round(cpu_seconds(), 1)  # what the process had spent when the run was opened

    def __getattr__(self, name: str) -> Any:
        values = self.__dict__.get("values", {})
        if name in values:
            return values[name]
        raise AttributeError(f"{name!r} is not a setting of {self.__dict__.get('slug')}; settings: {', '.join(values)}")

    def elapsed(self) -> float:
        """Seconds since the run was opened."""
        return time.perf_counter() - self.started

    def cpu_seconds(self) -> float:
        """CPU seconds that this process has spent since it began, imports and finished child processes included."""
        return cpu_seconds()

    def rng(self, *axes: object) -> np.random.Generator:
        """A generator of its own for these axes, derived from the run's seed (see `rng`)."""
        return rng(self.seed, *axes)

    def scale_table(self) -> Any:
        """The chapter's scale table for display: every setting in the paper and in each preset."""
        from IPython.display import Markdown

        rows = ["| setting | paper | full | book |", "|---|---|---|---|"]
        for name, knob in papers.sheet(self.slug).scale.items():
            cells = [f"{knob.what} (`{name}`)", *(_plain(v) for v in (knob.paper, knob.full, knob.book))]
            rows.append("| " + " | ".join(cells) + " |")
        return Markdown("\n".join(rows))


def _plain(value: Any) -> str:
    if isinstance(value, list):
        return ", ".join(map(_plain, value))
    return "–" if value is None else f"{value:g}" if isinstance(value, float) else str(value)


def start(slug: str, preset: str = "book", seed: int = 0, **changes: Any) -> Config:
    """Open a chapter's run: settings of the preset, every generator seeded, one thread, clock started.

    Parameters
    ----------
    slug : str
        The paper.
    preset : {"smoke", "book", "full"}
        How large the experiments are; what it changes stands in the sheet's ``scale``.
    seed : int
        Non-negative; seeds Python's, NumPy's and (where it is loaded) torch's global generators, and every `Config.rng`.
    **changes
        Settings to replace by hand; ``None`` keeps the preset's value.

    Raises
    ------
    ValueError
        For an unknown slug, preset or setting, or a negative seed.
    TypeError
        If the seed is not an integer, or a slug or preset is no text.

    Examples
    --------
    >>> from lib import experiment
    >>> experiment.start("anyloss", "smoke", seed=1).preset
    'smoke'
    """
    checks.integer("seed", seed, low=0)
    values = papers.sheet(slug).values(preset)
    changed = {name: value for name, value in changes.items() if value is not None}
    if unknown := sorted(set(changes) - set(values)):
        raise ValueError(f"{slug} has no setting {', '.join(unknown)}; its settings: {', '.join(values)}")
    one_thread()
    seed_everything(int(seed))
    return Config(slug, preset, int(seed), values | changed, changed)


def seed_everything(seed: int) -> None:
    """Seed the global generators of Python, NumPy and, where it is loaded, torch."""
    random.seed(seed)
    np.random.seed(seed)  # noqa: NPY002 - third-party code may draw from it
    if "torch" in sys.modules:
        sys.modules["torch"].manual_seed(seed)


def one_thread() -> None:
    """Keep BLAS, OpenMP and torch to one thread and to deterministic kernels: the same sums in the same order."""
    from threadpoolctl import threadpool_limits

    threadpool_limits(1)
    if "torch" in sys.modules:
        sys.modules["torch"].set_num_threads(1)
        # The same switch as use_deterministic_algorithms(True), without its import of torch's compiler (seconds).
        sys.modules["torch"].set_deterministic_debug_mode("error")


def seed_for(seed: int, *axes: object) -> int:
    """An integer seed of its own for these axes, for libraries that take nothing else (see `rng`).

    Examples
    --------
    >>> from lib.experiment import seed_for
    >>> seed_for(0, "data", 3) == seed_for(0, "data", 3) != seed_for(0, "data", 4)
    True
    """
    return int(_sequence(seed, axes).generate_state(1)[0])


def rng(seed: int, *axes: object) -> np.random.Generator:
    """A NumPy generator of its own for these axes: ``rng(0, "data", fold)`` does not move when a method is added.

    Parameters
    ----------
    seed : int
        Non-negative.
    *axes
        Texts, numbers, ``None``, and tuples or lists of these.

    Raises
    ------
    TypeError
        For a seed that is no integer, or an axis of another kind (an object's text may differ between processes).
    ValueError
        For a negative seed.

    Examples
    --------
    >>> from lib.experiment import rng
    >>> rng(0, "data", 1).random() == rng(0, "data", 1).random() != rng(0, "noise", 1).random()
    True
    """
    return np.random.default_rng(_sequence(seed, axes))


def _sequence(seed: int, axes: tuple[object, ...]) -> np.random.SeedSequence:
    # CRC-32, not hash(): the latter differs between processes.
    named = (zlib.crc32(repr(_plain_axis(axis)).encode()) for axis in axes)
    return np.random.SeedSequence([checks.integer("seed", seed, low=0), *named])


def _plain_axis(axis: Any) -> Any:
    if isinstance(axis, np.generic):
        return axis.item()
    if isinstance(axis, tuple | list):
        return type(axis)(map(_plain_axis, axis))
    if axis is None or isinstance(axis, str | int | float):
        return axis
    raise TypeError(f"axes must be texts, numbers or tuples of these, got {checks.shown(axis)}")


def time_ratio(ours: Callable[[], Any], reference: Callable[[], Any], repeats: int = 5) -> float:
    """Best time of `ours` over best time of `reference`, measured in turns in this process (so both see the same machine).

    Parameters
    ----------
    ours, reference : callable
        Called without arguments.
    repeats : int
        How often each is called, at least once.

    Examples
    --------
    >>> from lib.experiment import time_ratio
    >>> time_ratio(lambda: sum(range(100_000)), lambda: sum(range(1_000)), repeats=3) > 5
    True
    """
    checks.function("ours", ours)
    checks.function("reference", reference)
    best = [float("inf"), float("inf")]
    for _ in range(checks.integer("repeats", repeats, low=1)):
        for i, call in enumerate((ours, reference)):
            begin = time.perf_counter()
            call()
            best[i] = min(best[i], time.perf_counter() - begin)
    return best[0] / max(best[1], 1e-9)


def cpu_seconds() -> float:
    """CPU seconds that this process and its finished child processes have spent so far."""
    spent = os.times()
    return spent.user + spent.system + spent.children_user + spent.children_system


def peak_memory_mb() -> float:
    """Peak resident memory of this process in MB (10^6 bytes); NaN where the system does not tell."""
    try:
        import resource
    except ImportError:  # Windows
        return _peak_by_psutil()
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return peak * (1 if sys.platform == "darwin" else 1024) / 1e6


def _peak_by_psutil() -> float:
    try:
        import psutil

        memory = psutil.Process().memory_info()
    except Exception:
        return float("nan")
    return getattr(memory, "peak_wset", memory.rss) / 1e6
