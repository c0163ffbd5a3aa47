"""Decoders of like layers."""

from mimodsl.ir.decoder import Gpt
from mimodsl.ir.module import Module
from mimodsl.ir.spec import Spec
from mimodsl.planner.program import common
from mimodsl.planner.program.language import language_arguments, language_config
from mimodsl.planner.program.names import Name
from mimodsl.planner.program.values import Part


def gpt(spec: Spec, module: Module, kind: Gpt) -> Part:
    """A gpt."""
    return common.part(
        module,
        Name("mimodsl.builder.families.decoder:gpt_spec"),
        language_config(spec, module, kind, {}),
        language_arguments(spec, kind),
    )
