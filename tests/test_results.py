"""Recorded runs: whole, judged by today's rules, made with the data that the chapters see today."""

import json

import pytest

from lib import execute, papers, record

RECORDED = [slug for slug in papers.slugs() if papers.records(slug).is_file()]


@pytest.fixture(params=RECORDED)
def slug(request):
    return request.param


@pytest.fixture
def runs(slug):
    return json.loads(papers.records(slug).read_text(encoding="utf-8"))["runs"]


def test_every_chapter_has_recorded_full_runs():
    assert list(papers.slugs()) == RECORDED


def test_runs_are_distinct_and_measure_every_claim(slug, runs):
    keys = [run["key"] for run in runs]
    assert len(set(keys)) == len(keys)
    for run in runs:
        assert run["preset"] in papers.PRESETS
        assert set(run["claims"]) == {claim.id for claim in papers.sheet(slug).claims}


def test_full_runs_have_several_seeds(slug):
    assert len(record.load(slug)) >= 2


def test_stored_verdicts_are_those_of_todays_rules(slug, runs):
    loaded = {run["key"]: run for run in record.load(slug)}
    for run in runs:
        if run["key"] in loaded:
            stored = {claim_id: entry["verdict"] for claim_id, entry in run["claims"].items()}
            today = {claim_id: entry["verdict"] for claim_id, entry in loaded[run["key"]]["claims"].items()}
            assert stored == today


def test_data_are_those_of_the_stored_chapter(slug, runs):
    results = execute.emitted(json.loads(papers.chapter(slug).read_text(encoding="utf-8")))
    assert results is not None
    for run in runs:
        shared = set(run["data"]) & set(results["data"])
        assert {name: run["data"][name] for name in shared} == {name: results["data"][name] for name in shared}


def test_files_are_small(slug):
    assert papers.records(slug).stat().st_size < 2_000_000
