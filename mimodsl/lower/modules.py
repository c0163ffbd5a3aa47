"""Presets and modules: a kind's values, taken over and overridden."""

from collections.abc import Mapping

from attrs import frozen

from mimodsl.diagnostics import Diagnostic, Label, codes
from mimodsl.diagnostics.suggest import listed
from mimodsl.ir.kinds import Kind
from mimodsl.ir.module import Module
from mimodsl.ir.node import Origin
from mimodsl.ir.package import BrokenKind
from mimodsl.ir.registry import installed_kinds, kind_of
from mimodsl.lower.blocks import OpenBlock, make, read_block
from mimodsl.lower.constants import Constants, Context
from mimodsl.lower.fields import OWN, block_fields
from mimodsl.lower.names import Scope, Scopes
from mimodsl.lower.order import in_order_of_need
from mimodsl.lower.shipped import shipped_preset
from mimodsl.syntax import ast

type OpenBlocks = Mapping[str, OpenBlock | None]


def read_presets(scopes: Scopes, constants: Constants) -> OpenBlocks:
    """Every preset with what it is based on laid under it; `None` for one that has no kind."""
    presets = {preset.name.text: (preset, scope) for preset, scope in scopes.each(ast.Preset)}
    order, cycles = in_order_of_need(
        {name: (preset.base.text,) for name, (preset, _) in presets.items()}
    )
    blocks: dict[str, OpenBlock | None] = {}
    for cycle in cycles:
        scopes.report(_cycle(cycle, {name: preset for name, (preset, _) in presets.items()}))
        blocks |= dict.fromkeys(cycle)
    for name in order:
        preset, scope = presets[name]
        blocks[name] = _open(preset, Context(scope=scope, constants=constants), blocks)
    return blocks


def _cycle(cycle: tuple[str, ...], presets: Mapping[str, ast.Preset]) -> Diagnostic:
    first, *others = dict.fromkeys(cycle)
    return codes.PRESET_CYCLE.at(
        presets[first].base.span,
        f"presets are based on each other: {' -> '.join(cycle)}",
        secondary=tuple(Label(presets[name].base.span) for name in others),
    )


def _open(
    declaration: ast.Preset | ast.Module, context: Context, presets: OpenBlocks
) -> OpenBlock | None:
    """The fields of a preset or module over those of its base."""
    below = _base(declaration.base, declaration, context.scope, presets)
    if below is None:
        return None
    fields = block_fields(below.cls)
    own = read_block(declaration.block, below.cls, context, declaration, fields)
    return own.over(below)


def _base(
    name: ast.Name, declaration: ast.Preset | ast.Module, scope: Scope, presets: OpenBlocks
) -> OpenBlock | None:
    """The preset of that name, or a block of its kind, of the language or of an installed package.

    `None` after a report, if not for certain another is meant.
    """
    if name.text in scope.names(ast.Preset):
        return presets[name.text]
    try:
        kind = kind_of(name.text)
    except BrokenKind as error:
        scope.report(codes.BROKEN_KIND.at(name.span, f"the kind {error}"))
        return None
    if kind is None:
        known = installed_kinds()
        meant = scope.missing(ast.Preset, name, known, *shipped_preset(name, scope.unit)) or ""
        if meant in presets:
            return presets[meant]
        kind = known.get(meant)
    return kind and OpenBlock(cls=kind, settings={}, span=declaration.span)


@frozen(kw_only=True)
class ModuleReader:
    """Makes modules of their declarations; grids are those of the whole spec."""

    main: Scope
    constants: Constants
    presets: OpenBlocks

    def read(self, declaration: ast.Module, scope: Scope) -> Module | None:
        """The module, or `None` after a report."""
        context = Context(scope=scope, constants=self.constants)
        block = _open(declaration, context, self.presets)
        if block is None:
            return None
        name = declaration.name
        kind = make(block.without(OWN), name.span, scope.report)
        grid = self._grid(declaration, block)
        if kind is None or grid is None:
            return None
        assert isinstance(kind, Kind)
        fields = {key: one.span for key, one in block.settings.items() if key in OWN}
        return Module(
            name=name.text,
            grid=grid,
            frozen=bool(block.taken("frozen")),
            kind=kind,
            origin=Origin(span=declaration.span, name=name.span, fields=fields),
        )

    def _grid(self, declaration: ast.Module, block: OpenBlock) -> str | None:
        """The grid that is named, or the only one."""
        grids = self.main.names(ast.Grid)
        setting = block.settings.get("grid")
        if setting is None:
            return self._only_grid(declaration, block, tuple(grids))
        if not isinstance(setting.value, str):
            return None
        return self.main.resolved(ast.Grid, ast.Name(text=setting.value, span=setting.span))

    def _only_grid(
        self, declaration: ast.Module, block: OpenBlock, grids: tuple[str, ...]
    ) -> str | None:
        if len(grids) == 1 and not self.main.lost.may_hold("grid"):
            return grids[0]
        if block.sound and grids and not self.main.lost.may_hold("grid"):
            self.main.report(
                codes.MISSING_FIELD.at(
                    declaration.name.span,
                    f"the module `{declaration.name}` is on no grid",
                    help=(f"set `grid` to {listed(grids)}",),
                )
            )
        return None
