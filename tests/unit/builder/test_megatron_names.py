"""The names in the facts of fields exist in the installed Megatron-Core and Megatron-LM."""

import argparse
import inspect
import warnings

import pytest
from megatron.core.distributed import DistributedDataParallelConfig
from megatron.core.models.gpt import GPTModel
from megatron.core.models.hybrid.hybrid_model import HybridModel
from megatron.core.optimizer import OptimizerConfig
from megatron.core.optimizer_param_scheduler import OptimizerParamScheduler
from megatron.core.transformer import TransformerConfig

from mimodsl.ir.facts import Derived
from mimodsl.ir.megatron_fields import megatron_fields
from mimodsl.ir.node import Node
from mimodsl.ir.schema import FieldSchema, schema
from tests.unit.builder.models import HYBRID, MOE_GPT, RADIO, VIT
from tests.unit.ir.fields import label, rows

OWNERS = {
    owner.__name__: set(inspect.signature(owner).parameters)
    for owner in (
        TransformerConfig,
        OptimizerConfig,
        DistributedDataParallelConfig,
        OptimizerParamScheduler,
        GPTModel,
        HybridModel,
    )
}
OF_THE_EXAMPLE = {
    *("--image-token-id", "--pixel-shuffle", "--disable-vision-class-token"),
    *("--dynamic-resolution", "--freeze-vit", "--freeze-projection", "--freeze-lm"),
}
"""Flags that Megatron-LM's MIMO example adds, which is no part of the package."""


def names(name: str | Derived | None) -> tuple[str, ...]:
    if isinstance(name, Derived):
        return name.names
    return (name,) if name else ()


@pytest.mark.parametrize(("cls", "field"), rows(), ids=label)
def test_megatron_core_has_the_field(cls: type[Node], field: FieldSchema) -> None:
    assert field.facts is not None
    for name in names(field.facts.megatron):
        owner, _, argument = name.rpartition(".")
        assert argument in OWNERS[owner or cls.megatron_config]


@pytest.fixture(scope="module")
def flags() -> set[str]:
    from megatron.training.arguments import add_megatron_arguments  # slow

    with warnings.catch_warnings(action="ignore"):  # of argparse's own, on Megatron-LM's use of it
        parser = add_megatron_arguments(argparse.ArgumentParser())
    return {flag for action in parser._actions for flag in action.option_strings}


def test_megatron_lm_has_the_flag(flags: set[str]) -> None:
    facts = (field.facts for _, field in rows() if field.facts)
    stated = {f"--{flag}" for one in facts for flag in names(one.flag)}
    assert stated - flags <= OF_THE_EXAMPLE
    assert not OF_THE_EXAMPLE & flags


@pytest.mark.parametrize("kind", [RADIO, VIT, MOE_GPT, HYBRID], ids=lambda kind: kind.keyword)
def test_no_two_fields_of_a_module_decide_one_of_megatrons(kind: Node) -> None:
    blocks = [getattr(kind, field.name) for field in schema(type(kind)) if field.blocks]
    copied = [name for node in (kind, *blocks) for name in megatron_fields(node)]
    assert len(copied) == len(set(copied))
