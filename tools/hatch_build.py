"""Build hook: puts the chapters' yml files and the recorded runs into the wheel, under ``lib/_shipped``."""

from pathlib import Path
from typing import Any

from hatchling.builders.hooks.plugin.interface import BuildHookInterface


class ShippedData(BuildHookInterface):
    """Maps the contents, the chapters' sheets and ``results/*`` to ``lib/_shipped/...``; editable installs need none of it."""

    def initialize(self, version: str, build_data: dict[str, Any]) -> None:
        """Fill ``force_include`` for a standard wheel."""
        if version == "editable":
            return
        root = Path(self.root)
        shipped = [root / "_toc.yml", *root.glob("book/*/*.yml"), *root.glob("results/*.json"), *root.glob("results/*.npz")]
        for path in shipped:
            relative = path.relative_to(root).as_posix()
            build_data["force_include"][str(path)] = f"lib/_shipped/{relative}"
