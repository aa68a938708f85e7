"""The PDF and the EPUB: made offline, from two small pages and a chapter; what print shows of sliders and folded cells."""

import posixpath
import re
import zipfile
from xml.dom import minidom

import pytest

from lib import papers
from tests.conftest import ROOT
from tools import editions, extension

PAGES = ["book/how_to", "book/notation"]


with_chromium = pytest.mark.skipif(not any(map(editions.shutil.which, editions.CHROMIUM)), reason="needs Chromium")


def a_chapter():
    slug, part = next(iter(papers.slugs().items()))
    return f"book/{part}/{slug}"


@pytest.mark.book
@pytest.mark.slow
def test_epub_holds_the_pages_as_a_reader_of_books_can_show_them(tmp_path):
    with zipfile.ZipFile(editions.build("epub", tmp_path, [*PAGES, a_chapter()])) as archive:
        names = archive.namelist()
        assert names[0] == "mimetype"
        assert archive.getinfo("mimetype").compress_type == zipfile.ZIP_STORED
        pages = {name: minidom.parseString(archive.read(name)) for name in names if name.endswith(".xhtml")}
        (package,) = (archive.read(name).decode() for name in names if name.endswith(".opf"))
    assert {f"{page}.xhtml" for page in [*PAGES, a_chapter()]} <= set(pages)
    assert "<dc:title>Optimization, Executed</dc:title>" in package
    assert "unknown</dc:identifier>" not in package
    chapter = pages[f"{a_chapter()}.xhtml"]
    pictures = [image.getAttribute("src") for image in chapter.getElementsByTagName("img")]
    for source in (source for source in pictures if not source.startswith("data:")):
        assert posixpath.normpath(posixpath.join(posixpath.dirname(a_chapter()), source)) in names
    assert len(pictures) >= 6
    assert sum(source.startswith("data:") for source in pictures) == chapter.toxml().count('class="frames"')
    for page in pages.values():
        assert not [e for name in ("script", "input", "button") for e in page.getElementsByTagName(name)]
        assert not [e for e in page.getElementsByTagName("details") if "hide" in e.getAttribute("class").split()]


@pytest.mark.book
@pytest.mark.slow
@with_chromium
def test_pdf_is_printed_with_its_pictures(tmp_path):
    data = editions.build("pdf", tmp_path, [*PAGES, a_chapter()]).read_bytes()
    assert data.startswith(b"%PDF-")
    assert len(re.findall(rb"/Type\s*/Page\b", data)) >= 10
    assert len(re.findall(rb"/Subtype\s*/Image\b", data)) >= 6
    printed = tmp_path / "_build" / "singlehtml" / f"{editions.NAME}.html"
    page = extension.BeautifulSoup(printed.read_text(encoding="utf-8"), "html.parser")
    assert "Notation" in page.get_text()
    wanted = [tag["src"] for tag in page.find_all(["img", "script"], src=True)]
    wanted += [tag["href"] for tag in page.find_all("link", rel="stylesheet")]
    wanted = [name.partition("?")[0] for name in wanted if not name.startswith("data:")]
    assert any(name.endswith("book.css") for name in wanted)
    assert any(name.endswith("tex-chtml.js") for name in wanted)
    built_elsewhere = {"searchindex.js", "_static/searchtools.js", "_static/language_data.js"}  # of pages that are searched
    assert [name for name in wanted if not (printed.parent / name).is_file() and name not in built_elsewhere] == []


PAGE = r"""<?xml version="1.0" encoding="utf-8"?><!DOCTYPE html>
<html xmlns="http://www.w3.org/1999/xhtml"><head><title>T</title><script>1</script></head><body>
<p>With <span class="math notranslate nohighlight">\(a &lt; b_1\)</span>:</p>
<div class="math notranslate nohighlight">\[\begin{split}x &amp;= 1 \\ y &amp;= 2\end{split}\]</div>
<div class="math notranslate nohighlight">\begin{equation*} z = \frac{1}{2} \tag{3a} \end{equation*}</div>
<details class="admonition hide"><summary>Show</summary><p>folded</p></details><details class="kept"><p>open</p></details>
<div class="frames"><div><img src="a.png" alt="1"/><img class="frames-still" src="b.png" alt="2"/></div>
<label><input type="range"/></label></div></body></html>"""


def small_epub(path):
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("mimetype", "application/epub+zip")
        archive.writestr("page.xhtml", PAGE)
        archive.writestr("nav.xhtml", "<html><body/></html>")
        archive.writestr(
            "content.opf",
            '<package><item id="n" href="nav.xhtml" properties="nav"/><item id="p" href="page.xhtml"/></package>',
        )
    return path


def read(path):
    with zipfile.ZipFile(path) as archive:
        return {name: archive.read(name).decode() for name in archive.namelist()}


@pytest.mark.slow
@with_chromium
def test_formulas_of_an_epub_are_mathml_with_their_numbers(tmp_path):
    if not editions.MATHJAX.is_file():
        pytest.skip("MathJax is not laid out: make book")
    parts = read(editions.finish(small_epub(tmp_path / "a.epub")))
    page = parts["page.xhtml"]
    assert page.count("<math ") == 3
    assert "\\" not in page
    assert re.search(r"<mi>a</mi>\s*<mo>&lt;</mo>\s*<msub>", page)
    assert "<mfrac>" in page
    assert "\N{NO-BREAK SPACE}(3a)</div>" in page
    assert "merror" not in page
    assert '<item properties="mathml" id="p" href="page.xhtml"/>' in parts["content.opf"]
    assert 'href="nav.xhtml" properties="nav"/>' in parts["content.opf"]


def test_without_chromium_the_formulas_stay_and_it_is_said(tmp_path, monkeypatch, capsys):
    monkeypatch.setattr(editions, "CHROMIUM", ())
    parts = read(editions.finish(small_epub(tmp_path / "a.epub")))
    assert "no Chromium: the formulas of the EPUB stay TeX" in capsys.readouterr().err
    page = parts["page.xhtml"]
    assert r"\(a &lt; b_1\)" in page
    for gone in ("<script", "folded", "<input", "a.png"):
        assert gone not in page
    assert "b.png" in page
    assert 'class="kept" open="open"' in page
    assert "mathml" not in parts["content.opf"]


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


def test_tables_that_the_screen_folds_are_printed_open(tmp_path):
    folded = '<details class="admonition hide"><p>code</p></details>'
    (tmp_path / "a").mkdir()
    (tmp_path / "a" / "b.html").write_text(f'<details class="entries"><p>K1</p></details>{folded}', encoding="utf-8")
    printed = editions.to_the_top(tmp_path, "a/b").read_text(encoding="utf-8")
    assert printed == f'<details class="entries" open><p>K1</p></details>{folded}'


def test_print_shows_a_still_and_no_navigation():
    css = (ROOT / "_static" / "book.css").read_text(encoding="utf-8").split("@media print", 1)[1]
    assert re.search(r"\.frames img \{ display: none !important; \}", css)
    assert re.search(r"img\.frames-still \{ display: block !important; \}", css)
    for name in (".bd-sidebar-primary", ".frames label", ".prev-next-footer"):
        assert name in css
    assert "details.hide:not([open]) { display: none !important; }" in css
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
