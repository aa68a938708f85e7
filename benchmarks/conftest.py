"""Every benchmark says what it is; one that does not fails, also where nothing is timed (``--benchmark-disable``)."""

from __future__ import annotations

import pytest

from lib import papers


@pytest.hookimpl(wrapper=True)
def pytest_pyfunc_call(pyfuncitem):
    """A chapter, a piece of work, and either a peer (None for ours) or a size; why ours takes longer, from ``SLOWER``.

    Asked of what ran only: a benchmark that skips itself, for want of a package, has not said anything yet.
    """
    done = yield
    said = pyfuncitem.funcargs["benchmark"].extra_info
    if why := getattr(pyfuncitem.module, "SLOWER", {}).get(said.get("peer")):
        said["why"] = why
    assert said.get("slug") in papers.slugs(), f"extra_info names no chapter: {said}"
    assert isinstance(said.get("work"), str), f"extra_info names no work: {said}"
    assert ("peer" in said) != ("size" in said), f"extra_info must name a peer or a size: {said}"
    return done
