"""A spec put together on this rank: grids, groups, model, bridges and optimizer, ready to train."""

from collections.abc import Callable, Iterable, Mapping
from functools import partial

import torch.distributed as dist
from attrs import frozen
from megatron.core.hyper_comm_grid import HyperCommGrid
from megatron.core.models.mimo import MimoModel
from megatron.core.models.mimo.optimizer import MimoOptimizer
from megatron.core.optimizer_param_scheduler import OptimizerParamScheduler
from megatron.core.pipeline_parallel.multimodule_communicator import MultiModulePipelineCommunicator
from megatron.core.process_groups_config import ProcessGroupCollection

from mimodsl.builder.bridges import give_to_bridges, given_to_gathers
from mimodsl.builder.evaluation import Evaluated, evaluate
from mimodsl.builder.grids import build_grids
from mimodsl.builder.groups import make_groups
from mimodsl.builder.images import check_images, image_bridges
from mimodsl.builder.model import build_model, mimo_names, wrap_in_ddp
from mimodsl.builder.optimizer import build_optimizer, give_hooks
from mimodsl.builder.passes import PassTimers
from mimodsl.builder.process_groups import module_groups
from mimodsl.builder.program import program_here
from mimodsl.builder.schedule import (
    Microbatch,
    MicrobatchSchedule,
    Totals,
    build_communicator,
)
from mimodsl.builder.scheduler import build_scheduler, learning_rate
from mimodsl.ir.spec import Spec
from mimodsl.megatron.leftovers import forget_last_model
from mimodsl.megatron.memory_buffer import ensure_memory_buffer
from mimodsl.megatron.weight_gradients import provide_weight_gradients
from mimodsl.planner.plan import plan
from mimodsl.planner.sharing import SHARE


@frozen(kw_only=True)
class StepResult:
    """One training step, the same on every rank.

    `loss` is the mean over the global batch and `grad_norm` the norm over all modules, before
    clipping. Where a gradient overflowed, nothing was updated and `grad_norm` is `None`. `lr` is
    the learning rate of this step.
    """

    loss: float
    grad_norm: float | None
    lr: float
    tokens: int


@frozen(kw_only=True, eq=False)
class Assembly:
    """Everything that trains a spec on this rank; each part can be taken by a loop of your own.

    `grids` are by grid name; `process_groups` hold this rank's modules by name.
    """

    spec: Spec
    grids: Mapping[str, HyperCommGrid]
    process_groups: Mapping[str, ProcessGroupCollection]
    model: MimoModel
    communicator: MultiModulePipelineCommunicator | None
    optimizer: MimoOptimizer
    scheduler: OptimizerParamScheduler
    schedule: MicrobatchSchedule

    def forward_backward(
        self, microbatches: Iterable[Microbatch], *, forward_only: bool = False
    ) -> Totals:
        """Run a step's microbatches; afterwards the gradients of their mean loss are in place.

        Gradients add to what is there: `model.zero_grad_buffer()` comes before. Collective.
        """
        return self.schedule.forward_backward(microbatches, forward_only=forward_only)

    def train_step(
        self,
        microbatches: Iterable[Microbatch],
        *,
        on_phase: Callable[[str], None] = lambda _: None,
    ) -> StepResult:
        """One step of training on this rank's microbatches of the global batch. Collective.

        `on_phase` hears `forward` and `backward` as a pass of a microbatch begins, and `optimizer`.
        """
        self.model.config.timers = PassTimers(on_phase)
        self.model.zero_grad_buffer()
        self.optimizer.zero_grad()
        totals = self.forward_backward(microbatches)
        on_phase("optimizer")
        lr = learning_rate(self.scheduler)
        updated, grad_norm, _ = self.optimizer.step()
        if updated:
            self.scheduler.step(1)
        return StepResult(loss=totals.mean_loss, grad_norm=grad_norm, lr=lr, tokens=totals.tokens)

    def evaluate(self, steps: Iterable[Iterable[Microbatch]]) -> Evaluated:
        """Loss and accuracy on this rank's microbatches of some steps, without dropout. Collective.

        Weights, gradients, optimizer and learning rate stay as they are.
        """
        return evaluate(self.schedule, steps)


def assemble(
    spec: Spec,
    *,
    share_groups: bool = SHARE,
    on_phase: Callable[[str], None] = lambda _: None,
) -> Assembly:
    """Build a checked spec on this rank of an initialised `torch.distributed` world.

    Every rank of the spec's world calls it. With `share_groups`, names of the same ranks share a
    process group where what they carry takes turns (`mimodsl.planner.sharing`); without, each
    has its own. `on_phase` hears of each phase as it begins. Raises `ValueError` where the world
    has not as many ranks as the spec.
    """
    if not dist.is_initialized():
        raise ValueError("this process is no rank yet: under torchrun, call mimodsl.join() first")
    if dist.get_world_size() != spec.world:
        raise ValueError(f"the spec has {spec.world} ranks, the world {dist.get_world_size()}")
    on_phase("process groups")
    planned = plan(spec)
    program = program_here(planned)
    made = make_groups(planned, share=share_groups)
    grids = build_grids(planned.grids, made)
    own = {name: module_groups(grid) for name, grid in grids.items() if grid.is_member}
    here = {module.name: own[module.grid] for module in spec.modules if module.grid in own}
    groups = {key: here[name] for name, key in mimo_names(spec).items() if name in here}
    on_phase("model")
    forget_last_model()
    ensure_memory_buffer()
    provide_weight_gradients()
    with given_to_gathers(planned, made):
        model = build_model(program, {name: grid.comm for name, grid in grids.items()}, groups)
    on_phase("data parallel")
    wrap_in_ddp(model, program.ddp, groups)
    on_phase("bridges")
    give_to_bridges(planned, made)
    communicator = build_communicator(model)
    on_phase("optimizer")
    optimizer = build_optimizer(model, program.optimizer, groups)
    give_hooks(model, optimizer)
    return Assembly(
        spec=spec,
        grids={name: grid.comm for name, grid in grids.items()},
        process_groups={name: groups.layers for name, groups in here.items()},
        model=model,
        communicator=communicator,
        optimizer=optimizer,
        scheduler=build_scheduler(optimizer, program.scheduler),
        schedule=MicrobatchSchedule(
            model=model,
            communicator=communicator,
            groups=groups,
            batches=program.batches,
            loss_per=program.loss_per,
            check=partial(check_images, image_bridges(spec), here=frozenset(groups)),
        ),
    )
