"""Find the field that is meant by a name of another program, or by a name in the wrong place."""

from collections.abc import Iterable

from mimodsl.ir.schema import FieldSchema, schema


def field_meant(name: str, fields: Iterable[FieldSchema]) -> str | None:
    """The field whose facts list the name."""
    word = name.lower()
    known = (field.name for field in fields if field.facts and word in field.facts.names)
    return next(known, None)


def place_meant(name: str, fields: Iterable[FieldSchema]) -> tuple[FieldSchema, str, str] | None:
    """The field whose block has a field of that name, the block's tag, and the name in the block.

    The name may be ours or one of another program.
    """
    for outer in fields:
        for tag, cls in outer.blocks.items():
            inner = schema(cls)
            is_ours = any(field.name == name for field in inner)
            if meant := name if is_ours else field_meant(name, inner):
                return outer, tag, meant
    return None


def derived(name: str) -> str | None:
    """How to get a value that is a field in other programs and follows from others here."""
    if name.lower() in ("global_batch_size", "train_batch_size", "gbs"):
        return "a step has `micro_batch * microbatches` samples a replica of the language model"
    return None
