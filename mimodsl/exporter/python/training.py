"""The sections of a script on the model, DDP, the optimizer, the schedule and the loop."""

import re
from collections.abc import Iterator
from string import Template
from typing import Final

from mimodsl.exporter.python.code import Code, name, said, text
from mimodsl.exporter.python.code import double_quoted as q
from mimodsl.exporter.python.resolved import LANGUAGE, Resolved
from mimodsl.exporter.python.source import definition
from mimodsl.ir.spec import Spec
from mimodsl.ir.train import LossPer, Precision

_HERE: Final = "self.role.mode is ModuleLayout.COLOCATED and language and language.pp.size() > 1"
_MODEL_TYPE: Final = (
    "The schedule without pipelining asks for it, and MimoModel has none (schedules.py:747)."
)
_UNASKED: Final = {"model_type = ModelType.encoder_or_decoder": "", repr(_MODEL_TYPE): ""}
"""What the schedule with pipelining has no use for."""
_COLOCATED: Final = {
    "_module_optimizer(config, module, collection) if module else _stand_by()": (
        "_module_optimizer(config, module, collection)"
    ),
    "modules.get(name)": "modules[name]",
    "groups[name].gradients if module else None": "groups[name].gradients",
    "module is not None": "True",
}
"""Where every rank runs every module."""


def model(of: Resolved) -> str:
    """The MimoModel, its modules seeded one by one, and DDP around each."""
    ddp = of.builder.model._ddp_config(of.spec.train.ddp)  # noqa: SLF001
    lone_stages = of.colocated and of.language_grid.axis("pp") > 1
    seeded = {} if lone_stages else {_HERE: "False"}
    if of.pipelined:
        seeded |= _UNASKED
    parts = [
        definition("seed_module"),
        definition("SeededMimoModel", {**seeded}),
        *([definition("_pipelined")] if lone_stages else []),
        "\n".join(_model(of)) + "\n",
        definition("modules_of"),
        definition(
            "wrap_in_ddp",
            {"ddp: Ddp": "", "_ddp_config(ddp)": said(ddp)},
        ),
        definition("_config_of"),
    ]
    return "\n\n".join(parts).rstrip()


def _model(of: Resolved) -> Iterator[str]:
    spec = of.spec
    language = spec.language.name
    parameters = "grids: dict[str, HyperCommGrid], groups: dict[str, ModuleGroups]"
    yield f"def build_model({parameters}) -> MimoModel:"
    yield '    """This rank\'s modules, without DDP, on its device. Collective over the world."""'
    yield "    layers = {key: module.layers for key, module in groups.items()}"
    makers = {flow.encoder: f"{flow.encoder}_spec" for flow in of.flows}
    if of.colocated:
        made = {key: f"{maker}(layers[{q(key)}])" for key, maker in makers.items()}
        language_made = f"{language}_spec(layers[MIMO_LANGUAGE_MODULE_KEY])"
    else:
        yield "    # Elsewhere MimoModel wants a modality's name, and the language model's config."
        yield from _elsewhere(language, makers)
        made = {key: f"{key}_here" for key in makers}
        language_made = f"{language}_here"
    yield "    config = MimoModelConfig("
    yield f"        language_model_spec={language_made},"
    specs = "{" + ", ".join(f"{q(key)}: {maker}" for key, maker in made.items()) + "}"
    yield f"        modality_submodules_spec={specs},"
    tokens = {flow.encoder: flow.token for flow in of.flows}
    yield f"        special_token_ids={text(tokens, 8, 26)},"
    yield "        module_to_grid_map={"
    for key, grid in of.keys.items():
        shown = "MIMO_LANGUAGE_MODULE_KEY" if key == LANGUAGE else q(key)
        yield f"            {shown}: grids[{q(grid.name)}],"
    yield "        },"
    yield "    )"
    yield "    model = SeededMimoModel(config, layers=layers, seed=SEED)"
    yield from _frozen(of.spec, everywhere=of.colocated)
    yield "    return model.to(device=torch.cuda.current_device())"


def _elsewhere(language: str, makers: dict[str, str]) -> Iterator[str]:
    config = f'{{"config": {language}_config()}}'
    yield f"    {language}_here = ModuleSpec(module=LanguageModule, params={config})"
    yield "    if MIMO_LANGUAGE_MODULE_KEY in layers:"
    yield f"        {language}_here = {language}_spec(layers[MIMO_LANGUAGE_MODULE_KEY])"
    for key, maker in makers.items():
        yield f"    {key}_here = ModuleSpec(module=VisionModalitySubmodules)"
        yield f"    if {q(key)} in layers:"
        yield f"        {key}_here = {maker}(layers[{q(key)}])"


def _frozen(spec: Spec, *, everywhere: bool) -> Iterator[str]:
    for flow in spec.flows:
        frozen = {"encoders": spec.module(flow.encoder).frozen}
        frozen["input_projections"] = bool(flow.projector and spec.module(flow.projector).frozen)
        indent = "    " if everywhere else "        "
        if any(frozen.values()) and not everywhere:
            yield f"    if {q(flow.encoder)} in model.modality_submodules:"
        for part, is_frozen in frozen.items():
            if is_frozen:
                yield (
                    f"{indent}model.modality_submodules[{q(flow.encoder)}].{part}"
                    ".requires_grad_(False)"
                )
    if spec.language.frozen:
        yield "    if model.language_model is not None:"
        yield "        model.language_model.requires_grad_(False)"
        yield "        for part in model.language_model.modules():"
        yield '            if hasattr(part, "expert_bias"):'
        yield "                # No parameter, yet it is moved (finalize_model_grads.py:351)."
        yield "                part.frozen_expert_bias = True"


def optimizer(of: Resolved) -> str:
    """One optimizer a module, one gradient norm over all."""
    scaled = of.spec.train.precision is Precision.FP16
    overflows = "if self._overflowed(self.prepare_grads()):\n    return False, None, None"
    known: dict[str, str | Code] = {
        "spec: Spec": "",
        "optimizer_config(spec)": said(of.builder.optimizer.optimizer_config(of.spec)),
    }
    parts = [
        definition("build_optimizer", known | (_COLOCATED if of.colocated else {})),
        definition(
            "OneNormOptimizer",
            {"not self.config.fp16": "False"} if scaled else {overflows: "self.prepare_grads()"},
            without=() if scaled else ("_overflowed",),
        ),
        *map(definition, ("_square", "_parts", "_module_optimizer", "_fuse")),
        *([] if of.colocated else [definition("_stand_by")]),
    ]
    return "\n\n".join(parts).rstrip()


_STEP: Final = Template('''
def train_step($parameters) -> tuple[float, float$or_none]:
    """One step on this rank's microbatches: the mean loss of the global batch and the gradients'
    norm before clipping, the same on every rank. Collective over the world."""
    model.zero_grad_buffer()
    optimizer.zero_grad()
    reports = $run(
        forward_step_func=forward_step,
        data_iterator=microbatches,
        model=[model],
        num_microbatches=MICROBATCHES,
        seq_length=SEQUENCE,
        micro_batch_size=MICRO_BATCH,
        forward_only=False,
        $links
    )
    # Of the language model's last stage each first tp rank counts.
    sums = torch.zeros(3, dtype=torch.float64, device=torch.cuda.current_device())
    if reports and groups[MIMO_LANGUAGE_MODULE_KEY].layers.tp.rank() == 0:
        sums += torch.stack(reports).sum(0)
    dist.all_reduce(sums)
    # Each module over its own groups: megatron-core's finaliser takes no multi-module collection,
    # and would divide by a count of each module's own.
    modules = modules_of(model)
    for key, module in modules.items():
        finalize_model_grads([module], pg_collection=groups[key].gradients)
    loss, weight, _ = map(float, sums.cpu())
    for module in modules.values():
        module.scale_gradients(1.0 / max(weight, 1.0))
    _, grad_norm, _ = optimizer.step()
    return loss / max(weight, 1.0), grad_norm


def forward_step(microbatches: Iterator[dict[str, Any]], model: MimoModel) -> tuple[Any, Any]:
    output, loss_mask = model(**next(microbatches))
    return output, partial($loss, loss_mask)
''')

_COLLECTIONS: Final = """
def collections(groups: dict[str, ModuleGroups]) -> MultiModuleProcessGroupCollection:
    key = MIMO_LANGUAGE_MODULE_KEY
    return MultiModuleProcessGroupCollection(
        module_pgs={name: module.layers for name, module in groups.items()},
        language_model_module_name=key if key in groups else None,
    )
"""


def schedule(of: Resolved) -> str:
    """A step's passes, and the gradients made whole after them."""
    per_microbatch = of.spec.train.loss_per is LossPer.MICROBATCH
    loss = definition(
        "_loss",
        {"loss_per: LossPer": "", "loss_per is LossPer.MICROBATCH": str(per_microbatch)},
    )
    if not per_microbatch:
        # Of a mean alone is the docstring's second part.
        loss = re.sub(r'\n\n    A mean over.*?\n    """', '"""', loss, flags=re.DOTALL)
    pipeline = definition(
        "build_communicator", {"model.role.mode is ModuleLayout.COLOCATED": "False"}
    )
    for never in (" | None", "; `None` where every rank runs the whole model"):
        assert never in pipeline
        pipeline = pipeline.replace(never, "")
    step = _STEP.substitute(
        parameters=_parameters(of),
        or_none=" | None" if of.spec.train.precision is Precision.FP16 else "",
        run=(
            "forward_backward_pipelining_without_interleaving"
            if of.pipelined
            else "forward_backward_no_pipelining"
        ),
        links=(
            "pg_collection=collections(groups),\n        p2p_communicator=communicator,"
            if of.pipelined
            else "pg_collection=groups[MIMO_LANGUAGE_MODULE_KEY].layers,"
        ),
        loss="_loss",
    ).strip()
    parts = [pipeline, _COLLECTIONS.strip()] if of.pipelined else []
    return "\n\n\n".join(part.rstrip() for part in [*parts, step, loss])


def _parameters(of: Resolved) -> str:
    parameters = [
        "model: MimoModel",
        "optimizer: MimoOptimizer",
        *(["communicator: MultiModulePipelineCommunicator"] if of.pipelined else []),
        "groups: dict[str, ModuleGroups]",
        "microbatches: Iterator[dict[str, Any]]",
    ]
    return "\n" + "".join(f"    {parameter},\n" for parameter in parameters)


_MAIN: Final = Template("""
def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--steps", type=int, default=$steps)
    steps = parser.parse_args().steps
    torch.cuda.set_device(int(os.environ["LOCAL_RANK"]))
    dist.init_process_group("nccl")
    if dist.get_world_size() != $world:
        raise SystemExit(f"there are {dist.get_world_size()} ranks, and not $world")
    grids = make_grids()
    groups = module_groups(grids)
    ensure_memory_buffer()
    provide_weight_gradients()
    model = build_model(grids, groups)
    wrap_in_ddp(model, groups)
$communicator    optimizer = build_optimizer(model, groups)
    scheduler = $scheduler
    # megatron-core's schedules, which take the language model's config, have their hooks there.
    model.config.no_sync_func = model.no_sync
$scaled    for step in range(1, steps + 1):
        # What a step draws, such as dropout, follows from the seed and the step alone.
$seeded
        samples = microbatches(step - 1, groups)
        loss, grad_norm = $called
$advanced
        if dist.get_rank() == 0:
            print(f"step {step}: loss {loss:.9g}, gradient norm $norm", flush=True)
    dist.destroy_process_group()


if __name__ == "__main__":
    main()
""")


def loop(of: Resolved, steps: int) -> str:
    """What megatron-core's layers ask for and do not have, and the program itself."""
    scaled = of.spec.train.precision is Precision.FP16
    communicator = "communicator, " if of.pipelined else ""
    scheduler = of.builder.scheduler.build_scheduler(name("optimizer"), of.spec.train)
    main = _MAIN.substitute(
        scheduler=text(said(scheduler), 4, 16),
        advanced=(
            "        if grad_norm is not None:  # else a gradient overflowed\n"
            "            scheduler.step(1)"
            if scaled
            else "        scheduler.step(1)"
        ),
        steps=steps,
        world=of.spec.world,
        communicator="    communicator = build_communicator(model)\n" if of.pipelined else "",
        scaled="    model.config.grad_scale_func = optimizer.scale_loss\n" if scaled else "",
        seeded=_seeded(of),
        called=text(name(f"train_step(model, optimizer, {communicator}groups, samples)"), 8, 26),
        norm="{grad_norm}" if scaled else "{grad_norm:.9g}",
    )
    provided = ("ensure_memory_buffer", "add_product", "provide_weight_gradients")
    return "\n\n\n".join([*(definition(name).rstrip() for name in provided), main.strip()])


def _seeded(of: Resolved) -> str:
    """Of colocated modules the language model has the say, else the first of the grid."""
    spec = of.spec
    language = spec.language.name
    if of.colocated:
        return (
            f'        seed_module(SEED, f"{language} step {{step}}", '
            "groups[MIMO_LANGUAGE_MODULE_KEY].layers)"
        )
    names = {key: language if key == LANGUAGE else _first(of, key) for key in of.keys}
    table = {key: names[key] for key in sorted(names, key=lambda key: key != LANGUAGE)}
    lines = [
        f"        names = {text(table, 8, 16)}",
        "        key = next(key for key in names if key in groups)",
        '        seed_module(SEED, f"{names[key]} step {step}", groups[key].layers)',
    ]
    return "\n".join(lines)


def _first(of: Resolved, key: str) -> str:
    """The first module on the grid of another, in the spec's order."""
    spec = of.spec
    return next(m.name for m in spec.modules if m.grid == spec.module(key).grid)
