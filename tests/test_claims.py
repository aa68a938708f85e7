"""The ledger: what it takes, how it judges, what it emits."""

import json
import math

import numpy as np
import pytest

from lib import claims, experiment, papers
from lib.papers import Entry, Value

RULES = {
    "claim": {"reproduced": "gain > 0.1", "partly": "gain > 0", "partly_means": "a gain at all", "source": "paper"},
    "check": {"holds": "gain < 1e-9"},
    "finding": {"found": "gain > 0.1"},
    "cost": {},
}


def entry(kind="claim", sample="seed", **changes):
    values = {"gain": Value("the gain", "points", "" if kind == "check" else sample)}
    return Entry(
        **{"id": "C1", "kind": kind, "statement": "a gain", "values": values, "fails_if": "none"} | RULES[kind] | changes
    )


@pytest.mark.parametrize(
    ("samples", "word"),
    [
        ([0.3, 0.31, 0.32, 0.29], "reproduced"),
        ([0.05, 0.06, 0.055, 0.05], "partly"),
        ([-0.3, -0.31, -0.32], "not reproduced"),
        ([0.3, -0.3, 0.4], "undecided"),
        ([0.3], "undecided"),
        ([0.3, math.nan, 0.3], "undecided"),
        ([0.3, math.inf, 0.3], "undecided"),
        ([0.3, None, 0.3], "undecided"),
    ],
)
def test_a_claim_is_judged_on_its_interval(samples, word):
    assert claims.verdict(entry(), {"gain": samples}) == word


@pytest.mark.parametrize(("samples", "word"), [([0.3] * 4, "found"), ([0.0] * 4, "not found"), ([0.3, -0.1], "undecided")])
def test_a_finding_is_judged_in_words_of_its_own(samples, word):
    assert claims.verdict(entry("finding"), {"gain": samples}) == word


@pytest.mark.parametrize(("value", "word"), [(0.0, "holds"), (1e-8, "fails"), (math.nan, "fails"), (None, "fails")])
def test_a_check_holds_or_fails_at_every_scale(value, word):
    for preset in papers.PRESETS:
        assert claims.verdict(entry("check"), {"gain": value}, preset) == word


def test_a_cost_has_no_verdict():
    assert claims.verdict(entry("cost"), {"gain": [2.0, 3.0]}) == "measured"


def test_smoke_tests_no_claim_but_evaluates_the_rule():
    assert claims.verdict(entry(), {"gain": [0.3] * 4}, "smoke") == "not tested"
    with pytest.raises(ValueError, match="C1: measured other; its sheet declares gain"):
        claims.verdict(entry(), {"other": [1.0]}, "smoke")


def test_what_was_not_measured_is_not_tested():
    assert claims.verdict(entry(), None) == "not tested"


def test_maximum_with_nan_never_reproduces():
    worst = entry(sample="", reproduced="max(a, b) < 0.1", partly="", partly_means="")
    worst = Entry(**{**worst.__dict__, "values": {"a": Value("a"), "b": Value("b")}})
    assert claims.verdict(worst, {"a": math.nan, "b": 0.05}) == "undecided"
    assert claims.verdict(worst, {"a": 0.05, "b": math.nan}) == "undecided"
    assert claims.verdict(worst, {"a": 0.05, "b": 0.05}) == "reproduced"


def test_a_division_by_zero_names_its_entry():
    ratio = entry(sample="", reproduced="gain / gain > 0", partly="", partly_means="")
    with pytest.raises(ValueError, match="C1: divides by zero"):
        claims.verdict(ratio, {"gain": 0.0})


def test_units_are_samples():
    assert claims.verdict(entry(sample="data set"), {"gain": {"iris": 0.3, "wine": 0.31, "digits": 0.29}}) == "reproduced"


def test_samples_are_wanted_where_the_sheet_declares_them():
    with pytest.raises(ValueError, match="C1, value gain: its sheet declares samples"):
        claims.verdict(entry(), {"gain": 0.3})


# ------------------------------------------------------------------------------------------------------------- ledger


@pytest.fixture
def sheet(monkeypatch):
    entries = [
        entry(id="C1"),
        entry("check", id="C2"),
        entry("finding", id="C3", statement="a <b> | finding"),
        entry("cost", id="C4"),
    ]
    made = papers.Sheet("anyloss", "objectives", "T", ["A"], 2024, "V", "0000", "c", 60, 1e-6, {}, entries)
    monkeypatch.setattr(papers, "sheet", lambda slug: made)
    return made


@pytest.fixture
def ledger(sheet):
    return claims.Ledger(experiment.Config("anyloss", "book", 0, {}, {}))


@pytest.fixture
def shown(monkeypatch):
    collected = []
    monkeypatch.setattr("IPython.display.display", lambda bundle, **options: collected.append((bundle, options)))
    monkeypatch.setattr("lib.record.load", lambda slug: [])
    return collected


def measure_everything(ledger):
    ledger.measure("C1", gain=np.array([0.3, 0.31, 0.32, 0.29]))
    ledger.measure("C2", gain=1e-12)
    ledger.measure("C3", gain={"a": 0.5, "b": 0.6, "c": 0.55})
    ledger.measure("C4", gain=[1.5])


def test_ledger_refuses_what_it_cannot_judge(ledger):
    with pytest.raises(ValueError, match="C1: measured nothing; its sheet declares gain"):
        ledger.measure("C1")
    with pytest.raises(ValueError, match="measured gain, more; its sheet declares gain"):
        ledger.measure("C1", gain=[1.0], more=2.0)
    with pytest.raises(ValueError, match="anyloss has no entry 'C9'; its entries: C1, C2, C3, C4"):
        ledger.measure("C9", gain=[1.0])
    with pytest.raises(ValueError, match="not measured in this run: C1, C2, C3, C4"):
        ledger.report()
    with pytest.raises(ValueError, match="C1: say why it is not tested"):
        ledger.not_tested("C1", " ")


def test_ledger_refuses_a_second_measurement(ledger):
    measure_everything(ledger)
    with pytest.raises(ValueError, match="C1 was measured before"):
        ledger.measure("C1", gain=[1.0])
    with pytest.raises(ValueError, match="C1 was measured before"):
        ledger.not_tested("C1", "why")


def test_report_has_the_same_words_in_every_face_and_keeps_samples(ledger, shown):
    measure_everything(ledger)
    ledger.metric("f1", np.float64(0.123456789))
    ledger.series("curve", np.array([1.0, np.nan]))
    ledger.report()
    [(bundle, options)] = shown
    results = json.loads(json.dumps(bundle["application/json"]))
    assert [line.split()[0] for line in bundle["text/plain"].splitlines()] == ["C1", "C2", "C3", "C4"]
    for line, (entry_id, stored) in zip(bundle["text/plain"].splitlines(), results["claims"].items(), strict=True):
        assert line.split()[0] == entry_id
        assert stored["verdict"] in line
    for word in ("reproduced", "holds", "found"):
        assert f">{word}</span>" in bundle["text/markdown"]
    assert results["claims"]["C1"]["values"] == {"gain": [0.3, 0.31, 0.32, 0.29]}
    assert results["claims"]["C3"]["values"] == {"gain": {"a": 0.5, "b": 0.6, "c": 0.55}}
    assert results["metrics"] == {"f1": 0.123457}
    assert results["series"] == {"curve": [1.0, None]}
    assert set(options["metadata"]["lib"]) == {"timings", "seconds", "cpu_seconds", "imports_s", "peak_mb"}


def test_live_verdicts_are_those_of_the_stored_values(ledger, shown, sheet):
    # 0.1000001 is above the bound, and not after rounding to what is stored
    ledger.measure("C1", gain=[0.1000000001] * 4)
    ledger.measure("C2", gain=0.0)
    ledger.not_tested("C3", "too small")
    ledger.measure("C4", gain=[1.0])
    ledger.report()
    stored = json.loads(json.dumps(shown[0][0]["application/json"]))["claims"]
    for one in sheet.claims[:2]:
        assert stored[one.id]["verdict"] == claims.verdict(one, stored[one.id]["values"], "book")
    assert stored["C1"]["verdict"] == "partly"
    assert stored["C3"] == {"verdict": "not tested", "values": None, "why": "too small"}


def test_costs_stay_out_of_what_is_compared(ledger, shown):
    measure_everything(ledger)
    ledger.report()
    [(bundle, options)] = shown
    assert options["metadata"]["lib"]["timings"] == {"C4": {"gain": [1.5]}}
    assert bundle["application/json"]["claims"]["C4"]["values"] is None
    assert "1.5" not in bundle["text/plain"] + bundle["text/markdown"]


def test_what_a_sheet_says_is_escaped(ledger, shown):
    measure_everything(ledger)
    ledger.report()
    assert "a &lt;b&gt; \\| finding" in shown[0][0]["text/markdown"]


def test_rules_are_shown_with_what_refutes_them(ledger):
    text = ledger.rules().data
    assert "`gain > 0.1`" in text
    assert "partly (a gain at all): `gain > 0`" in text
    assert "| none |" in text


def test_plain_refuses_what_json_cannot_hold():
    with pytest.raises(TypeError, match="neither a number"):
        claims.plain(object())
