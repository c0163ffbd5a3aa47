"""Rules about flows: which modules they join, and on which grids these are."""

from mimodsl.checker.context import Context
from mimodsl.checker.phrases import code, either
from mimodsl.checker.rule import Cost, Finding, Findings, rule
from mimodsl.checker.scopes import COMPLETE, FLOW, ROUTE, SPEC, Route
from mimodsl.diagnostics import Label
from mimodsl.ir import Flow, Module, Role
from mimodsl.ir.draft import Draft

_A_ROLE = {
    Role.ENCODER: "an encoder",
    Role.PROJECTOR: "a projector",
    Role.LANGUAGE: "a language model",
}
_ORDER = (Role.ENCODER, Role.PROJECTOR, Role.LANGUAGE)


@rule(
    "MIMO601",
    "a flow that does not lead from an encoder to the language model",
    scope=FLOW,
    cost=Cost.SILENT,
    mirrors=(
        'models/mimo/model/base.py, "for encoder_name in self.role"',
        'models/mimo/model/base.py, "class MimoModel … return lm_output, loss_mask"',
        (
            "pipeline_parallel/multimodule_communicator.py, "
            '"def send_forward_recv_backward … bridge_comm"'
        ),
    ),
    seen="Nothing, or all edges but one lose their gradients; a language model that sends data to "
    "another module fails in the first step.",
)
def path_roles(spec: Context, flow: Flow) -> Findings:
    """A flow is the path of one modality: an encoder, optionally a projector, then the language
    model.

    megatron-core runs only stars that end at the language model. No module reads what an
    encoder sends to another encoder, and a language model that sends data fails.

    Example:
        use "presets/nemotron_small.mimo"

        grid llm {
          dense  = dp:2
          expert = ep:2 * pp
        }

        module vision : radio_small {}

        module language : nemotron_small {}

        flow language -> vision {
          token = 511
        }
    """
    modules = [spec.draft.module(name) for name in flow.path]
    known = [module for module in modules if module is not None]
    if len(known) < len(modules):
        return
    roles = tuple(module.role for module in known)
    if roles in (_ORDER, (Role.ENCODER, Role.LANGUAGE)):
        return
    yield Finding(
        message=f"a flow cannot lead through {either(map(code, flow.path), 'and')}",
        primary=spec.label(flow, "path", " -> ".join(_A_ROLE[role] for role in roles)),
        secondary=tuple(
            spec.label(module, "name", _A_ROLE[module.role]) for module in dict.fromkeys(known)
        ),
        notes=(
            "a flow leads from an encoder, optionally through a projector, to a language model",
        ),
        help=_path_help(spec.draft, known),
    )


def _path_help(draft: Draft, known: list[Module]) -> tuple[str, ...]:
    """A flow of the same modules in the right order, with missing roles taken from the spec."""
    path: list[str] = []
    for role in _ORDER:
        here = [module.name for module in known if module.role is role]
        path += here or [module.name for module in draft.modules if module.role is role][:1]
    roles = {module.role for module in draft.modules}
    if len(set(path)) != len(path) or len(path) > len(_ORDER) or Role.ENCODER not in roles:
        return ("write one flow per encoder, each ending at the language model",)
    return (f"write {code(f'flow {" -> ".join(path)}')}",)


@rule(
    "MIMO602",
    "a module in two flows",
    scope=SPEC,
    cost=Cost.SILENT,
    mirrors=('models/mimo/config/base_configs.py, "if grid_keys != expected_keys"',),
    seen="Nothing. The second flow replaces the first, and the images of the first are never read.",
)
def shared_module(spec: Context, draft: Draft) -> Findings:
    """An encoder or a projector is in one flow: a modality is named after its encoder.

    A second flow of the same encoder would replace the first.

    Example:
        use "presets/nemotron_small.mimo"

        grid llm {
          dense  = dp:2
          expert = ep:2 * pp
        }

        module vision : radio_small {}

        module projector : mlp_projector {}

        module language : nemotron_small {}

        flow vision -> projector -> language {
          token = 511
        }

        flow vision -> projector -> language {
          token = 510
        }
    """
    first: dict[str, Label] = {}
    for flow in draft.flows:
        for index, name in enumerate(flow.path[:-1]):
            here = spec.label(flow, f"path[{index}]", "again here")
            if name in first:
                yield Finding(
                    message=f"{code(name)} is in two flows",
                    primary=here,
                    secondary=(first[name],),
                    help=("give the second flow its own module, or leave it out",),
                )
            first.setdefault(name, Label(here.where, "first here"))


@rule(
    "MIMO603",
    "a module in no flow",
    scope=COMPLETE,
    cost=Cost.WASTE,
    mirrors=('models/mimo/config/base_configs.py, "if grid_keys != expected_keys"',),
    seen="A grid without a modality stops every rank: `module_to_grid_map keys must match "
    "modality module names`.",
)
def idle_module(spec: Context, draft: Draft) -> Findings:
    """Encoders and projectors are in a flow: without one, nothing reads their output.

    Example:
        use "presets/nemotron_small.mimo"

        grid llm {
          dense  = dp:2
          expert = ep:2 * pp
        }

        module vision : radio_small {}

        module language : nemotron_small {}

        schedule no_pipelining {
          sequence = 64
        }
    """
    flowing = {name for flow in draft.flows for name in flow.path}
    language = next((m.name for m in draft.modules if m.role is Role.LANGUAGE), None)
    for module in draft.modules:
        if module.role is Role.LANGUAGE or module.name in flowing or language is None:
            continue
        flow = f"flow {module.name} -> {language} {{ token = … }}"
        of_encoder = module.role is Role.ENCODER
        yield Finding(
            message=f"{code(module.name)} is in no flow",
            primary=spec.label(module, "name", "nothing reads its output"),
            secondary=tuple(spec.label(other, "path", "a flow") for other in draft.flows),
            help=(f"add {code(flow)}" if of_encoder else "add it to the flow of its encoder",),
        )


@rule(
    "MIMO604",
    "a projector on another grid than its encoder",
    scope=ROUTE,
    cost=Cost.UNCLEAR,
    mirrors=('models/mimo/submodules/base.py, "def from_spec … proj_spec"',),
)
def projector_grid(spec: Context, route: Route) -> Findings:
    """A projector is on the grid of its encoder: megatron-core builds the two as one module.

    Example:
        use "presets/nemotron_small.mimo"

        grid encoder {
          dense = dp:2
        }

        grid llm {
          dense  = dp:2
          expert = ep:2 * pp
        }

        place encoder | llm

        module vision : radio_small {
          grid = encoder
        }

        module projector : mlp_projector {
          grid = llm
        }

        module language : nemotron_small {
          grid = llm
        }

        flow vision -> projector -> language {
          token = 511
        }
    """
    projector, encoder = route.projector, route.encoder
    if projector is not None and projector.module.grid != encoder.module.grid:
        yield Finding(
            message=f"{code(projector.name)} is not on the grid of its encoder "
            f"{code(encoder.name)}",
            primary=spec.label(projector.module, "grid", f"on {code(projector.grid.name)}"),
            secondary=(spec.label(encoder.module, "grid", f"on {code(encoder.grid.name)}"),),
            help=(f"write {code(f'grid = {encoder.grid.name}')}",),
            edits=spec.writing(projector.module, "grid", encoder.grid.name),
        )


@rule(
    "MIMO605",
    "no language model, or several",
    scope=COMPLETE,
    cost=Cost.RAISES,
    mirrors=(
        'models/mimo/config/role.py, "MIMO_LANGUAGE_MODULE_KEY ="',
        'models/mimo/config/base_configs.py, "if grid_keys != expected_keys"',
    ),
    seen="Every rank stops: `module_to_grid_map keys must match modality module names`.",
)
def one_language(spec: Context, draft: Draft) -> Findings:
    """A spec has exactly one language model, where every flow ends.

    Example:
        use "presets/nemotron_small.mimo"

        grid encoder {
          dense = dp:2
        }

        module vision : radio_small {
          grid = encoder
        }

        schedule no_pipelining {
          sequence = 64
        }
    """
    languages = [module for module in draft.modules if module.role is Role.LANGUAGE]
    for other in languages[1:]:
        yield Finding(
            message="the spec has more than one language model",
            primary=spec.label(other, "name", "a second one"),
            secondary=(spec.label(languages[0], "name", "the first one"),),
            help=("leave one of them out",),
        )
    if not languages and draft.grids:
        about = draft.modules[0] if draft.modules else draft.grids[0]
        yield Finding(
            message="the spec has no language model",
            primary=spec.label(about, "name", "no language model in the spec"),
            help=(f"declare {code('module language : hybrid { … }')} or one of kind `gpt`",),
        )
