"""Reads `megatron_facts.toml`: what megatron-core does and no rule tells, and how that ends."""

import tomllib
from pathlib import Path
from typing import Any, Final

from attrs import frozen

from mimodsl.checker.rule import Cost

FILE: Final = Path(__file__).with_name("megatron_facts.toml")
ENDS: Final = {
    "codes": "a rule",
    "handled": "set right",
    "impossible": "cannot be said",
    "limit": "a limit",
}
"""How a fact ends, by the key that says so in the file, with its words on the page."""


@frozen(kw_only=True)
class Fact:
    """One thing that megatron-core does with some input.

    `at` are places in its source. `cost` is what a user meets without mimodsl. `end` is a key of
    `ENDS`; `words` say how or why, `test` is a test that shows it, and `codes` are the diagnostics
    that lowering reports.
    """

    at: tuple[str, ...]
    cost: Cost
    says: str
    end: str
    words: str
    test: str
    codes: tuple[str, ...]


@frozen(kw_only=True)
class Area:
    """Facts about one part of megatron-core."""

    title: str
    facts: tuple[Fact, ...]


def load() -> tuple[Area, ...]:
    """All areas, in the order of the file. `ValueError` names a fact that is incomplete."""
    document = tomllib.loads(FILE.read_text(encoding="utf-8"))
    return tuple(
        Area(title=area["title"], facts=tuple(map(_fact, area["fact"])))
        for area in document["area"]
    )


def _fact(row: dict[str, Any]) -> Fact:
    ends = [end for end in ENDS if end in row]
    needed = {"at", "cost", "says", *ends} | ({"test"} & {*row})
    has_proof = "test" in row
    needs_proof = ends in (["handled"], ["impossible"])
    if len(ends) != 1 or needed != set(row) or has_proof != needs_proof:
        raise ValueError(f"a fact has the keys {sorted(row)}: {row.get('says')!r}")
    (end,) = ends
    return Fact(
        at=tuple(row["at"]),
        cost=Cost[row["cost"].upper()],
        says=row["says"],
        end=end,
        words="" if end == "codes" else row[end],
        test=row.get("test", ""),
        codes=tuple(row.get("codes", ())),
    )
