"""The scoreboard: pooled samples decide, sentences take recorded numbers, pages say what a reader needs."""

from collections import Counter
from types import SimpleNamespace

import matplotlib.pyplot as plt
import pytest

from lib import papers, scoreboard
from lib.papers import Entry, Value


@pytest.fixture
def recorded(monkeypatch):
    """A paper with a claim, a check and a cost, and recorded runs that a test fills in."""
    claim = Entry("C1", "claim", "It <gains>.", {"gain": Value("the gain", "points", "seed")}, "Table 1", "paper", "0.4",
                  reproduced="gain > 0", fails_if="no gain")  # fmt: skip
    check = Entry(
        "C2", "check", "It is exact.", {"error": Value("the error")}, "eq. 3", holds="error < 1e-9", fails_if="an error"
    )
    cost = Entry("C3", "cost", "It is fast.", {"ratio": Value("its time over theirs", sample="run", estimate="geomean")})
    sheet = papers.Sheet("toy", "online", "T", ["A"], 2024, "V", "0", "c", 60, 1e-6, {}, [claim, check, cost])
    runs = []
    monkeypatch.setattr(papers, "sheet", lambda slug: sheet)
    monkeypatch.setattr("lib.record.load", lambda slug: runs)
    monkeypatch.setattr(papers, "slugs", lambda: {"toy": "online"})
    monkeypatch.setattr(scoreboard, "book_scores", lambda slug: {})
    return runs


def run(gain, error=0.0, ratio=2.0, current=True):
    values = {"C1": {"gain": gain}, "C2": {"error": error}, "C3": {"ratio": [ratio]}}
    return {"current": current, "claims": {name: {"verdict": "?", "values": value} for name, value in values.items()}}


def test_verdicts_come_from_pooled_samples(recorded):
    recorded += [run([0.3, -0.02]), run([0.31, 0.25]), run([0.28, 0.33])]
    one = scoreboard.full_scores("toy")["C1"]
    assert (one.verdict, one.runs, one.values["gain"].n) == ("reproduced", 3, 6)
    del recorded[1:]
    assert scoreboard.full_scores("toy")["C1"].verdict == "undecided"


def test_a_check_is_judged_on_its_worst_run(recorded):
    recorded += [run([0.3, 0.2], error=0.0), run([0.31, 0.25], error=1e-3)]
    assert scoreboard.full_scores("toy")["C2"].verdict == "fails"


def test_runs_that_measured_other_values_are_left_out(recorded):
    recorded += [run([0.3, 0.2])]
    recorded[0]["claims"]["C1"]["values"] = {"old": 1.0}
    recorded[0]["claims"]["C2"]["values"] = None
    assert set(scoreboard.full_scores("toy")) == {"C3"}


def test_counts_keep_kinds_apart_and_the_headline_counts_claims(recorded):
    recorded += [run([0.3, 0.31]), run([0.32, 0.29])]
    tally = scoreboard.counts()["toy"]
    assert tally["claim"] == {"reproduced": 1}
    assert tally["check"] == {"holds": 1}
    assert tally["cost"] == {"measured": 1}
    assert scoreboard.headline() == (1, 1)


def test_sentences_take_recorded_numbers(recorded):
    recorded += [run([0.3, 0.31]), run([0.32, 0.29])]
    text = scoreboard.say(
        "toy", "It gains {C1.gain:.2f}, in full {C1.gain}: {C1.verdict} in {C1.runs} runs, n {C1.gain.n}."
    ).data
    assert text == "It gains 0.30, in full 0.305 (0.284 to 0.326, n = 4): reproduced in 2 runs, n 4."
    with pytest.raises(ValueError, match="C1 has no value 'loss'; its values: gain"):
        scoreboard.say("toy", "{C1.loss}")
    with pytest.raises(ValueError, match="toy has no entry 'C9'"):
        scoreboard.say("toy", "{C9.gain}")


def test_partly_is_no_end_of_a_sentence():
    known = {"C1": SimpleNamespace(verdict="partly", values={}, runs=2)}
    assert scoreboard._Sentence(known).vformat("It is {C1.verdict}.", (), {}) == "It is partly reproduced."


def test_without_recorded_runs_sentences_say_so(recorded):
    assert "No full run is recorded yet" in scoreboard.say("toy", "It gains {C1.gain}.").data
    assert "no recorded run yet" in scoreboard.glance("toy", ["C1"])


def test_tables_speak_in_words_and_escape_them(recorded):
    recorded += [run([0.3, 0.31], current=False), run([0.32, 0.29], current=False)]
    text = scoreboard.ledger_table("toy", {"C1": ("undecided", "x"), "C2": ("holds", "y")})
    assert "It &lt;gains&gt;." in text
    assert "the gain: **0.305 (0.284 to 0.326, n = 4)**\u00a0points<br>(one sample: seed)" in text
    assert "earlier version" in text
    assert [line for line in text.splitlines() if line.startswith("**")] == [
        f"**{scoreboard.HEADINGS[kind]}**" for kind in ("claim", "check", "cost")
    ]
    assert "an earlier version" in scoreboard.glance("toy", ["C1"])


def test_the_scoreboard_shows_recorded_runs_and_folds_all_but_the_claims(recorded):
    recorded += [run([0.3, 0.31]), run([0.32, 0.29])]
    text = scoreboard.ledger_table("toy")
    assert "this page's run" not in text
    claims, _, folded = text.partition("<details")
    assert "**C1**" in claims
    assert "**C2**" not in claims
    assert "**C2**" in folded
    assert text.count("<details") == text.count("</details>") == 2
    # Markdown takes a table for one only where a blank line stands before it.
    assert all(after.startswith("\n\n|") for after in text.split("</summary>")[1:])
    assert next(line for line in text.splitlines() if "<summary>" in line).endswith("checked: 1</summary>")


def test_of_what_a_paper_derives_the_place_is_enough(recorded):
    recorded += [run([0.3, 0.31])]
    text = scoreboard.ledger_table("toy")
    assert "| 0.4 (Table 1) |" in text
    assert "| eq. 3, ours |" not in text
    assert "| eq. 3 |" in text


def test_counts_are_drawn_with_numbers():
    _, ax = plt.subplots()
    scoreboard.draw_counts(ax, {"a": Counter({"reproduced": 3, "partly": 1}), "b": Counter()}, papers.KINDS["claim"])
    assert [text.get_text() for text in ax.texts] == ["3", "", "1", ""]
    plt.close("all")
