"""What every stored chapter must be, read without running it."""

from __future__ import annotations

import ast
import copy
import json
import re

import pytest

from lib import claims, execute, papers
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


def has(cell, *mimes):
    return any(mime in output.get("data", {}) for output in cell["outputs"] for mime in mimes)


def figure_cells(notebook):
    return [c for c in code_cells(notebook) if any(notebooks.pictures({"cells": [c]}))]


def visible(notebook):
    hidden = {"bootstrap", "parameters", "hide-input", "remove-input", "hide-cell"}
    return [cell for cell in code_cells(notebook) if not hidden & set(tags(cell))]


def lines_of(cell):
    return [line for line in "".join(cell["source"]).splitlines() if line.strip()]


def prose(text):
    """Markdown without code, mathematics, tables, headings, links' addresses and markup."""
    text = re.sub(r"```.*?```|<!--.*?-->", " ", text, flags=re.S)
    text = re.sub(r"\$\$.+?\$\$|\\begin\{equation\*\}.*?\\end\{equation\*\}", " ", text, flags=re.S)
    text = re.sub(r"`[^`]*`", "x", text)
    text = re.sub(r"\$[^$]+\$", "x", text)
    text = re.sub(r"\]\([^)]*\)", "]", text)
    text = re.sub(r"^(\||#).*$", "", text, flags=re.M)
    return text


def numbers(text):
    return {number.replace(",", "").rstrip(".") for number in re.findall(r"\d[\d,]*(?:\.\d+)?", text)}


def texts_of(outputs):
    for output in outputs:
        yield "".join(output.get("text", ""))
        for mime, entry in output.get("data", {}).items():
            if not mime.startswith("image/") and mime != "text/html":
                yield json.dumps(entry, ensure_ascii=False)


def section(notebook, heading):
    """The cells from one heading to the next."""
    found, inside = [], False
    for cell in notebook["cells"]:
        text = "".join(cell["source"]) if cell["cell_type"] == "markdown" else ""
        headings = [name.strip() for name in re.findall(r"^## (.+)$", text, flags=re.M)]
        if inside or heading in headings:
            found.append(cell)
        inside = headings[-1] == heading if headings else inside
    return found


def test_headings_are_those_of_every_chapter(notebook):
    text = "\n".join(sources(notebook, "markdown"))
    assert re.findall(r"^## (.+)$", text, flags=re.M) == scaffold.HEADINGS
    assert len(re.findall(r"^# .+$", text, flags=re.M)) == 1


def test_nothing_is_left_to_write(slug, notebook):
    # Sources only: the letters of a stored picture can spell anything.
    assert not [cell for cell in notebook["cells"] if "TODO" in "".join(cell["source"])]
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
    told = re.sub(r"base64,[\w+/=]+", "", json.dumps(texts))  # the letters of a slider's pictures say anything
    assert not re.search(r"(?<![\w.])/(home|root|work|tmp|usr|Users)/|0x[0-9a-f]{6,}|ipykernel_", told)


def test_pictures_are_those_that_refresh_stored(notebook):
    assert notebook["metadata"]["pictures"] == notebooks.picture_hashes(notebook)


def test_a_swapped_or_dropped_picture_is_noticed(notebook):
    swapped, dropped = copy.deepcopy(notebook), copy.deepcopy(notebook)
    for changed, act in ((swapped, "swap"), (dropped, "drop")):
        cell = next(cell for cell in code_cells(changed) if has(cell, "image/png"))
        bundle = next(output["data"] for output in cell["outputs"] if "image/png" in output.get("data", {}))
        if act == "drop":
            del bundle["image/png"]
        else:
            bundle["image/png"] = "A" + bundle["image/png"][1:-4] + "AAAA"
        assert changed["metadata"]["pictures"] != notebooks.picture_hashes(changed)


def test_first_code_cells_are_bootstrap_parameters_imports(slug, notebook):
    first, second, *_ = code_cells(notebook)
    assert "".join(first["source"]) == notebooks.bootstrap(slug)
    assert {"bootstrap", "hide-cell"} <= set(tags(first))
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
    link = re.search(r"https://colab[^)\s]+", "\n".join(sources(notebook, "markdown")[:6]))
    assert link is not None
    assert link.group() == notebooks.colab_link(papers.chapter(slug))
    path = link.group().split("/blob/", 1)[1].split("/", 1)[1]
    assert (papers.root() / path).is_file()


def test_figures_have_captions_and_alt_text(notebook):
    cells = figure_cells(notebook)
    assert 6 <= len(cells) <= 9
    for cell in cells:
        label = "".join(cell["source"])[-60:]
        assert "plt.show" not in "".join(cell["source"]), label
        caption = notebooks.caption(cell)
        assert len(caption.split()) >= 8, label
        if has(cell, "image/png"):
            alt = cell["metadata"].get("mystnb", {}).get("image", {}).get("alt", "")
            assert 20 <= len(alt) <= 300, label
            assert alt != caption


def test_pictures_fit_the_page_and_are_sharp(notebook):
    for cell in figure_cells(notebook):
        for output in cell["outputs"]:
            if "image/png" in output.get("data", {}):
                size = output["metadata"]["image/png"]
                assert size["width"] <= 770
                assert size["height"] <= 900


def test_one_key_figure(notebook):
    assert len([cell for cell in figure_cells(notebook) if "key-figure" in tags(cell)]) == 1


def test_the_opening_shows_a_picture_and_an_answer(notebook):
    opening = notebook["cells"][: notebook["cells"].index(section(notebook, "At a glance")[0]) + 1]
    assert any(cell["cell_type"] == "code" and has(cell, "image/png", "text/html") for cell in opening)
    assert any(cell["cell_type"] == "code" and has(cell, "text/markdown") for cell in opening)


def test_one_instance_is_shown_as_frames(notebook):
    assert any("frames(" in text for text in sources(notebook, "code"))


def test_cells_are_short_and_hold_no_algorithm(notebook):
    for cell in code_cells(notebook):
        source = "".join(cell["source"])
        assert len(lines_of(cell)) <= (18 if cell in visible(notebook) else 30), source[:80]
        tree = ast.parse("\n".join(line for line in source.splitlines() if not line.lstrip().startswith(("%", "!"))))
        assert not any(isinstance(node, ast.ClassDef) for node in ast.walk(tree)), source[:80]
        if cell in visible(notebook):
            assert max(map(len, source.splitlines())) <= 95, source[:80]


def test_length_is_that_of_a_chapter(notebook):
    words = sum(len(text.split()) for text in sources(notebook, "markdown"))
    assert 1500 <= words <= 3000
    assert 12 <= len(visible(notebook)) <= 30


def long_sentences(text, most=36):
    """Sentences of a Markdown text that have more words; mathematics and code count as one word each."""
    found = []
    for block in re.split(r"\n\s*\n|\n(?=[-*\d])", prose(text)):
        sentences = re.split(r"(?<=[.!?:;])\s+", " ".join(block.split()))
        found += [sentence for sentence in sentences if len(sentence.split()) > most]
    return found


def loose_numbers(text, known):
    """Numbers of a Markdown text that look like results (decimals, percentages, three digits and more) and are not known."""
    found = []
    for number in re.findall(r"(?<![\w.:])\d[\d,]*(?:\.\d+)?(?:\s?%)?", prose(text)):
        plain = number.rstrip("% ").replace(",", "")
        result = "." in plain or "%" in number or (len(plain) >= 3 and not re.fullmatch(r"(19|20)\d\d", plain))
        if result and plain not in known:
            found.append(number)
    return found


#: A verdict that prose gives in the present: it belongs to the outputs, and only tales of earlier runs are typed.
TYPED_VERDICT = re.compile(
    r"\b(?:[CFKIT]\d+|[Cc]laim|[Ff]inding)\s+(?:is|are|reads|counts as|stands as)\s+[*_\"“]*"
    r"(?:not reproduced|reproduced|partly|undecided|not found|found)\b"
)


def test_no_verdict_is_typed(notebook):
    assert [text[:200] for text in sources(notebook, "markdown") if TYPED_VERDICT.search(" ".join(text.split()))] == []


@pytest.mark.parametrize(
    ("text", "typed"),
    [
        ("So C9 is reproduced in part.", True),
        ("F3 reads *not found*.", True),
        ("Then C1 was **reproduced**.", False),
        ("C4: see", False),
    ],
)
def test_a_typed_verdict_is_noticed(text, typed):
    assert bool(TYPED_VERDICT.search(text)) is typed


def test_text_in_figures_can_be_read(notebook):
    sizes = re.findall(r"(?:font|label|title)size\s*=\s*(\d+(?:\.\d+)?)", "\n".join(sources(notebook, "code")))
    assert all(float(size) >= 6 for size in sizes), "8 pixels as shown, at 100 dots per inch"


def test_sentences_are_short(notebook):
    assert [sentence for text in sources(notebook, "markdown") for sentence in long_sentences(text)] == []


def test_numbers_in_prose_stand_in_an_output_or_are_settings(slug, notebook):
    sheet = papers.chapter(slug).with_suffix(".yml").read_text(encoding="utf-8")
    code = " ".join(sources(notebook, "code"))
    outputs = " ".join(text for cell in code_cells(notebook) for text in texts_of(cell["outputs"]))
    known = numbers(sheet) | numbers(code) | numbers(outputs)
    references = section(notebook, "References")
    for cell in notebook["cells"]:
        if cell["cell_type"] == "markdown" and cell not in references:
            text = "".join(cell["source"])
            assert loose_numbers(text, known) == [], text[:200]
        alt = cell["metadata"].get("mystnb", {}).get("image", {}).get("alt", "")
        assert loose_numbers(alt, known) == [], alt


#: Calls that show a sentence or a caption.
SAYS = {"show", "say", "frames", "Markdown"}
#: Numbers that such sentences may hold without computing them, with the reason.
TYPED = {
    "gradient_normalized_smoothness": {"8124"},  # rows of a data set
    "tpsgd": {"1.63", "1.05", "1.18"},  # of an earlier record, in the account of what changed
    # of earlier runs, in the account of what changed
    "bilevel_penalty": {"0.43", "0.72", "2.2", "0.75", "0.85", "1.11", "0.925", "0.885", "0.964"},
    "online_matching": {"0.621", "0.597"},  # bounds of other papers
    "udc": {"256"},  # the name of a hash
}


def syntax(cell):
    return ast.parse("\n".join("" if line.lstrip().startswith(("%", "!")) else line for line in cell["source"]))


def typed_sentences(tree):
    """The typed parts of what a cell's code says in sentences and captions; ``x`` for each part that it computes."""
    for call in (node for node in ast.walk(tree) if isinstance(node, ast.Call)):
        if getattr(call.func, "attr", getattr(call.func, "id", "")) in SAYS:
            for node in (n for part in (*call.args, *(k.value for k in call.keywords)) for n in ast.walk(part)):
                if isinstance(node, ast.JoinedStr):
                    yield "".join(v.value if isinstance(v, ast.Constant) else "x" for v in node.values)
                elif isinstance(node, ast.Constant) and isinstance(node.value, str):
                    yield re.sub(r"\{[^}]*\}", "x", node.value)


def written(tree):
    """The numbers that code computes with, also as percentages."""
    found = [n.value for n in ast.walk(tree) if isinstance(n, ast.Constant) and type(n.value) in (int, float)]
    return {text for value in found for text in (str(value), f"{value:g}", f"{100 * value:g}")}


def test_numbers_in_captions_and_said_sentences_are_computed(slug, notebook):
    trees = {cell["id"]: syntax(cell) for cell in code_cells(notebook)}
    said = {name: list(typed_sentences(tree)) for name, tree in trees.items()}
    outputs = " ".join(text for cell in code_cells(notebook) if not said[cell["id"]] for text in texts_of(cell["outputs"]))
    sheet = papers.chapter(slug).with_suffix(".yml").read_text(encoding="utf-8")
    known = numbers(sheet) | numbers(outputs) | set().union(*map(written, trees.values())) | TYPED.get(slug, set())
    for text in (text for texts in said.values() for text in texts):
        assert loose_numbers(text, known) == [], text[:200]


def test_a_number_typed_into_a_caption_is_noticed():
    code = 'figures.show(f"It gains 0.31 points of {best:.2f}, at 5 steps.")\nfigures.say("By {C1.gain:.2f}, " + "or 41 %")'
    found = [number for text in typed_sentences(ast.parse(code)) for number in loose_numbers(text, set())]
    assert set(found) == {"0.31", "41 %"}
    assert list(typed_sentences(ast.parse("print('0.31'); ax.plot(0.31)"))) == []
    assert {"0.05", "5"} <= written(ast.parse("x = 0.05"))


@pytest.mark.parametrize(
    ("text", "loose"),
    [
        ("It gains 0.31 points.", ["0.31"]),
        ("It wins 97 % of the time, 12 of 20.", ["97 %"]),
        ("After 4,500 steps of 1500.", ["4,500"]),
        ("In 2023, with `0.77` and $x=0.88$ ([0.99](https://a.b/1.23)).", ["0.99"]),
        ("| 0.5 | a table |", []),
        ("Section 3, version 10.", []),
    ],
)
def test_a_typed_result_is_noticed(text, loose):
    assert loose_numbers(text, {"1500"}) == loose


def test_a_long_sentence_is_noticed():
    assert long_sentences("word " * 37 + ".") != []
    assert long_sentences("word " * 30 + ". " + "word " * 30 + ".") == []
    assert long_sentences("word " * 30 + "$x + y = z + w + a + b + c$.") == []


def test_size_is_small(slug):
    assert papers.chapter(slug).stat().st_size < 1_500_000


def test_exercises_have_folded_solutions(notebook):
    cells = section(notebook, "Try it")
    text = "\n".join("".join(cell["source"]) for cell in cells if cell["cell_type"] == "markdown")
    folded = [cell for cell in cells if "hide-cell" in tags(cell)]
    assert 3 <= len(re.findall(r"\*\*Exercise \d", text)) <= 5
    assert len(folded) >= 3


def test_every_entry_is_reported_and_stored_verdicts_are_those_of_the_rules(slug, notebook):
    results = execute.emitted(notebook)
    assert results is not None
    assert (results["slug"], results["preset"], results["changed"]) == (slug, "book", {})
    sheet = papers.sheet(slug)
    assert set(results["claims"]) == {entry.id for entry in sheet.claims}
    for entry in sheet.claims:
        stored = results["claims"][entry.id]
        if entry.kind != "cost":
            assert stored["verdict"] == claims.verdict(entry, stored["values"], "book"), entry.id


def test_numbered_equations_are_typeset_once(notebook):
    # Sphinx puts $$ with a line break into a split environment, in which MathJax allows no \\tag; in \\begin{equation}
    # MathJax counts for itself, beside the \\tag. What remains is \\begin{equation*}.
    text = "\n".join(sources(notebook, "markdown"))
    assert "\\begin{equation}" not in text
    for block in re.findall(r"\$\$(.+?)\$\$", text, flags=re.S):
        assert not ("\\\\" in block and "\\tag" in block), block


def test_references_can_be_read_everywhere(notebook):
    assert "{cite}" not in "\n".join(sources(notebook, "markdown"))


def test_names_are_american(notebook):
    text = "\n".join(sources(notebook, "markdown"))
    stems = ["olour", "ehaviour", "eighbour", "avour", "ptimis", "inimis", "aximis", "ormalis", "egularis", "arameteris"]
    stems += ["andomis", "tandardis", "ummaris", "enalis", "licence", "modell", "labell"]
    british = rf"\b\w*(?:{'|'.join(stems)})\w*"
    assert [word for word in re.findall(british, text) if not re.search(r"(ist|istic|ism|um)([A-Z]|$)", word)] == []


def test_every_chapter_stands_in_the_contents():
    toc = (papers.root() / "_toc.yml").read_text(encoding="utf-8")
    for slug, part in papers.slugs().items():
        assert f"- file: book/{part}/{slug}\n" in toc


def test_readme_figure_is_the_stored_one():
    figure = notebooks.key_figure(papers.chapter(notebooks.README_CHAPTER))
    assert figure is not None
    assert notebooks.README_FIGURE.read_bytes() == figure[0]
