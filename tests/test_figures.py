"""The book's style and its helpers."""

import base64
import io
import re
import struct

import matplotlib as mpl
import matplotlib.pyplot as plt
import numpy as np
import pytest
from PIL import Image, ImageColor

from lib import figures, papers


@pytest.fixture(autouse=True)
def quiet_canvas():
    with mpl.rc_context():
        plt.switch_backend("agg")
        yield
        plt.close("all")


def luminance(color):
    """Relative luminance of sRGB (WCAG 2)."""
    rgb = np.array(mpl.colors.to_rgb(color))
    linear = np.where(rgb <= 0.03928, rgb / 12.92, ((rgb + 0.055) / 1.055) ** 2.4)
    return linear @ [0.2126, 0.7152, 0.0722]


def test_style_sets_size_and_readable_text():
    figures.style()
    assert mpl.rcParams["font.size"] >= 9
    assert mpl.rcParams["legend.fontsize"] >= 9
    assert mpl.rcParams["figure.facecolor"] == "white"


def test_methods_differ_by_color_and_line():
    figures.style()
    cycle = list(mpl.rcParams["axes.prop_cycle"])
    assert len({entry["color"] for entry in cycle}) == len(cycle)
    assert len({str(entry["linestyle"]) for entry in cycle}) >= len(cycle) - 1


def test_numbers_on_verdict_colors_can_be_read():
    for color in figures.VERDICT_COLORS.values():
        bright, dark = sorted([luminance(color), luminance(figures.ink_on(color))], reverse=True)
        assert (bright + 0.05) / (dark + 0.05) > 3.2, color
    assert figures.ink_on(figures.VERDICT_COLORS["partly"]) == "black"


def test_every_verdict_has_a_color():
    assert {word for words in papers.KINDS.values() for word in words} == set(figures.VERDICT_COLORS)


@pytest.fixture
def shown(monkeypatch):
    collected = []
    monkeypatch.setattr("IPython.display.display", lambda bundle, raw, metadata: collected.append((bundle, metadata)))
    return collected


def test_show_gives_a_sharp_picture_and_a_numbered_caption_whatever_the_backend(shown):
    figures.style()
    for caption in ("Look here.", "And there."):
        plt.subplots(figsize=(7.5, 3))
        figures.show(caption)
    (picture, size), (text, _), _, (second, _) = shown
    png = base64.b64decode(picture["image/png"])
    width, height = struct.unpack(">II", png[16:24])
    assert size == {"image/png": {"width": width // 2, "height": height // 2}}
    assert 600 < width // 2 < 800
    assert b"Software" not in png
    assert text["text/markdown"] == "**Figure 1.** Look here."
    assert second["text/markdown"] == "**Figure 2.** And there."
    assert not plt.get_fignums()


def test_the_same_figure_has_the_same_bytes(shown):
    for _ in range(2):
        plt.subplots()[1].plot([1, 2])
        figures.show("Look.")
    assert shown[0] == shown[2]


@pytest.mark.parametrize("drawn", ["imshow", "pcolormesh", "contourf", "scatter"])
def test_colors_that_stand_for_numbers_are_kept(shown, drawn):
    """No color of a map is replaced by its neighbor; a picture without a map has 256 colors at most."""

    def picture(number):
        return Image.open(io.BytesIO(base64.b64decode(shown[number][0]["image/png"])))

    ax = plt.subplots(figsize=(7, 7))[1]
    field = np.add.outer(np.linspace(0, 1, 40), np.linspace(0, 1, 40))
    if drawn == "scatter":
        ax.scatter(*np.indices(field.shape), c=field, cmap="RdBu_r")
    else:
        getattr(ax, drawn)(field, cmap="RdBu_r")
    figures.show("A map.")
    assert picture(0).mode in ("RGB", "RGBA")
    plt.subplots()[1].plot([1, 2])
    figures.show("Lines.")
    assert picture(2).mode == "P"


def test_show_refuses_what_a_page_cannot_show(shown):
    with pytest.raises(ValueError, match="no figure to show"):
        figures.show("Look.")
    plt.subplots(figsize=(9, 3))
    with pytest.raises(ValueError, match=r"at most 7.5 inches wide, got 9"):
        figures.show("Look.")
    plt.close("all")
    plt.subplots()
    with pytest.raises(ValueError, match="caption"):
        figures.show(" ")


def test_frames_are_a_slider_without_any_library(shown):
    figures.frames(lambda fig, k: fig.add_subplot().plot([0, k]), 3, "It moves.", labels=["a", "b<", "c"], still=1)
    (bundle, _), (text, _) = shown
    html = bundle["text/html"]
    assert html.count("<img") == 3
    assert html.count("display:none") == 2
    assert 'class="frames-still"' in html.split("<img")[2]
    assert 'max="2" value="1"' in html
    assert "b&lt;" in html
    assert "http" not in html
    assert text["text/markdown"].endswith("It moves.")
    assert not plt.get_fignums()


def test_frames_keep_the_colors_of_the_palette(shown):
    """Thin lines among many grays: with fewer colors, blue is not to become green."""

    def draw(fig, k):
        ax = fig.add_subplot()
        for i in range(40):
            ax.plot([0, 1], [i / 8, i / 8 + 1], color=str(0.5 + i / 100), linewidth=0.8)
        ax.imshow([[0, 1], [1, 2]], extent=(0, 0.5, 2, 4), interpolation="bilinear")
        for i, color in enumerate(figures.PALETTE.values()):
            ax.axhline(i / 2, color=color, linewidth=1.5, linestyle="-")

    figures.frames(draw, 2, "Lines.")
    (bundle, _), _ = shown
    picture = base64.b64decode(re.search(r"base64,([^\"]+)", bundle["text/html"]).group(1))
    kept = {color for _, color in Image.open(io.BytesIO(picture)).convert("RGB").getcolors(10**6)}
    assert {ImageColor.getrgb(color) for color in ("white", *figures.PALETTE.values())} <= kept
    assert len(kept) <= 64


@pytest.mark.parametrize(
    ("n", "labels", "message"), [(1, None, "n must be"), (25, None, "n must be"), (3, ["a"], "one for each of 3")]
)
def test_frames_refuse_what_is_no_slider(n, labels, message, shown):
    with pytest.raises(ValueError, match=message):
        figures.frames(lambda fig, k: None, n, "c", labels)


def test_seed_spread_draws_runs_band_and_median():
    _, ax = plt.subplots()
    runs = np.arange(12.0).reshape(3, 4)
    figures.seed_spread(ax, range(4), runs, "ours", "black")
    assert len(ax.lines) == 4
    np.testing.assert_allclose(ax.lines[-1].get_ydata(), np.median(runs, axis=0))
    assert len(ax.collections) == 1
    with pytest.raises(ValueError, match=r"shape \(n_runs, 3\), got \(3, 4\)"):
        figures.seed_spread(ax, range(3), runs, "ours", "black")


def test_one_run_has_no_band():
    _, ax = plt.subplots()
    figures.seed_spread(ax, range(4), np.arange(4.0), "ours", "black")
    assert not ax.collections


@pytest.mark.parametrize("axis", ["x", "y"])
def test_mark_paper_draws_the_value(axis):
    _, ax = plt.subplots()
    figures.mark_paper(ax, 0.637, axis=axis)
    data = ax.lines[0].get_xdata() if axis == "x" else ax.lines[0].get_ydata()
    assert set(data) == {0.637}
    assert ax.texts[0].get_text() == "paper"
    with pytest.raises(ValueError, match="'x' or 'y', got 'z'"):
        figures.mark_paper(ax, 1, axis="z")


def test_drafts_are_coarse_and_sliders_have_two_frames(shown):
    figures.style(draft=True)
    try:
        plt.subplots(figsize=(7, 3))
        figures.show("It falls.")
        figures.frames(lambda fig, k: fig.add_subplot().plot([0, k]), 5, "It moves.", still=2)
    finally:
        figures.style()
    (picture, _), _, (slider, _), _ = shown
    width, _ = struct.unpack(">II", base64.b64decode(picture["image/png"])[16:24])
    assert width < 7.5 * 50
    assert slider["text/html"].count("<img") == 2
    assert 'max="1" value="0"' in slider["text/html"]
    with pytest.raises(TypeError, match="draft must be True or False"):
        figures.style(draft="smoke")
