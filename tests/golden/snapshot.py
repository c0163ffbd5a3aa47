"""Rendered snapshots: compared in tests, and written anew where MIMODSL_UPDATE_GOLDEN is set."""

import os
from pathlib import Path


def matches_snapshot(rendered: str, path: Path) -> None:
    """Assert that text is what a snapshot holds."""
    if os.environ.get("MIMODSL_UPDATE_GOLDEN"):
        path.write_text(rendered + "\n", encoding="utf-8")
    assert path.exists(), f"no snapshot {path.name}: set MIMODSL_UPDATE_GOLDEN=1 to write it"
    assert rendered + "\n" == path.read_text(encoding="utf-8")
