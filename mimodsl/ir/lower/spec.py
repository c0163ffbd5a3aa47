"""A spec from its syntax trees: every name resolved, every value checked on its own."""

from collections.abc import Mapping
from typing import Final

from attrs import frozen

from mimodsl.diagnostics import codes
from mimodsl.diagnostics.suggest import did_you_mean, listed
from mimodsl.ir.flow import Flow
from mimodsl.ir.grid import Grid
from mimodsl.ir.lower.blocks import Setting, make, read_block
from mimodsl.ir.lower.constants import Context, evaluate_lets
from mimodsl.ir.lower.grids import GridReader
from mimodsl.ir.lower.modules import ModuleReader, read_presets
from mimodsl.ir.lower.names import Lost, Report, Scope, Scopes, check_declarations, declared_twice
from mimodsl.ir.lower.placement import read_placement, without
from mimodsl.ir.lower.units import Unit
from mimodsl.ir.module import Module
from mimodsl.ir.node import Node, Origin
from mimodsl.ir.placement import Place, Placed
from mimodsl.ir.schedule import Schedule, ScheduleKind
from mimodsl.ir.schema import FieldSchema, schema
from mimodsl.ir.spec import Spec
from mimodsl.ir.train import Train
from mimodsl.source import Span
from mimodsl.syntax import ast

_HEADER: Final = ("path", "kind")
PARTS: Final = ("grid", "place", "module", "flow", "schedule", "train")


@frozen(kw_only=True)
class Lowered:
    """What a spec's files come to.

    `spec` is made of the declarations that are sound; `None` where too few are. `missing` names
    the kinds of declaration of which some are not in it.
    """

    spec: Spec | None
    missing: frozenset[str]


@frozen(kw_only=True)
class _Parts:
    """The nodes of a spec; `None` where a declaration was refused."""

    grids: Mapping[str, Grid | None]
    place: Place | None
    modules: Mapping[str, Module | None]
    flows: tuple[Flow | None, ...]
    schedule: Schedule | None
    train: Train | None


def lower(main: Unit, overrides: Mapping[str, str], report: Report) -> Lowered:
    """Lower a main file with all that it uses."""
    lost = Lost.of(main.reach())
    scopes = Scopes(main=main, lost=lost, report=report)
    check_declarations(main, report)
    constants = evaluate_lets(scopes, overrides)
    presets = read_presets(scopes, constants)
    scope = scopes.of(main)
    context = Context(scope=scope, constants=constants)
    modules = ModuleReader(main=scope, constants=constants, presets=presets)
    _report_missing(main, scope)
    parts = _Parts(
        grids={
            one.name.text: GridReader(context=Context(scope=its, constants=constants)).read(one)
            for one, its in scopes.each(ast.Grid)
        },
        place=_place(main, scope),
        modules={one.name.text: modules.read(one, its) for one, its in scopes.each(ast.Module)},
        flows=tuple(_flow(one, context) for one in main.file.of(ast.Flow)),
        schedule=_schedule(main, context),
        train=_train(main, context),
    )
    return _assemble(main, parts, lost)


def _report_missing(main: Unit, scope: Scope) -> None:
    """Report, at once, every declaration that no spec can do without."""
    grids = tuple(scope.names(ast.Grid))
    wanted = {
        "grid": bool(grids),
        "place": len(grids) < 2 or bool(main.file.of(ast.Place)),
        "schedule": bool(main.file.of(ast.Schedule)),
    }
    missing = [
        word for word, found in wanted.items() if not found and not scope.lost.may_hold(word)
    ]
    if missing:
        a, b, *_ = (*grids, "a", "b")
        scope.report(
            codes.MISSING_DECLARATION.at(
                Span(main.file.source, 0, 0),
                f"the spec has no {listed(missing)}",
                help=(f"write `place {a} | {b}`, or `place {a} & {b}` for the same ranks",)
                if "place" in missing
                else (),
            )
        )


def _only[D: (ast.Place, ast.Schedule, ast.Train)](
    main: Unit, kind: type[D], scope: Scope
) -> D | None:
    """The one declaration of a kind; more than one are reported."""
    found = main.file.of(kind)
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


def _inside(cls: type[Node]) -> tuple[FieldSchema, ...]:
    """The fields that stand in the block, not before it."""
    return tuple(field for field in schema(cls) if field.name not in _HEADER)


def _flow(declaration: ast.Flow, context: Context) -> Flow | None:
    known = context.scope.names(ast.Module)
    unknown = [name for name in declaration.path if name.text not in known]
    for name in unknown:
        context.scope.missing(ast.Module, name)
    path = declaration.path[0].span.to(declaration.path[-1].span)
    names = tuple(name.text for name in declaration.path)
    draft = read_block(declaration.block, Flow, context, declaration, _inside(Flow))
    flow = make(
        draft,
        path,
        context.report,
        given={"path": Setting(value=names, span=path)},
        spans={f"path[{index}]": name.span for index, name in enumerate(declaration.path)},
    )
    return flow if isinstance(flow, Flow) and not unknown else None


def _schedule(main: Unit, context: Context) -> Schedule | None:
    declaration = _only(main, ast.Schedule, context.scope)
    if declaration is None:
        return None
    word = declaration.kind
    draft = read_block(declaration.block, Schedule, context, declaration, _inside(Schedule))
    choices = [str(kind) for kind in ScheduleKind]
    if word.text not in choices:
        context.report(
            codes.UNKNOWN_CHOICE.at(
                word.span,
                f"`{word}` is no schedule",
                notes=(f"a schedule is {listed(choices)}",),
                help=did_you_mean(word.text, choices),
            )
        )
        return None
    kind = Setting(value=ScheduleKind(word.text), span=word.span)
    schedule = make(draft, word.span, context.report, given={"kind": kind})
    return schedule if isinstance(schedule, Schedule) else None


def _train(main: Unit, context: Context) -> Train | None:
    declaration = _only(main, ast.Train, context.scope)
    if declaration is None:
        return Train()
    draft = read_block(declaration.block, Train, context, declaration)
    train = make(draft, declaration.span, context.report)
    return train if isinstance(train, Train) else None


def _assemble(main: Unit, parts: _Parts, lost: Lost) -> Lowered:
    """A spec of the sound parts: of a module its grid, of a flow its modules are sound too."""
    grids = [grid for grid in parts.grids.values() if grid is not None]
    names = {grid.name for grid in grids}
    modules = [one for one in parts.modules.values() if one is not None and one.grid in names]
    known = {module.name for module in modules}
    flows = [one for one in parts.flows if one is not None and known.issuperset(one.path)]
    missing = {
        "grid": len(grids) < len(parts.grids),
        "module": len(modules) < len(parts.modules),
        "flow": len(flows) < len(parts.flows),
        "train": parts.train is None,
    }
    place = parts.place and without(parts.place, frozenset(parts.grids.keys() - names))
    found = frozenset(word for word in PARTS if missing.get(word) or lost.may_hold(word))
    if not grids or place is None or parts.schedule is None:
        return Lowered(spec=None, missing=found)
    source = main.file.source
    spec = Spec(
        grids=tuple(grids),
        place=place,
        modules=tuple(modules),
        flows=tuple(flows),
        schedule=parts.schedule,
        train=parts.train or Train(),
        origin=Origin(span=Span(source, 0, len(source.text))),
    )
    return Lowered(spec=spec, missing=found)
