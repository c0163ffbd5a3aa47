"""The renderings of diagnostics, to the character."""

import json as json_text

from mimodsl.diagnostics import Diagnostic, Edit, Label, ObjectPath, Severity, in_order
from mimodsl.diagnostics.render import concise, full, github, json
from mimodsl.source import SourceFile, Span

BAD = SourceFile(
    "specs/bad.mimo",
    "grid llm {\n  dense  = tp:2  * cp:1 * dp:4 * pp:1\n  expert = etp:1 * ep:3 * edp:2 * pp\n}\n",
)


def span(text: str, file: SourceFile = BAD) -> Span:
    start = file.text.index(text)
    return Span(file, start, start + len(text))


def mistake(**changes: object) -> Diagnostic:
    known = {
        "code": "MIMO301",
        "message": "the expert view covers 6 ranks a pipeline stage, the base view covers 8",
        "primary": Label(span("etp:1 * ep:3 * edp:2"), "etp·ep·edp = 6"),
        "secondary": (Label(span("tp:2  * cp:1 * dp:4"), "tp·cp·dp = 8"),),
        "notes": ("both views factor the same ranks of a pipeline stage",),
        "help": ("`ep:4` makes both 8, and so does `edp:4` with `ep:2`",),
    }
    return Diagnostic(**(known | changes))


def lines_of(text: str, **marks: object) -> list[str]:
    """What is shown of a text below the location line."""
    file = SourceFile("x.mimo", text)
    primary = Label(span(str(marks.get("at", text)), file))
    one = mistake(primary=primary, secondary=(), notes=(), help=())
    return full.render([one]).splitlines()[3:]


def test_full_shows_both_places_note_and_help() -> None:
    assert full.render([mistake()]) == (
        "error[MIMO301]: the expert view covers 6 ranks a pipeline stage, the base view covers 8\n"
        "  --> specs/bad.mimo:3:12\n"
        "   |\n"
        " 2 |   dense  = tp:2  * cp:1 * dp:4 * pp:1\n"
        "   |            ------------------- tp·cp·dp = 8\n"
        " 3 |   expert = etp:1 * ep:3 * edp:2 * pp\n"
        "   |            ^^^^^^^^^^^^^^^^^^^^ etp·ep·edp = 6\n"
        "   = note: both views factor the same ranks of a pipeline stage\n"
        "   = help: `ep:4` makes both 8, and so does `edp:4` with `ep:2`"
    )


def test_full_leaves_lines_without_a_label_out() -> None:
    text = "first\nsecond\nthird\nfourth\nfifth\n"
    file = SourceFile("x.mimo", text)
    first = (Label(span("first", file)),)
    far = mistake(primary=Label(span("fifth", file)), secondary=first, notes=(), help=())
    near = mistake(primary=Label(span("third", file)), secondary=first, notes=(), help=())
    assert [line for line in full.render([far]).splitlines() if "|" not in line][2:] == [" ..."]
    assert " 2 | second" in full.render([near]).splitlines()


def test_full_shows_where_a_span_over_several_lines_begins_and_ends() -> None:
    text = "train {\n  seed = 1\n  lr = 2\n}\n"
    assert lines_of(text) == [
        " 1 | train {",
        "   | ^^^^^^^",
        " ...",
        " 4 | }",
        "   | ^",
    ]


def test_full_counts_tabs_and_wide_characters_as_the_screen_does() -> None:
    assert lines_of("\tlet x = 2\n", at="x") == [" 1 |     let x = 2", "   |         ^"]
    assert lines_of('let 名前 = "日本" + y\n', at="y") == [
        ' 1 | let 名前 = "日本" + y',
        "   |                     ^",
    ]
    assert lines_of("let e\u0301 = y\n", at="y")[1] == "   |         ^"


def test_full_makes_control_characters_visible() -> None:
    assert lines_of("let \x1b[31m = \0\n", at="\0") == [
        " 1 | let \ufffd[31m = \ufffd",
        "   |             ^",
    ]


def test_full_shows_the_part_of_a_long_line_that_matters() -> None:
    source, marks = lines_of("a" * 5_000 + "!" + "b" * 5_000, at="!")
    assert len(source) < 160
    assert source[marks.index("^")] == "!"
    assert source.count("…") == 2


def test_full_marks_the_end_of_a_file() -> None:
    text = "let x ="
    file = SourceFile("x.mimo", text)
    one = mistake(primary=Label(Span(file, 7, 7)), secondary=(), notes=(), help=())
    assert full.render([one]).splitlines()[3:] == [" 1 | let x =", "   |        ^"]
    empty = SourceFile("x.mimo", "")
    one = mistake(primary=Label(Span(empty, 0, 0)), secondary=(), notes=(), help=())
    assert full.render([one]).splitlines()[1:] == ["  --> x.mimo:1:1"]


def test_full_shows_other_files_below() -> None:
    other = SourceFile("presets/p.mimo", "let replicas = 2\n")
    one = mistake(secondary=(Label(span("2", other), "first here"),), notes=(), help=())
    assert full.render([one]).splitlines()[5:] == [
        "  ::: presets/p.mimo:1:16",
        "   |",
        " 1 | let replicas = 2",
        "   |                - first here",
    ]


def test_full_names_objects_that_were_made_in_python() -> None:
    one = mistake(
        primary=Label(ObjectPath("grids.llm.views.expert"), "etp·ep·edp = 6"),
        secondary=(Label(ObjectPath("grids.llm.views.dense"), "tp·cp·dp = 8"),),
        notes=(),
        help=(),
    )
    assert full.render([one]).splitlines()[1:] == [
        "  --> grids.llm.views.expert: etp·ep·edp = 6",
        "  ::: grids.llm.views.dense: tp·cp·dp = 8",
    ]


def test_full_aligns_to_the_widest_line_number() -> None:
    file = SourceFile("x.mimo", "\n" * 99 + "here\n")
    one = mistake(primary=Label(span("here", file)), secondary=(), help=())
    assert full.render([one]).splitlines()[1:] == [
        "    --> x.mimo:100:1",
        "     |",
        " 100 | here",
        "     | ^^^^",
        "     = note: both views factor the same ranks of a pipeline stage",
    ]


def test_colour_is_used_only_when_asked_for() -> None:
    plain, coloured = full.render([mistake()]), full.render([mistake()], color=True)
    assert "\x1b" not in plain
    assert "\x1b[1;31merror[MIMO301]\x1b[0m" in coloured
    warning = full.render([mistake(severity=Severity.WARNING)], color=True)
    assert "\x1b[1;33mwarning[MIMO301]\x1b[0m" in warning


def test_concise_is_one_line_each() -> None:
    assert concise.render([mistake(message="one"), mistake(message="two")]) == (
        "specs/bad.mimo:3:12: error[MIMO301] one\nspecs/bad.mimo:3:12: error[MIMO301] two"
    )


def test_what_a_message_quotes_of_a_file_does_nothing_to_a_terminal() -> None:
    one = mistake(message="a\nb\x1b[31m", notes=("c\rd",), help=("e\u2028f",))
    shown = full.render([one]).splitlines()
    assert shown[0] == "error[MIMO301]: a\ufffdb\ufffd[31m"
    assert shown[-2:] == ["   = note: c\ufffdd", "   = help: e\ufffdf"]
    assert concise.render([one]) == "specs/bad.mimo:3:12: error[MIMO301] a\ufffdb\ufffd[31m"


def test_github_escapes_what_would_end_a_command() -> None:
    file = SourceFile("a,b:c%.mimo", "text\n")
    one = mistake(
        message="50% of\nit: a, b", primary=Label(span("text", file)), notes=(), help=("do\rit",)
    )
    assert github.render([one]) == (
        "::error file=a%2Cb%3Ac%25.mimo,line=1,endLine=1,col=1,endColumn=4,title=mimodsl MIMO301"
        "::50%25 of%0Ait: a, b%0Ahelp: do%0Dit"
    )


def test_json_holds_everything_with_offsets() -> None:
    fix = mistake(edits=(Edit(span("ep:3"), "ep:4"),))
    (shown,) = json_text.loads(json.render([fix]))
    assert shown["code"] == "MIMO301"
    assert shown["severity"] == "error"
    assert shown["primary"] == {
        "file": "specs/bad.mimo",
        "start": {"offset": 60, "line": 3, "column": 12},
        "end": {"offset": 80, "line": 3, "column": 32},
        "text": "etp·ep·edp = 6",
    }
    assert [label["text"] for label in shown["secondary"]] == ["tp·cp·dp = 8"]
    assert shown["edits"][0]["replacement"] == "ep:4"
    python = mistake(primary=Label(ObjectPath("grids.llm"), "here"))
    assert json.objects([python])[0]["primary"] == {"path": "grids.llm", "text": "here"}


def test_order_is_by_place_and_objects_come_last() -> None:
    first = mistake(primary=Label(span("dense")))
    last = mistake(primary=Label(ObjectPath("grids")))
    assert in_order([last, mistake(), first]) == [first, mistake(), last]
