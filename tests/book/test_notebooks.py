"""What every stored chapter must be, read without running it."""

from __future__ import annotations

import ast
import json
import re

import pytest

from lib import execute, papers
from tools import notebooks, scaffold

pytestmark = pytest.mark.filterwarnings("ignore")
SLUGS = list(papers.slugs())


@pytest.fixture(params=SLUGS, scope="module")
def slug(request):
    return request.param


@pytest.fixture(scope="module")
def notebook(slug):
    return json.loads(papers.chapter(slug).read_text(encoding="utf-8"))


def tags(cell):
    return cell["metadata"].get("tags", [])


def sources(notebook, kind):
    return ["".join(cell["source"]) for cell in notebook["cells"] if cell["cell_type"] == kind]


def code_cells(notebook):
    return [cell for cell in notebook["cells"] if cell["cell_type"] == "code"]


def figure_cells(notebook):
    return [c for c in code_cells(notebook) if any("image/png" in o.get("data", {}) for o in c["outputs"])]


def test_headings_are_those_of_every_chapter(notebook):
    text = "\n".join(sources(notebook, "markdown"))
    assert re.findall(r"^## (.+)$", text, flags=re.M) == scaffold.HEADINGS
    assert len(re.findall(r"^# .+$", text, flags=re.M)) == 1


def test_nothing_is_left_to_write(slug, notebook):
    assert "TODO" not in json.dumps(notebook["cells"])
    assert "TODO" not in papers.chapter(slug).with_suffix(".yml").read_text(encoding="utf-8")


def test_stored_outputs_are_those_of_one_run(notebook):
    counts = [cell["execution_count"] for cell in code_cells(notebook)]
    assert counts == list(range(1, len(counts) + 1))


def test_no_errors_no_stderr(notebook):
    assert notebooks.complaints(notebook) == []


def test_stored_form_is_normal(slug, notebook):
    stored = papers.chapter(slug).read_text(encoding="utf-8")
    assert notebooks.dumps(notebooks.normalize(notebook, slug)) == stored


def test_no_machine_leaves_a_trace(notebook):
    outputs = [output for cell in code_cells(notebook) for output in cell["outputs"]]
    texts = [{**o.get("data", {}), "image/png": ""} for o in outputs] + [o.get("text", "") for o in outputs]
    assert not re.search(r"(?<![\w.])/(home|root|work|tmp|usr|Users)/|0x[0-9a-f]{6,}|ipykernel_", json.dumps(texts))


def test_first_code_cells_are_bootstrap_parameters_imports(notebook):
    first, second, *_ = code_cells(notebook)
    assert "".join(first["source"]) == notebooks.bootstrap()
    assert {"bootstrap", "hide-input"} <= set(tags(first))
    assert tags(second) == ["parameters"]


def test_parameters_are_few_plain_and_explained(slug, notebook):
    cell = code_cells(notebook)[1]
    lines = "".join(cell["source"]).splitlines()
    tree = ast.parse("\n".join(lines))
    values = {node.targets[0].id: ast.literal_eval(node.value) for node in tree.body}
    assert values["preset"] == "book"
    assert values["seed"] == 0
    assert 2 <= len(values) - 2 <= 6, "two to six knobs beside preset and seed"
    assert all("#" in line for line in lines)
    unknown = set(values) - {"preset", "seed"} - set(papers.sheet(slug).scale)
    assert not unknown, "each knob replaces a setting of the sheet's scale"


def test_tags_are_known(notebook):
    allowed = {"bootstrap", "parameters", "hide-input", "remove-input", "hide-cell", "key-figure"}
    assert set().union(*(tags(cell) for cell in notebook["cells"])) <= allowed


def test_colab_link_opens_this_chapter(slug, notebook):
    link = re.search(r"https://colab[^)\s]+", sources(notebook, "markdown")[0])
    assert link is not None
    assert link.group() == notebooks.colab_link(papers.chapter(slug))
    path = link.group().split("/blob/", 1)[1].split("/", 1)[1]
    assert (papers.root() / path).is_file()


def test_figures_have_captions_and_alt_text(notebook):
    figures = figure_cells(notebook)
    assert figures
    names = []
    for cell in figures:
        about = cell["metadata"].get("mystnb", {})
        label = "".join(cell["source"])[:60]
        assert len(about["figure"]["caption"].split()) >= 8, label
        assert 20 <= len(about["image"]["alt"]) <= 300, label
        assert cell["metadata"]["mystnb"]["figure"]["caption"] != about["image"]["alt"]
        names.append(about["figure"]["name"])
    assert len(set(names)) == len(names)


def test_one_key_figure_at_least(notebook):
    assert any("key-figure" in tags(cell) for cell in figure_cells(notebook))


def test_cells_are_short_and_hold_no_algorithm(notebook):
    for cell in code_cells(notebook):
        source = "".join(cell["source"])
        assert len([line for line in source.splitlines() if line.strip()]) <= 30, source[:80]
        tree = ast.parse("\n".join(line for line in source.splitlines() if not line.lstrip().startswith(("%", "!"))))
        assert not any(isinstance(node, ast.ClassDef) for node in ast.walk(tree)), source[:80]


def test_length_is_that_of_a_chapter(notebook):
    words = sum(len(text.split()) for text in sources(notebook, "markdown"))
    assert 1800 <= words <= 5000
    assert 18 <= len(code_cells(notebook)) <= 45


def test_size_is_small(slug):
    assert papers.chapter(slug).stat().st_size < 1_500_000


def test_three_exercises_with_folded_solutions(notebook):
    text = "\n".join(sources(notebook, "markdown"))
    folded = [cell for cell in code_cells(notebook) if "hide-cell" in tags(cell)]
    assert len(re.findall(r"\*\*Exercise \d", text)) >= 3
    assert len(folded) >= 3


def test_every_claim_is_measured_and_reported(slug, notebook):
    results = execute.emitted(notebook)
    assert results is not None
    assert results["preset"] == "book"
    assert results["changed"] == {}
    assert set(results["claims"]) == {claim.id for claim in papers.sheet(slug).claims}


def test_numbered_equations_are_typeset_once(notebook):
    # Sphinx puts $$ with a line break into a split environment, in which MathJax allows no \\tag; in \\begin{equation}
    # MathJax counts for itself, beside the \\tag. What remains is \\begin{equation*}.
    text = "\n".join(sources(notebook, "markdown"))
    assert "\\begin{equation}" not in text
    for block in re.findall(r"\$\$(.+?)\$\$", text, flags=re.S):
        assert not ("\\\\" in block and "\\tag" in block), block


def test_names_are_american(notebook):
    text = "\n".join(sources(notebook, "markdown"))
    stems = ["olour", "ehaviour", "eighbour", "avour", "ptimis", "inimis", "aximis", "ormalis", "egularis", "arameteris"]
    stems += ["andomis", "tandardis", "ummaris", "enalis", "licence", "modell", "labell"]
    british = rf"\b\w*(?:{'|'.join(stems)})\w*"
    assert [word for word in re.findall(british, text) if not word.endswith(("ist", "istic", "ism", "um"))] == []


def test_every_chapter_stands_in_the_contents():
    toc = (papers.root() / "_toc.yml").read_text(encoding="utf-8")
    for slug, part in papers.slugs().items():
        assert f"- file: book/{part}/{slug}\n" in toc


def test_readme_figure_is_the_stored_one():
    figure = notebooks.key_figure(papers.chapter(notebooks.README_CHAPTER))
    assert figure is not None
    assert notebooks.README_FIGURE.read_bytes() == figure[0]
