"""Sheets: what they hold, and what a wrong one says."""

import pytest

from lib import papers
from lib.papers import Entry, Value


def test_every_sheet_is_valid():
    for slug in papers.slugs():
        sheet = papers.sheet(slug)
        assert len(sheet.claims) >= 3, slug
        assert sheet.faults() == [], slug


def written(**changes):
    base = {
        "id": "C1",
        "kind": "claim",
        "statement": "It gains.",
        "source": "paper",
        "values": {"gain": Value("the gain", "points", "seed")},
        "reproduced": "gain > 0",
        "fails_if": "the gain is at or below zero",
    }
    return Entry(**(base | changes))


def test_an_entry_as_it_should_be_has_no_faults():
    assert written().faults() == []


@pytest.mark.parametrize(
    ("changes", "fault"),
    [
        ({"kind": "belief"}, "unknown kind 'belief'; allowed: claim, check, finding, cost"),
        ({"reproduced": ""}, "no rule"),
        ({"fails_if": ""}, "no 'fails_if'"),
        ({"reproduced": "loss > 0"}, "names loss; its values: gain"),
        ({"reproduced": "gain / 0 > 1"}, "divides by zero"),
        ({"reproduced": "gain"}, "compares values"),
        ({"partly": "gain > -1"}, "'partly' and 'partly_means' go together"),
        ({"source": "rumor"}, "source is 'rumor'; allowed: paper, abstract, code, memory"),
        ({"statement": "word " * 26}, "the statement has over 25 words"),
        ({"values": {}}, "no values"),
        ({"values": {"gain": Value("x", estimate="mode")}}, "unknown estimate 'mode' of gain"),
        ({"holds": "gain > 0"}, "a claim has no 'holds'"),
        ({"kind": "check", "reproduced": "", "holds": "gain > 0"}, "a check is deterministic, gain has samples"),
        ({"values": {"the gain": Value("x")}, "reproduced": "1 > 0"}, "'the gain' is no name for a value"),
    ],
)
def test_faults_of_an_entry_are_named(changes, fault):
    assert any(fault in found for found in written(**changes).faults())


def a_sheet(*entries, rtol=1e-6):
    return papers.Sheet("toy", "online", "T", ["A"], 2024, "V", "0", "c", 60, rtol, {}, list(entries))


def test_faults_of_a_sheet_are_named():
    nine = [written(id=f"C{i}") for i in range(9)]
    assert a_sheet(*nine).faults() == ["9 claims, at most 8"]
    assert a_sheet(written(), written()).faults() == ["C1: given twice"]
    assert "the first entry is no claim" in a_sheet(written(kind="finding", reproduced="", found="gain > 0")).faults()[0]
    assert a_sheet(written(), rtol=0.5).faults() == ["rtol must be at most 0.01, got 0.5"]
    assert a_sheet(written(id="C7", reproduced="loss > 0")).faults()[0].startswith("C7: ")


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


def test_unknown_entry_names_the_known_ones():
    with pytest.raises(ValueError, match="anyloss has no entry 'C99'; its entries: C1"):
        papers.sheet("anyloss").entry("C99")


def test_a_sheet_with_an_unknown_key_says_which(toy_project, monkeypatch):
    monkeypatch.setattr(papers, "root", lambda: toy_project)
    path = toy_project / "book/online/toy.yml"
    path.write_text(path.read_text() + "colour: red\n")
    papers.sheet.cache_clear()
    with pytest.raises(ValueError, match=r"online/toy\.yml.*colour"):
        papers.sheet("toy")
    papers.sheet.cache_clear()


def test_a_sheet_with_a_wrong_rule_names_the_entry(toy_project, monkeypatch):
    monkeypatch.setattr(papers, "root", lambda: toy_project)
    path = toy_project / "book/online/toy.yml"
    path.write_text(path.read_text().replace("value >= 0.95", "other >= 0.95"))
    papers.sheet.cache_clear()
    with pytest.raises(ValueError, match=r"online/toy\.yml: C1: 'other >= 0.95' names other; its values: value"):
        papers.sheet("toy")
    papers.sheet.cache_clear()
