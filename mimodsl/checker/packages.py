"""Checks kinds of other packages: runs their rules, and checks the sizes that they claim.

A mistake of a package is a diagnostic about the package, and the other rules still run.
"""

from collections.abc import Iterator
from typing import Any, Final

import attrs
from attrs import frozen

from mimodsl.checker.context import Context
from mimodsl.checker.rule import Rule
from mimodsl.diagnostics import Diagnostic, Label, ObjectPath, codes
from mimodsl.ir import (
    CustomEncoder,
    CustomKind,
    CustomLanguage,
    CustomProjector,
    Encoder,
    LanguageModel,
    Module,
)
from mimodsl.ir.draft import Draft
from mimodsl.ir.package import CustomModule, describe_error
from mimodsl.ir.projector import Between
from mimodsl.ir.registry import import_object, installed_kinds

CRASH: Final = codes.BROKEN_RULE.id
"""The code of a rule that crashed: a bug of the rule, never a mistake in the spec."""

_NOTES: Final = ("this is a mistake of the package that brings the kind",)


@frozen(kw_only=True)
class CheckedPackages:
    """The diagnostics about kinds of other packages, and the draft for the other rules.

    The draft lacks the modules without valid sizes, so that no rule reports what follows from them.
    """

    diagnostics: tuple[Diagnostic, ...]
    draft: Draft


def check_packages(context: Context) -> CheckedPackages:
    """Run the rules of packages, and check the sizes that their kinds claim.

    Impossible sizes are reported only if no rule of the package reports an error.
    """
    draft, diagnostics, invalid = context.draft, list[Diagnostic](), set[str]()
    for kind in dict.fromkeys(type(module.kind) for module in draft.modules):
        if not issubclass(kind, CustomKind):
            continue
        from_rules = list(_run_rules(kind, context))
        bad_sizes = {
            module.name: diagnostic
            for module in draft.modules
            if type(module.kind) is kind and (diagnostic := _bad_size(context, module))
        }
        errors = [one for one in from_rules if one.is_error and one.code != CRASH]
        diagnostics += (errors or bad_sizes.values()) if bad_sizes else from_rules
        invalid |= bad_sizes.keys()
    if invalid:
        valid = tuple(module for module in draft.modules if module.name not in invalid)
        draft = attrs.evolve(draft, modules=valid, complete=False)
    return CheckedPackages(diagnostics=tuple(diagnostics), draft=draft)


def package_rules() -> dict[str, Rule[Any]]:
    """The rules of all installed kinds of other packages, by code; broken packages are left out."""
    by_code: dict[str, Rule[Any]] = {}
    for kind in installed_kinds().values():
        try:
            rules = _rules(kind) if issubclass(kind, CustomKind) else ()
        except Exception:  # noqa: BLE001, S112 - `check` reports it for a spec with the kind
            continue
        by_code |= {rule.code: rule for rule in rules}
    return by_code


def _rules(kind: type[CustomKind]) -> tuple[Rule[Any], ...]:
    rules: Any = import_object(kind.rules) if kind.rules else ()
    for rule in rules:
        if not isinstance(rule, Rule):
            raise TypeError(f"{rule!r} is not a rule")
    return tuple(rules)


def _run_rules(kind: type[CustomKind], context: Context) -> Iterator[Diagnostic]:
    try:
        rules = _rules(kind)
    except Exception as error:  # noqa: BLE001 - a package can do anything wrong
        message = (
            f"the rules of the kind `{kind.keyword}` cannot be loaded: {describe_error(error)}"
        )
        yield _crash(kind.keyword, message, kind.rules)
        return
    for rule in rules:
        try:
            yield from list(rule.run(context))
        except Exception as error:  # noqa: BLE001 - as above
            message = (
                f"the rule {rule.code} of the kind `{kind.keyword}` failed: {describe_error(error)}"
            )
            yield _crash(rule.code, message, rule.title)


def _crash(name: str, message: str, label: str) -> Diagnostic:
    where = Label(ObjectPath(f"rules.{name}"), label)
    return Diagnostic(code=CRASH, message=message, primary=where, notes=_NOTES)


def _bad_size(context: Context, module: Module) -> Diagnostic | None:
    """The first impossible size that the kind claims; `None` where its place is unknown."""
    claims = _claims(context, module)
    mistake = next(claims.mistakes(), None) if claims else None
    if mistake is None:
        return None
    primary = context.label(module, "name", f"a `{module.kind.keyword}`")
    return Diagnostic(code=codes.SENSELESS_KIND.id, message=mistake, primary=primary, notes=_NOTES)


def _claims(context: Context, module: Module) -> CustomModule | None:
    kind, draft = module.kind, context.draft
    if isinstance(kind, CustomEncoder):
        return CustomModule(kind=kind)
    if isinstance(kind, CustomLanguage):
        schedule = draft.schedule
        return CustomModule(kind=kind, sequence=schedule.sequence) if schedule else None
    flow = context.flow_through(module)
    ends = [draft.module(name) for name in (flow.encoder, flow.language)] if flow else []
    match [end and end.kind for end in ends]:
        case [Encoder() as encoder, LanguageModel() as language]:
            if isinstance(encoder, CustomEncoder) and any(CustomModule(kind=encoder).mistakes()):
                return None
            assert isinstance(kind, CustomProjector)
            return CustomModule(kind=kind, between=Between.of(encoder, language))
        case _:
            return None
