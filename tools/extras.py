"""Writes one extra per chapter into pyproject.toml, from what its sheet `needs`.

    python -m tools.extras

The extra ``chapters``, edited by hand, holds the floors; a chapter's extra repeats the lines that its sheet names.
"""

from __future__ import annotations

import json
import re
import sys
import tomllib

from lib import papers
from tools.lock import ROOT, canonical

PROJECT = ROOT / "pyproject.toml"
BEGIN, END = "# From the chapters' sheets, by `python -m tools.extras`:", "# (end of the chapters' extras)"


def name_of(requirement: str) -> str:
    """The distribution that a requirement names."""
    found = re.match(r"[A-Za-z0-9._-]+", requirement)
    if found is None:
        raise ValueError(f"no requirement: {requirement!r}")
    return canonical(found.group())


def extras() -> dict[str, list[str]]:
    """Slug -> requirements of its chapter; ValueError for a need without a floor."""
    project = tomllib.loads(PROJECT.read_text(encoding="utf-8"))["project"]
    floors = {name_of(requirement): requirement for requirement in project["optional-dependencies"]["chapters"]}
    made = {}
    for slug in papers.slugs():
        needs = [name_of(need) for need in papers.sheet(slug).needs]
        if missing := sorted(set(needs) - set(floors)):
            raise ValueError(f"{slug} needs {', '.join(missing)}: give a floor in pyproject.toml's extra 'chapters'")
        made[slug] = [floors[need] for need in sorted(needs)]
    return made


def main() -> None:
    """Rewrite the lines between the two marks."""
    lines = [f"{slug} = {json.dumps(needs)}\n" for slug, needs in extras().items()]
    text = PROJECT.read_text(encoding="utf-8")
    before, rest = text.split(BEGIN + "\n", 1)
    PROJECT.write_text(f"{before}{BEGIN}\n{''.join(lines)}{END}{rest.split(END, 1)[1]}", encoding="utf-8")
    sys.stdout.writelines(lines)


if __name__ == "__main__":
    main()
