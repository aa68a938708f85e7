"""The code hash sees what can change a number, and nothing else."""

import ast
import json

import pytest

from lib import codehash, papers


def cell(source, *tags):
    return {"cell_type": "code", "metadata": {"tags": list(tags)} if tags else {}, "source": source, "outputs": []}


def counted(*cells):
    """The sources of the cells that count."""
    return [ast.unparse(tree) for tree in codehash.counted(list(cells))]


def test_a_chapters_hash_sees_code_and_not_comments_or_text(tmp_path, monkeypatch):
    slug = next(iter(papers.slugs()))
    before = codehash.code_hash(slug)
    notebook = json.loads(papers.chapter(slug).read_text())
    code = [c for c in notebook["cells"] if c["cell_type"] == "code" and not c["metadata"].get("tags")]
    monkeypatch.setattr(papers, "chapter", lambda _: tmp_path / "chapter.ipynb")

    def rehash():
        (tmp_path / "chapter.ipynb").write_text(json.dumps(notebook))
        return codehash.code_hash(slug)

    assert rehash() == before
    code[0]["source"] = ["# a comment\n", *code[0]["source"]]
    notebook["cells"].append({"cell_type": "markdown", "metadata": {}, "source": "text"})
    assert rehash() == before
    code[0]["source"] = ["import math\n", *code[0]["source"]]
    changed = rehash()
    assert changed != before
    drawing = cell(["sketch.plot([1, 2])"], "hide-input")  # of no name that a cell that counts may use
    notebook["cells"].append(drawing)
    assert rehash() == changed
    drawing["source"] = ["ledger.measure('C1', value=1)"]
    assert rehash() != changed


@pytest.mark.parametrize(
    ("hidden", "visible"),
    [
        ("gain = 2", "ledger_input = gain + 1"),
        ("def gain(x):\n    return 2 * x", "y = gain(1)"),
        ("class Gain:\n    pass", "y = Gain()"),
        ("from lib.problems import packing as gain", "y = gain.x"),
        ("for gain in range(3):\n    pass", "y = gain"),
        ("if (gain := 3):\n    pass", "y = gain"),
        ("with open('x') as gain:\n    pass", "def f():\n    return gain"),
        ("a, (gain, *b) = 1, (2, 3)", "y = [gain for _ in b]"),
    ],
)
def test_a_hidden_cell_that_defines_what_a_counted_cell_uses_counts(hidden, visible):
    for tag in ("hide-input", "hide-cell", "remove-input"):
        assert len(counted(cell(hidden, tag), cell(visible))) == 2


def test_definitions_are_followed_through_several_hidden_cells():
    cells = [cell("a = 1", "hide-cell"), cell("b = a", "hide-cell"), cell("c = b", "hide-cell"), cell("y = c")]
    assert len(counted(*cells)) == 4
    assert counted(*cells[:3]) == []


@pytest.mark.parametrize(
    "change",
    [
        "gains.append(2)",
        "gains[0] = 2",
        "gains.x.y = 2",
        "gains += [2]",
        "gains.sort().reverse()",
        "def f():\n    gains[0] = 2",
    ],
)
def test_a_hidden_cell_that_changes_what_a_counted_cell_uses_counts(change):
    assert len(counted(cell("gains = [1]"), cell(change, "hide-input"), cell("y = sum(gains)"))) == 3


@pytest.mark.parametrize(
    "drawing",
    [
        "fig, ax = plt.subplots()\nax.plot(gains)\nfor name in gains:\n    ax.text(0, 0, name)",
        "figures.say(f'{sum(gains)}')",
        "solution = [gain + 1 for gain in gains]",
        "def exercise(gains):\n    gains.append(1)\n    return gains",
    ],
)
def test_what_only_draws_or_solves_does_not_count(drawing):
    visible = [
        cell("import matplotlib.pyplot as plt\nfrom lib import figures\ngains = [1]"),
        cell("y = [name for name in gains]\nfor ax in y:\n    print(ax)\nsolution = 3\nprint(solution)"),
    ]
    assert len(counted(visible[0], cell(drawing, "hide-input"), visible[1])) == 2


def test_only_the_last_definition_before_its_use_counts():
    first, second, use = cell("x = 1", "hide-cell"), cell("x = 2", "hide-cell"), cell("y = x")
    assert counted(first, second, use) == ["x = 2", "y = x"]
    assert counted(use, second) == ["y = x"]
    assert counted(cell("def f():\n    return x"), second) == ["def f():\n    return x", "x = 2"]  # used when it is called


def test_parameters_and_bootstrap_never_count_and_magics_are_skipped():
    cells = [
        cell("seed = 0", "parameters"),
        cell("try:\n    %pip install x\nexcept E:\n    pass", "bootstrap"),
        cell("%time y = seed"),
    ]
    assert counted(*cells) == ["pass"]


def test_modules_are_followed_and_numberless_rooms_are_not():
    seen = {}
    tree = ast.parse("from lib import claims, experiment\nfrom lib.gradient import lr_refinement\nimport lib.scoreboard")
    codehash._follow(codehash._imports(tree), seen)
    assert {"lib.experiment", "lib.gradient", "lib.gradient.lr_refinement"} <= set(seen)
    assert not codehash.NUMBERLESS & set(seen)
    assert any(name.startswith("lib.gradient.lr_refinement.") for name in seen)  # through its relative or absolute imports


def test_numberless_rooms_exist():
    assert all(codehash._source(name) for name in codehash.NUMBERLESS)


def test_docstrings_and_layout_do_not_count():
    plain = "async def f(x):\n    return x+1"
    worded = 'async def f( x ):\n    """Words."""\n    return (x + 1)  # more'
    assert codehash._canonical(ast.parse(plain)) == codehash._canonical(ast.parse(worded))
    assert codehash._canonical(ast.parse(plain)) != codehash._canonical(ast.parse(plain.replace("1", "2")))
    assert codehash._canonical(ast.parse("1")) != codehash._canonical(ast.parse("1.0"))
