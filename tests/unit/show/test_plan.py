"""Plans as people and programs see them.

The tables are compared with the files in `shown/`. After a change that is meant, delete them: a
missing file is written, and the test fails once to say so.
"""

import io
import json
from pathlib import Path

import pytest
from rich.console import Console

from mimodsl.ir import Spec
from mimodsl.planner.plan import plan
from mimodsl.show.plan import document, show
from tests.unit.planner.specs import PIPELINE, SHARED, SIDE_BY_SIDE, WIDE, alone, vlm

SHOWN = Path(__file__).parent / "shown"


def shown(spec: Spec, rank: int | None = None, *, width: int = 80, terminal: bool = False) -> str:
    out = io.StringIO()
    colours = "truecolor" if terminal else None
    console = Console(file=out, width=width, force_terminal=terminal, color_system=colours)
    show(plan(spec), console, rank)
    return out.getvalue()


@pytest.mark.parametrize(
    ("name", "spec", "rank"),
    [
        ("side_by_side", SIDE_BY_SIDE, None),
        ("side_by_side_rank_5", SIDE_BY_SIDE, 5),
        ("shared", SHARED, None),
        ("pipeline", PIPELINE, None),
        ("pipeline_rank_1", PIPELINE, 1),
        ("wide", WIDE, None),
        ("wide_rank_300000", WIDE, 300_000),
        ("alone", alone({"tp": 2, "dp": 2, "pp": 3}, microbatches=2), None),
    ],
)
def test_tables(name: str, spec: Spec, rank: int | None) -> None:
    path = SHOWN / f"{name}.txt"
    text = shown(spec, rank)
    if not path.exists():
        path.parent.mkdir(exist_ok=True)
        path.write_text(text)
        pytest.fail(f"{path.name} was missing and is written: look at it")
    assert text == path.read_text()


@pytest.mark.parametrize("width", [80, 100, 200])
@pytest.mark.parametrize("spec", [SIDE_BY_SIDE, SHARED, PIPELINE, WIDE])
def test_lines_fit_and_end_without_blanks(spec: Spec, width: int) -> None:
    lines = [*shown(spec, width=width).splitlines(), *shown(spec, 7, width=width).splitlines()]
    longest = 83 if (spec, width) == (WIDE, 80) else min(width, 100)  # its numbers and names
    assert max(map(len, lines)) <= longest
    assert all(line == line.rstrip() for line in lines)


@pytest.mark.parametrize("spec", [SIDE_BY_SIDE, SHARED, PIPELINE, WIDE])
def test_words_and_numbers_stay_whole_on_a_narrow_terminal(spec: Spec) -> None:
    wide, narrow = (shown(spec, 7, width=width).partition("Traffic")[2] for width in (100, 40))
    assert sorted(narrow.split()) == sorted(wide.split())
    assert max(map(len, narrow.splitlines())) < max(map(len, wide.splitlines()))


def test_colour_is_for_terminals() -> None:
    assert "\x1b[" not in shown(SIDE_BY_SIDE)
    assert "\x1b[" in shown(SIDE_BY_SIDE, terminal=True)


def test_a_world_of_one_rank_needs_no_picture() -> None:
    text = shown(alone({"dp": 1}))
    assert text.startswith("\n1 rank  single")
    assert "╞" not in text


def test_a_rank_outside_is_refused() -> None:
    with pytest.raises(ValueError, match="rank 99"):
        shown(PIPELINE, 99)
    with pytest.raises(ValueError, match="rank 99"):
        document(plan(PIPELINE), 99)


def test_json_of_a_world() -> None:
    values = json.loads(json.dumps(document(plan(PIPELINE))))
    assert values["summary"]["world"] == 8
    llm = values["grids"][1]
    assert llm["ranks"] == {"first": 4, "count": 4}
    assert llm["views"][1]["axes"] == {"ep": 2, "edp": 1, "pp": 2, "etp": 1}
    assert llm["views"][1]["shared"] == ["pp"]
    pp = next(group for group in values["groups"] if group["name"] == "llm.pp")
    assert pp["members"] == [[4, 6], [5, 7]]
    assert values["bridges"][0]["received"] == [8, 128]
    assert values["schedule"]["stages"][2]["order"][:4] == ["F0", "B0", "F1", "B1"]
    assert [rank["rank"] for rank in values["ranks"]] == list(range(8))


def test_json_of_a_rank() -> None:
    values = json.loads(json.dumps(document(plan(PIPELINE), 7)))
    assert values["world"] == 8
    assert values["groups"]["llm.embedding"] == [5, 7]
    (language,) = values["modules"]
    assert (language["layers"], language["pattern"]) == ({"first": 3, "count": 3}, "*EM")
    assert (language["first"], language["last"]) == (False, True)
    assert values["bridges"] == [
        {"name": "vision->language", "role": "member", "leader": None, "peers": []}
    ]


def test_json_of_a_wide_world_is_small() -> None:
    values = document(plan(WIDE))
    assert values["ranks"] is None
    assert {group["members"] for group in values["groups"]} == {None}
    assert len(json.dumps(values)) < 100_000
    assert document(plan(WIDE), 5)["groups"]["encoder.dp"] is None


def test_fan_out_sends_a_share_to_each_replica() -> None:
    spec = vlm(encoder={"tp": 2, "dp": 1}, dense={"tp": 2, "dp": 4})
    assert "fan-out 4" in shown(spec)
    assert "[16, 128] → [4, 128]" in shown(spec)
