"""What must hold of every spec and of any text: printing, parsing, formatting, never raising."""

import re

from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from mimodsl.diagnostics.render import concise, full, github, json
from mimodsl.ir import Spec
from mimodsl.lower import load, parse
from mimodsl.lower.printer import print_spec
from mimodsl.resources import presets_folder
from mimodsl.source import SourceFile
from mimodsl.syntax.formatter import format_source
from mimodsl.syntax.parser import parse_source
from tests.property.strategies import specs

examples = settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.too_slow])

SPECS = sorted(presets_folder().parent.glob("*.mimo")) + sorted(presets_folder().glob("*.mimo"))
TEXTS = [path.read_text() for path in SPECS]


def formatted(text: str) -> str:
    result = format_source(SourceFile("x.mimo", text))
    assert result.text is not None, concise.render(result.diagnostics)
    return result.text


def comments(text: str) -> list[str]:
    return sorted(span.text for span in parse_source(SourceFile("x.mimo", text)).file.comments)


@examples
@given(specs())
def test_printing_and_parsing_gives_the_same_spec(spec: Spec) -> None:
    loaded = parse(print_spec(spec))
    assert loaded.diagnostics == ()
    assert loaded.spec == spec


@examples
@given(specs())
def test_printed_text_is_in_the_one_style(spec: Spec) -> None:
    assert formatted(str(spec)) == str(spec)


@st.composite
def untidy(draw: st.DrawFn) -> str:
    """A spec in no style at all, with comments wherever a line may break."""
    text = print_spec(draw(specs())) if draw(st.booleans()) else draw(st.sampled_from(TEXTS))
    pieces = re.split(r'("(?:\\.|[^"\\])*"|#[^\n]*|\n| \* | = |, | \| | & | -> |\{|\[|\()', text)
    breaks = st.sampled_from(["", " ", "\t", "\n", " # why\n", "\n# on its own\n", "\n\n", "#\n"])
    spaces = st.sampled_from(["", "", " ", "\t", "   "])
    written: list[str] = []
    for piece in pieces:
        if piece in ("\n", " * ", " = ", ", ", " | ", " & ", " -> ", "[", "("):
            written.append(draw(spaces) + piece.strip(" ") + draw(breaks))
        elif piece == "{":
            written.append(f"{{{draw(breaks)}")
        else:
            written.append(piece)
    return "".join(written)


@examples
@given(untidy())
def test_formatting_keeps_meaning_and_comments_and_is_idempotent(text: str) -> None:
    tidy = formatted(text)
    before = parse_source(SourceFile("x.mimo", text)).file
    after = parse_source(SourceFile("x.mimo", tidy)).file
    assert after == before
    assert comments(tidy) == comments(text)
    assert formatted(tidy) == tidy


@examples
@given(untidy())
def test_line_breaks_of_other_systems_change_nothing(text: str) -> None:
    assert formatted(text.replace("\n", "\r\n")) == formatted(text)


@st.composite
def mutated(draw: st.DrawFn) -> str:
    """A spec with stretches removed, doubled, moved and replaced."""
    text = draw(st.sampled_from(TEXTS))
    for _ in range(draw(st.integers(1, 4))):
        start = draw(st.integers(0, len(text)))
        end = min(len(text), start + draw(st.integers(0, 40)))
        junk = st.one_of(
            st.sampled_from(
                ["{", "}", "(", ")", "[", '"', "=", "\n", "|", "&", "*", "->", "//", "_", "#", "\0"]
            ),
            st.sampled_from(["grid", "let x = x", "0", "-", "1x1", "none", "9" * 30, "1e999"]),
            st.just(text[start:end] * 2),
            st.text(max_size=8),
        )
        text = text[:start] + draw(junk) + text[end:]
    return text


@examples
@given(st.one_of(mutated(), mutated(), st.text()))
def test_any_text_is_a_spec_or_has_diagnostics(text: str) -> None:
    loaded = parse(text)
    assert (loaded.spec is None) == any(one.is_error for one in loaded.diagnostics)
    assert format_source(SourceFile("x.mimo", text)) is not None
    for one in loaded.diagnostics:
        assert full.render([one]).startswith(f"error[{one.code}]: ")
        assert "\n" not in concise.render([one])
        assert "\n" not in github.render([one])
    assert len(json.objects(loaded.diagnostics)) == len(loaded.diagnostics)


@examples
@given(data=st.binary(max_size=200))
def test_any_bytes_are_a_spec_or_have_diagnostics(tmp_path_factory, data: bytes) -> None:
    path = tmp_path_factory.mktemp("bytes") / "any.mimo"
    path.write_bytes(data)
    loaded = load(path)
    assert (loaded.spec is None) == any(one.is_error for one in loaded.diagnostics)


@examples
@given(specs())
def test_a_broken_declaration_costs_one_syntax_error_and_no_other_declaration(spec: Spec) -> None:
    broken = "grid broken {\n  dense = tp 2\n}\n"
    pieces = print_spec(spec).split("\n\n")
    for place in {0, len(pieces) // 2, len(pieces)}:
        text = "\n\n".join([*pieces[:place], broken, *pieces[place:]])
        parsed = parse_source(SourceFile("x.mimo", text))
        assert [one.code for one in parsed.diagnostics] == ["MIMO001"]
        whole = parse_source(SourceFile("x.mimo", print_spec(spec)))
        assert parsed.file.declarations == whole.file.declarations
