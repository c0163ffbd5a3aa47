"""Runs the command line in this process, as a user would have it."""

import io
import sys
from pathlib import Path

import pytest
from attrs import frozen

from mimodsl.cli.main import main

SPECS = Path(__file__).parents[3] / "specs"
DEMO = SPECS / "nemotron_vlm.mimo"


@frozen
class Ran:
    """An exit code, and what went to standard output and standard error."""

    code: int
    out: str
    err: str


@pytest.fixture
def mimodsl(capsys, monkeypatch):
    def run(*arguments, given: bytes = b"") -> Ran:
        monkeypatch.setattr(sys, "stdin", io.TextIOWrapper(io.BytesIO(given)))
        try:
            code = main([str(argument) for argument in arguments])
        except SystemExit as exited:
            code = exited.code
        return Ran(code, *capsys.readouterr())

    return run


@pytest.fixture
def demo():
    return DEMO


@pytest.fixture
def broken(tmp_path):
    """A spec with one mistake that lowering sees and one that a rule sees."""
    path = tmp_path / "broken.mimo"
    text = DEMO.read_text().replace("ep:2 * edp:replicas", "ep:3 * edp:replicas")
    path.write_text(text.replace("activation = squared_relu", "activatoin = squared_relu"))
    return path
