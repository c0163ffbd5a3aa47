"""Pages in Markdown about fields, kinds, choices and rules."""

import json
from collections.abc import Iterator
from enum import StrEnum
from inspect import cleandoc
from typing import cast

from mimodsl.ir.kinds import Kind
from mimodsl.ir.node import Node
from mimodsl.ir.schema import FieldSchema, schema
from mimodsl.lower.fields import REFERENCES
from mimodsl.planner.difference import plain
from mimodsl.show.pages import Page, page_of


def field_words(field: FieldSchema) -> str:
    """A field's type, unit and default on one line: `an integer, at least 1 · default 1`."""
    unit = f" ({field.unit})" if field.unit else ""
    words = f"the name of a {field.name}" if field.name in REFERENCES else field.words
    return f"{words}{unit} · {'required' if field.required else f'default {default(field)}'}"


def default(field: FieldSchema) -> str:
    """The default of a field as `.mimo` text."""
    value = field.default
    if value is None:
        return "unset"
    return f"{getattr(value, 'tag', '')} {{ … }}" if isinstance(value, Node) else plain(value)


def field_page(field: FieldSchema, owner: str) -> str:
    """The page of a field of a kind or block."""
    return "\n\n".join(
        [f"**`{field.name}`** — {field.doc}", f"{field_words(field)}", f"a field of `{owner}`"]
    )


def class_page(cls: type[Node], word: str) -> str:
    """The page of a kind or block, with its required fields."""
    role = f" ({cls.role.value})" if issubclass(cls, Kind) else ""
    needed = [f"`{field.name}`" for field in schema(cls) if field.required]
    parts = [f"**`{word}`**{role} — {cleandoc(cls.__doc__ or '')}"]
    parts += [f"needs {', '.join(needed)}"] if needed else []
    return "\n\n".join(parts)


def choice_page(enum: type[StrEnum], field: FieldSchema | None, word: str) -> str:
    """The page of one choice of an enum."""
    lines = [f"**`{word}`** — {cleandoc(enum.__doc__ or '')}"]
    lines.append(f"one of {', '.join(f'`{member}`' for member in enum)}")
    if field is not None and not field.required:
        lines.append(f"default `{default(field)}`")
    return "\n\n".join(lines)


def rule_page(code: str) -> str:
    """What `mimodsl explain` prints about a code, without its example; may be empty."""
    page = page_of(code)
    return "\n\n".join(_rule_parts(page)) if page else ""


def _rule_parts(page: Page) -> Iterator[str]:
    yield f"**{page.code}** — {page.title}"
    yield page.why
    if page.cost:
        yield f"Without this {page.severity}: {page.cost}."
    if page.seen:
        yield f"On the cluster: {page.seen}"


def constant(value: object) -> str:
    """The value of a constant as `.mimo` text."""
    if isinstance(value, tuple):
        return f"[{', '.join(map(constant, cast('tuple[object, ...]', value)))}]"
    return json.dumps(value, ensure_ascii=False) if isinstance(value, str) else plain(value)
