"""The page of limits: what megatron-core does, place by place, and what becomes of it."""

from collections import Counter
from collections.abc import Callable
from typing import Final

from mimodsl.checker.catalogue import (
    AREAS,
    Area,
    Disposition,
    Fact,
    Handled,
    Impossible,
    Limit,
    Ruled,
)
from mimodsl.checker.rule import Cost

OUTCOMES: Final = {
    Cost.RAISES: "refused when built",
    Cost.LATE: "fails in a step",
    Cost.HANGS: "hangs",
    Cost.SILENT: "wrong without a word",
    Cost.WASTE: "no effect",
}
ENDS: Final = {
    Ruled: "a rule",
    Handled: "set right",
    Impossible: "cannot be said",
    Limit: "a limit",
}


def counts() -> str:
    """How many facts there are, by what megatron-core does and by what becomes of them."""
    facts = [fact for area in AREAS for fact in area.facts]
    number = Counter((fact.cost, type(fact.ends)) for fact in facts)
    head = f"| without mimodsl | {' | '.join(ENDS.values())} | all |"
    rows = [
        f"| {words} | {' | '.join(str(number[cost, end] or '–') for end in ENDS)} "
        f"| {sum(number[cost, end] for end in ENDS)} |"
        for cost, words in OUTCOMES.items()
    ]
    ends = Counter(type(fact.ends) for fact in facts)
    foot = f"| **all** | {' | '.join(str(ends[end]) for end in ENDS)} | **{len(facts)}** |"
    return "\n".join(["", head, "|---" + "|---:" * (len(ENDS) + 1) + "|", *rows, foot, "", ""])


def stays() -> str:
    """What mimodsl leaves as it is, an item a limit."""
    return (
        "\n"
        + "\n".join(
            f"- {fact.says} {_sentence(fact.ends.why)}"
            for area in AREAS
            for fact in area.facts
            if isinstance(fact.ends, Limit)
        )
        + "\n\n"
    )


def areas(anchor: Callable[[str], str]) -> str:
    """A table an area; `anchor` leads a code to its page."""
    return "\n" + "\n".join(_area(area, anchor) for area in AREAS)


def _area(area: Area, anchor: Callable[[str], str]) -> str:
    head = "| megatron-core | without mimodsl | with it |\n|---|---|---|"
    rows = (_row(fact, anchor) for fact in area.facts)
    return "\n".join([f"### {area.title}\n", head, *rows, ""])


def _row(fact: Fact, anchor: Callable[[str], str]) -> str:
    what = f"{fact.says}<br><small>{_places(fact.at)}</small>"
    cells = (what, OUTCOMES[fact.cost], _end(fact.ends, anchor))
    return f"| {' | '.join(cell.replace('|', chr(92) + '|') for cell in cells)} |"


def _places(at: tuple[str, ...]) -> str:
    """`file:line, line`, each file once."""
    lines: dict[str, list[str]] = {}
    for place in at:
        file, _, line = place.partition(":")
        lines.setdefault(file, []).append(line)
    return ", ".join(f"{file}:{', '.join(found)}" for file, found in lines.items())


def _end(ends: Disposition, anchor: Callable[[str], str]) -> str:
    match ends:
        case Ruled(codes=codes):
            return ", ".join(f"[{code}](rules.md#{anchor(code)})" for code in codes)
        case Impossible(why=why, test=test):
            return f"Cannot be said: {why} ({_test(test)})."
        case Handled(how=how, test=test):
            return f"Set right: {how} ({_test(test)})."
        case Limit(why=why):
            return f"A limit: {why}."


def _test(test: str) -> str:
    path, _, name = test.partition("::")
    return f'[test](../{path} "{name}")'


def _sentence(words: str) -> str:
    return f"{words[0].upper()}{words[1:]}."
