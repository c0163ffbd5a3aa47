"""What an entry of the catalogue is: something that megatron-core does, and what becomes of it."""

from typing import Final

from attrs import frozen

from mimodsl._version import MEGATRON_CORE
from mimodsl.checker.rule import Cost

MEGATRON: Final = MEGATRON_CORE
"""The version of megatron-core that every rule and every entry is true of."""


@frozen
class Ruled:
    """A spec can provoke it, and these codes say so before the launch."""

    codes: tuple[str, ...]


def ruled(*codes: str) -> Ruled:
    """The disposition of a fact that rules, or lowering itself, find."""
    return Ruled(codes)


@frozen
class Impossible:
    """The language cannot say it: why, and the test that shows it."""

    why: str
    test: str


@frozen
class Handled:
    """The builder sets it right: how, and the test that shows it."""

    how: str
    test: str


@frozen
class Limit:
    """It stays as it is, for a reason."""

    why: str


type Disposition = Ruled | Impossible | Handled | Limit


@frozen(kw_only=True)
class Fact:
    """One thing that megatron-core does with some input.

    `at` are places below `megatron/core` (`file:line`, or `file:first-last`) in the wheel of
    version `MEGATRON`; below `torch` where a path begins so. `cost` is what it does to a user whom
    nobody told, `says` what happens, `ends` what mimodsl makes of it.
    """

    at: tuple[str, ...]
    cost: Cost
    says: str
    ends: Disposition


@frozen(kw_only=True)
class Area:
    """Facts about one part of megatron-core."""

    title: str
    facts: tuple[Fact, ...]
