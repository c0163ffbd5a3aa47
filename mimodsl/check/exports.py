"""The names that `mimodsl.check` offers."""

from mimodsl.check.rule import Cost, Finding, Rule, Scope
from mimodsl.check.rules import RULES, rule_of
from mimodsl.check.runner import CRASH, check

__all__ = ["CRASH", "RULES", "Cost", "Finding", "Rule", "Scope", "check", "rule_of"]
