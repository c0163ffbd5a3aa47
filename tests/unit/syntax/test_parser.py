"""Text to syntax tree: what the language means by its words, and what becomes of broken text."""

import pytest

from mimodsl.diagnostics import Diagnostic
from mimodsl.limits import MAX_CHARACTERS, MAX_DEPTH
from mimodsl.source import SourceFile, Span
from mimodsl.syntax import ast
from mimodsl.syntax.parser import Parsed, parse_source


def parsed(text: str) -> Parsed:
    return parse_source(SourceFile("x.mimo", text))


def only(text: str) -> ast.Declaration:
    """The one declaration of a text without mistakes."""
    result = parsed(text)
    assert result.diagnostics == ()
    (declaration,) = result.file.declarations
    return declaration


def value(text: str) -> ast.Value:
    let = only(f"let x = {text}\n")
    assert isinstance(let, ast.Let)
    return let.value


def mistakes(text: str) -> list[tuple[str, str]]:
    """Code and text of every diagnostic."""
    return [(one.code, spot(one)) for one in parsed(text).diagnostics]


def spot(one: Diagnostic) -> str:
    assert isinstance(one.primary.where, Span)
    return one.primary.where.text


# Values.


@pytest.mark.parametrize(
    ("text", "number"),
    [("0", 0), ("007", 7), ("131_072", 131072), (str(2**63 - 1), 2**63 - 1)],
)
def test_integers(text: str, number: int) -> None:
    found = value(text)
    assert isinstance(found, ast.Integer)
    assert found.value == number


@pytest.mark.parametrize(
    ("text", "number"), [("2e-4", 2e-4), ("0.05", 0.05), ("1.5E+3", 1500.0), ("1_0.5", 10.5)]
)
def test_floats(text: str, number: float) -> None:
    found = value(text)
    assert isinstance(found, ast.Float)
    assert found.value == number


@pytest.mark.parametrize(
    "text",
    ["1.", ".5", "1__0", "1_", "12abc", "5x", "5x5x5", "0x10", "8x0", "1e", "0.1_0", "1_0.5e1_0"],
)
def test_what_is_no_number_is_refused_whole(text: str) -> None:
    assert mistakes(f"let x = {text}\n") == [("MIMO006", text)]


@pytest.mark.parametrize("text", ["9" * 19, "9" * 5000, "1e999", f"{'9' * 30}x1"])
def test_numbers_have_limits(text: str) -> None:
    assert mistakes(f"let x = {text}\n") == [("MIMO006", text)]


def test_sizes_are_height_by_width() -> None:
    found = value("384x512")
    assert isinstance(found, ast.Size)
    assert (found.height, found.width) == (384, 512)


def test_strings_have_the_escapes_of_json() -> None:
    found = value(r'"a\"b\\c\nd é é # no comment"')
    assert isinstance(found, ast.String)
    assert found.value == 'a"b\\c\nd é é # no comment'


@pytest.mark.parametrize("text", ['"a', '"a\tb"', r'"\q"', r'"\ud800"', '"a\\"'])
def test_malformed_strings_are_refused(text: str) -> None:
    assert [code for code, _ in mistakes(f"let x = {text}\n")] == ["MIMO005"]


def test_products_bind_tighter_than_sums_and_run_from_left_to_right() -> None:
    found = value("1 - 2 * 3 // 4 + -5")
    assert isinstance(found, ast.Arithmetic)
    assert [symbol for symbol, _ in found.rest] == ["-", "+"]
    product = found.rest[0][1]
    assert isinstance(product, ast.Arithmetic)
    assert [symbol for symbol, _ in product.rest] == ["*", "//"]
    assert isinstance(found.rest[1][1], ast.Negation)


def test_a_block_may_have_a_tag() -> None:
    tagged, plain = value("adamw { lr = 1e-4 }"), value("{ lr = 1e-4 }")
    assert isinstance(tagged, ast.Block)
    assert isinstance(plain, ast.Block)
    assert str(tagged.tag) == "adamw"
    assert tagged.fields == plain.fields
    assert tagged.span.text == "adamw { lr = 1e-4 }"


def test_lists_may_end_with_a_comma_and_break_anywhere() -> None:
    assert value("[1, 2]") == value("[\n  1,  # one\n\n  2,\n]")


# Declarations.


def test_keywords_are_names_wherever_a_name_stands() -> None:
    text = (
        "let grid = 2\n"
        "grid ranks {\n  ranks = grid\n  let = use:grid * ranks\n}\n"
        "place ranks\n"
        "module module : preset {\n  grid = ranks\n  ranks = train\n}\n"
        "flow flow -> use -> module\n"
        "schedule schedule\n"
    )
    result = parsed(text)
    assert result.diagnostics == ()
    assert len(result.file.declarations) == 6


def test_a_view_has_axes_with_sizes_names_groups_blanks_and_none() -> None:
    grid = only("grid g {\n  dense = tp:2 * cp:n * dp:(2 * n) * ep:_ * pp\n}\n")
    assert isinstance(grid, ast.Grid)
    (view,) = grid.fields
    assert isinstance(view, ast.View)
    kinds = [type(axis.size) for axis in view.axes]
    assert kinds == [ast.Integer, ast.Word, ast.ParenthesisedValue, ast.Word, type(None)]


def test_together_binds_tighter_than_beside() -> None:
    place = only("place a | b & (c | d)\n")
    assert isinstance(place, ast.Place)
    beside = place.placement
    assert isinstance(beside, ast.Beside)
    together = beside.parts[1]
    assert isinstance(together, ast.Together)
    assert isinstance(together.parts[1], ast.ParenthesisedPlacement)


def test_a_line_goes_on_after_an_operator_and_inside_brackets() -> None:
    assert only("place a |\n  b\n") == only("place a | b\n")
    assert only("let x = (1\n  + 2\n)\n") == only("let x = (1 + 2)\n")
    assert only("flow a ->\n\n # then\n b\n") == only("flow a -> b\n")


def test_fields_stand_on_lines_or_between_commas() -> None:
    one, other = only("train { a = 1, b = 2 }"), only("train {\n\n  a = 1\n  b = 2,\n}\n")
    assert one == other
    assert mistakes("train { a = 1 b = 2 }") == [("MIMO001", "b")]


def test_spans_cover_what_was_written() -> None:
    text = "let x = 1\nmodule vision : radio {\n  grid = encoder  # here\n}\n"
    _, module = parsed(text).file.declarations
    assert isinstance(module, ast.Module)
    assert module.span.text == text[10:-1]
    assert module.block is not None
    (field,) = module.block.fields
    assert field.span.text == "grid = encoder"
    assert (field.value.span.line, field.value.span.column) == (3, 10)


def test_comments_are_collected_without_their_line_breaks() -> None:
    text = '# one\r\nlet x = "#no"  # two \r\n#\r\n'
    assert [span.text for span in parsed(text).file.comments] == ["# one", "# two", "#"]


@pytest.mark.parametrize("text", ["", "\n", "  \n\t\r\n", "# only a comment", "\r"])
def test_nothing_is_a_file_too(text: str) -> None:
    assert parsed(text).file.declarations == ()
    assert parsed(text).diagnostics == ()


# Mistakes.


def test_each_broken_declaration_gives_one_mistake_and_the_others_are_read() -> None:
    text = (
        "grid a {\n  dense = tp 2\n  expert = * *\n}\n"
        "let good = 1\n"
        "module b radio {\n  x = = 1\n}\n"
        "place a | | b\n"
        "let better = 2\n"
    )
    result = parsed(text)
    assert [(one.code, spot(one)) for one in result.diagnostics] == [
        ("MIMO001", "2"),
        ("MIMO001", "radio"),
        ("MIMO001", "|"),
    ]
    names = [one.name.text for one in result.file.declarations_of(ast.Let)]
    assert names == ["good", "better"]
    lost = [(one.keyword, one.name) for one in result.file.broken]
    assert lost == [("grid", "a"), ("module", "b"), ("place", "a")]


def test_an_unclosed_block_ends_at_the_next_declaration() -> None:
    result = parsed("grid a {\n  dense = tp:2\n\nmodule b : radio {\n  grid = a\n}\n")
    (mistake,) = result.diagnostics
    assert mistake.code == "MIMO003"
    assert spot(mistake) == "{"
    assert len(result.file.declarations_of(ast.Module)) == 1


def test_a_field_called_like_a_keyword_does_not_begin_a_declaration() -> None:
    assert len(mistakes("module a : b {\ngrid = x\n  train = 1\nx y\n}\nlet c = 1\n")) == 1


def test_what_stands_before_stray_text_is_kept() -> None:
    result = parsed("let a = 1\n}\nlet b = 2\ngird g {\n  x = 1\n}\n")
    assert [one.code for one in result.diagnostics] == ["MIMO001", "MIMO002"]
    assert [one.name.text for one in result.file.declarations_of(ast.Let)] == ["a", "b"]


@pytest.mark.parametrize(
    ("text", "message", "help"),
    [
        ("gird g {\n}\n", "`gird` does not begin", "did you mean `grid`?"),
        ("x = 2\n", "`x` does not begin", "a constant is declared with `let x = …`"),
        ("train\n{\n}\n", "expected `{`, found the end of the line", "a block opens on the line"),
        ("train { a: 1 }\n", "expected `=`, found `:`", "a field is written `key = value`"),
        ("grid g { d = tp:2 * 4 }\n", "expected a name, found `4`", "an axis is written `name:"),
        ("grid g { d = tp:2 dp:2 }\n", "expected `*`, `,`, the end of the", "an axis is written"),
        ("grid g { rank = 8 }\n", "expected a name, found `8`", "did you mean `ranks`?"),
        ("grid g { dense = 8 }\n", "expected a name, found `8`", "an axis is written `name:"),
        ("place a\n  | b\n", "`|` does not begin", "to continue a line, end it with"),
        ("let x = 2 × 3\n", "`×` has no meaning here", "did you mean `*`?"),
        ("let x =\n", "expected a value, found the end of the file", None),
        ("let x = [1, 2)\n", "expected `,` or `]`, found `)`", None),
        ("schedule {\n}\n", "expected a schedule such as `1f1b`, found `{`", None),
        ("place\n", "expected a grid's name or `(`, found the end of the line", None),
        ("let \0 = 1\n", "U+0000 has no meaning here", None),
        ("let tûr = 1\n", "`û` has no meaning here", "a name has only the letters a to z"),
        ("let x = - -1\n", "expected a value, found `-`", None),
        ("grid:\n  dense = tp:2\n", "expected a name, found `:`", "a block is written `name {"),
        ("train:\n", "expected `{`, found `:`", "a block is written `name {"),
        ("let a: 2\n", "expected `=`, found `:`", "a constant is written `let name = value`"),
        ("module m : vit\n{\n}\n", "`{` does not begin", "a block opens on the line of its"),
        ('{"version": 1}\n', "`{` does not begin", "a JSON document needs a file name"),
        ("use presets\n", "expected a string, found `presets`", None),
        ('train { "a" = 1 }\n', "expected a name or `}`", "write the name without quotes"),
        ('module "m" "vit" {\n}\n', "expected a name, found", "write the name without quotes"),
        ("module m vit {\n}\n", "expected `:`, found `vit`", "a module is written `module name"),
        ("flow a, b\n", "expected `->`, found `,`", "a flow is written `flow encoder -> "),
        ("place a, b\n", "expected `|`, `&` or", "`a | b` places grids side by side"),
        ("train { o = adamw(lr=1) }\n", "found `(`", "a block is written `name {"),
        ("train { a 1 }\n", "expected `=`, found `1`", "a value follows `=`"),
        ("train {\n  a 1\n}\n", "expected `=`, found `1`", "a field is written `key = value`"),
        ("train { v = 32,000 }\n", "found `000`", "a large number is written"),
        ("grid g { d = tp:2, dp:2 }\n", "expected `=`, found `:`", "an axis is written `name:"),
        ("grid g { d = tp:2*2 }\n", "expected a name, found `2`", "put a computed size"),
        ("train {\n}}\n", "this `}` closes nothing", None),
        ("let s = 8k\n", "`8k` is neither a number nor a name", "a number has no unit: `8 * 1024`"),
        ("let a\N{NO-BREAK SPACE}= 1\n", "U+00A0 has no meaning here", "use only spaces, tabs and"),
    ],
)
def test_a_mistake_says_what_is_expected(text: str, message: str, help: str | None) -> None:
    (mistake,) = parsed(text).diagnostics
    assert message in mistake.message
    assert [line[: len(help or "")] for line in mistake.help] == ([help] if help else [])


# Limits.


def test_brackets_nest_to_a_limit() -> None:
    def nested(depth: int) -> str:
        return f"let x = {'(' * depth}1{')' * depth}\nlet y = 1\n"

    assert mistakes(nested(MAX_DEPTH)) == []
    result = parsed(nested(30_000))
    assert [one.code for one in result.diagnostics] == ["MIMO007"]
    assert [one.name.text for one in result.file.declarations_of(ast.Let)] == ["y"]


def test_long_chains_are_no_nesting() -> None:
    found = value(" + ".join(["1"] * 10_000))
    assert isinstance(found, ast.Arithmetic)
    assert len(found.rest) == 9_999


def test_a_file_has_a_largest_size() -> None:
    result = parsed("#" * (MAX_CHARACTERS + 1))
    assert [one.code for one in result.diagnostics] == ["MIMO008"]


def test_a_comment_of_another_language_is_told_how_one_begins_here() -> None:
    (mistake,) = parsed("// a spec\n").diagnostics
    assert mistake.help[0] == "a comment begins with `#`"


@pytest.mark.parametrize("text", ["grid g { d = tp:2, dp:2 }\n", "let a: int = 2\n"])
def test_what_a_colon_means_is_not_always_certain(text: str) -> None:
    (mistake,) = parsed(text).diagnostics
    assert mistake.edits == ()
