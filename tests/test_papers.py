"""Sheets: what they hold, and what a wrong one says."""

import pytest

from lib import papers
from lib.claims import holds


def test_every_sheet_is_valid_and_its_rules_are_rules():
    for slug in papers.slugs():
        sheet = papers.sheet(slug)
        assert len(sheet.claims) >= 3, slug
        assert len({claim.id for claim in sheet.claims}) == len(sheet.claims), slug
        for claim in sheet.claims:
            for rule in filter(None, [claim.reproduced, claim.partly, *claim.book.values()]):
                with pytest.raises(ValueError, match="was not measured"):
                    holds(rule, {})


def test_sheets_cite_an_entry_of_the_bibliography():
    bibliography = (papers.root() / "book/references.bib").read_text(encoding="utf-8")
    for slug in papers.slugs():
        assert f"{{{papers.sheet(slug).cite}," in bibliography, slug


def test_unknown_slug_names_the_known_ones():
    with pytest.raises(ValueError, match=r"no paper has the slug 'anylos'; known: .*anyloss"):
        papers.sheet("anylos")


def test_unknown_preset_names_the_allowed_ones():
    with pytest.raises(ValueError, match="unknown preset 'huge'; allowed: smoke, book, full"):
        papers.sheet("anyloss").values("huge")


def test_unknown_claim_names_the_known_ones():
    with pytest.raises(ValueError, match="anyloss has no claim 'C99'; its claims: C1"):
        papers.sheet("anyloss").claim("C99")


def test_a_sheet_with_an_unknown_key_says_which(toy_project, monkeypatch):
    monkeypatch.setattr(papers, "root", lambda: toy_project)
    path = toy_project / "book/online/toy.yml"
    path.write_text(path.read_text() + "colour: red\n")
    papers.sheet.cache_clear()
    with pytest.raises(ValueError, match=r"online/toy\.yml.*colour"):
        papers.sheet("toy")
    papers.sheet.cache_clear()
