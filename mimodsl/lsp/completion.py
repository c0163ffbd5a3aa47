"""Completion: what may be written at the cursor, with its meaning."""

from collections.abc import Iterable, Iterator
from enum import StrEnum
from typing import Final

from attrs import frozen
from lsprotocol import types

from mimodsl.ir.flow import Flow
from mimodsl.ir.grid import BASE_AXES, EXPERT_AXES, EXPERT_VIEW
from mimodsl.ir.kinds import Role
from mimodsl.ir.node import Node
from mimodsl.ir.registry import installed_kinds
from mimodsl.ir.schedule import Schedule, ScheduleKind
from mimodsl.ir.schema import FieldSchema
from mimodsl.ir.train import Train
from mimodsl.lower.evaluate import LITERAL_WORDS
from mimodsl.lower.fields import REFERENCES
from mimodsl.lower.names import NamedDeclaration
from mimodsl.lower.spec_files import PRESETS
from mimodsl.lsp.cursor import Cursor, cursor
from mimodsl.lsp.describe import choice_page, class_page, field_page, field_words
from mimodsl.lsp.names import Fields, fields_of, inner_fields, kind_of
from mimodsl.lsp.sizes import LegalSize, legal_sizes
from mimodsl.lsp.specs import Analysis
from mimodsl.resources import presets_folder
from mimodsl.source import Span
from mimodsl.syntax import ast
from mimodsl.syntax.scan import KEYWORDS

_BLOCKS: Final = {"flow": Flow, "schedule": Schedule, "train": Train}
_OPENING: Final = ("", "=", "(", "[", "+", "-", "*", "//", "%", ",")

type Items = Iterator[types.CompletionItem]
type _Kind = types.CompletionItemKind


@frozen(kw_only=True)
class Completion:
    """Completes at one place of a text.

    `snippets` means that the client supports templates. `sizes` are the legal sizes of an axis at
    the cursor.
    """

    analysis: Analysis
    cursor: Cursor
    snippets: bool
    sizes: tuple[LegalSize, ...] = ()

    def items(self) -> Items:
        """What may be written here, in the order of the offer."""
        word, *_ = (*self.cursor.header, "")
        if self.cursor.string:
            yield from self._paths() if self.cursor.entry == ("use",) else ()
        elif not self.cursor.blocks:
            yield from self._header()
        elif word == "grid":
            yield from self._grid()
        else:
            yield from self._block(self._fields(word))

    # Before a block.

    def _header(self) -> Items:
        match self.cursor.entry:
            case ():
                for word in KEYWORDS:
                    yield self._item(word, types.CompletionItemKind.Keyword, after=" ")
            case ("preset" | "module", _, ":"):
                yield from self._bases()
            case ("flow", *_, "flow" | "->") | ("flow",):
                yield from self._names(ast.Module, types.CompletionItemKind.Module)
            case ("place", *_, "|" | "&" | "(") | ("place",):
                yield from self._names(ast.Grid, types.CompletionItemKind.Struct)
            case ("schedule",):
                yield from self._choices((ScheduleKind,), None)
            case ("let", _, "=", *_) if self.cursor.last in _OPENING:
                yield from self._constants()
            case ("use",):
                yield from self._paths()
            case _:
                pass

    def _bases(self) -> Items:
        presets = self.analysis.scope.names(ast.Preset)
        for name in self._others(presets):
            kind = kind_of(name, self.analysis.scope)
            detail = f"preset of {kind.keyword}" if kind else "preset"
            yield self._item(name, types.CompletionItemKind.Class, detail=detail)
        for word, kind in installed_kinds().items():
            yield self._item(
                word,
                types.CompletionItemKind.Class,
                detail=kind.role.value,
                page=class_page(kind, word),
            )

    def _paths(self) -> Items:
        """Shipped presets, and specs in the folder of this spec or below."""
        path = self.analysis.path
        folder = path.parent if path else None
        beside = sorted(folder.rglob("*.mimo")) if folder and folder.is_dir() else []
        paths = [file.relative_to(folder).as_posix() for file in beside if folder and file != path]
        shipped = [f"{PRESETS}{file.name}" for file in sorted(presets_folder().glob("*.mimo"))]
        for candidate in dict.fromkeys([*shipped, *paths]):
            yield self._item(f'"{candidate}"', types.CompletionItemKind.File)

    # Grids.

    def _grid(self) -> Items:
        entry = self.cursor.entry
        if not entry:
            yield from self._views()
        elif len(entry) > 1 and entry[0] == "ranks":
            yield from self._constants()
        elif len(entry) > 1 and self.cursor.last in ("=", "*"):
            yield from self._axes(entry[0], entry[2:])
        elif self.cursor.last == ":":
            yield from self._legal()
            yield from self._constants()

    def _views(self) -> Items:
        keys = self.cursor.keys
        for word in ("ranks", "dense", EXPERT_VIEW):
            if word not in keys:
                yield self._item(word, types.CompletionItemKind.Property, after=self._equal())

    def _axes(self, view: str, before: Iterable[str]) -> Items:
        """Axes that the view does not have yet; a later view may share axes of the base view."""
        first = next((key for key in self.cursor.keys if key != "ranks"), view)
        names = BASE_AXES if view == first else (*EXPERT_AXES, "pp")
        for name in names:
            if name not in before:
                shared = view != first and name in BASE_AXES
                yield self._item(
                    name,
                    types.CompletionItemKind.Variable,
                    detail="shared with the base view" if shared else "",
                    after="" if shared else ":",
                )

    def _legal(self) -> Items:
        for legal in self.sizes:
            yield self._item(
                str(legal.size),
                types.CompletionItemKind.Value,
                detail=f"with `{legal.changed}`" if legal.changed else "no rule objects",
                more=[
                    types.TextEdit(self.analysis.positions.of(edit.span), edit.replacement)
                    for edit in legal.edits
                ],
            )

    # Blocks.

    def _fields(self, word: str) -> tuple[Fields, str]:
        """The fields of the innermost block, and its name."""
        header, scope = self.cursor.header, self.analysis.scope
        cls: type[Node] | None = _BLOCKS.get(word)
        if word in ("preset", "module") and len(header) > 3:
            cls = kind_of(header[3], scope)
        fields = fields_of(cls)
        owner = str(getattr(cls, "keyword", word))
        for block in self.cursor.blocks[1:]:
            fields, owner = inner_fields(fields.get(block.key), block.tag), block.tag or block.key
        return fields, owner

    def _block(self, fields_and_owner: tuple[Fields, str]) -> Items:
        fields, owner = fields_and_owner
        match self.cursor.entry:
            case ():
                unset = [field for field in fields.values() if field.name not in self.cursor.keys]
                for field in sorted(unset, key=lambda field: not field.required):
                    yield self._field(field, owner)
            case (key, "=", *_) if self.cursor.last in _OPENING:
                yield from self._values(fields.get(key))
            case _:
                pass

    def _field(self, field: FieldSchema, owner: str) -> types.CompletionItem:
        return self._item(
            field.name,
            types.CompletionItemKind.Field,
            detail=field_words(field).replace("`", ""),  # a detail is not Markdown
            page=field_page(field, owner),
            after=self._equal(),
        )

    def _values(self, field: FieldSchema | None) -> Items:
        if field is None:
            yield from self._constants()
            return
        if field.name in REFERENCES:
            yield from self._names(ast.Grid, types.CompletionItemKind.Struct)
            return
        yield from self._choices(field.type.enums, field)
        for word, value in LITERAL_WORDS.items():
            if field.type.optional if value is None else bool in field.type.bases:
                yield self._item(word, types.CompletionItemKind.Keyword)
        blocks = field.blocks
        for tag, cls in blocks.items():
            named = len(blocks) > 1 or tag != field.name
            yield self._item(
                f"{tag} {{ … }}" if named else "{ … }",
                types.CompletionItemKind.Struct,
                page=class_page(cls, tag),
                snippet=f"{tag} {{ $0 }}" if named else "{ $0 }",
            )
        if not field.type.enums and not blocks:
            yield from self._constants()

    def _choices(self, enums: Iterable[type[StrEnum]], field: FieldSchema | None) -> Items:
        for enum in enums:
            for member in enum:
                is_default = field is not None and field.default == member
                yield self._item(
                    str(member),
                    types.CompletionItemKind.EnumMember,
                    detail="default" if is_default else "",
                    page=choice_page(enum, field, str(member)),
                )

    # Names.

    def _names(self, sort: type[NamedDeclaration], kind: types.CompletionItemKind) -> Items:
        for name, declaration in self.analysis.scope.names(sort).items():
            detail = ""
            if isinstance(declaration, ast.Module):
                kind_class = kind_of(declaration.base.text, self.analysis.scope)
                detail = kind_class.role.value if kind_class else Role.ENCODER.value
            yield self._item(name, kind, detail=detail)

    def _constants(self) -> Items:
        lets = self.analysis.scope.names(ast.Let)
        for name in self._others(lets):
            declaration = lets[name]
            if isinstance(declaration, ast.Let):
                value = declaration.value.span.text
                yield self._item(name, types.CompletionItemKind.Constant, detail=value)

    def _others(self, names: Iterable[str]) -> Iterator[str]:
        """All names except the name that is being declared, which cannot use itself."""
        word, declared_name, *_ = (*self.cursor.header, "", "")
        return (name for name in names if name != declared_name or word not in ("let", "preset"))

    # Items.

    def _equal(self) -> str:
        """The text after a key, unless it is there already."""
        rest = self.analysis.source.text[self.cursor.end :].lstrip(" \t")
        return "" if rest.startswith(("=", ":")) else " = "

    def _item(  # noqa: PLR0913 - the parts of an item
        self,
        label: str,
        kind: types.CompletionItemKind,
        *,
        detail: str = "",
        page: str = "",
        after: str = "",
        snippet: str = "",
        more: list[types.TextEdit] | None = None,
    ) -> types.CompletionItem:
        place = self.analysis.positions.range(self.cursor.start, self.cursor.end)
        filled = bool(snippet) and self.snippets
        text = snippet if filled else snippet.replace("$0 ", "") or f"{label}{after}"
        return types.CompletionItem(
            label=label,
            kind=kind,
            detail=detail or None,
            documentation=_markdown(page) if page else None,
            text_edit=types.TextEdit(place, text),
            filter_text=label if label.startswith('"') else None,
            insert_text_format=types.InsertTextFormat.Snippet if filled else None,
            additional_text_edits=more or None,
        )


def _markdown(text: str) -> types.MarkupContent:
    return types.MarkupContent(kind=types.MarkupKind.Markdown, value=text)


async def completions(
    analysis: Analysis, position: types.Position, *, snippets: bool
) -> list[types.CompletionItem]:
    """What may be written at a position, in order."""
    offset = analysis.positions.offset(position)
    cursor_place = cursor(analysis.source, offset)
    if cursor_place is None:
        return []
    sizes = ()
    if cursor_place.header[:1] == ("grid",) and cursor_place.last == ":":
        place = Span(analysis.source, cursor_place.start, cursor_place.end)
        sizes = await legal_sizes(analysis.source, place, analysis.check)
    items = Completion(
        analysis=analysis, cursor=cursor_place, snippets=snippets, sizes=sizes
    ).items()
    ordered = list(items)
    for index, item in enumerate(ordered):
        item.sort_text = f"{index:04}"
    return ordered
