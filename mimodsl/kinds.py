"""Everything that a package with its own kind needs: base classes, fields and rules.

A kind is a class with an entry point in the group `mimodsl.kinds` under its keyword. A script can
call `register` instead.
"""

from mimodsl.checker.context import Context
from mimodsl.checker.phrases import code
from mimodsl.checker.rule import Cost, Finding, Findings, Rule, Scope, rule
from mimodsl.checker.scopes import Held, held
from mimodsl.diagnostics import Severity
from mimodsl.ir.kinds import Kind, Role
from mimodsl.ir.node import ABOVE_0, AT_LEAST_0, AT_LEAST_1, Constraint, Keyword, knob, node
from mimodsl.ir.package import CustomEncoder, CustomKind, CustomLanguage, CustomProjector
from mimodsl.ir.projector import Between
from mimodsl.ir.registry import register
from mimodsl.ir.types import Size

__all__ = [
    "ABOVE_0",
    "AT_LEAST_0",
    "AT_LEAST_1",
    "Between",
    "Constraint",
    "Context",
    "Cost",
    "CustomEncoder",
    "CustomKind",
    "CustomLanguage",
    "CustomProjector",
    "Finding",
    "Findings",
    "Held",
    "Keyword",
    "Kind",
    "Role",
    "Rule",
    "Scope",
    "Severity",
    "Size",
    "code",
    "held",
    "knob",
    "node",
    "register",
    "rule",
]
