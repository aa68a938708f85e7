"""One look for every figure: style, a color-blind-safe palette, and helpers that draw into given axes.

The palette is that of Okabe and Ito (2008); line styles differ too, so that a figure survives gray print.
"""

from __future__ import annotations

import base64
import html
import io
import struct
from collections.abc import Callable, Sequence
from typing import Any

import matplotlib as mpl
import numpy as np
from cycler import cycler
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from lib import checks

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
    "holds": PALETTE["green"],
    "found": PALETTE["green"],
    "partly": PALETTE["orange"],
    "undecided": PALETTE["sky"],
    "not reproduced": PALETTE["vermilion"],
    "fails": PALETTE["vermilion"],
    "not found": PALETTE["vermilion"],
    "not tested": "#B8B8B8",
    "measured": "#B8B8B8",
}
_LINES = ["-", "--", "-.", ":", (0, (5, 1, 1, 1, 1, 1)), (0, (3, 2)), "-"]


#: How pictures are stored: the same bytes on a rerun, whatever matplotlib's version; 200 dots per inch, shown at 100.
_STORED: dict[str, Any] = {"bbox_inches": "tight", "facecolor": "white", "metadata": {"Software": None}}
_DPI = 200
_DRAFT_DPI = 40
#: What a page shows without shrinking: 750 pixels.
WIDEST = 7.5
MOST_FRAMES = 24

_shown = 0  # figures with a caption so far in this session
_draft = False  # whether pictures are only tried, not kept


def style(draft: bool = False) -> None:
    """Set the book's style for this session, and count its figures from 1.

    Parameters
    ----------
    draft : bool
        Draw every picture coarsely, and of a slider only the first and the last frame: for runs that only test the code.
    """
    global _shown, _draft
    _shown, _draft = 0, checks.boolean("draft", draft)
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


def show(caption: str) -> None:
    """Show the current figure and, under it, its numbered caption as text; then close it.

    The picture is made here, whatever the backend, so that no setting of a reader's loses it. What a caption says of
    results is computed by the cell that calls this.

    Parameters
    ----------
    caption : str
        What to see, in Markdown.

    Raises
    ------
    ValueError
        If there is no figure, it is wider than 7.5 inches (a page shows no more), or the caption is empty.
    """
    import matplotlib.pyplot as plt

    if not plt.get_fignums():
        raise ValueError("there is no figure to show")
    fig = plt.gcf()
    if fig.get_figwidth() > WIDEST:
        raise ValueError(f"a figure is at most {WIDEST} inches wide, got {fig.get_figwidth():g}")
    png, width, height = _picture(fig, _DRAFT_DPI if _draft else _DPI)
    if not _has_map(fig):
        png = _fewer_colors(png, 256)
    plt.close(fig)
    size = {"width": width // 2, "height": height // 2}
    _display({"image/png": base64.b64encode(png).decode(), "text/plain": "<figure>"}, {"image/png": size})
    _caption(caption)


def frames(draw: Callable[[Figure, int], None], n: int, caption: str, labels: Sequence[str] | None = None,
           figsize: tuple[float, float] = (5.6, 3.4), still: int | None = None) -> None:  # fmt: skip
    """Show a slider over frames: in the book, in Colab and offline; one frame as a still in print.

    Parameters
    ----------
    draw : function
        ``draw(fig, k)`` draws frame ``k`` into an empty figure.
    n : int
        Number of frames, 2 to 24.
    caption : str
        What to see when the slider moves, in Markdown.
    labels : sequence of str, optional
        What the slider says at each frame; default "1 of n".
    figsize : tuple
        Inches.
    still : int, optional
        The frame shown first and in print; default the last.

    Raises
    ------
    ValueError
        For too few or too many frames, or labels that are not one for each.
    """
    import matplotlib.pyplot as plt

    n = checks.integer("n", n, low=2, high=MOST_FRAMES)
    labels = [f"{k + 1} of {n}" for k in range(n)] if labels is None else [str(label) for label in labels]
    if len(labels) != n:
        raise ValueError(f"labels must be one for each of {n} frames, got {len(labels)}")
    first = n - 1 if still is None else checks.integer("still", still, low=0, high=n - 1)
    if _draft:
        labels, first = [labels[0], labels[-1]], 0
    pictures = []
    for k in (0, n - 1) if _draft else range(n):
        fig = plt.figure(figsize=figsize)
        draw(fig, k)
        png, *_ = _picture(fig, _DRAFT_DPI if _draft else 110, tight=False)  # one size for all: nothing jumps
        plt.close(fig)
        pictures.append(base64.b64encode(_fewer_colors(png, 64)).decode())
    _display({"text/html": _slider(pictures, labels, first, round(100 * figsize[0])), "text/plain": f"<{n} frames>"}, {})
    _caption(caption)


def _slider(pictures: list[str], labels: list[str], first: int, width: int) -> str:
    """A range input over pictures, without any library; each picture's own `alt` is its label."""
    images = ""
    for k, (picture, label) in enumerate(zip(pictures, labels, strict=True)):
        hidden, marked = ("", ' class="frames-still"') if k == first else (";display:none", "")
        style = f"max-width:100%;height:auto;background:#fff{hidden}"
        images += (
            f'<img{marked} src="data:image/png;base64,{picture}" alt="{html.escape(label)}" width="{width}" style="{style}">'
        )
    move = (
        "var b=this.closest('.frames'),m=b.querySelectorAll('img'),i;"
        "for(i=0;i<m.length;i++)m[i].style.display=i==this.value?'':'none';"
        "b.querySelector('output').textContent=m[this.value].alt"
    )
    return (
        f'<div class="frames"><div>{images}</div><label>'
        f'<input type="range" min="0" max="{len(pictures) - 1}" value="{first}" oninput="{move}" aria-label="frame"'
        f' style="width:{min(width, 420)}px;max-width:70%;vertical-align:middle"> '
        f"<output>{html.escape(labels[first])}</output></label></div>"
    )


def _has_map(fig: Figure) -> bool:
    """Whether colors of the figure stand for numbers, so that none may be replaced by its neighbor."""
    from matplotlib.cm import ScalarMappable

    drawn = [artist for ax in fig.axes for artist in (*ax.images, *ax.collections) if isinstance(artist, ScalarMappable)]
    return any(artist.get_array() is not None for artist in drawn)


def _fewer_colors(png: bytes, n: int) -> bytes:
    """The same picture with `n` colors: half of the bytes, or less. White and the palette stay, however thin the line."""
    from PIL import Image, ImageColor

    image, smaller = Image.open(io.BytesIO(png)).convert("RGB"), io.BytesIO()
    own = [ImageColor.getrgb(color) for color in ("white", *PALETTE.values())]
    others = image.quantize(n - len(own), dither=Image.Dither.NONE).getpalette() or []
    colors = np.vstack([own, np.reshape(others, (-1, 3))[: n - len(own)]])
    pixels = np.asarray(image).astype(int) @ (65536, 256, 1)  # a color as one number
    packed, which = np.unique(pixels, return_inverse=True)
    found = np.stack([packed // 65536, packed // 256 % 256, packed % 256], axis=1)
    nearest = np.square(found[:, None] - colors).sum(-1).argmin(-1)  # Pillow's own search is not exact
    fewer = Image.fromarray(nearest[which].reshape(pixels.shape).astype(np.uint8))
    fewer.putpalette(colors.ravel().tolist())
    fewer.save(smaller, "png", optimize=True)
    return smaller.getvalue()


def _picture(fig: Figure, dpi: int, tight: bool = True) -> tuple[bytes, int, int]:
    stored = io.BytesIO()
    options = _STORED if tight else {key: value for key, value in _STORED.items() if key != "bbox_inches"}
    fig.savefig(stored, format="png", dpi=dpi, **options)
    png = stored.getvalue()
    width, height = struct.unpack(">II", png[16:24])
    return png, width, height


def say(text: str) -> None:
    """Show a sentence whose numbers the calling cell has computed, as Markdown."""
    _display({"text/markdown": text, "text/plain": text}, {})


def _caption(text: str) -> None:
    global _shown
    if not text.strip():
        raise ValueError("a figure has a caption that says what to see")
    _shown += 1
    say(f"**Figure {_shown}.** {text}")


def _display(bundle: dict[str, str], metadata: dict[str, Any]) -> None:
    from IPython.display import display

    display(bundle, raw=True, metadata=metadata)


def ink_on(color: str) -> str:
    """Black or white, whichever reads better on a color."""
    red, green, blue = mpl.colors.to_rgb(color)
    return "black" if 0.299 * red + 0.587 * green + 0.114 * blue > 0.5 else "white"


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
