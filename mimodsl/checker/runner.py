"""Runs every rule over a spec, and turns a crash of a rule into a diagnostic about that rule."""

from collections.abc import Iterable, Iterator
from typing import Any

from mimodsl.checker.context import Context
from mimodsl.checker.packages import CRASH, of_packages
from mimodsl.checker.proof import PROOF, Proof
from mimodsl.checker.rule import Rule
from mimodsl.checker.rules import RULES
from mimodsl.diagnostics import Diagnostic, Label, ObjectPath, in_order
from mimodsl.ir import Spec
from mimodsl.ir.draft import Draft


def check(spec: Spec | Draft, rules: Iterable[Rule[Any]] = RULES) -> tuple[Diagnostic, ...]:
    """Every mistake in a spec that rules find, in order of place. Never raises.

    A draft may miss declarations that have diagnostics of their own; what follows from them alone
    is left out. Takes milliseconds whatever the sizes: no rule counts through ranks.
    """
    context = Context(spec if isinstance(spec, Draft) else Draft.of(spec))
    found: list[Diagnostic] = []
    if rules is RULES:
        packages = of_packages(context)
        found.extend(packages.found)
        context = Context(packages.draft)
    found.extend(diagnostic for one in rules for diagnostic in _run(one, context))
    if rules is RULES and context.draft.complete and not any(one.is_error for one in found):
        found.extend(_run(PROOF, context))
    return tuple(in_order(found))


def _run(one: Rule[Any] | Proof, context: Context) -> Iterator[Diagnostic]:
    try:
        yield from list(one.run(context))
    except Exception as error:  # noqa: BLE001 - whatever a rule does wrong, others still run
        yield Diagnostic(
            code=CRASH,
            message=f"the rule {one.code} failed: {type(error).__name__}: {error}",
            primary=Label(ObjectPath(f"rules.{one.code}"), one.title),
            notes=("this is a bug in mimodsl, not a mistake in the spec; other rules have run",),
            help=(f"report it with the spec and `{one.code}`",),
        )
