"""Kinds of other packages in a spec: what they claim of themselves, and the rules that they bring.

Whatever a package does wrong is a diagnostic about the package, and the other rules still run.
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
from mimodsl.ir.package import Claims, told_of
from mimodsl.ir.projector import Between
from mimodsl.ir.registry import installed_kinds, named

CRASH: Final = codes.BROKEN_RULE.id
"""The code of a rule that failed itself: a bug of whoever wrote it, never the spec's mistake."""

_THEIRS: Final = ("this is a mistake of the package that brings the kind",)


@frozen(kw_only=True)
class Packages:
    """What was found about kinds of other packages, and the draft without those of their modules
    that have no sizes: what would follow from these is silent."""

    found: tuple[Diagnostic, ...]
    draft: Draft


def of_packages(context: Context) -> Packages:
    """Run the rules of packages, and hold what their kinds claim to what it has to be.

    Senseless claims are told unless a rule of the package says what is wrong with the spec.
    """
    draft, found, lost = context.draft, list[Diagnostic](), set[str]()
    for kind in dict.fromkeys(type(module.kind) for module in draft.modules):
        if not issubclass(kind, CustomKind):
            continue
        ruled = list(_ruled(kind, context))
        senseless = {
            module.name: told
            for module in draft.modules
            if type(module.kind) is kind and (told := _senseless(context, module))
        }
        mistakes = [one for one in ruled if one.is_error and one.code != CRASH]
        found += (mistakes or senseless.values()) if senseless else ruled
        lost |= senseless.keys()
    if lost:
        sound = tuple(module for module in draft.modules if module.name not in lost)
        draft = attrs.evolve(draft, modules=sound, complete=False)
    return Packages(found=tuple(found), draft=draft)


def package_rules() -> dict[str, Rule[Any]]:
    """The rules of all kinds of other packages that can be had, by code; broken ones left out."""
    found: dict[str, Rule[Any]] = {}
    for kind in installed_kinds().values():
        try:
            rules = _rules(kind) if issubclass(kind, CustomKind) else ()
        except Exception:  # noqa: BLE001, S112 - check says it of a spec that has the kind
            continue
        found |= {one.code: one for one in rules}
    return found


def _rules(kind: type[CustomKind]) -> tuple[Rule[Any], ...]:
    rules: Any = named(kind.rules) if kind.rules else ()
    for one in rules:
        if not isinstance(one, Rule):
            raise TypeError(f"{one!r} is no rule")
    return tuple(rules)


def _ruled(kind: type[CustomKind], context: Context) -> Iterator[Diagnostic]:
    try:
        rules = _rules(kind)
    except Exception as error:  # noqa: BLE001 - whatever a package does wrong
        message = f"the rules of the kind `{kind.keyword}` cannot be had: {told_of(error)}"
        yield _crash(kind.keyword, message, kind.rules)
        return
    for one in rules:
        try:
            yield from list(one.run(context))
        except Exception as error:  # noqa: BLE001 - as above
            message = f"the rule {one.code} of the kind `{kind.keyword}` failed: {told_of(error)}"
            yield _crash(one.code, message, one.title)


def _crash(name: str, message: str, label: str) -> Diagnostic:
    where = Label(ObjectPath(f"rules.{name}"), label)
    return Diagnostic(code=CRASH, message=message, primary=where, notes=_THEIRS)


def _senseless(context: Context, module: Module) -> Diagnostic | None:
    """The first claim of a module's kind that makes no sense; none where its place is unknown."""
    claims = _claims(context, module)
    mistake = next(claims.mistakes(), None) if claims else None
    if mistake is None:
        return None
    primary = context.label(module, "name", f"a `{module.kind.keyword}`")
    return Diagnostic(code=codes.SENSELESS_KIND.id, message=mistake, primary=primary, notes=_THEIRS)


def _claims(context: Context, module: Module) -> Claims | None:
    kind, draft = module.kind, context.draft
    if isinstance(kind, CustomEncoder):
        return Claims(kind=kind)
    if isinstance(kind, CustomLanguage):
        schedule = draft.schedule
        return Claims(kind=kind, sequence=schedule.sequence) if schedule else None
    flow = context.flow_through(module)
    ends = [draft.module(name) for name in (flow.encoder, flow.language)] if flow else []
    match [end and end.kind for end in ends]:
        case [Encoder() as encoder, LanguageModel() as language]:
            if isinstance(encoder, CustomEncoder) and any(Claims(kind=encoder).mistakes()):
                return None
            assert isinstance(kind, CustomProjector)
            return Claims(kind=kind, between=Between.of(encoder, language))
        case _:
            return None
