"""A spec's syntax trees to IR: every name resolved, every value checked on its own."""

from collections.abc import Mapping

from mimodsl.diagnostics import codes
from mimodsl.diagnostics.suggest import corrected, did_you_mean, listed
from mimodsl.ir.draft import Draft
from mimodsl.ir.flow import Flow
from mimodsl.ir.placement import Place, Placed
from mimodsl.ir.schedule import Schedule, ScheduleKind
from mimodsl.ir.train import Train
from mimodsl.lower.blocks import Setting, make, read_block
from mimodsl.lower.constants import Context, evaluate_lets
from mimodsl.lower.fields import block_fields
from mimodsl.lower.grids import GridReader
from mimodsl.lower.modules import ModuleReader, read_presets
from mimodsl.lower.names import Lost, Report, Scope, Scopes, check_declarations, declared_twice
from mimodsl.lower.placement import read_placement
from mimodsl.lower.units import Unit
from mimodsl.source import Span
from mimodsl.syntax import ast


def lower(main: Unit, overrides: Mapping[str, str], report: Report) -> Draft:
    """The declarations of a main file, and of all that it uses, that are sound."""
    lost = Lost.of(main.reach())
    scopes = Scopes(main=main, lost=lost, report=report)
    check_declarations(main, report)
    constants = evaluate_lets(scopes, overrides)
    presets = read_presets(scopes, constants)
    scope = scopes.of(main)
    context = Context(scope=scope, constants=constants)
    _report_missing(main, scope)
    grids = [
        GridReader(context=Context(scope=its, constants=constants)).read(one)
        for one, its in scopes.each(ast.Grid)
    ]
    reader = ModuleReader(main=scope, constants=constants, presets=presets)
    modules = [reader.read(one, its) for one, its in scopes.each(ast.Module)]
    flows = [_flow(one, context) for one in main.file.declarations_of(ast.Flow)]
    return Draft(
        grids=tuple(one for one in grids if one is not None),
        place=_place(main, scope),
        modules=tuple(one for one in modules if one is not None),
        flows=tuple(one for one in flows if one is not None),
        schedule=_schedule(main, context),
        train=_train(main, context),
    )


def _report_missing(main: Unit, scope: Scope) -> None:
    """Report, at once, every declaration that no spec can do without."""
    grids = tuple(scope.names(ast.Grid))
    wanted = {
        "grid": bool(grids),
        "place": len(grids) < 2 or bool(main.file.declarations_of(ast.Place)),
        "schedule": bool(main.file.declarations_of(ast.Schedule)),
    }
    missing = [
        word for word, found in wanted.items() if not found and not scope.lost.may_hold(word)
    ]
    if missing:
        scope.report(
            codes.MISSING_DECLARATION.at(
                Span(main.file.source, 0, 0),
                f"the spec has no {listed(missing)}",
                help=_how_to_declare(missing, grids),
            )
        )


def _how_to_declare(missing: list[str], grids: tuple[str, ...]) -> tuple[str, ...]:
    if "grid" in missing:
        return ("`mimodsl new FILE` writes a spec to begin from",)
    a, b, *_ = (*grids, "a", "b")
    forms = {
        "place": f"write `place {a} | {b}`, or `place {a} & {b}` for the same ranks",
        "schedule": "write `schedule 1f1b { sequence = … }`",
    }
    return tuple(forms[word] for word in missing)


def _only[D: (ast.Place, ast.Schedule, ast.Train)](
    main: Unit, kind: type[D], scope: Scope
) -> D | None:
    """The one declaration of a kind; more than one are reported."""
    found = main.file.declarations_of(kind)
    for second in found[1:]:
        spans = ast.keyword_span(second), ast.keyword_span(found[0])
        scope.report(declared_twice(f"`{ast.keyword(second)}`", *spans))
    return found[0] if found else None


def _place(main: Unit, scope: Scope) -> Place | None:
    declaration = _only(main, ast.Place, scope)
    if declaration is not None:
        return read_placement(declaration.placement, scope)
    grids = tuple(scope.names(ast.Grid))
    return Placed(grid=grids[0]) if len(grids) == 1 else None


def _flow(declaration: ast.Flow, context: Context) -> Flow | None:
    meant = [context.scope.resolved(ast.Module, name) for name in declaration.path]
    path = declaration.path[0].span.to(declaration.path[-1].span)
    block = read_block(declaration.block, Flow, context, declaration, block_fields(Flow))
    names = tuple(
        known_as or name.text for known_as, name in zip(meant, declaration.path, strict=True)
    )
    flow = make(
        block,
        path,
        context.report,
        given={"path": Setting(value=names, span=path)},
        spans={f"path[{index}]": name.span for index, name in enumerate(declaration.path)},
    )
    return flow if isinstance(flow, Flow) and all(meant) else None


def _schedule(main: Unit, context: Context) -> Schedule | None:
    declaration = _only(main, ast.Schedule, context.scope)
    if declaration is None:
        return None
    word = declaration.kind
    block = read_block(declaration.block, Schedule, context, declaration, block_fields(Schedule))
    choices = [str(kind) for kind in ScheduleKind]
    meant = word.text
    if word.text not in choices:
        edits = corrected(word.span, choices)
        context.report(
            codes.UNKNOWN_CHOICE.at(
                word.span,
                f"`{word}` is no schedule",
                notes=(f"a schedule is {listed(choices)}",),
                help=did_you_mean(word.text, choices),
                edits=edits,
            )
        )
        if not edits:
            return None
        meant = edits[0].replacement
    kind = Setting(value=ScheduleKind(meant), span=word.span)
    schedule = make(block, word.span, context.report, given={"kind": kind})
    return schedule if isinstance(schedule, Schedule) else None


def _train(main: Unit, context: Context) -> Train | None:
    declaration = _only(main, ast.Train, context.scope)
    if declaration is None:
        return Train()
    block = read_block(declaration.block, Train, context, declaration)
    train = make(block, declaration.span, context.report)
    return train if isinstance(train, Train) else None
