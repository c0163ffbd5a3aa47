"""How every mistake of reading looks, held in one file: `UPDATE_SNAPSHOTS=1` writes it anew."""

import os
from pathlib import Path

from mimodsl.diagnostics import Diagnostic
from mimodsl.diagnostics.codes import CODES
from mimodsl.diagnostics.render import full
from mimodsl.lower import parse

SNAPSHOT = Path(__file__).with_name("rendered.txt")


def mistakes(text: str) -> tuple[Diagnostic, ...]:
    return parse(text, "specs/example.mimo").diagnostics


def test_every_example_looks_as_it_did() -> None:
    shown = [
        full.render(one for one in mistakes(code.example) if one.code == code.id)
        for code in CODES.values()
        if code.example is not None
    ]
    text = "\n\n".join(shown).replace(str(Path("specs").resolve()), "<specs>") + "\n"
    if os.environ.get("UPDATE_SNAPSHOTS"):
        SNAPSHOT.write_text(text)
    assert text == SNAPSHOT.read_text()
