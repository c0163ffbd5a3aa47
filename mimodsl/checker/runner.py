"""Runs every rule over a spec. A rule that crashes becomes a diagnostic about that rule."""

from collections.abc import Iterable, Iterator
from typing import Any

from mimodsl.checker.context import Context
from mimodsl.checker.packages import CRASH, check_packages
from mimodsl.checker.proof import PROOF, Proof
from mimodsl.checker.rule import Rule
from mimodsl.checker.rules import RULES
from mimodsl.diagnostics import Diagnostic, Label, ObjectPath, in_order
from mimodsl.ir import Spec
from mimodsl.ir.draft import Draft


def check(spec: Spec | Draft, rules: Iterable[Rule[Any]] = RULES) -> tuple[Diagnostic, ...]:
    """Every mistake that rules find in a spec, in order of place. Never raises.

    A draft may lack declarations that have their own diagnostics; mistakes that only follow from
    these are left out. This takes milliseconds for any size: no rule iterates over ranks.
    """
    context = Context(spec if isinstance(spec, Draft) else Draft.from_spec(spec))
    diagnostics: list[Diagnostic] = []
    if rules is RULES:
        packages = check_packages(context)
        diagnostics.extend(packages.diagnostics)
        context = Context(packages.draft)
    for rule in rules:
        diagnostics.extend(_run(rule, context))
    has_errors = any(diagnostic.is_error for diagnostic in diagnostics)
    if rules is RULES and context.draft.complete and not has_errors:
        diagnostics.extend(_run(PROOF, context))
    return tuple(in_order(diagnostics))


def _run(rule: Rule[Any] | Proof, context: Context) -> Iterator[Diagnostic]:
    try:
        yield from list(rule.run(context))
    except Exception as error:  # noqa: BLE001 - other rules run whatever one rule does wrong
        yield Diagnostic(
            code=CRASH,
            message=f"the rule {rule.code} failed: {type(error).__name__}: {error}",
            primary=Label(ObjectPath(f"rules.{rule.code}"), rule.title),
            notes=("this is a bug in mimodsl, not a mistake in the spec; the other rules ran",),
            help=(f"report it with the spec and `{rule.code}`",),
        )
