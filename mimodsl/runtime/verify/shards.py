"""A rank's shards of weights and gradients, placed in their logical tensors."""
# pyright: reportUnknownMemberType=false, reportUnknownVariableType=false
# pyright: reportUnknownArgumentType=false

from collections.abc import Callable, Generator, Iterator, Mapping
from contextlib import contextmanager
from typing import Any, cast

import torch
import torch.distributed as dist
from attrs import frozen
from megatron.core.dist_checkpointing.dict_utils import nested_values
from megatron.core.dist_checkpointing.mapping import ShardedTensor, ShardedTensorFactory
from megatron.core.distributed import DistributedDataParallel
from torch import Tensor, nn

from mimodsl.builder.model import modules_of
from mimodsl.runtime.verify.record import Piece, Shard

type Tensors = Mapping[str, Tensor]
"""Whole logical tensors by key."""


@frozen(kw_only=True, eq=False)
class LocalShard:
    """A shard that this rank holds, with its data and its place in the logical tensor."""

    shard: Shard
    data: Tensor
    place: tuple[int | slice, ...]
    shape: tuple[int, ...]
    trained: bool


def weights(model: nn.Module) -> list[LocalShard]:
    """Every weight that a checkpoint of this rank would hold, buffers included."""
    return list(_held(model, lambda _: True))


def gradients(model: nn.Module) -> list[LocalShard]:
    """Every parameter's gradient; zeros where it has none. Read them before the next step."""
    with _gradients_for_data(model) as names:
        return list(_held(model, names.__contains__))


def whole(shards: list[LocalShard]) -> dict[str, Tensor]:
    """Logical tensors from shards that cover them, as those of a single rank do."""
    tensors: dict[str, Tensor] = {}
    for held in shards:
        key = held.shard.key
        if key not in tensors:
            tensors[key] = torch.zeros(held.shape, dtype=held.data.dtype)
        tensors[key][held.place] = held.data
    return tensors


def beside(
    shards: list[LocalShard], reference: Tensors, base: Tensors | None = None
) -> list[Piece]:
    """Each shard beside the same part of the reference, both as differences from `base`."""
    return [_piece(held, reference, base) for held in shards]


def collect_gradients(model: Any) -> None:
    """Make every rank's gradients whole: the distributed optimizer leaves a rank its slice alone.

    Collective over each module's data-parallel groups.
    """
    for module in modules_of(model).values():
        assert isinstance(module, DistributedDataParallel)
        for groups in (module.bucket_groups, module.expert_parallel_bucket_groups):
            for group in groups:
                _gather_slices(group)


def _gather_slices(group: Any) -> None:
    size = group.intra_distributed_optimizer_instance_size
    for bucket in group.buckets:
        own = bucket.grad_data.chunk(size)[group.intra_distributed_optimizer_instance_rank]
        dist.all_gather_into_tensor(
            bucket.grad_data,
            own.clone(),
            group=group.intra_distributed_optimizer_instance_group,
        )


@contextmanager
def _gradients_for_data(model: nn.Module) -> Generator[set[str]]:
    """Gradients in the place of weights: a sharded state dict then says which part each one is."""
    parameters = dict(model.named_parameters())
    data = {name: parameter.data for name, parameter in parameters.items()}
    for parameter in parameters.values():
        parameter.data = _gradient(parameter)
    try:
        yield set(parameters)
    finally:
        for name, parameter in parameters.items():
            parameter.data = data[name]


def _gradient(parameter: nn.Parameter) -> Tensor:
    found: Tensor | None = getattr(parameter, "main_grad", None)
    return torch.zeros_like(parameter) if found is None else found


def _held(model: nn.Module, wanted: Callable[[str], bool]) -> Iterator[LocalShard]:
    parameters = dict(model.named_parameters())
    for name, entry in cast(Any, model).sharded_state_dict().items():
        if wanted(name):
            parameter = parameters.get(name)
            expert = not getattr(parameter, "allreduce", True)
            trained = parameter is None or parameter.requires_grad
            for sharded in _sharded_tensors(entry):
                yield _hold(sharded, expert=expert, trained=trained)


def _sharded_tensors(entry: Any) -> Iterator[ShardedTensor]:
    """The shards of one entry; a factory splits what lies fused in one tensor."""
    built = entry.build() if isinstance(entry, ShardedTensorFactory) else [entry]
    values: Any = [built] if isinstance(built, ShardedTensor) else nested_values(built)
    for value in values:
        if isinstance(value, ShardedTensor):
            yield value


def _hold(sharded: ShardedTensor, *, expert: bool, trained: bool) -> LocalShard:
    assert sharded.data is not None
    ahead = sharded.prepend_axis_num
    shard = Shard(
        key=sharded.key,
        index=tuple(sharded.global_offset[:ahead]),
        offset=tuple(sharded.global_offset[ahead:]),
        numel=sharded.data.numel(),
        expert=expert,
    )
    return LocalShard(
        shard=shard,
        # A Parameter would follow its own data; what it is compared with lies in a file.
        data=sharded.data.detach().cpu(),
        place=sharded.global_slice(),
        shape=tuple(sharded.global_shape),
        trained=trained,
    )


def _piece(held: LocalShard, reference: Tensors, base: Tensors | None) -> Piece:
    found = held.data.detach().double()
    expected = _part(held, reference)
    if base is not None:
        start = _part(held, base)
        found, expected = found - start, expected - start
    return Piece(
        shard=held.shard,
        expected=_square(expected),
        found=_square(found),
        dot=float((expected * found).sum()),
        distance=_square(found - expected),
        mark=_mark(found),
        even=bool((found == found.flatten()[0]).all()),
        trained=held.trained,
    )


def _part(held: LocalShard, tensors: Tensors) -> Tensor:
    """The part of a logical tensor that a shard is; zeros of a tensor that isn't there."""
    tensor = tensors.get(held.shard.key)
    if tensor is None or tensor.shape != held.shape:
        return torch.zeros_like(held.data, dtype=torch.float64)
    return tensor[held.place].double()


def _square(tensor: Tensor) -> float:
    return float(tensor.square().sum())


def _mark(tensor: Tensor) -> float:
    """A projection on a direction without symmetries, the same for every tensor of one size."""
    direction = torch.arange(1, tensor.numel() + 1, dtype=torch.float64).square().cos()
    return float(tensor.flatten() @ direction)
