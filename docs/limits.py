"""The page of limits: what megatron-core does, place by place, and what becomes of it."""

from collections import Counter
from collections.abc import Callable
from html import escape
from typing import Any, Final

from facts import ENDS, Area, Fact, load

from mimodsl.checker.proof import PROVED
from mimodsl.checker.rule import Cost, Rule
from mimodsl.checker.rules import RULES

OUTCOMES: Final = {
    Cost.RAISES: "refused when built",
    Cost.LATE: "fails in a step",
    Cost.HANGS: "hangs",
    Cost.SILENT: "wrong without a word",
    Cost.WASTE: "no effect",
    Cost.UNCLEAR: "not said",
}

type Anchor = Callable[[str], str]
"""Makes the anchor of a code on the page of rules."""


def rules() -> list[Rule[Any]]:
    """The rules that come from megatron-core, by code."""
    return sorted((rule for rule in (*RULES, *PROVED) if rule.mirrors), key=lambda rule: rule.code)


def counts() -> str:
    """How many rules and facts there are, by what megatron-core does and by what becomes of it."""
    all_ends = [(fact.cost, fact.end) for area in load() for fact in area.facts]
    all_ends += [(rule.cost, "codes") for rule in rules()]
    number = Counter(all_ends)
    head = f"| without mimodsl | {' | '.join(ENDS.values())} | all |"
    rows = [
        f"| {words} | {' | '.join(str(number[cost, end] or '–') for end in ENDS)} "
        f"| {sum(number[cost, end] for end in ENDS)} |"
        for cost, words in OUTCOMES.items()
    ]
    ends = Counter(end for _, end in all_ends)
    foot = f"| **all** | {' | '.join(str(ends[end]) for end in ENDS)} | **{len(all_ends)}** |"
    return "\n".join(["", head, "|---" + "|---:" * (len(ENDS) + 1) + "|", *rows, foot, "", ""])


def stays() -> str:
    """What mimodsl leaves as it is, an item a limit."""
    limits = [fact for area in load() for fact in area.facts if fact.end == "limit"]
    return "\n" + "\n".join(f"- {fact.says} {_sentence(fact.words)}" for fact in limits) + "\n\n"


def told(anchor: Anchor) -> str:
    """A table of the rules that come from megatron-core."""
    rows = (_rule(rule, anchor) for rule in rules())
    return "\n".join(["", "| rule | without mimodsl |", "|---|---|", *rows, "", ""])


def _rule(rule: Rule[Any], anchor: Anchor) -> str:
    title = f"[{rule.code}](rules.md#{anchor(rule.code)}): {rule.title}"
    return _cells(f"{title}<br><small>{_places(rule.mirrors)}</small>", OUTCOMES[rule.cost])


def areas(anchor: Anchor) -> str:
    """A table an area of the facts that no rule tells."""
    return "\n" + "\n".join(_area(area, anchor) for area in load())


def _area(area: Area, anchor: Anchor) -> str:
    head = "| megatron-core | without mimodsl | with it |\n|---|---|---|"
    rows = (_fact(fact, anchor) for fact in area.facts)
    return "\n".join([f"### {area.title}\n", head, *rows, ""])


def _fact(fact: Fact, anchor: Anchor) -> str:
    what = f"{fact.says}<br><small>{_places(fact.at)}</small>"
    return _cells(what, OUTCOMES[fact.cost], _end(fact, anchor))


def _cells(*cells: str) -> str:
    return f"| {' | '.join(cell.replace('|', chr(92) + '|') for cell in cells)} |"


def _places(at: tuple[str, ...]) -> str:
    """`file:line, line`, or `file, "phrase", "phrase"`, each file once."""
    places: dict[tuple[str, str], list[str]] = {}
    for place in at:
        separator = ", " if '"' in place else ":"
        file, _, rest = place.partition(separator)
        rest = escape(rest, quote=False).replace("*", "&#42;").replace("[", "&#91;")
        places.setdefault((file, separator), []).append(rest)
    return "; ".join(
        f"{file}{separator}{', '.join(rest)}" for (file, separator), rest in places.items()
    )


def _end(fact: Fact, anchor: Anchor) -> str:
    if fact.end == "codes":
        return ", ".join(f"[{code}](rules.md#{anchor(code)})" for code in fact.codes)
    if fact.end == "limit":
        return f"A limit: {fact.words}."
    path, _, name = fact.test.partition("::")
    return f'{_sentence(ENDS[fact.end])[:-1]}: {fact.words} ([test](../{path} "{name}")).'


def _sentence(words: str) -> str:
    return f"{words[0].upper()}{words[1:]}."
