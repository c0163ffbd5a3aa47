"""The work of a rank in a verification: the same steps on one rank and in the layout."""

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, Final

import torch
from attrs import frozen

from mimodsl.builder.assembly import Assembly, assemble
from mimodsl.ir.spec import Spec
from mimodsl.megatron.guard import no_parallel_state
from mimodsl.planner.plan import plan
from mimodsl.runtime.checkpoint.weights import load_weights, save_weights
from mimodsl.runtime.data import SyntheticData, microbatches
from mimodsl.runtime.train import Rank
from mimodsl.runtime.verify import shards
from mimodsl.runtime.verify.expert_choices import RouterChoices
from mimodsl.runtime.verify.forward_hooks import ForwardHooks
from mimodsl.runtime.verify.record import RankRecord, StepRecord

WEIGHTS: Final = "weights"


@frozen(kw_only=True)
class RecordedRun:
    """Trains a spec for some steps from the weights in `folder`, and writes down what it sees.

    The run on one rank (`alone`) makes those weights and leaves its gradients and final weights as
    whole tensors in `folder`; the ranks of a layout compare their shards with these. Called by
    every rank of an initialised world of the spec's size.
    """

    spec: Spec
    steps: int
    folder: Path
    alone: bool

    def __call__(self, rank: Rank) -> RankRecord:
        world = "one rank" if self.alone else f"{self.spec.world} ranks"

        def on_phase(name: str) -> None:
            rank.phase(f"{world}: {name}")

        with no_parallel_state():
            assembly = assemble(self.spec, on_phase=on_phase)
            return self._record(assembly, rank.rank, on_phase)

    def _record(self, assembly: Assembly, rank: int, on_phase: Callable[[str], None]) -> RankRecord:
        own = shards.weights(assembly.model)
        fresh = shards.beside(own, {})
        on_phase("weights")
        self._share_weights(assembly)
        start = self._compared(shards.weights(assembly.model), "start")
        steps = tuple(self._train(assembly, rank, on_phase))
        if self.spec.train.ddp.overlap_param_gather:
            # Otherwise the last update is gathered by the next forward pass, which never comes.
            model: Any = assembly.model
            model.start_param_sync(force_sync=True)
        base = None if self.alone else self._read("start")
        end = self._compared(shards.weights(assembly.model), "end", base)
        return RankRecord(fresh=tuple(fresh), start=tuple(start), steps=steps, end=tuple(end))

    def _share_weights(self, assembly: Assembly) -> None:
        folder = self.folder / WEIGHTS
        if self.alone:
            folder.mkdir()
            save_weights(assembly, folder)
        load_weights(assembly, folder)

    def _train(
        self, assembly: Assembly, rank: int, on_phase: Callable[[str], None]
    ) -> Iterator[StepRecord]:
        roles = {role.name: role for role in plan(self.spec).rank(rank).modules}
        watcher = ForwardHooks(assembly=assembly, roles=roles)
        watcher.watch()
        choices = RouterChoices(assembly.model)
        data = SyntheticData(spec=self.spec)
        for number in range(1, self.steps + 1):
            on_phase(f"step {number}")
            with choices.in_step(self._path(f"choices-{number}"), alone=self.alone):
                record = self._step(assembly, data, number, watcher)
            yield record

    def _step(
        self, assembly: Assembly, data: SyntheticData, number: int, watcher: ForwardHooks
    ) -> StepRecord:
        optimizer: Any = assembly.optimizer
        assembly.model.zero_grad_buffer()
        optimizer.zero_grad()
        batches = microbatches(data, number - 1, assembly.process_groups)
        totals = assembly.forward_backward(batches)
        shards.collect_gradients(assembly.model)
        found = shards.gradients(assembly.model)
        gradients = self._compared(found, f"gradients-{number}")
        optimizer.prepare_grads()
        norms = {
            name: float(info.optimizer.get_grad_norm())
            for name, info in optimizer.module_infos.items()
            if info.is_active
        }
        _, grad_norm, _ = optimizer.step()
        return StepRecord(
            loss=totals.mean_loss,
            weight=totals.weight,
            grad_norm=grad_norm,
            norms=norms,
            seen=watcher.taken(),
            gradients=tuple(gradients),
        )

    def _compared(
        self, found: list[shards.LocalShard], name: str, base: shards.Tensors | None = None
    ) -> list[Any]:
        """Shards beside the reference's, which on one rank they are themselves."""
        if self.alone:
            torch.save(shards.whole(found), self._path(name))
        return shards.beside(found, self._read(name), base)

    def _read(self, name: str) -> shards.Tensors:
        return torch.load(self._path(name), mmap=True)

    def _path(self, name: str) -> Path:
        return self.folder / f"{name}.pt"
