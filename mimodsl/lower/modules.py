"""Lowers presets and modules: takes the fields of a base and overrides them."""

from collections.abc import Mapping

from attrs import frozen

from mimodsl.diagnostics import Diagnostic, Label, codes
from mimodsl.diagnostics.suggest import listed
from mimodsl.ir.kinds import Kind
from mimodsl.ir.module import Module
from mimodsl.ir.node import Origin
from mimodsl.ir.package import BrokenKind
from mimodsl.ir.registry import installed_kinds, kind_of
from mimodsl.lower.blocks import OpenBlock, make_node, read_block
from mimodsl.lower.constants import Constants, Environment
from mimodsl.lower.dependency_order import dependency_order
from mimodsl.lower.fields import MODULE_FIELDS, block_fields
from mimodsl.lower.names import NameScope, NameScopes
from mimodsl.lower.shipped_presets import shipped_preset
from mimodsl.syntax import ast

type OpenBlocks = Mapping[str, OpenBlock | None]


def read_presets(scopes: NameScopes, constants: Constants) -> OpenBlocks:
    """Every preset merged over its base; `None` for a preset without a known kind."""
    presets = {preset.name.text: (preset, scope) for preset, scope in scopes.each(ast.Preset)}
    order, cycles = dependency_order(
        {name: (preset.base.text,) for name, (preset, _) in presets.items()}
    )
    blocks: dict[str, OpenBlock | None] = {}
    for cycle in cycles:
        scopes.report(_cycle(cycle, {name: preset for name, (preset, _) in presets.items()}))
        blocks |= dict.fromkeys(cycle)
    for name in order:
        preset, scope = presets[name]
        blocks[name] = _open_block(preset, Environment(scope=scope, constants=constants), blocks)
    return blocks


def _cycle(cycle: tuple[str, ...], presets: Mapping[str, ast.Preset]) -> Diagnostic:
    first, *others = dict.fromkeys(cycle)
    return codes.PRESET_CYCLE.at(
        presets[first].base.span,
        f"presets are based on each other: {' -> '.join(cycle)}",
        secondary=tuple(Label(presets[name].base.span) for name in others),
    )


def _open_block(
    declaration: ast.Preset | ast.Module, environment: Environment, presets: OpenBlocks
) -> OpenBlock | None:
    """The fields of a preset or module over the fields of its base."""
    base = _base(declaration.base, declaration, environment.scope, presets)
    if base is None:
        return None
    fields = block_fields(base.cls)
    block = read_block(declaration.block, base.cls, environment, declaration, fields)
    return block.over(base)


def _base(
    name: ast.Name, declaration: ast.Preset | ast.Module, scope: NameScope, presets: OpenBlocks
) -> OpenBlock | None:
    """The preset with this name, or an empty block of the kind with this name.

    After a report: the preset or kind that is certainly meant, else `None`.
    """
    if name.text in scope.names(ast.Preset):
        return presets[name.text]
    try:
        kind = kind_of(name.text)
    except BrokenKind as error:
        scope.report(codes.BROKEN_KIND.at(name.span, f"the kind {error}"))
        return None
    if kind is None:
        kinds = installed_kinds()
        known_name = (
            scope.missing(ast.Preset, name, kinds, *shipped_preset(name, scope.spec_file)) or ""
        )
        if known_name in presets:
            return presets[known_name]
        kind = kinds.get(known_name)
    return kind and OpenBlock(cls=kind, settings={}, span=declaration.span)


@frozen(kw_only=True, eq=False)
class ModuleReader:
    """Makes modules from their declarations. A module may name any grid of the spec."""

    main: NameScope
    constants: Constants
    presets: OpenBlocks

    def read(self, declaration: ast.Module, scope: NameScope) -> Module | None:
        """The module, or `None` after a report."""
        environment = Environment(scope=scope, constants=self.constants)
        block = _open_block(declaration, environment, self.presets)
        if block is None:
            return None
        name = declaration.name
        kind = make_node(block.without(MODULE_FIELDS), name.span, scope.report)
        grid = self._grid(declaration, block)
        if kind is None or grid is None:
            return None
        assert isinstance(kind, Kind)
        fields = {
            key: setting.span for key, setting in block.settings.items() if key in MODULE_FIELDS
        }
        return Module(
            name=name.text,
            grid=grid,
            frozen=bool(block.value_of("frozen")),
            kind=kind,
            origin=Origin(span=declaration.span, name=name.span, fields=fields),
        )

    def _grid(self, declaration: ast.Module, block: OpenBlock) -> str | None:
        """The grid that the block names; without a name, the only grid of the spec."""
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
                    f"the module `{declaration.name}` has no grid",
                    help=(f"set `grid` to {listed(grids)}",),
                )
            )
        return None
