"""The built pages: complete, offline, accessible. `make test` builds them first."""

from __future__ import annotations

import os
import re
from pathlib import Path
from urllib.parse import unquote, urlparse

import pytest
from bs4 import BeautifulSoup

from lib import papers, scoreboard
from tests.conftest import ROOT
from tools import notebooks
from tools.pages import front

HTML = Path(os.environ.get("BOOK_HTML", ROOT / "_build" / "html"))  # another built book can be tested, too
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
        if image.find_parent("div", class_="frames") is not None:
            assert alt, "a frame's alt text is its label"
            continue
        assert len(alt) >= 20, image.get("src")
        assert not re.search(r"\.(png|svg)$", alt), alt


def test_pages_show_no_error_and_no_raw_markup(page):
    path, _ = page
    soup = BeautifulSoup(path.read_text(encoding="utf-8"), "html.parser")  # its own: parts are taken out
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


def parsed(name):
    return BeautifulSoup((HTML / "book" / f"{name}.html").read_text(encoding="utf-8"), "html.parser")


@pytest.mark.parametrize("name", ["gallery", "intro"])
def test_each_chapter_has_a_card_that_leads_to_it(name):
    cards = parsed(name).select(".cards .sd-card")
    assert len(cards) == len(papers.slugs())
    for card, (slug, part) in zip(cards, papers.slugs().items(), strict=True):
        assert card.select_one("a.sd-stretched-link")["href"].partition("#")[0] == f"{part}/{slug}.html"
        assert papers.heading(slug).split(":")[0].replace("'", "\u2019") in card.get_text()  # Sphinx curls it
        assert card.select_one("img")["alt"]


def test_front_page_opens_with_a_sentence_and_three_buttons():
    article = parsed("intro").select_one("article")
    assert len(article.select("h1")) == 1
    assert len(article.select_one("p.lead").get_text().split()) < 40
    first, colab, board = (button["href"] for button in article.select(".buttons a.sd-btn"))
    slug, part = next(iter(papers.slugs().items()))
    assert first.startswith(f"{part}/{slug}.html")
    assert colab.startswith("https://colab.research.google.com/github/")
    assert board.startswith("scoreboard.html")


def test_front_page_counts_the_papers_own_claims_apart():
    article = parsed("intro").select_one("article")
    reproduced, claims = scoreboard.headline()
    told = article.select_one(".headline p").get_text()
    assert told == f"{reproduced} of {claims} claims that the papers make are reproduced."
    for card, slug in zip(article.select(".cards .sd-card"), papers.slugs(), strict=True):
        pills = [pill.get_text() for pill in card.select(".pill")]
        assert set(pills) == {word for word, count in scoreboard.counts()[slug]["claim"].items() if count}, slug


def test_front_page_lists_the_papers_to_come():
    text = parsed("intro").select_one("article").get_text()
    titles = [title for part in front.planned().values() for title in part.values()]
    assert len(titles) == 28 - len(papers.slugs())
    for title in titles:
        assert title.replace("'", "\u2019").split(":")[0] in text.replace("'", "\u2019")


def test_each_page_of_the_api_is_small_and_in_the_contents():
    pages = sorted((HTML / "book" / "api").rglob("*.html"))
    names = {path.stem for path in pages}
    assert set(papers.slugs()) <= names
    assert {"claims", "data", "figures"} <= names
    listed = {link["href"].rpartition("/")[2] for link in parsed("api").select(".bd-sidebar-primary a[href]")}
    assert {path.name for path in pages} <= listed
    for path in pages:
        assert path.stat().st_size < 1_000_000, path.name


def test_costs_name_chapters_and_show_how_cost_grows():
    article = parsed("costs").select_one("article")
    assert [cell.get_text() for cell in article.select("td") if cell.get_text().strip() in papers.slugs()] == []
    assert article.select_one("figure img") is not None


def test_hashes_are_folded():
    hashes = [code for code in parsed("data").select("article code") if re.fullmatch(r"[0-9a-f]{64}", code.get_text())]
    assert hashes
    assert all(code.find_parent("details") is not None for code in hashes)


def test_each_reference_has_a_link():
    entries = parsed("bibliography").select("div.citation")
    assert len(entries) >= 15
    for entry in entries:
        assert entry.select_one("a.external[href^=http]") is not None, entry.get_text()[:80]


def test_scripts_are_loaded_once(page):
    _, soup = page
    sources = [tag["src"].partition("?")[0] for tag in soup.find_all("script", src=True)]
    assert len(sources) == len(set(sources))
    assert not [source for source in sources if "thebe" in source]


def test_captions_stand_with_their_figures(page):
    _, soup = page
    for strong in soup.select("article p > strong:first-child"):
        if re.match(r"Figure \d+\.$", strong.get_text()):
            assert strong.find_parent("figcaption") is not None, strong.parent.get_text()[:60]


def test_table_cells_know_their_headings(page):
    _, soup = page
    for table in soup.select("article table"):
        headings = [cell.get_text(" ", strip=True) for cell in table.select("thead tr:last-child th")]
        for line in table.select("tbody tr") if any(headings) else []:
            cells = line.find_all(["td", "th"], recursive=False)
            assert [cell.get("data-label", "") for cell in cells] == headings[: len(cells)]


def test_scoreboard_shows_every_claim():
    soup = BeautifulSoup((HTML / "book" / "scoreboard.html").read_text(encoding="utf-8"), "html.parser")
    rows = len(soup.select("table tbody tr"))
    assert rows >= sum(len(papers.sheet(slug).claims) for slug in papers.slugs())


def test_paths_of_this_machine_stay_out(page):
    path, _ = page
    assert str(Path(ROOT)) not in path.read_text(encoding="utf-8")
