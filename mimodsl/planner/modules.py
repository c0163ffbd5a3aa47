"""Makes the plan of every module: each value that several places need is worked out here, once."""

from mimodsl.ir.axes import DP, ETP
from mimodsl.ir.flow import Flow
from mimodsl.ir.kinds import Kind, Role
from mimodsl.ir.language import TransformerLanguage
from mimodsl.ir.module import Module
from mimodsl.ir.package import CustomKind, CustomModule
from mimodsl.ir.spec import Spec
from mimodsl.ir.train import Precision
from mimodsl.ir.vision import Encoder
from mimodsl.planner.experts import expert_kernels
from mimodsl.planner.families import Neighbours, family_of
from mimodsl.planner.grids import GridPlan
from mimodsl.planner.module import ExpertKernels, ModulePlan


def module_plans(spec: Spec, grids: dict[str, GridPlan]) -> dict[str, ModulePlan]:
    """The plan of every module by its name, in the order of the spec."""
    return {module.name: _module_plan(spec, module, grids[module.grid]) for module in spec.modules}


def _module_plan(spec: Spec, module: Module, grid: GridPlan) -> ModulePlan:
    kind, flow, train = module.kind.in_use(), spec.flow_through(module.name), spec.train
    family = family_of(kind)
    inputs, outputs = _passed(spec, module, flow)
    return ModulePlan(
        module=module,
        kind=kind,
        grid=grid,
        declared=spec.grid_of(module),
        flow=flow,
        widths=family.widths(kind, _neighbours(spec, flow)),
        moe=kind.used.moe,
        experts=_expert_kernels(spec, module, kind),
        claims=CustomModule.in_spec(spec, module) if isinstance(kind, CustomKind) else None,
        samples=spec.schedule.micro_batch * spec.grid_of(spec.language).size(DP),
        images=flow.images if flow else 1,
        length=family.length(kind, outputs[0] if module.role is Role.ENCODER else inputs[0]),
        placeholders=0 if flow else sum(map(spec.sample_tokens, spec.flows)),
        inputs=inputs,
        outputs=outputs,
        split_sequence=spec.splits_sequence(module),
        kernels=train.kernels,
        precision=train.precision,
        residual=Precision.FP32 if family.residual_fp32(kind) else train.precision,
        recompute=family.recompute(kind),
        dropout=family.dropout(kind) > 0,
        tied=family.ties_embeddings(kind),
        trained=not module.frozen,
        reached=_is_reached(spec, module),
    )


def _neighbours(spec: Spec, flow: Flow | None) -> Neighbours:
    encoder = spec.encoder(flow) if flow else None
    return Neighbours(encoder=encoder, language=spec.language_kind)


def _expert_kernels(spec: Spec, module: Module, kind: Kind) -> ExpertKernels | None:
    if not isinstance(kind, TransformerLanguage) or kind.used.moe is None:
        return None
    return expert_kernels(kind, kind.used.moe, spec.train, spec.grid_of(module).size(ETP))


def _passed(
    spec: Spec, module: Module, flow: Flow | None
) -> tuple[tuple[int, ...], tuple[int, int]]:
    """What goes into a module for one sequence and what comes out."""
    language = spec.language_kind
    if module.role is Role.LANGUAGE:
        sequence = spec.schedule.sequence
        return (sequence, language.hidden), (sequence, language.vocabulary)
    kind = module.kind
    if isinstance(kind, Encoder):
        return kind.input_shape, (kind.tokens, kind.output_width)
    assert flow is not None, "every projector of a checked spec is in a flow"
    encoder = spec.encoder(flow)
    given = encoder.tokens, encoder.output_width
    return given, (spec.image_tokens(flow), language.hidden)


def _is_reached(spec: Spec, module: Module) -> bool:
    """Whether a module before this one is trained, and waits for a gradient through it."""
    paths = [flow.path for flow in spec.flows if module.name in flow.path]
    before = (name for path in paths for name in path[: path.index(module.name)])
    return any(not spec.module(name).frozen for name in before)
