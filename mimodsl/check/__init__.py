"""The checker: every rule of megatron-core's that a spec can break, found before the launch."""

from mimodsl.check.rule import Cost, Finding, Rule, Scope
from mimodsl.check.rules import RULES
from mimodsl.check.runner import CRASH, check

__all__ = ["CRASH", "RULES", "Cost", "Finding", "Rule", "Scope", "check", "rule_of"]


def rule_of(code: str) -> Rule[object] | None:
    """The rule with that code, as `mimodsl explain` shows it."""
    return next((rule for rule in RULES if rule.code == code), None)
