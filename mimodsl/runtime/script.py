"""The run of an exported script, under torchrun: from a `Program` to steps of training.

A script holds these definitions and those that they need, and calls `main` with its own program.
"""

import argparse
import os
from typing import Any, cast

import torch
import torch.distributed as dist
from megatron.core.hyper_comm_grid import HyperCommGrid
from megatron.core.models.mimo.config.role import MIMO_LANGUAGE_MODULE_KEY

from mimodsl.builder.grids import GridGroups, comm_grid
from mimodsl.builder.model import build_model, seed_step, wrap_in_ddp
from mimodsl.builder.optimizer import build_optimizer, give_hooks
from mimodsl.builder.process_groups import (
    BASE_FIELDS,
    EXPERT_FIELDS,
    ModuleGroups,
    module_groups,
)
from mimodsl.builder.schedule import MicrobatchSchedule, build_communicator
from mimodsl.builder.scheduler import build_scheduler
from mimodsl.megatron.memory_buffer import ensure_memory_buffer
from mimodsl.megatron.weight_gradients import provide_weight_gradients
from mimodsl.planner.program.values import Program, RankGrid
from mimodsl.runtime.samples import Deal, Synthetic, dealt


def main(program: Program, steps: int) -> None:
    """Train on this rank of torchrun for as many steps as the command line says, or `steps`."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--steps", type=int, default=steps)
    steps = parser.parse_args().steps
    torch.cuda.set_device(int(os.environ["LOCAL_RANK"]))
    dist.init_process_group("nccl")
    if dist.get_world_size() != program.world:
        raise SystemExit(f"there are {dist.get_world_size()} ranks, and not {program.world}")
    train(program, steps)
    dist.destroy_process_group()


def train(program: Program, steps: int) -> None:
    """Build the program's modules on this rank, and train them. Collective over the world."""
    grids = make_grids(program.grids)
    groups = groups_here(program, grids)
    ensure_memory_buffer()
    provide_weight_gradients()
    model = build_model(program, {name: grid.comm for name, grid in grids.items()}, groups)
    wrap_in_ddp(model, program.ddp, groups)
    communicator = build_communicator(model)
    optimizer = build_optimizer(model, program.optimizer, groups)
    give_hooks(model, optimizer)
    scheduler = build_scheduler(optimizer, program.scheduler)
    schedule = MicrobatchSchedule(
        model=model,
        communicator=communicator,
        groups=groups,
        batches=program.batches,
        loss_per=program.loss_per,
    )
    samples = Synthetic(program.samples)
    layers = {key: module.layers for key, module in groups.items()}
    for step in range(1, steps + 1):
        seed_step(program.seed, program.seed_names, layers, step)
        model.zero_grad_buffer()
        optimizer.zero_grad()
        totals = schedule.forward_backward(dealt(samples, deal(program), step - 1, layers))
        updated, norm, _ = optimizer.step()
        if updated:  # else a gradient overflowed
            scheduler.step(1)
        if dist.get_rank() == 0:
            shown = "overflow" if norm is None else f"{norm:.9g}"
            print(f"step {step}: loss {totals.mean_loss:.9g}, gradient norm {shown}", flush=True)  # noqa: T201


def deal(program: Program) -> Deal:
    """How the program's samples reach the ranks."""
    return Deal(
        batches=program.batches,
        language=MIMO_LANGUAGE_MODULE_KEY,
        placeholders={name: each.token for name, each in program.modalities.items()},
        dtype=program.dtype,
    )


def make_grids(grids: dict[str, RankGrid]) -> dict[str, GridGroups]:
    """Every grid with its views and process groups. Collective over the world."""
    made = {name: comm_grid(grid) for name, grid in grids.items()}
    for name, comm in made.items():
        for axes in dict.fromkeys(BASE_FIELDS.values()):
            comm.create_pg(list(axes))
        for axes in dict.fromkeys(EXPERT_FIELDS.values()):
            comm.create_pg(list(axes), view="expert")
        for view in grids[name].views[1:]:
            for axis in view.axes:
                if axis not in view.shared:
                    comm.create_pg([axis], view=view.name)
    return {
        name: GridGroups(
            name=name,
            comm=comm,
            has_experts=grids[name].has_experts,
            embedding=embedding_group(comm),
        )
        for name, comm in made.items()
    }


def embedding_group(comm: HyperCommGrid) -> dist.ProcessGroup | None:
    """The first and the last stage of each pipeline, where tied word embeddings live.

    A stage between has a group to itself; of one stage, it is the pipeline's group. Collective over
    the world.
    """
    pipelines = comm.get_rank_enum("pp")
    if len(pipelines[0]) == 1:
        return comm.get_pg("pp") if comm.is_current_rank_in_grid() else None
    ends = [[ranks[0], ranks[-1]] for ranks in pipelines]
    between = [[rank] for ranks in pipelines for rank in ranks[1:-1]]
    group, _ = cast(Any, dist).new_subgroups_by_enumeration(ends + between)
    return group


def groups_here(program: Program, grids: dict[str, GridGroups]) -> dict[str, ModuleGroups]:
    """The process groups of this rank's modules, by megatron-core's key."""
    parts = {name: modality.encoder for name, modality in program.modalities.items()}
    parts[MIMO_LANGUAGE_MODULE_KEY] = program.language
    own = {name: module_groups(grid) for name, grid in grids.items() if grid.is_member}
    return {key: own[part.grid] for key, part in parts.items() if part.grid in own}
