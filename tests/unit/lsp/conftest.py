"""One language server for all tests of an area, spoken to as editors do."""

from pathlib import Path

import pytest

from tests.e2e.lsp_client import Editor

SPECS = Path(__file__).parents[3] / "specs"


@pytest.fixture(scope="session")
def editor():
    editor = Editor()
    yield editor
    assert editor.leave() == (0, "")


@pytest.fixture(scope="session")
def plain_editor():
    """An editor that counts in UTF-8 and fills in no templates."""
    editor = Editor(snippets=False, encodings=["utf-8"])
    yield editor
    assert editor.leave() == (0, "")


@pytest.fixture(scope="session")
def demo():
    """The text of a shipped spec."""
    return (SPECS / "nemotron_vlm.mimo").read_text()
