"""Lowers the syntax trees of a spec to IR: resolves names and checks single values."""

from collections.abc import Mapping

from mimodsl.diagnostics import codes
from mimodsl.diagnostics.suggest import corrected, did_you_mean, listed
from mimodsl.ir.draft import Draft
from mimodsl.ir.flow import Flow
from mimodsl.ir.placement import Place, Placed
from mimodsl.ir.schedule import Schedule, ScheduleKind
from mimodsl.ir.train import Train
from mimodsl.lower.blocks import Setting, make_node, read_block
from mimodsl.lower.constants import Environment, evaluate_lets
from mimodsl.lower.fields import block_fields
from mimodsl.lower.grids import GridReader
from mimodsl.lower.modules import ModuleReader, read_presets
from mimodsl.lower.names import (
    LostDeclarations,
    NameScope,
    NameScopes,
    Report,
    check_declarations,
    declared_twice,
)
from mimodsl.lower.placement import read_placement
from mimodsl.lower.spec_files import SpecFile
from mimodsl.source import Span
from mimodsl.syntax import ast


def lower(main: SpecFile, overrides: Mapping[str, str], report: Report) -> Draft:
    """The sound declarations of a main file and of all files that it uses."""
    lost = LostDeclarations.in_files(main.reach())
    scopes = NameScopes(main=main, lost=lost, report=report)
    check_declarations(main, report)
    constants = evaluate_lets(scopes, overrides)
    presets = read_presets(scopes, constants)
    scope = scopes.scope_of(main)
    environment = Environment(scope=scope, constants=constants)
    _report_missing(main, scope)
    grids = [
        GridReader(environment=Environment(scope=file_scope, constants=constants)).read(grid)
        for grid, file_scope in scopes.each(ast.Grid)
    ]
    reader = ModuleReader(main=scope, constants=constants, presets=presets)
    modules = [reader.read(module, file_scope) for module, file_scope in scopes.each(ast.Module)]
    flows = [_flow(flow, environment) for flow in main.file.declarations_of(ast.Flow)]
    return Draft(
        grids=tuple(grid for grid in grids if grid is not None),
        place=_place(main, scope),
        modules=tuple(module for module in modules if module is not None),
        flows=tuple(flow for flow in flows if flow is not None),
        schedule=_schedule(main, environment),
        train=_train(main, environment),
    )


def _report_missing(main: SpecFile, scope: NameScope) -> None:
    """Report every missing declaration that a spec needs, in one diagnostic."""
    grids = tuple(scope.names(ast.Grid))
    required = {
        "grid": bool(grids),
        "place": len(grids) < 2 or bool(main.file.declarations_of(ast.Place)),
        "schedule": bool(main.file.declarations_of(ast.Schedule)),
    }
    missing = [
        word
        for word, is_declared in required.items()
        if not is_declared and not scope.lost.may_hold(word)
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


def _only_declaration[D: (ast.Place, ast.Schedule, ast.Train)](
    main: SpecFile, kind: type[D], scope: NameScope
) -> D | None:
    """The only declaration of a kind; reports every further one."""
    declarations = main.file.declarations_of(kind)
    for second in declarations[1:]:
        spans = ast.keyword_span(second), ast.keyword_span(declarations[0])
        scope.report(declared_twice(f"`{ast.keyword(second)}`", *spans))
    return declarations[0] if declarations else None


def _place(main: SpecFile, scope: NameScope) -> Place | None:
    declaration = _only_declaration(main, ast.Place, scope)
    if declaration is not None:
        return read_placement(declaration.placement, scope)
    grids = tuple(scope.names(ast.Grid))
    return Placed(grid=grids[0]) if len(grids) == 1 else None


def _flow(declaration: ast.Flow, environment: Environment) -> Flow | None:
    resolved = [environment.scope.resolved(ast.Module, name) for name in declaration.path]
    path = declaration.path[0].span.to(declaration.path[-1].span)
    block = read_block(declaration.block, Flow, environment, declaration, block_fields(Flow))
    names = tuple(
        module or name.text for module, name in zip(resolved, declaration.path, strict=True)
    )
    flow = make_node(
        block,
        path,
        environment.report,
        given={"path": Setting(value=names, span=path)},
        spans={f"path[{index}]": name.span for index, name in enumerate(declaration.path)},
    )
    return flow if isinstance(flow, Flow) and all(resolved) else None


def _schedule(main: SpecFile, environment: Environment) -> Schedule | None:
    declaration = _only_declaration(main, ast.Schedule, environment.scope)
    if declaration is None:
        return None
    word = declaration.kind
    block = read_block(
        declaration.block, Schedule, environment, declaration, block_fields(Schedule)
    )
    choices = [str(kind) for kind in ScheduleKind]
    kind_name = word.text
    if word.text not in choices:
        edits = corrected(word.span, choices)
        environment.report(
            codes.UNKNOWN_CHOICE.at(
                word.span,
                f"`{word}` is not a schedule",
                notes=(f"a schedule is {listed(choices)}",),
                help=did_you_mean(word.text, choices),
                edits=edits,
            )
        )
        if not edits:
            return None
        kind_name = edits[0].replacement
    kind = Setting(value=ScheduleKind(kind_name), span=word.span)
    schedule = make_node(block, word.span, environment.report, given={"kind": kind})
    return schedule if isinstance(schedule, Schedule) else None


def _train(main: SpecFile, environment: Environment) -> Train | None:
    declaration = _only_declaration(main, ast.Train, environment.scope)
    if declaration is None:
        return Train()
    block = read_block(declaration.block, Train, environment, declaration)
    train = make_node(block, declaration.span, environment.report)
    return train if isinstance(train, Train) else None
