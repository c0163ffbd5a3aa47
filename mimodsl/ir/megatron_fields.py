"""The fields of Megatron-Core's configs that take values of a spec as they are.

`from mimodsl.ir.megatron_fields import megatron_fields`: neither torch nor Megatron-Core is needed.
"""

from mimodsl.ir.node import Keyword, Node
from mimodsl.ir.schema import schema


def megatron_fields(node: Node) -> dict[str, object]:
    """Megatron-Core's fields and their values, as the facts of the node's own fields name them.

    They belong to the config that the node's class names as its `megatron_config`. Megatron-Core
    replaces `None` by its own default. Fields of inner blocks and derived fields (`Derived`) are
    not included.
    """
    return {
        field.facts.copied: megatron_value(getattr(node, field.name))
        for field in schema(type(node))
        if field.facts and field.facts.copied
    }


def megatron_value(value: object) -> object:
    """The value as Megatron-Core writes it: Megatron's word for a word of the language."""
    return value.megatron if isinstance(value, Keyword) else value
