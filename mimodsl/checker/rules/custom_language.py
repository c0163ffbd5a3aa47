"""Language models of other packages: what their ranks cannot do."""

from mimodsl.checker.context import Context
from mimodsl.checker.phrases import code, either
from mimodsl.checker.rule import Cost, Finding, Findings, rule
from mimodsl.checker.scopes import CUSTOM_LANGUAGE, Held
from mimodsl.ir import CustomLanguage
from mimodsl.ir.axes import CP, DP, PP, TP


@rule(
    "MIMO560",
    "a language model of another package that its grid would split",
    scope=CUSTOM_LANGUAGE,
    cost=Cost.UNCLEAR,
)
def custom_language_is_whole(spec: Context, language: Held[CustomLanguage]) -> Findings:
    """A language model of a package of one's own is whole on every rank: tp, cp and pp are 1.

    mimodsl knows what goes in and what comes out of it, and not how its weights, a sequence or its
    layers could be split. Replicas over dp share its work.
    """
    sizes = {axis: language.size(axis) for axis in (TP, CP, PP)}
    split = {axis: size for axis, size in sizes.items() if size > 1}
    if not split:
        return
    dp = language.size(DP)
    for size in split.values():
        dp *= size
    axes = [code(f"{axis}:{size}") for axis, size in split.items()]
    first, *others = (
        spec.axis_label(language.grid, axis, f"{size} ranks") for axis, size in split.items()
    )
    yield Finding(
        message=f"{either(axes, 'and')} cannot split {code(language.name)}, a "
        f"{code(language.kind.keyword)} of another package",
        primary=first,
        secondary=(*others, spec.label(language.module, "name", "whole on every rank")),
        help=(f"{code(f'dp:{dp}')} alone spreads samples over as many ranks",),
    )
