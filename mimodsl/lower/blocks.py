"""Blocks: fields against the schema of an IR class, laid over each other, and made into nodes."""

from collections.abc import Iterable, Mapping

from attrs import evolve, frozen

from mimodsl.diagnostics import Diagnostic, Edit, Label, codes
from mimodsl.diagnostics.suggest import closest, corrected, did_you_mean, listed
from mimodsl.ir.node import Node, Origin
from mimodsl.ir.other_names import derived, field_meant, place_meant
from mimodsl.ir.registry import shadowed
from mimodsl.ir.schema import FieldSchema, schema
from mimodsl.lower.constants import Context
from mimodsl.lower.evaluate import FAILED, Failed
from mimodsl.lower.fields import FieldReader
from mimodsl.lower.names import Report
from mimodsl.source import Span
from mimodsl.syntax import ast


@frozen(kw_only=True)
class Setting:
    """What a field is set to: a value, a block that may still be overridden, or `FAILED`."""

    value: object
    span: Span


@frozen(kw_only=True)
class OpenBlock:
    """A block that may still be laid over another. `sound` says that nothing in it was refused."""

    cls: type[Node]
    settings: Mapping[str, Setting]
    span: Span
    sound: bool = True

    def over(self, base: "OpenBlock") -> "OpenBlock":
        """This block's fields, and for the rest the base's; blocks inside likewise."""
        merged = dict(base.settings)
        for name, setting in self.settings.items():
            below = merged.get(name)
            merged[name] = _over(setting, below) if below is not None else setting
        return evolve(self, settings=merged, sound=self.sound and base.sound)

    def taken(self, name: str) -> object:
        """The value of a field that is set; `None` where it is not."""
        setting = self.settings.get(name)
        return setting.value if setting is not None else None

    def without(self, names: tuple[str, ...]) -> "OpenBlock":
        rest = {name: one for name, one in self.settings.items() if name not in names}
        return evolve(self, settings=rest)


def _over(setting: Setting, below: Setting) -> Setting:
    above, base = setting.value, below.value
    if isinstance(above, OpenBlock) and isinstance(base, OpenBlock) and above.cls is base.cls:
        return evolve(setting, value=above.over(base))
    return setting


def read_block(
    block: ast.Block | None,
    cls: type[Node],
    context: Context,
    whole: ast.Syntax,
    fields: tuple[FieldSchema, ...] | None = None,
) -> OpenBlock:
    """Read a block, which is part of a `whole`, against the fields of its IR class, or `fields`.

    A misspelt field whose correction is certain is reported and then read as what was meant, so
    that it hides no other mistake.
    """
    if block is None:
        return OpenBlock(cls=cls, settings={}, span=whole.span)
    known = {field.name: field for field in (schema(cls) if fields is None else fields)}
    settings: dict[str, Setting] = {}
    sound = True
    first: dict[str, ast.Name] = {}
    written = {field.key.text for field in block.fields}
    for field in block.fields:
        name = field.key.text
        earlier = first.setdefault(name, field.key)
        if earlier is not field.key:
            context.report(field_set_twice(field.key, earlier))
            sound = False
            continue
        if name not in known:
            unset = [one for one in known if one not in written]
            mistake = _unknown_field(field, cls, known, unset)
            context.report(mistake)
            name = mistake.edits[0].replacement if mistake.edits else ""
        if name not in known or name in settings:
            sound = False
            continue
        value = _value(field.value, known[name], context)
        settings[name] = Setting(value=value, span=field.value.span)
        sound = sound and value is not FAILED
    return OpenBlock(cls=cls, settings=settings, span=whole.span, sound=sound)


def field_set_twice(second: ast.Name, first: ast.Name) -> Diagnostic:
    return codes.DUPLICATE_FIELD.at(
        second.span,
        f"`{second}` is set twice",
        "again here",
        secondary=(Label(first.span, "first here"),),
    )


def _unknown_field(
    field: ast.Field, cls: type[Node], known: Mapping[str, FieldSchema], unset: list[str]
) -> Diagnostic:
    key = field.key
    meant = field_meant(key.text, known.values())
    elsewhere = (
        (derived(key.text) or _inside(key.text, known.values()) or _outside(field, known))
        if meant is None
        else None
    )
    if meant:
        advice = (f"did you mean `{meant}`?",)
        edits = (Edit(key.span, meant),) if meant in unset else ()
    elif elsewhere:
        advice, edits = (elsewhere,), ()
    else:
        advice, edits = did_you_mean(key.text, known), corrected(key.span, unset)
    return codes.UNKNOWN_FIELD.at(
        key.span,
        f"{title(cls)} has no field `{key}`",
        notes=(
            *_shadowed(cls),
            *(() if advice else (f"its fields are {listed(sorted(known), 'and')}",)),
        ),
        help=advice,
        edits=edits,
    )


def _inside(word: str, fields: Iterable[FieldSchema]) -> str | None:
    """What to say of a field that belongs in the block of another one."""
    place = place_meant(word, fields)
    if place is None:
        return None
    outer, tag, name = place
    opener = f"{tag} {{" if len(outer.blocks) > 1 or tag != outer.name else "{"
    return f"it belongs in a block: `{outer.name} = {opener} {name} = … }}`"


def _outside(field: ast.Field, known: Mapping[str, FieldSchema]) -> str | None:
    """What to say of a block whose fields are those of the block that it stands in."""
    if not isinstance(field.value, ast.Block):
        return None
    inner = [one.key.text for one in field.value.fields]
    if not inner or not all(name in known for name in inner):
        return None
    return f"set {listed([f'{name} = …' for name in inner], 'and')} without a block"


def _shadowed(cls: type[Node]) -> tuple[str, ...]:
    """That an installed package means something else by the same word, perhaps as the user does."""
    place = shadowed(getattr(cls, "keyword", ""))
    return (f"the word means mimodsl's own kind, not that of {place}",) if place else ()


def title(cls: type[Node]) -> str:
    """What users call an IR class: by its kind or tag, else by its keyword."""
    word = getattr(cls, "keyword", None) or getattr(cls, "tag", None) or cls.__name__.lower()
    return f"`{word}`"


def _value(value: ast.Value, field: FieldSchema, context: Context) -> object:
    tags = field.blocks
    if isinstance(value, ast.Word) and tags and not context.knows(value):
        return _no_block(value, field, tags, context)
    if not isinstance(value, ast.Block) or not tags:
        return FieldReader(context=context).read(value, field)
    if value.tag is None and len(tags) == 1:
        return read_block(value, next(iter(tags.values())), context, value)
    if value.tag is not None and value.tag.text in tags:
        return read_block(value, tags[value.tag.text], context, value)
    found = f"`{value.tag}`" if value.tag else "a block without a name"
    span = value.tag.span if value.tag else value.span
    context.report(
        codes.UNKNOWN_CHOICE.at(
            span,
            f"`{field.name}` takes {listed(tags)}, found {found}",
            help=did_you_mean(value.tag.text, tags) if value.tag else (),
            edits=corrected(span, tags) if value.tag else (),
        )
    )
    return FAILED


def _no_block(
    word: ast.Word, field: FieldSchema, tags: Mapping[str, type[Node]], context: Context
) -> Failed:
    """Report a word where only a block can stand: `optimizer = adam`."""
    near = closest(word.text, tags)
    context.report(
        codes.WRONG_TYPE.at(
            word.span,
            f"`{field.name}` takes a block, found `{word.text}`",
            help=(f"write `{field.name} = {near or next(iter(tags))} {{ … }}`",),
        )
    )
    return FAILED


def make(
    block: OpenBlock,
    name: Span,
    report: Report,
    given: Mapping[str, Setting] | None = None,
    spans: Mapping[str, Span] | None = None,
) -> Node | None:
    """The node of a block with what is `given` outside its block, or `None` after a report.

    `name` is what the node is known by, and where missing fields are reported; `spans` are further
    places that its origin knows.
    """
    settings = {**block.settings, **(given or {})}
    values: dict[str, object] = {}
    sound = block.sound
    for key, setting in settings.items():
        value = setting.value
        if isinstance(value, OpenBlock):
            value = make(value, value.span, report)
            sound = sound and value is not None
        values[key] = value
    missing = [one.name for one in schema(block.cls) if one.required and one.name not in values]
    if missing and block.sound:
        verb = "is" if len(missing) == 1 else "are"
        report(
            codes.MISSING_FIELD.at(
                name,
                f"{title(block.cls)} needs {listed(missing, 'and')}, which {verb} not set",
                help=(f"add {', '.join(f'`{key} = …`' for key in missing)}",),
            )
        )
    if missing or not sound:
        return None
    fields = {key: setting.span for key, setting in settings.items()} | dict(spans or {})
    return block.cls(**values, origin=Origin(span=block.span, name=name, fields=fields))
