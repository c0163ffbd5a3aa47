"""The page that maps the public run's flags is true of the spec, line by line."""

import re
from pathlib import Path

import pytest

import mimodsl

ROOT = Path(__file__).parents[2]
PAGE = (ROOT / "docs/nemotron_20l.md").read_text()
SPEC = ROOT / "specs/nemotron_20l.mimo"
TEXT = "\n".join(
    re.sub(r"\s+", " ", line.partition("#")[0]).strip()
    for path in (SPEC, ROOT / "specs/presets/nemotron.mimo")
    for line in path.read_text().splitlines()
)
ROW = re.compile(r"^\| `(?P<flag>--[^`]+)` \| (?P<lines>.*?) \| (?P<remark>.*?) ?\|$", re.MULTILINE)
ROWS = [row.groupdict() for row in ROW.finditer(PAGE.partition("## Flags of the program")[2])]
"""Of the table with three columns."""


def test_every_flag_is_there_once_and_says_what_becomes_of_it() -> None:
    flags = [row["flag"].split()[0] for row in ROWS]
    assert len(set(flags)) == len(flags)
    assert f"It passes {len(flags)} flags to" in PAGE
    assert all(row["lines"].strip() or row["remark"] for row in ROWS)


@pytest.mark.parametrize("row", ROWS, ids=lambda row: row["flag"])
def test_the_lines_of_a_flag_are_in_the_spec(row: dict[str, str]) -> None:
    for line in re.findall(r"`([^`]+)`", row["lines"].replace("\\|", "|")):
        assert re.search(rf"(^|[ {{,]){re.escape(line)}($|[ }},])", TEXT, re.MULTILINE), line


def test_the_layout_is_that_of_the_script() -> None:
    spec = mimodsl.load(SPEC)
    encoder, llm = spec.grid("encoder"), spec.grid("llm")
    assert [encoder.size(axis) for axis in ("tp", "dp")] == [2, 2]
    assert [llm.size(axis) for axis in ("tp", "cp", "pp", "dp", "ep", "etp")] == [2, 1, 1, 2, 4, 1]
    assert list(spec.rank_spans["llm"]) == [4, 5, 6, 7]
    batch = mimodsl.plan(spec).summary().batch
    assert f"`--global-batch-size {batch}`" in PAGE
