"""Reads blocks: checks fields against an IR class, merges blocks, and makes nodes."""

from collections.abc import Iterable, Mapping

from attrs import evolve, frozen

from mimodsl.diagnostics import Diagnostic, Edit, Label, codes
from mimodsl.diagnostics.suggest import closest, corrected, did_you_mean, listed
from mimodsl.ir.node import Node, Origin
from mimodsl.ir.other_names import block_field_by_other_name, derived, field_by_other_name
from mimodsl.ir.registry import shadowed
from mimodsl.ir.schema import FieldSchema, schema
from mimodsl.lower.constants import Environment
from mimodsl.lower.evaluate import FAILED, Failed
from mimodsl.lower.fields import FieldReader
from mimodsl.lower.names import Report
from mimodsl.source import Span
from mimodsl.syntax import ast


@frozen(kw_only=True, eq=False)
class Setting:
    """The value of a field: a value, a block that may still be overridden, or `FAILED`."""

    value: object
    span: Span


@frozen(kw_only=True, eq=False)
class OpenBlock:
    """A block whose fields may still override those of another block.

    `sound` means that it has no mistakes.
    """

    cls: type[Node]
    settings: Mapping[str, Setting]
    span: Span
    sound: bool = True

    def over(self, base: "OpenBlock") -> "OpenBlock":
        """This block with the fields of `base` that it does not set; also for inner blocks."""
        merged = dict(base.settings)
        for name, setting in self.settings.items():
            below = merged.get(name)
            merged[name] = _over(setting, below) if below is not None else setting
        return evolve(self, settings=merged, sound=self.sound and base.sound)

    def value_of(self, name: str) -> object:
        """The value of a field; `None` if it is not set."""
        setting = self.settings.get(name)
        return setting.value if setting is not None else None

    def without(self, names: tuple[str, ...]) -> "OpenBlock":
        rest = {name: setting for name, setting in self.settings.items() if name not in names}
        return evolve(self, settings=rest)


def _over(setting: Setting, below: Setting) -> Setting:
    above, base = setting.value, below.value
    if isinstance(above, OpenBlock) and isinstance(base, OpenBlock) and above.cls is base.cls:
        return evolve(setting, value=above.over(base))
    return setting


def read_block(
    block: ast.Block | None,
    cls: type[Node],
    environment: Environment,
    owner: ast.Syntax,
    fields: tuple[FieldSchema, ...] | None = None,
) -> OpenBlock:
    """Read the block of `owner`, a declaration or value, against the fields of an IR class.

    `fields` replaces the fields of the class. A misspelt field with a certain correction is
    reported and then read under the corrected name, so that it hides no other mistake.
    """
    if block is None:
        return OpenBlock(cls=cls, settings={}, span=owner.span)
    known = {field.name: field for field in (schema(cls) if fields is None else fields)}
    settings: dict[str, Setting] = {}
    sound = True
    first: dict[str, ast.Name] = {}
    written = {field.key.text for field in block.fields}
    for field in block.fields:
        name = field.key.text
        earlier = first.setdefault(name, field.key)
        if earlier is not field.key:
            environment.report(field_set_twice(field.key, earlier))
            sound = False
            continue
        if name not in known:
            unset = [field_name for field_name in known if field_name not in written]
            mistake = _unknown_field(field, cls, known, unset)
            environment.report(mistake)
            name = mistake.edits[0].replacement if mistake.edits else ""
        if name not in known or name in settings:
            sound = False
            continue
        value = _read_value(field.value, known[name], environment)
        settings[name] = Setting(value=value, span=field.value.span)
        sound = sound and value is not FAILED
    return OpenBlock(cls=cls, settings=settings, span=owner.span, sound=sound)


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
    known_name = field_by_other_name(key.text, known.values())
    hint = (
        (
            derived(key.text)
            or _belongs_in_block(key.text, known.values())
            or _belongs_outside_block(field, known)
        )
        if known_name is None
        else None
    )
    if known_name:
        advice = (f"did you mean `{known_name}`?",)
        edits = (Edit(key.span, known_name),) if known_name in unset else ()
    elif hint:
        advice, edits = (hint,), ()
    else:
        advice, edits = did_you_mean(key.text, known), corrected(key.span, unset)
    return codes.UNKNOWN_FIELD.at(
        key.span,
        f"{class_title(cls)} has no field `{key}`",
        notes=(
            *_shadowed(cls),
            *(() if advice else (f"its fields are {listed(sorted(known), 'and')}",)),
        ),
        help=advice,
        edits=edits,
    )


def _belongs_in_block(word: str, fields: Iterable[FieldSchema]) -> str | None:
    """A hint for a field that belongs in the block of another field."""
    place = block_field_by_other_name(word, fields)
    if place is None:
        return None
    outer, tag, name = place
    opener = f"{tag} {{" if len(outer.blocks) > 1 or tag != outer.name else "{"
    return f"it belongs in a block: `{outer.name} = {opener} {name} = … }}`"


def _belongs_outside_block(field: ast.Field, known: Mapping[str, FieldSchema]) -> str | None:
    """A hint for a block whose fields belong directly in the outer block."""
    if not isinstance(field.value, ast.Block):
        return None
    inner_names = [inner_field.key.text for inner_field in field.value.fields]
    if not inner_names or not all(name in known for name in inner_names):
        return None
    return f"set {listed([f'{name} = …' for name in inner_names], 'and')} without a block"


def _shadowed(cls: type[Node]) -> tuple[str, ...]:
    """A note if an installed package uses the same word for another kind."""
    place = shadowed(getattr(cls, "keyword", ""))
    return (f"this is mimodsl's kind, not the kind of {place}",) if place else ()


def class_title(cls: type[Node]) -> str:
    """The name of an IR class for users: its keyword or tag, else its name in small letters."""
    word = getattr(cls, "keyword", None) or getattr(cls, "tag", None) or cls.__name__.lower()
    return f"`{word}`"


def _read_value(value: ast.Value, field: FieldSchema, environment: Environment) -> object:
    tags = field.blocks
    if isinstance(value, ast.Word) and tags and not environment.knows(value):
        return _expected_block(value, field, tags, environment)
    if not isinstance(value, ast.Block) or not tags:
        return FieldReader(environment=environment).read(value, field)
    if value.tag is None and len(tags) == 1:
        return read_block(value, next(iter(tags.values())), environment, value)
    if value.tag is not None and value.tag.text in tags:
        return read_block(value, tags[value.tag.text], environment, value)
    written = f"`{value.tag}`" if value.tag else "a block without a name"
    span = value.tag.span if value.tag else value.span
    environment.report(
        codes.UNKNOWN_CHOICE.at(
            span,
            f"`{field.name}` takes {listed(tags)}, found {written}",
            help=did_you_mean(value.tag.text, tags) if value.tag else (),
            edits=corrected(span, tags) if value.tag else (),
        )
    )
    return FAILED


def _expected_block(
    word: ast.Word, field: FieldSchema, tags: Mapping[str, type[Node]], environment: Environment
) -> Failed:
    """Report a word where only a block is allowed: `optimizer = adam`."""
    near = closest(word.text, tags)
    environment.report(
        codes.WRONG_TYPE.at(
            word.span,
            f"`{field.name}` takes a block, found `{word.text}`",
            help=(f"write `{field.name} = {near or next(iter(tags))} {{ … }}`",),
        )
    )
    return FAILED


def make_node(
    block: OpenBlock,
    name: Span,
    report: Report,
    given: Mapping[str, Setting] | None = None,
    spans: Mapping[str, Span] | None = None,
) -> Node | None:
    """The node of a block with the settings `given` outside the block; `None` after a report.

    `name` is the span of the node's name, where missing fields are reported. `spans` are further
    places for the node's origin.
    """
    settings = {**block.settings, **(given or {})}
    values: dict[str, object] = {}
    sound = block.sound
    for key, setting in settings.items():
        value = setting.value
        if isinstance(value, OpenBlock):
            value = make_node(value, value.span, report)
            sound = sound and value is not None
        values[key] = value
    missing = [
        field.name for field in schema(block.cls) if field.required and field.name not in values
    ]
    if missing and block.sound:
        verb = "is" if len(missing) == 1 else "are"
        report(
            codes.MISSING_FIELD.at(
                name,
                f"{class_title(block.cls)} needs {listed(missing, 'and')}, which {verb} not set",
                help=(f"add {', '.join(f'`{key} = …`' for key in missing)}",),
            )
        )
    if missing or not sound:
        return None
    fields = {key: setting.span for key, setting in settings.items()} | dict(spans or {})
    return block.cls(**values, origin=Origin(span=block.span, name=name, fields=fields))
