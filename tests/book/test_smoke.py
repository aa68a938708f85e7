"""Every chapter runs to its end at the smallest scale with another seed, within its promise, and leaves no warning."""

import pytest

from lib import execute, papers
from tools import notebooks

#: CPU seconds that `smoke` promises beside its imports, and how much slower than the reference another machine may be.
PROMISE_S, SLOWER = 10, 1.6
#: Against hangs only.
LIMIT_S = 900


@pytest.mark.book
@pytest.mark.slow
@pytest.mark.parametrize("slug", papers.slugs())
def test_chapter_runs_at_smoke_scale(slug, tmp_path):
    notebook = execute.run_chapter(papers.chapter(slug), tmp_path / "out.ipynb", {"preset": "smoke", "seed": 11}, LIMIT_S)
    assert notebooks.complaints(notebook) == []
    results = execute.emitted(notebook)
    assert results is not None
    assert (results["slug"], results["preset"], results["seed"], results["changed"]) == (slug, "smoke", 11, {})
    allowed = {"claim": {"not tested"}, "finding": {"not tested"}, "check": {"holds", "not tested"}}
    for entry in papers.sheet(slug).claims:
        verdict = results["claims"][entry.id]["verdict"]
        assert verdict in allowed.get(entry.kind, {"measured", "not tested"}), f"{entry.id}: {verdict}"
    private = results["private"]
    assert private["cpu_seconds"] - private["imports_s"] <= PROMISE_S * SLOWER


def test_a_misspelt_parameter_is_refused(tmp_path):
    slug = next(iter(papers.slugs()))
    with pytest.raises(ValueError, match=f"{slug} has no parameter sed; its parameters: preset, seed"):
        execute.run_chapter(papers.chapter(slug), tmp_path / "out.ipynb", {"sed": 3})
