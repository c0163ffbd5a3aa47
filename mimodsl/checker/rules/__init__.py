"""All rules, a module per family. A new rule is one function in one of these modules."""

from types import ModuleType
from typing import Any, Final, cast

from mimodsl.checker.rule import Rule
from mimodsl.checker.rules import (
    balance,
    custom_language,
    edges,
    encoders,
    expert_order,
    experts,
    flows,
    grids,
    idle,
    layers,
    layout,
    learning_rate,
    mamba,
    names,
    placement,
    positions,
    router,
    samples,
    tensor_parallel,
    tokens,
    training,
    views,
)

FAMILIES: Final[tuple[ModuleType, ...]] = (
    grids,
    views,
    expert_order,
    placement,
    layout,
    names,
    tensor_parallel,
    mamba,
    layers,
    idle,
    experts,
    router,
    balance,
    encoders,
    custom_language,
    flows,
    tokens,
    positions,
    edges,
    samples,
    training,
    learning_rate,
)


def _rules_of(family: ModuleType) -> list[Rule[Any]]:
    return [cast(Rule[Any], value) for value in vars(family).values() if isinstance(value, Rule)]


RULES: Final[tuple[Rule[Any], ...]] = tuple(
    sorted((rule for family in FAMILIES for rule in _rules_of(family)), key=lambda rule: rule.code)
)


def rule_of(code: str) -> Rule[Any] | None:
    """The rule with this code, or `None`."""
    return next((rule for rule in RULES if rule.code == code), None)
