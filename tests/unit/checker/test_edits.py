"""Edits of rules: they make their mistake go away, and make no other."""

import pytest

from mimodsl.checker.runner import check
from mimodsl.diagnostics.edits import apply_edits
from mimodsl.lower import parse

HEAD = """use "presets/nemotron_small.mimo"

grid llm {{
  dense  = {dense}
  expert = {expert}
}}

module language : nemotron_small {{
  {field}
}}

schedule {schedule} {{
  sequence = 64
}}
"""


def text(
    *,
    dense: str = "tp:2 * dp:1",
    expert: str = "ep:2 * pp",
    field: str = "",
    schedule: str = "1f1b",
) -> str:
    return HEAD.format(dense=dense, expert=expert, field=field, schedule=schedule)


CASES = {
    "MIMO303": (text(dense="TP:2 * dp:1"), "tp:2 * dp:1"),
    "MIMO307": (
        text(dense="tp:2 * dp:1 * pp:1", expert="ep:2 * pp:1"),
        "ep:2 * pp",
    ),
    "MIMO308": (text(dense="tp:2 * dp:1 * pp:2", expert="ep:2"), "ep:2 * pp"),
    "MIMO313": (text(dense="tp:2 * dp:2", expert="ep:2 * etp:2 * pp"), "etp:2 * ep:2 * pp"),
    "MIMO314": (text(dense="dp:2 * tp:2", expert="etp:2 * edp:2"), "edp:2 * etp:2"),
    "MIMO505": (
        text(dense="dp:2", field="sequence_parallel = true"),
        "sequence_parallel = none",
    ),
    "MIMO521": (text(field='pattern = "mEm*Em"'), '"MEM*EM"'),
    "MIMO534": (text(field="sequence_parallel = false"), "sequence_parallel = none"),
    "MIMO538": (
        text(expert="edp:2 * pp", field="moe = { dispatcher = flex }"),
        "dispatcher = alltoall",
    ),
    "MIMO539": (text(field="moe = { dispatcher = allgather }"), "dispatcher = alltoall"),
    "MIMO701": (
        text(
            dense="tp:2 * dp:1 * pp:2",
            field='pattern = "MEM|*EM"',
            schedule="no_pipelining",
        ),
        "schedule 1f1b",
    ),
}


@pytest.mark.parametrize("code", CASES)
def test_an_edit_ends_its_mistake_and_makes_no_other(code: str) -> None:
    before, changed = CASES[code]
    loaded = parse(before)
    assert not loaded.diagnostics
    found = check(loaded.draft)
    assert {one.code for one in found} == {code}
    assert all(one.edits for one in found)
    source = found[0].edits[0].span.file
    after = apply_edits(source, found).text
    assert changed in after
    again = parse(after)
    assert not again.diagnostics
    assert check(again.draft) == ()


@pytest.mark.parametrize(
    "source",
    [
        # A change elsewhere may be what is wanted as well.
        text(dense="tp:2 * dp:4", expert="ep:3 * edp:2 * pp"),
        text(dense="tp:2 * dp:1 * pp:2", expert="ep:4"),
        text(dense="tp:2 * pp:2 * dp:1", expert="ep:2"),
        text(field="moe = { topk = 9 }"),
        # The field is a preset's, or nobody wrote it.
        text(field='pattern = "MxM*EM"'),
    ],
)
def test_what_is_not_certain_is_left_to_the_user(source: str) -> None:
    found = check(parse(source).draft)
    assert found
    assert not any(one.edits for one in found)
