"""Specs in real editors, set up as docs/editors.md says; editors that are not there are skipped."""

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
DEMO = (ROOT / "specs" / "nemotron_vlm.mimo").read_text()
PATIENCE = 180
"""Seconds after which an editor that does not end has failed."""


def settings(language):
    """The settings that the docs give for an editor."""
    text = (ROOT / "docs" / "editors.md").read_text()
    [found] = re.findall(rf"^```{language}\n(.*?)^```$", text, re.MULTILINE | re.DOTALL)
    return found


@pytest.fixture
def used(tmp_path):
    """Runs an editor at home in an empty folder, with the shipped demo to use; its output."""

    def run(name, *arguments, **environment):
        own = Path(sys.executable).parent
        said = subprocess.run(
            [name, *arguments],
            cwd=tmp_path,
            env={
                "PATH": f"{own}{os.pathsep}{os.environ['PATH']}",
                "HOME": str(tmp_path),
                "LANG": "C.UTF-8",
                "TERM": "xterm",
                **environment,
            },
            capture_output=True,
            text=True,
            timeout=PATIENCE,
            check=False,
        )
        assert said.returncode == 0, f"{said.stdout}{said.stderr}"
        return f"{said.stdout}{said.stderr}"

    (tmp_path / "spec.mimo").write_text(DEMO)
    return run
