"""Builds one rank of every role of a spec in this process, and says what came of it."""

import time
import warnings
from functools import cached_property
from typing import TYPE_CHECKING

import attrs
from attrs import frozen

from mimodsl.ir.spec import Spec
from mimodsl.planner.parameters import module_parameters
from mimodsl.planner.plan import plan
from mimodsl.runtime.errors import STARTING, RankFailed
from mimodsl.runtime.worker import failure_of
from mimodsl.runtime.workers import Watch

if TYPE_CHECKING:
    from mimodsl.runtime.meta import BuiltRank


@frozen(kw_only=True, slots=False)
class MetaBuild:
    """What was built of a spec: one rank of every role, with shapes and groups and no memory.

    `seconds` leaves out what importing torch and megatron-core took.
    """

    spec: Spec
    roles: "tuple[BuiltRank, ...]"
    seconds: float

    @cached_property
    def model(self) -> dict[str, int]:
        """How many parameters each module has as a whole, every weight counted once."""
        modules = plan(self.spec).modules
        return {name: module_parameters(module).total for name, module in modules.items()}


def build_on_meta(spec: Spec, watch: Watch) -> MetaBuild:
    """Build one rank of every distinct role of a checked spec, one after the other.

    Raises `RankFailed` where one fails. There is no rank that could hang.
    """
    from mimodsl.megatron import meta_device
    from mimodsl.runtime import meta

    start, layout = time.perf_counter(), plan(spec)
    roles, built = layout.alike(), list["BuiltRank"]()
    with meta_device.activate(), warnings.catch_warnings():
        if not watch.verbose:
            warnings.simplefilter("ignore")
        for number, alike in enumerate(roles, start=1):
            phases, rank = [STARTING], alike[0][0]
            watch.observer.entered(0, f"rank {rank}, role {number} of {len(roles)}")
            try:
                built.append(meta.build_role(layout, alike, on_phase=phases.append))
            except Exception as error:
                failure = attrs.evolve(failure_of(rank, error), phase=phases[-1])
                raise RankFailed(failure) from error
    return MetaBuild(spec=spec, roles=tuple(built), seconds=time.perf_counter() - start)
