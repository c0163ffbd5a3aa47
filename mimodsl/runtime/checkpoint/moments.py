"""The optimizer's state of every module: fp32 weights and moments, sharded like the weights.

In the format that megatron-core calls fully reshardable (optimizer/distrib_optimizer.py,
"def sharded_param_state_fully_reshardable"), but not by its own `MimoOptimizer.sharded_state_dict`,
which in megatron-core

- saves a module's parameter groups once for each context-parallel rank, and never those of a
  chained optimizer that the first pipeline stage lacks (models/mimo/optimizer.py,
  "def _get_replica_id");
- asks a wholly frozen module for the state that it has not (optimizer/distrib_optimizer.py,
  "def state_dict");
- takes, where fp32 and bf16 weights are in one module, one weight's state for another's: its index
  of parameters is not in the optimizer's order (optimizer/distrib_optimizer.py,
  "def _get_main_param_and_optimizer_states … group_order");
- leaves out the padding between buckets when it gathers, and not when it slices
  (optimizer/distrib_optimizer.py, "def sharded_param_state_fully_reshardable");
- takes torch's step of a parameter, which it does not save, for a tensor to load
  (optimizer/distrib_optimizer.py, "def _set_main_param_and_optimizer_states");
- brings back learning rate and decay of the spec that saved, not those of the spec that loads.

So the gathering, slicing and setting are done here. What is left of the parameter groups is one
number, how often the optimizer has stepped.
"""

from collections.abc import Iterator, Mapping
from dataclasses import replace
from typing import Any, cast

import torch
import torch.distributed as dist
from megatron.core.dist_checkpointing import dict_utils
from megatron.core.dist_checkpointing.mapping import ShardedTensor, ShardedTensorFactory
from megatron.core.optimizer.distrib_optimizer import DistributedOptimizer
from torch import Tensor
from torch.nn import Parameter

from mimodsl.builder.assembly import Assembly

type Sharded = dict[str, Any]
type States = dict[str, Tensor]

_MAIN = "param"
"""The key of fp32 weights beside the moments, as in megatron-core."""


def updates(assembly: Assembly) -> dict[str, int]:
    """How often the optimizer has stepped each of this rank's modules, by megatron-core's key.

    0 where a module is frozen, or this rank holds no part of its state.
    """
    return {
        name: max((_steps(part) for part in parts), default=0)
        for name, parts in _parts(assembly).items()
    }


def sharded_moments(assembly: Assembly, weights: Sharded, modules: frozenset[str]) -> Sharded:
    """This rank's optimizer state of some modules, gathered over their data-parallel ranks.

    `weights` are the rank's `sharded_weights`. Collective over each module's ranks.
    """
    places = _places(weights)
    return {
        name: [_placed(places[id(parameter)], states) for parameter, states in _whole(parts)]
        for name, parts in _parts(assembly).items()
        if name in modules
    }


def wanted_moments(assembly: Assembly, weights: Sharded, modules: frozenset[str]) -> Sharded:
    """As `sharded_moments`, with room for what is to be loaded in place of the state.

    Weights may be changed: they are to be loaded as well.
    """
    places = _places(weights)
    wanted: Sharded = {}
    for name, parts in _parts(assembly).items():
        if name in modules:
            for part in parts:
                _make_room(part)
            wanted[name] = [
                _placed(
                    places[id(parameter)],
                    {
                        key: torch.empty(parameter.shape, dtype=torch.float32, device="cpu")
                        for key in _keys(part)
                    },
                )
                for part in parts
                for parameter in _parameters(part)
            ]
    return wanted


def set_moments(assembly: Assembly, loaded: Sharded, counts: Mapping[str, int]) -> None:
    """Put the loaded state of modules into the optimizer, and how often it has stepped them."""
    for name, parts in _parts(assembly).items():
        if name in loaded:
            states = iter(loaded[name])
            for part in parts:
                own = dict(_own(part))
                for parameter in _parameters(part):
                    whole = next(states)
                    for key, shard in own.get(parameter, {}).items():
                        span = part._get_model_param_range_map(parameter)["param"]  # noqa: SLF001
                        shard.detach().copy_(whole[key].view(-1)[span.start : span.end])
                _set_steps(part, counts[name])


def _parts(assembly: Assembly) -> dict[str, list[Any]]:
    """This rank's modules, each with the optimizers of its dense and of its expert parameters.

    A frozen module has none; and a part without parameters is left out.
    """
    infos: dict[str, Any] = dict(assembly.optimizer.module_infos)
    active = {name: info.optimizer for name, info in infos.items() if info.is_active}
    return {
        name: [
            part
            for part in getattr(optimizer, "chained_optimizers", [optimizer])
            if not part.is_stub_optimizer
        ]
        for name, optimizer in active.items()
    }


def _places(weights: Sharded) -> dict[int, ShardedTensor | ShardedTensorFactory]:
    """Where each of this rank's parameters, by its identity, lies in the whole."""
    values: list[Any] = list(cast(Any, dict_utils).nested_values(weights))
    kinds = (ShardedTensor, ShardedTensorFactory)
    return {id(value.data): value for value in values if isinstance(value, kinds)}


def _placed(place: ShardedTensor | ShardedTensorFactory, states: States) -> Sharded:
    """A parameter's states, sharded as it is itself."""
    return {key: _like(place, f"optimizer.state.{key}.{place.key}", states[key]) for key in states}


def _like(place: Any, key: str, data: Tensor) -> Any:
    if isinstance(place, ShardedTensorFactory):
        return replace(place, key=key, data=data)
    return replace(place, key=key, data=data, dtype=data.dtype)


def _buckets(part: DistributedOptimizer) -> Iterator[tuple[Any, dict[Parameter, Any]]]:
    """The optimizer's buckets, each with the ranges of this rank's share of its parameters."""
    optimizer: Any = part
    for buffer, by_type in zip(optimizer.buffers, optimizer.gbuf_ranges, strict=True):
        for ranges in by_type.values():
            for bucket, own in zip(buffer.buckets, ranges, strict=True):
                yield bucket, own["param_map"]


def _parameters(part: DistributedOptimizer) -> Iterator[Parameter]:
    """All parameters of an optimizer, those that other ranks hold included, alike on all ranks."""
    for bucket, _ in _buckets(part):
        yield from bucket.params_list


def _moments(part: Any) -> tuple[str, ...]:
    return part.optimizer_state_keys


def _own(part: Any) -> Iterator[tuple[Parameter, States]]:
    """This rank's shard of each parameter's states, flat; the optimizer's own tensors."""
    pairs = (
        (part.model_float16_groups, part.shard_fp32_from_float16_groups),
        (part.model_fp32_groups, part.shard_fp32_groups),
    )
    for models, shards in pairs:
        for model, shard in zip(models, shards, strict=True):
            for parameter, main in zip(model, shard, strict=True):
                state = part.optimizer.state[main]
                yield parameter, {_MAIN: main} | {key: state[key] for key in _moments(part)}


def _whole(parts: list[Any]) -> Iterator[tuple[Parameter, States]]:
    """Each parameter's states, gathered over data-parallel ranks, on the CPU, in its own shape."""
    for part in parts:
        own = dict(_own(part))
        for bucket, ranges in _buckets(part):
            gathered = {key: _gathered(part, bucket, ranges, own, key) for key in _keys(part)}
            for parameter in bucket.params_list:
                start, end = bucket.param_to_index[parameter]
                yield (
                    parameter,
                    {key: flat[start:end].view(parameter.shape) for key, flat in gathered.items()},
                )


def _keys(part: Any) -> tuple[str, ...]:
    return (_MAIN, *_moments(part))


def _gathered(
    part: Any, bucket: Any, ranges: dict[Parameter, Any], own: dict[Parameter, States], key: str
) -> Tensor:
    """One state of all of a bucket's parameters, flat and with its padding, [bucket]."""
    group = part.data_parallel_group
    device = torch.cuda.current_device()
    whole = torch.empty(bucket.grad_data.numel(), dtype=torch.float32, device=device)
    share = torch.zeros(whole.numel() // group.size(), dtype=torch.float32, device=device)
    for parameter, span in ranges.items():
        local = span["gbuf_local"]
        share[local.start : local.end].copy_(own[parameter][key].detach())
    cast(Any, dist).all_gather_into_tensor(whole, share, group=group)
    return whole.cpu()


def _steps(part: Any) -> int:
    """Torch counts steps in a parameter's state, fused optimizers in a parameter group."""
    counts = [state["step"] for state in part.optimizer.state.values() if "step" in state]
    counts += [group["step"] for group in part.optimizer.param_groups if "step" in group]
    return max(map(int, counts), default=0)


def _set_steps(part: Any, count: int) -> None:
    holders = (*part.optimizer.state.values(), *part.optimizer.param_groups)
    for holder in holders:
        old = holder.get("step")
        if isinstance(old, Tensor):
            holder["step"] = torch.full_like(old, count)
        elif old is not None:
            holder["step"] = count


def _make_room(part: Any) -> None:
    """Have the optimizer allocate its moments, which it does in its first step.

    The step's gradients are zero, but its decay moves the weights.
    """
    if not part.optimizer.state:
        part._init_optimizer_states_with_dummy_values()  # noqa: SLF001
