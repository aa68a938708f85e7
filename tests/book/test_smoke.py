"""Every chapter runs to its end at the smallest scale with another seed, and leaves no warning."""

import pytest

from lib import execute, papers
from tools import notebooks


@pytest.mark.book
@pytest.mark.slow
@pytest.mark.parametrize("slug", papers.slugs())
def test_chapter_runs_at_smoke_scale(slug, tmp_path):
    notebook = execute.run_chapter(papers.chapter(slug), tmp_path / "out.ipynb", {"preset": "smoke", "seed": 11}, timeout_s=90)
    assert notebooks.complaints(notebook) == []
    results = execute.emitted(notebook)
    assert results is not None
    assert (results["preset"], results["seed"]) == ("smoke", 11)
    assert {entry["verdict"] for entry in results["claims"].values()} == {"not testable"}


def test_a_misspelt_parameter_is_refused(tmp_path):
    slug = next(iter(papers.slugs()))
    with pytest.raises(ValueError, match=f"{slug} has no parameter sed; its parameters: preset, seed"):
        execute.run_chapter(papers.chapter(slug), tmp_path / "out.ipynb", {"sed": 3})
