"""Names: declared twice, unknown, reserved, and lost in broken text."""

import pytest

from tests.unit.lower.texts import (
    BASE,
    GPT,
    GRID,
    SCHEDULE,
    codes_and_places,
    mistakes,
    only_mistake,
    spec_of,
    text_at,
)

TWO_GRIDS = "grid a {\n  dense = tp:2\n}\ngrid b {\n  dense = tp:2\n}\n"
MODULE = f"module language : gpt {{\n  {GPT}\n}}\n"


@pytest.mark.parametrize(
    "text",
    [
        "let x = 1\nlet x = 2\n",
        "preset x : gpt\npreset x : gpt\n",
        f"{TWO_GRIDS.replace('grid b', 'grid a')}",
    ],
)
def test_a_name_is_declared_once(text: str) -> None:
    one = next(one for one in mistakes(text + BASE) if one.code == "MIMO101")
    assert text_at(one.primary) == text_at(one.secondary[0])


def test_names_of_different_kinds_do_not_clash() -> None:
    preset = f"preset x : gpt {{\n  {GPT}\n}}\n"
    spec = spec_of(f"let x = 2\n{preset}grid x {{\n  dense = tp:x\n}}\nmodule x : x\n{SCHEDULE}")
    assert (spec.grids[0].name, spec.modules[0].name) == ("x", "x")


@pytest.mark.parametrize("keyword", ["place llm", SCHEDULE.strip(), "train {\n}"])
def test_some_declarations_stand_once(keyword: str) -> None:
    text = GRID + "\n".join([keyword] * 2) + ("\n" if "schedule" in keyword else f"\n{SCHEDULE}")
    word = keyword.split(maxsplit=1)[0]
    assert codes_and_places(text) == [("MIMO101", word)]


@pytest.mark.parametrize("name", ["true", "none", "_"])
@pytest.mark.parametrize("declaration", ["let {} = 1\n", "preset {} : gpt\n", "module {} : gpt\n"])
def test_values_are_no_names(declaration: str, name: str) -> None:
    found = codes_and_places(BASE + declaration.format(name))
    assert ("MIMO108", name) in found


def test_a_kind_s_name_is_no_preset_s() -> None:
    assert codes_and_places(f"{BASE}preset radio : vit\n") == [("MIMO108", "radio")]


@pytest.mark.parametrize(
    ("text", "code", "help"),
    [
        (f"{TWO_GRIDS}place a | bb\n{SCHEDULE}", "MIMO104", "did you mean `b`?"),
        (f"{BASE}module p : mlp_projetor\n", "MIMO103", "did you mean `mlp_projector`?"),
        (f"{BASE}preset big : mlp_projector\nmodule v : bigg\n", "MIMO103", "did you mean `big`?"),
        (
            f"{BASE}{MODULE}flow langage -> language {{\n  token = 1\n}}\n",
            "MIMO105",
            "did you mean `language`?",
        ),
        (f"{BASE}module l : gpt {{\n  grid = lm, {GPT}\n}}\n", "MIMO104", "did you mean `llm`?"),
    ],
)
def test_an_unknown_name_has_its_neighbour_as_help(text: str, code: str, help: str) -> None:
    one = only_mistake(text)
    assert (one.code, one.help) == (code, (help,))


@pytest.mark.parametrize(
    "broken",
    [
        "grid llm {\n  dense = tp 2\n}\n",  # its name is known to be lost
        "grid {\n  dense = tp:2\n}\n",  # any name may be
        'use "presets/no_such.mimo"\n',
        "gird llm {\n}\n",
    ],
)
def test_what_follows_from_broken_text_is_silent(broken: str) -> None:
    text = f"{broken}place llm | other\nmodule l : gpt {{\n  grid = llm, {GPT}\n}}\n{SCHEDULE}"
    silent = text if "llm {\n  dense = tp 2" not in broken else text.replace(" | other", "")
    assert len(mistakes(silent)) == 1


def test_what_does_not_follow_is_said() -> None:
    text = (
        f"grid llm {{\n  dense = tp 2\n}}\nplace llm | other\ntrain {{\n  sed = 1\n}}\n{SCHEDULE}"
    )
    assert codes_and_places(text) == [
        ("MIMO001", "2"),
        ("MIMO104", "other"),
        ("MIMO201", "sed"),
    ]


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", "the spec has no `grid` or `schedule`"),
        (GRID, "the spec has no `schedule`"),
        (SCHEDULE, "the spec has no `grid`"),
        (TWO_GRIDS + SCHEDULE, "the spec has no `place`"),
    ],
)
def test_what_no_spec_can_do_without(text: str, message: str) -> None:
    one = only_mistake(text)
    assert (one.code, one.message) == ("MIMO109", message)


def test_one_grid_alone_needs_no_place() -> None:
    assert str(spec_of(BASE).place) == "llm"


def test_an_unknown_name_is_told_with_those_that_there_are() -> None:
    one = only_mistake(f"{BASE}module m : transformer {{\n}}\n")
    assert one.notes == (
        "there are `radio`, `vit`, `mlp_projector`, `affine_projector`, `gpt` and `hybrid`",
    )
