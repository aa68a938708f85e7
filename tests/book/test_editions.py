"""The PDF and the EPUB: made offline, from two small pages; and what print shows of a slider."""

import re
import zipfile

import pytest

from tests.conftest import ROOT
from tools import editions, extension

PAGES = ["book/how_to", "book/notation"]


@pytest.mark.book
@pytest.mark.slow
def test_epub_holds_the_pages(tmp_path):
    with zipfile.ZipFile(editions.build("epub", tmp_path, PAGES)) as archive:
        assert archive.namelist()[0] == "mimetype"
        assert {"book/how_to.xhtml", "book/notation.xhtml"} <= {name.removeprefix("OEBPS/") for name in archive.namelist()}
        (package,) = (archive.read(name).decode() for name in archive.namelist() if name.endswith(".opf"))
    assert "<dc:title>Optimization, Executed</dc:title>" in package


@pytest.mark.book
@pytest.mark.slow
@pytest.mark.skipif(not any(map(editions.shutil.which, editions.CHROMIUM)), reason="needs Chromium")
def test_pdf_is_printed_with_its_pages(tmp_path):
    pdf = editions.build("pdf", tmp_path, PAGES)
    data = pdf.read_bytes()
    assert data.startswith(b"%PDF-")
    assert len(re.findall(rb"/Type\s*/Page\b", data)) >= 3
    page = (tmp_path / "_build" / "singlehtml" / "book" / "how_to.html").read_text(encoding="utf-8")
    assert "Notation" in page
    assert "fontawesome" not in re.findall(r'src="(https?:[^"]+)"', page)


def test_editions_have_no_launch_buttons_and_no_api():
    for kind in ("pdf", "epub"):
        made = editions.config(kind)
        assert "launch_buttons" not in made
        assert made["sphinx"]["config"]["project"] == "Optimization, Executed"
    assert "book/api" not in str(editions.contents())
    assert "book/notation" in str(editions.contents())


def test_an_unknown_kind_is_refused(tmp_path):
    with pytest.raises(ValueError, match="kind must be 'pdf' or 'epub', got 'doc'"):
        editions.build("doc", tmp_path)


def test_print_shows_a_still_and_no_navigation():
    css = (ROOT / "_static" / "book.css").read_text(encoding="utf-8").split("@media print", 1)[1]
    assert re.search(r"\.frames img \{ display: none !important; \}", css)
    assert re.search(r"img\.frames-still \{ display: block !important; \}", css)
    for name in (".bd-sidebar-primary", ".frames label", ".prev-next-footer"):
        assert name in css
    assert "break-inside: avoid" in css


OUTPUT = """<div class="cell_output"><img src="a.png" width="350"/><p><strong>Figure 3.</strong> What to see.</p></div>
<div class="cell_output"><p><strong>Figure 4.</strong> Without a picture.</p></div>
<div class="cell_output"><div class="output text_html"><div class="frames"><img class="frames-still"/></div></div>
<p><strong>Figure 5.</strong> Moves.</p></div>
<table><thead><tr><th>name</th><th>value &amp; unit</th></tr></thead><tbody><tr><td>a</td><td>1</td></tr></tbody></table>
<table><tbody><tr><td>b</td></tr></tbody></table>"""


def test_a_caption_joins_its_picture_and_cells_learn_their_headings():
    made = extension.BeautifulSoup(extension.improve(OUTPUT), "html.parser")
    first, second = made.select("figure.shown")
    assert first.img["width"] == "350"
    assert first.figcaption.get_text() == "Figure 3. What to see."
    assert second.select_one("div.frames img") is not None
    assert "Figure 4" not in "".join(figure.get_text() for figure in (first, second))
    assert [cell["data-label"] for cell in made.select("table.labeled td")] == ["name", "value & unit"]
    assert len(made.select("table.labeled")) == 1
