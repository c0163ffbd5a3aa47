"""Collectives of megatron-core over gloo, which takes less than NCCL does.

Megatron does: it makes groups over NCCL by name (pipeline_parallel/bridge_communicator.py,
"pg, _ = dist.new_subgroups_by_enumeration"), passes split sizes as tensors to an all-to-all, and
gathers and scatters tensors of different sizes (transformer/moe/token_dispatcher.py,
"def preprocess … gather_from_sequence_parallel_region").
Why it hurts: a CPU has no NCCL, and gloo takes integers and equal sizes.
Goes when: groups take their backend from the world, and gloo takes sizes that differ.
"""

from collections.abc import Callable, Sequence
from typing import Any, Final

import torch
from torch.distributed import distributed_c10d

from mimodsl.megatron.patch import Patch

_DISTRIBUTED: Any = torch.distributed


def over_gloo(new_group: Callable[..., Any]) -> Callable[..., Any]:
    """`new_group` that makes a gloo group where NCCL is named, without options for NCCL."""

    def new_gloo_group(
        ranks: Any = None, timeout: Any = None, backend: Any = None, *args: Any, **kwargs: Any
    ) -> Any:
        if backend is None or "nccl" not in str(backend):
            return new_group(ranks, timeout, backend, *args, **kwargs)
        kwargs.pop("pg_options", None)
        return new_group(ranks, timeout, "gloo", None, *args[1:], **kwargs)

    return new_gloo_group


def _with_int_splits(all_to_all_single: Callable[..., Any]) -> Callable[..., Any]:
    """`all_to_all_single` whose split sizes may be tensors or arrays."""

    def all_to_all_ints(
        output: Any,
        input: Any,  # torch's own name for it
        output_split_sizes: Any = None,
        input_split_sizes: Any = None,
        *args: Any,
        **kwargs: Any,
    ) -> Any:
        splits = [
            sizes if sizes is None else [int(size) for size in sizes]
            for sizes in (output_split_sizes, input_split_sizes)
        ]
        return all_to_all_single(output, input, *splits, *args, **kwargs)

    return all_to_all_ints


def _gathering_uneven(all_gather: Callable[..., Any]) -> Callable[..., Any]:
    """`all_gather` that takes tensors of different sizes: then each rank broadcasts its own."""

    def all_gather_uneven(
        parts: Sequence[Any], own: torch.Tensor, group: Any = None, async_op: bool = False
    ) -> Any:
        if _alike(parts) or async_op:
            return all_gather(parts, own, group, async_op)
        parts[_DISTRIBUTED.get_rank(group)].copy_(own)
        for source, part in enumerate(parts):
            if part.numel():
                _DISTRIBUTED.broadcast(part, group=group, group_src=source)
        return None

    return all_gather_uneven


def _scattering_uneven(reduce_scatter: Callable[..., Any]) -> Callable[..., Any]:
    """`reduce_scatter` that takes tensors of different sizes: then each rank's is reduced to it."""

    def reduce_scatter_uneven(
        own: Any, parts: Sequence[torch.Tensor], *args: Any, group: Any = None, **how: Any
    ) -> Any:
        if _alike(parts):
            return reduce_scatter(own, parts, *args, group=group, **how)
        for destination, part in enumerate(parts):
            total = part.clone()
            if part.numel():
                _DISTRIBUTED.reduce(total, *args, group=group, group_dst=destination, **how)
            if destination == _DISTRIBUTED.get_rank(group):
                own.copy_(total)
        return None

    return reduce_scatter_uneven


def _alike(parts: Sequence[torch.Tensor]) -> bool:
    return len({part.shape for part in parts}) == 1


COLLECTIVES: Final = (
    # new_subgroups_by_enumeration calls it by the name in distributed_c10d.
    Patch(
        owner=distributed_c10d.__name__,
        name="new_group",
        make=over_gloo,
        why="HyperCommGrid and the MIMO bridges make their groups over NCCL by name",
    ),
    Patch(
        owner="torch.distributed",
        name="new_group",
        make=over_gloo,
        why="BridgeCommunicator's leader group calls it by this name",
    ),
    Patch(
        owner="torch.distributed",
        name="all_to_all_single",
        make=_with_int_splits,
        why="the MoE dispatcher passes split sizes as tensors; gloo takes integers",
    ),
    Patch(
        owner="torch.distributed",
        name="all_gather",
        make=_gathering_uneven,
        why="with etp the MoE dispatcher gathers the tokens of all ranks; gloo takes equal sizes",
    ),
    Patch(
        owner="torch.distributed",
        name="reduce_scatter",
        make=_scattering_uneven,
        why="with etp the MoE dispatcher scatters them again; gloo takes equal sizes",
    ),
)
