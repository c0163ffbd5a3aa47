"""The one style, example by example; that it loses nothing is held in tests/property."""

from textwrap import dedent

import pytest

from mimodsl.resources import presets_folder
from mimodsl.source import SourceFile
from mimodsl.syntax.formatter import MAX_WIDTH, format_source

SPECS = [*presets_folder().parent.glob("*.mimo"), *presets_folder().glob("*.mimo")]


def formatted(text: str) -> str:
    result = format_source(SourceFile("x.mimo", text))
    assert result.text is not None
    again = format_source(SourceFile("x.mimo", result.text))
    assert again.text == result.text
    return result.text


def becomes(before: str, after: str) -> bool:
    assert formatted(dedent(before)) == dedent(after).lstrip("\n")
    return True


@pytest.mark.parametrize("path", SPECS, ids=lambda path: path.name)
def test_shipped_specs_are_in_the_style(path) -> None:
    assert formatted(path.read_text()) == path.read_text()


def test_one_blank_line_stands_between_declarations() -> None:
    assert becomes(
        """


        grid a { dense = tp:1 }
        place a



        schedule 1f1b


        """,
        """
        grid a {
          dense = tp:1
        }

        place a

        schedule 1f1b
        """,
    )


def test_constants_stand_together_as_they_were_written() -> None:
    assert becomes(
        """
        use "a.mimo"
        use "b.mimo"
        let a=1
        let long=2  # two
        # about c
        let c = 3

        let other = 4
        """,
        """
        use "a.mimo"
        use "b.mimo"

        let a    = 1
        let long = 2  # two
        # about c
        let c    = 3

        let other = 4
        """,
    )


def test_fields_are_aligned_inside_a_block() -> None:
    assert becomes(
        """
        module v:radio{grid=a,layers=2
          optimizer = adamw{lr=1}

          x=1  }
        """,
        """
        module v : radio {
          grid      = a
          layers    = 2
          optimizer = adamw { lr = 1 }

          x         = 1
        }
        """,
    )


def test_views_stand_in_columns() -> None:
    assert becomes(
        """
        grid g {
          ranks = 2*n
          dense=tp:2*cp:1*dp:( n+1 )*pp:1
          expert=etp:1*ep:16*edp:n*pp
          short=tp:2
        }
        """,
        """
        grid g {
          ranks  = 2 * n
          dense  = tp:2  * cp:1  * dp:(n + 1) * pp:1
          expert = etp:1 * ep:16 * edp:n      * pp
          short  = tp:2
        }
        """,
    )


def test_a_block_inside_stays_on_its_line_while_it_fits() -> None:
    assert becomes(
        """
        train {
          a = {x=1,y=2}
          b = {
            x=1 }
          c = {}
        }
        """,
        """
        train {
          a = { x = 1, y = 2 }
          b = {
            x = 1
          }
          c = {}
        }
        """,
    )
    fields = ", ".join(f"field_{index} = {index}" for index in range(10))
    lines = formatted(f"train {{\n  a = {{ {fields} }}\n}}\n").splitlines()
    assert lines[1:3] == ["  a = {", "    field_0 = 0"]
    assert max(map(len, lines)) <= MAX_WIDTH


def test_a_list_over_several_lines_has_an_item_a_line() -> None:
    assert becomes(
        "let x = [1,2 , 3]\nlet y = [1,  # one\n 2]\n",
        """
        let x = [1, 2, 3]
        let y = [
          1,  # one
          2,
        ]
        """,
    )


def test_comments_keep_their_place() -> None:
    assert becomes(
        """
        # at the top

        # about a
        grid a {   # opens
          # first
          dense = tp:2   # trails
          expert = ep:2 * pp # trails too

          # last
        }   # closes
        # at the end
        """,
        """
        # at the top

        # about a
        grid a {  # opens
          # first
          dense  = tp:2       # trails
          expert = ep:2 * pp  # trails too

          # last
        }  # closes

        # at the end
        """,
    )


def test_comments_inside_a_value_move_before_it() -> None:
    assert becomes(
        """
        let x = 1 +  # why
          # indeed
          2
        """,
        """
        # why
        # indeed
        let x = 1 + 2
        """,
    )


def test_a_comment_makes_a_block_take_several_lines() -> None:
    assert becomes(
        "train { optimizer = adamw { lr = 1 # high\n } }\n",
        """
        train {
          optimizer = adamw {
            lr = 1  # high
          }
        }
        """,
    )


def test_numbers_strings_and_parentheses_stay_as_written() -> None:
    text = 'let x = (1_000 + 2)\nlet y = 2E-4\nlet z = "\\u00e9"\n'
    assert formatted(text) == text


def test_empty_files_stay_empty() -> None:
    assert formatted(" \n\n") == ""
    assert formatted("# alone") == "# alone\n"


def test_broken_text_is_refused_with_the_reason() -> None:
    result = format_source(SourceFile("x.mimo", "let x = 1\ngrid {\n}\n"))
    assert result.text is None
    assert [one.code for one in result.diagnostics] == ["MIMO001"]
