"""One look for every figure: style, a color-blind-safe palette, and helpers that draw into given axes.

The palette is that of Okabe and Ito (2008); line styles differ too, so that a figure survives gray print.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import matplotlib as mpl
import numpy as np
from cycler import cycler
from matplotlib.axes import Axes

#: Okabe-Ito, ordered so that neighbors differ in lightness; yellow is left out (too pale for lines on white).
PALETTE = {
    "blue": "#0072B2",
    "orange": "#E69F00",
    "green": "#009E73",
    "vermilion": "#D55E00",
    "purple": "#CC79A7",
    "sky": "#56B4E9",
    "black": "#000000",
    "gray": "#6E6E6E",
}
#: The color of a verdict, on every page.
VERDICT_COLORS = {
    "reproduced": PALETTE["green"],
    "partly": PALETTE["orange"],
    "not reproduced": PALETTE["vermilion"],
    "not testable": PALETTE["gray"],
}
_LINES = ["-", "--", "-.", ":", (0, (5, 1, 1, 1, 1, 1)), (0, (3, 2)), "-"]


def style() -> None:
    """Set the book's style for this session; in a notebook, also how its pictures are stored (same bytes on a rerun)."""
    names = [name for name in PALETTE if name != "gray"]
    mpl.rcParams.update(
        {
            "axes.prop_cycle": cycler(color=[PALETTE[n] for n in names]) + cycler(linestyle=_LINES),
            "axes.axisbelow": True,
            "axes.grid": True,
            "axes.spines.right": False,
            "axes.spines.top": False,
            "axes.titlesize": 10,
            "axes.labelsize": 10,
            "figure.constrained_layout.use": True,
            "figure.dpi": 100,
            "figure.facecolor": "white",
            "figure.figsize": (7.0, 3.6),
            "font.size": 10,
            "grid.alpha": 0.3,
            "legend.fontsize": 9,
            "legend.frameon": False,
            "lines.linewidth": 1.8,
            "xtick.labelsize": 9,
            "ytick.labelsize": 9,
        }
    )
    try:
        from IPython.core.getipython import get_ipython
    except ImportError:
        return
    shell = get_ipython()
    if shell is not None and "IPKernelApp" in shell.config:
        # Without the version of matplotlib an upgrade does not touch every stored picture.
        shell.run_line_magic("config", "InlineBackend.print_figure_kwargs = " + repr(_STORED))


_STORED: dict[str, Any] = {"bbox_inches": "tight", "facecolor": "white", "metadata": {"Software": None}}


def seed_spread(ax: Axes, x: Sequence[float], runs: np.ndarray, label: str, color: str, linestyle: Any = "-") -> None:
    """Draw several runs of one method: each run thin, the median thick, the middle half as a band.

    Parameters
    ----------
    ax : matplotlib.axes.Axes
    x : sequence of float, shape (n,)
    runs : array, shape (n_runs, n)
    label, color, linestyle
        Of the median line.

    Raises
    ------
    ValueError
        If `runs` is not (n_runs, n).
    """
    runs = np.atleast_2d(np.asarray(runs, dtype=float))
    if runs.ndim != 2 or runs.shape[1] != len(x):
        raise ValueError(f"runs must have shape (n_runs, {len(x)}), got {runs.shape}")
    if len(runs) > 1:
        ax.plot(x, runs.T, color=color, linestyle="-", linewidth=0.6, alpha=0.35)
        low, high = np.quantile(runs, [0.25, 0.75], axis=0)
        ax.fill_between(x, low, high, color=color, alpha=0.18, linewidth=0)
    ax.plot(x, np.median(runs, axis=0), color=color, linestyle=linestyle, label=label)


def mark_paper(ax: Axes, value: float, label: str = "paper", axis: str = "y") -> None:
    """Mark a value that the paper reports as a thin black line across the axes, named at its end."""
    if axis not in ("x", "y"):
        raise ValueError(f"axis must be 'x' or 'y', got {axis!r}")
    line = ax.axhline if axis == "y" else ax.axvline
    line(value, color=PALETTE["black"], linewidth=1, linestyle=(0, (1, 2)), zorder=1)
    place: dict[str, Any] = {
        "y": {"xy": (1, value), "ha": "right", "va": "bottom"},
        "x": {"xy": (value, 1), "ha": "left", "va": "top"},
    }[axis]
    transform = ax.get_yaxis_transform() if axis == "y" else ax.get_xaxis_transform()
    ax.annotate(
        label,
        xycoords=transform,
        fontsize=9,
        color=PALETTE["black"],
        xytext=(2, 1),
        textcoords="offset points",
        **place,
    )
