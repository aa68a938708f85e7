"""Rules, verdicts and the ledger's report."""

import ast
import json

import numpy as np
import pytest

from lib import claims, experiment, papers
from lib.papers import Claim


def claim(**changes):
    entry = {"id": "C1", "statement": "", "where": "", "paper": "", "measure": ""}
    return Claim(**{**entry, "reproduced": "gain > 0.1", "partly": "gain > 0", **changes})


@pytest.mark.parametrize(
    ("rule", "expected"),
    [
        ("a > 1", True),
        ("a > 2", False),
        ("1 < a <= 2 and b < 0", True),
        ("1 < a < 2 or b == -1", True),
        ("abs(b - -1) < 1e-9", True),
        ("max(a, b) - min(a, b) >= 3", True),
        ("a / b * 2 <= -4", True),
        ("nan < 1 or nan >= 1 or nan == nan", False),
    ],
)
def test_rules_mean_what_python_says(rule, expected):
    values = {"a": 2, "b": -1.0, "nan": float("nan")}
    assert claims.holds(rule, values) is expected is bool(eval(rule, values))


@pytest.mark.parametrize(
    "rule", ["a", "a +", "a < open('x')", "a.real < 1", "[a] < 1", "a < 'text'", "a if a else a", "a in a"]
)
def test_what_is_no_rule_is_refused(rule):
    with pytest.raises(ValueError, match=r"expression|does not|not allowed"):
        claims.holds(rule, {"a": 1})


def test_a_rule_that_names_something_else_says_what_was_measured():
    with pytest.raises(ValueError, match="names 'gian', which was not measured; measured: gain"):
        claims.holds("gian > 0", {"gain": 1})


@pytest.mark.parametrize(
    ("gain", "word"), [(0.2, "reproduced"), (0.1, "partly"), (0.0, "not reproduced"), (float("nan"), "not reproduced")]
)
def test_verdict_is_the_best_rule_that_holds(gain, word):
    assert claims.verdict(claim(), {"gain": gain}) == word


def test_book_rules_replace_the_others_below_full_scale():
    relaxed = claim(book={"reproduced": "gain > 0.05"})
    words = [claims.verdict(relaxed, {"gain": 0.07}, preset) for preset in papers.PRESETS]
    assert words == ["not testable", "reproduced", "partly"]


def test_smoke_scale_still_evaluates_the_rule():
    with pytest.raises(ValueError, match="was not measured"):
        claims.verdict(claim(), {"other": 1.0}, "smoke")


@pytest.fixture
def ledger():
    return claims.Ledger(experiment.start("anyloss", "book"))


def names(rule):
    """The values that a rule names."""
    return {node.id for node in ast.walk(ast.parse(rule)) if isinstance(node, ast.Name)} - {"abs", "min", "max"}


def measure_everything(ledger):
    for entry in ledger.sheet.claims:
        rules = filter(None, [entry.reproduced, entry.partly, *entry.book.values()])
        ledger.measure(entry.id, **dict.fromkeys(sorted(set().union(*map(names, rules))), 1.0))


def test_ledger_refuses_what_it_cannot_judge(ledger):
    with pytest.raises(ValueError, match="no measured value"):
        ledger.measure("C1")
    with pytest.raises(ValueError, match="was not measured"):
        ledger.measure("C1", nonsense=1.0)
    with pytest.raises(ValueError, match="claims not measured in this run: C1"):
        ledger.report()


def test_ledger_refuses_a_second_measurement(ledger):
    measure_everything(ledger)
    with pytest.raises(ValueError, match="was measured before"):
        ledger.measure("C1", anything=1.0)


def test_report_has_a_line_per_claim_and_the_same_words_in_every_face(ledger, monkeypatch):
    shown = []
    monkeypatch.setattr("IPython.display.display", lambda bundle, **options: shown.append((bundle, options)))
    measure_everything(ledger)
    ledger.metric("f1", np.float64(0.123456789))
    ledger.series("curve", np.array([1.0, np.nan]))
    ledger.report()
    [(bundle, options)] = shown
    results = json.loads(json.dumps(bundle["application/json"]))
    lines = bundle["text/plain"].splitlines()
    assert [line.split()[0] for line in lines] == [entry.id for entry in ledger.sheet.claims] == list(results["claims"])
    for line, entry in zip(lines, results["claims"].values(), strict=True):
        assert entry["verdict"] in line
        assert f"**{entry['verdict']}**" in bundle["text/markdown"]
    assert results["metrics"] == {"f1": 0.123457}
    assert results["series"] == {"curve": [1.0, None]}
    assert set(options["metadata"]["lib"]) == {"timings", "seconds", "peak_mb"}


def test_timings_stay_out_of_what_is_compared(ledger, monkeypatch):
    shown = []
    monkeypatch.setattr("IPython.display.display", lambda bundle, **options: shown.append((bundle, options)))
    measure_everything(ledger)
    ledger.report()
    [(bundle, options)] = shown
    timed = [entry.id for entry in ledger.sheet.claims if entry.timing]
    assert timed
    assert list(options["metadata"]["lib"]["timings"]) == timed
    assert all(bundle["application/json"]["claims"][claim_id]["values"] is None for claim_id in timed)


def test_plain_refuses_what_json_cannot_hold():
    with pytest.raises(TypeError, match="neither a number"):
        claims.plain(object())


@pytest.mark.parametrize(
    ("value", "text"),
    [(0.63412, "0.634"), (12, "12"), (3.0, "3"), (1234.6, "1,235"), (1e-9, "1e-09"), (float("nan"), "nan")],
)
def test_numbers_are_shown_short(value, text):
    assert claims.show(value) == text


def test_a_pipe_does_not_end_a_cell():
    assert claims.row("|x| < 1", 2) == "| \\|x\\| < 1 | 2 |"
