"""Pieces of specs for the tests of lowering, and what they come to."""

from mimodsl.diagnostics import Diagnostic, Label
from mimodsl.ir import Spec
from mimodsl.lower import parse
from mimodsl.source import Span

SCHEDULE = "schedule 1f1b {\n  sequence = 64\n}\n"
GRID = "grid llm {\n  dense = tp:2 * dp:2\n}\n"
BASE = GRID + SCHEDULE
GPT = "hidden = 64, vocabulary = 512, layers = 2, attention = { heads = 4 }"


def spec_of(text: str, **overrides: str) -> Spec:
    loaded = parse(text, overrides=overrides)
    assert loaded.diagnostics == ()
    assert loaded.spec is not None
    return loaded.spec


def mistakes(text: str, **overrides: str) -> list[Diagnostic]:
    loaded = parse(text, overrides=overrides)
    assert loaded.spec is None
    return list(loaded.diagnostics)


def only_mistake(text: str, **overrides: str) -> Diagnostic:
    (one,) = mistakes(text, **overrides)
    return one


def text_at(label: Label) -> str:
    assert isinstance(label.where, Span)
    return label.where.text


def codes_and_places(text: str, **overrides: str) -> list[tuple[str, str]]:
    return [(one.code, text_at(one.primary)) for one in mistakes(text, **overrides)]
