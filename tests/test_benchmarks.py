"""The benchmarks' report: ratios against peers, growth, and a digest that an edited number no longer fits."""

import json

import pytest

from lib import papers
from tools import benchmarks


def bench(seconds, **info):
    return {"extra_info": {"slug": "toy", "work": "sort", **info}, "stats": {"min": seconds}}


def report(*benches):
    return {"benchmarks": list(benches), "machine_info": {"cpu": {"brand_raw": "a CPU"}}}


REPORT = report(bench(0.5, peer=None), bench(1.0, peer="other"), bench(0.2, size=20), bench(0.1, size=10))


def test_peers_make_ratios_and_sizes_make_series():
    found = benchmarks.condense(REPORT)
    assert found["cpu"] == "a CPU"
    assert found["comparisons"] == [{"slug": "toy", "work": "sort", "ours": 0.5, "peer": "other", "ratio": 2.0}]
    assert found["growth"] == [{"slug": "toy", "work": "sort", "points": [(10, 0.1), (20, 0.2)]}]


def test_a_peer_without_ours_is_refused():
    with pytest.raises(ValueError, match="a peer was measured, ours was not"):
        benchmarks.condense(report(bench(1.0, peer="other")))


def test_what_takes_longer_than_a_peer_says_why():
    slow = bench(2.0, peer=None)
    with pytest.raises(ValueError, match="ours takes 4 times as long as other"):
        benchmarks.condense(report(slow, bench(0.5, peer="other")))
    (row,) = benchmarks.condense(report(slow, bench(0.5, peer="other", why="it is compiled")))["comparisons"]
    assert row["why"] == "it is compiled"


def test_every_chapter_is_measured():
    stored = json.loads(benchmarks.STORED.read_text(encoding="utf-8"))
    measured = {entry["slug"] for entry in [*stored["comparisons"], *stored["growth"]]}
    assert measured == set(papers.slugs())
    assert all("why" in row for row in stored["comparisons"] if row["ratio"] < benchmarks.SLOWER)


def test_what_is_stored_fits_its_digest_until_it_is_edited(tmp_path, monkeypatch):
    monkeypatch.setattr(benchmarks, "STORED", tmp_path / "benchmarks.json")
    (tmp_path / "report.json").write_text(json.dumps(REPORT))
    benchmarks.main([str(tmp_path / "report.json")])
    stored = json.loads((tmp_path / "benchmarks.json").read_text())
    assert stored["digest"] == benchmarks.digest_of(stored)
    stored["comparisons"][0]["ratio"] = 3.0
    assert stored["digest"] != benchmarks.digest_of(stored)


def test_ours_stands_once_for_a_work():
    with pytest.raises(ValueError, match="ours was measured twice"):
        benchmarks.condense(report(bench(1.0, peer=None), bench(2.0, peer=None), bench(1.0, peer="other")))
