"""The generated pages: what they take from chapters and sheets, and that they escape it."""

import json

import pytest

from lib import papers
from lib import scoreboard as board
from tests.conftest import ROOT
from tools import notebooks, scoreboard
from tools.pages import api, costs, datasets, front


@pytest.mark.parametrize(
    ("markdown", "sentence"),
    [
        ("It wins on 7 of 9 sets. The rest is noise.", "It wins on 7 of 9 sets."),
        ("**The answer.** Linear decay, by 0.3 points, wins. More.", "Linear decay, by 0.3 points, wins."),
        ("See [the board](x.ipynb): it *is* so, e.g. here.\nNext line.", "See the board: it *is* so, e.g. here."),
        ("No end", "No end"),
    ],
)
def test_first_sentence(markdown, sentence):
    assert front.first_sentence(markdown) == sentence


def test_finding_is_the_first_text_output_of_the_title_section(tmp_path, monkeypatch):
    def output(text):
        return {"cell_type": "code", "metadata": {}, "source": "", "outputs": [{"data": {"text/markdown": [text]}}]}

    title = {"cell_type": "markdown", "metadata": {}, "source": "# A title"}
    section = {"cell_type": "markdown", "metadata": {}, "source": ["text\n", "## At a glance"]}
    path = tmp_path / "toy.ipynb"
    monkeypatch.setattr(papers, "chapter", lambda slug: path)
    path.write_text(json.dumps({"cells": [title, output("**Figure 1.** Seen."), output("It holds. Yes."), section]}))
    assert front.finding("toy") == "It holds."
    path.write_text(json.dumps({"cells": [title, section, output("Too late.")]}))
    assert front.finding("toy") == ""


def test_planned_papers_are_the_whole_plan():
    raw = front.yaml.safe_load(front.PLANNED.read_text(encoding="utf-8"))
    assert list(raw) == list(papers.PARTS)
    assert sum(map(len, raw.values())) == 28
    for slug, part in papers.slugs().items():
        assert slug in raw[part]
        assert slug not in front.planned()[part]


def test_a_finished_plan_has_no_papers_to_come(monkeypatch):
    monkeypatch.setattr(front, "planned", lambda: {part: {} for part in papers.PARTS})
    assert "to come" not in front.front({})


def test_what_a_sheet_says_is_escaped():
    assert front._plain("<script>*x*</script> | `y` $z$") == r"\<script\>\*x\*\</script\> \| \`y\` \$z\$"


def test_what_a_benchmark_says_is_escaped(tmp_path, monkeypatch):
    slug = next(iter(papers.slugs()))
    row = {"slug": slug, "work": "<b>a | b</b>", "ours": 1.0, "peer": "<i>", "ratio": 2.0}
    stored = tmp_path / "benchmarks.json"
    stored.write_text(json.dumps({"cpu": "<cpu>", "comparisons": [row], "growth": []}))
    monkeypatch.setattr(costs, "BENCHMARKS", stored)
    monkeypatch.setattr(costs, "_measured", list)
    text = costs.page(tmp_path)
    assert r"&lt;b&gt;a \| b&lt;/b&gt;" in text
    assert not {"<b>", "<i>"} & set(text.split())
    assert "<b>" not in text
    assert "<cpu>" not in text


@pytest.mark.slow
def test_growth_is_drawn(tmp_path):
    costs.draw_growth([{"slug": "a", "work": "w", "points": [[1, 0.1], [10, 2.0]]}], tmp_path / "growth.png")
    assert (tmp_path / "growth.png").read_bytes()[:4] == b"\x89PNG"


def test_every_data_set_is_listed_with_its_hash():
    text = datasets.page()
    for entry in datasets.data.catalog():
        assert f"| `{entry.name}` |" in text
        assert all(value in text.split("{dropdown}")[1] for value in entry.sha256.values())


def test_api_has_a_page_for_each_paper_and_room_method_first():
    made = api.pages()
    for slug, part in papers.slugs().items():
        page = made[f"api/papers/{slug}.md"]
        assert f"lib.{part}.{slug}" in page
        assert f"automodule:: lib.{part}.{slug}.study" not in page
        if f"api/papers/{slug}_study.md" in made:
            assert f"automodule:: lib.{part}.{slug}.study" in made[f"api/papers/{slug}_study.md"]
    assert made["api.md"].index("Better gradient steps") < made["api.md"].index("Shared rooms")
    assert "api/" not in (ROOT / "_toc.yml").read_text(encoding="utf-8").replace("book/api/papers/*", "").replace(
        "book/api/rooms/*", ""
    )


def test_scoreboard_is_the_one_that_is_made_today_with_a_heading_for_each_chapter():
    stored = json.loads(notebooks.SCOREBOARD.read_text(encoding="utf-8"))
    made = notebooks.normalize({"cells": scoreboard.cells()}, notebooks.SCOREBOARD.stem)
    assert [cell["source"] for cell in stored["cells"]] == [cell["source"] for cell in made["cells"]], "make refresh"
    text = "\n".join("".join(cell["source"]) for cell in stored["cells"])
    for slug, part in papers.slugs().items():
        assert f"\n### [{papers.heading(slug)}]({part}/{slug}.ipynb)\n" in text


def test_the_scoreboard_shows_what_recorded_runs_say_today():
    """The stored board follows records and rules of today: it is executed in ``make test`` too, this says so at once."""
    stored = json.loads(notebooks.SCOREBOARD.read_text(encoding="utf-8"))
    outputs = "".join(
        "".join(o.get("data", {}).get("text/markdown", "")) for c in stored["cells"] for o in c.get("outputs", [])
    )
    reproduced, claims = board.headline()
    assert f"**{reproduced} of the papers' {claims} own claims are reproduced.**" in outputs
