"""Rules about names: each name has one declaration, and reserved names are not used.

In text, lowering reports unknown and repeated names as MIMO1xx. These rules report them for specs
that are made in Python.
"""

import re
from collections.abc import Iterator
from typing import Final

from mimodsl.checker.context import Context
from mimodsl.checker.phrases import code
from mimodsl.checker.rule import Cost, Finding, Findings, rule
from mimodsl.checker.scopes import COMPLETE, ENCODER, SPEC, Held
from mimodsl.diagnostics import Label
from mimodsl.diagnostics.suggest import did_you_mean
from mimodsl.ir import Grid, Module
from mimodsl.ir.draft import Draft
from mimodsl.ir.placement import grid_names
from mimodsl.ir.vision import Encoder

_NAME: Final = re.compile(r"[A-Za-z_][A-Za-z0-9_]*")
_RESERVED: Final = ("text", "language")

MODULE_DICT_NAMES: Final = frozenset(
    """
    T_destination add_module apply bfloat16 buffers call_super_init children clear compile cpu cuda
    double dump_patches eval extra_repr float forward get_buffer get_extra_state get_parameter
    get_submodule half ipu items keys load_state_dict modules mtia named_buffers named_children
    named_modules named_parameters parameters pop register_backward_hook register_buffer
    register_forward_hook register_forward_pre_hook register_full_backward_hook
    register_full_backward_pre_hook register_load_state_dict_post_hook
    register_load_state_dict_pre_hook register_module register_parameter
    register_state_dict_post_hook register_state_dict_pre_hook requires_grad_ set_extra_state
    set_submodule share_memory state_dict to to_empty train training type update values xpu
    zero_grad
    """.split()  # noqa: SIM905 - a list of strings would take seventy lines
)
"""Attributes of torch.nn.ModuleDict, which it refuses as names of its modules."""


@rule(
    "MIMO421",
    "two declarations with one name",
    scope=SPEC,
    cost=Cost.UNCLEAR,
)
def repeated_name(spec: Context, draft: Draft) -> Findings:
    """Every grid has its own name, and so has every module.

    In text, lowering already reports this as MIMO101.
    """
    for declarations, plural in ((draft.grids, "grids"), (draft.modules, "modules")):
        first: dict[str, Grid | Module] = {}
        for declaration in declarations:
            name = declaration.name
            if name in first:
                yield Finding(
                    message=f"two {plural} are called {code(name)}",
                    primary=spec.label(declaration, "name", "again here"),
                    secondary=(spec.label(first[name], "name", "first here"),),
                    help=("give one of them another name",),
                )
            first.setdefault(name, declaration)


@rule(
    "MIMO422",
    "an undeclared name",
    scope=COMPLETE,
    cost=Cost.UNCLEAR,
)
def unknown_name(spec: Context, draft: Draft) -> Findings:
    """Modules and placements name grids, and flows name modules; the spec declares all of them.

    In text, lowering already reports this as MIMO104 and MIMO105.
    """
    grids = [grid.name for grid in draft.grids]
    modules = [module.name for module in draft.modules]
    for module in draft.modules:
        yield from _unknown("grid", module.grid, grids, spec.label(module, "grid"))
    if draft.place is not None:
        for name in grid_names(draft.place):
            yield from _unknown("grid", name, grids, spec.label(draft.place))
    for flow in draft.flows:
        for name in flow.path:
            yield from _unknown("module", name, modules, spec.label(flow, "path"))


def _unknown(what: str, name: str, known: list[str], label: Label) -> Iterator[Finding]:
    if name not in known:
        yield Finding(
            message=f"there is no {what} {code(name)}",
            primary=label,
            help=did_you_mean(name, known) or (f"declare it, or name one of {', '.join(known)}",),
        )


@rule(
    "MIMO423",
    "an encoder with a reserved name",
    scope=ENCODER,
    cost=Cost.SILENT,
    mirrors=(
        'models/mimo/model/base.py, "reference_embeddings ="',
        'models/mimo/model/base.py, "self.modality_submodules = torch"',
        'models/mimo/config/role.py, "MIMO_LANGUAGE_MODULE_KEY ="',
    ),
    seen="With `text` or `language`, no error: images replace the text, or the language model. "
    "With a name of torch's containers, `ModuleDict` refuses it while the model is built.",
)
def reserved_name(spec: Context, encoder: Held[Encoder]) -> Findings:
    """An encoder is not called `text` or `language`, nor like an attribute of torch's containers.

    Its name becomes the name of the modality in megatron-core. There, `text` stands for every token
    that is not a placeholder, and `language` for the language model, which the encoder would
    replace. The container of the modalities refuses names such as `train` or `values`.

    Example:
        use "presets/nemotron_small.mimo"

        grid encoder {
          dense = tp:2 * dp:2
        }

        module text : radio_small {
          grid = encoder
        }
    """
    if encoder.name in _RESERVED or encoder.name in MODULE_DICT_NAMES:
        owner = "megatron-core" if encoder.name in _RESERVED else "torch"
        yield Finding(
            message=f"an encoder cannot be called {code(encoder.name)}",
            primary=spec.label(encoder.module, "name", f"reserved by {owner}"),
            notes=("an encoder's name is the name of its modality",),
            help=("name it after what it sees, such as `vision`",),
        )


@rule(
    "MIMO424",
    "an invalid name",
    scope=SPEC,
    cost=Cost.UNCLEAR,
    mirrors=('models/mimo/submodules/base.py, "self.encoders = nn.ModuleDict"',),
    seen="torch refuses a dot in the name of a module while `ModuleDict` is filled.",
)
def bad_name(spec: Context, draft: Draft) -> Findings:
    """A name consists of letters, digits and underscores, and does not begin with a digit.

    torch refuses a module whose name has a dot, and such a spec could not be printed and read back.
    """
    for declaration in (*draft.grids, *draft.modules):
        name = declaration.name
        if not _NAME.fullmatch(name):
            yield Finding(
                message=f"{name!r} is not a valid name",
                primary=spec.label(declaration, "name", "letters, digits and underscores"),
                help=(f"call it {code(re.sub(r'\W+|^(?=\d)', '_', name) or 'it')}",),
            )
