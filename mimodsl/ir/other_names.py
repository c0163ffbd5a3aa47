"""Finds a field by its name in another program, or in another block."""

from collections.abc import Iterable

from mimodsl.ir.schema import FieldSchema, schema


def field_by_other_name(name: str, fields: Iterable[FieldSchema]) -> str | None:
    """The field whose facts list the name."""
    word = name.lower()
    known = (field.name for field in fields if field.facts and word in field.facts.names)
    return next(known, None)


def block_field_by_other_name(
    name: str, fields: Iterable[FieldSchema]
) -> tuple[FieldSchema, str, str] | None:
    """The field whose block has a field with this name: with the block's tag and inner field.

    The name may be ours or one of another program.
    """
    for outer in fields:
        for tag, cls in outer.blocks.items():
            inner = schema(cls)
            is_ours = any(field.name == name for field in inner)
            if inner_name := name if is_ours else field_by_other_name(name, inner):
                return outer, tag, inner_name
    return None


def derived(name: str) -> str | None:
    """Advice for a value that is a field in other programs, but is computed here."""
    if name.lower() in ("global_batch_size", "train_batch_size", "gbs"):
        return "a step has `micro_batch * microbatches` samples per replica of the language model"
    return None
