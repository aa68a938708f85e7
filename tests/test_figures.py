"""The book's style and its helpers."""

import matplotlib as mpl
import matplotlib.pyplot as plt
import numpy as np
import pytest

from lib import figures


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


def test_verdict_colors_carry_white_numbers():
    for color in figures.VERDICT_COLORS.values():
        assert 1.05 / (luminance(color) + 0.05) > 2.0


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
