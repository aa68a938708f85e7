"""The built pages: complete, offline, accessible. `make test` builds them first."""

from __future__ import annotations

import re
from pathlib import Path
from urllib.parse import unquote, urlparse

import pytest
from bs4 import BeautifulSoup

from lib import papers
from tests.conftest import ROOT
from tools import notebooks

HTML = ROOT / "_build" / "html"
pytestmark = [
    pytest.mark.book,
    pytest.mark.skipif(not (HTML / "index.html").is_file(), reason="the book is not built: make book"),
]
PAGES = sorted((HTML / "book").rglob("*.html")) if HTML.is_dir() else []


@pytest.fixture(params=PAGES, ids=lambda path: path.stem, scope="module")
def page(request):
    return request.param, BeautifulSoup(request.param.read_text(encoding="utf-8"), "html.parser")


def test_every_chapter_and_page_is_built():
    built = {path.relative_to(HTML).with_suffix("").as_posix() for path in PAGES}
    wanted = re.findall(r"(?:file|root): (\S+)", (ROOT / "_toc.yml").read_text(encoding="utf-8"))
    assert set(wanted) <= built


def test_no_script_style_font_or_picture_from_elsewhere(page):
    _, soup = page
    loaded = [tag.get("src") or tag.get("href") for tag in soup.find_all(["script", "img", "iframe", "link"])]
    outside = [url for url in loaded if url and urlparse(url).scheme in ("http", "https")]
    assert [url for url in outside if "OWNER" not in url] == []


def test_local_links_lead_somewhere(page):
    path, soup = page
    broken = []
    for tag in soup.find_all("a", href=True):
        url = urlparse(tag["href"])
        if url.scheme or tag["href"].startswith("#") or not url.path:
            continue
        target = (path.parent / unquote(url.path)).resolve()
        if not target.is_file() or (
            url.fragment and target.suffix == ".html" and f'id="{url.fragment}"' not in target.read_text(encoding="utf-8")
        ):
            broken.append(tag["href"])
    assert broken == []


def test_pictures_say_what_they_show(page):
    _, soup = page
    for image in soup.select("article img"):
        alt = image.get("alt", "")
        assert len(alt) >= 20, image.get("src")
        assert not re.search(r"\.(png|svg)$", alt), alt


def test_pages_show_no_error_and_no_raw_markup(page):
    _, soup = page
    assert not soup.select(".traceback, .system-message, .stderr")
    body = soup.select_one("main") or soup
    for tag in body.select("pre, code"):
        tag.extract()
    text = body.get_text()
    assert not re.search(r"\{(glue|cite|numref|eq)[:}]|:::|\*\*\w[^*\n]*\*\*|\|---", text)


def test_launch_button_opens_the_chapter_in_colab():
    for slug in papers.slugs():
        path = HTML / papers.chapter(slug).relative_to(ROOT).with_suffix(".html")
        soup = BeautifulSoup(path.read_text(encoding="utf-8"), "html.parser")
        links = {tag["href"] for tag in soup.find_all("a", href=True) if "colab.research.google.com" in tag["href"]}
        assert links == {notebooks.colab_link(papers.chapter(slug))}


def test_mathjax_is_served_with_its_fonts():
    folder = HTML / "_static" / "mathjax" / "es5"
    assert (folder / "tex-chtml.js").stat().st_size > 500_000
    assert len(list((folder / "output" / "chtml" / "fonts" / "woff-v2").glob("*.woff"))) >= 20


def test_gallery_shows_every_chapter():
    text = (HTML / "book" / "gallery.html").read_text(encoding="utf-8")
    for slug, part in papers.slugs().items():
        assert f"{part}/{slug}.html" in text


def test_scoreboard_shows_every_claim():
    soup = BeautifulSoup((HTML / "book" / "scoreboard.html").read_text(encoding="utf-8"), "html.parser")
    rows = len(soup.select("table tbody tr"))
    assert rows >= sum(len(papers.sheet(slug).claims) for slug in papers.slugs())


def test_paths_of_this_machine_stay_out(page):
    path, _ = page
    assert str(Path(ROOT)) not in path.read_text(encoding="utf-8")
