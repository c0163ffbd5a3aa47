"""A spec as a script is to have it: its plan, its kernels, and the builder's calls for it."""

from functools import cached_property
from typing import Any

import attrs
from attrs import frozen

from mimodsl.exporter.python.code import Code, name, said
from mimodsl.exporter.python.trace import Traced
from mimodsl.ir import CustomKind, Flow, Kernels, Spec
from mimodsl.planner.grids import GridPlan
from mimodsl.planner.plan import Plan

LANGUAGE = "language"
"""megatron-core's key of the language model (models/mimo/config/role.py)."""


@frozen(kw_only=True, slots=False, eq=False)
class Resolved:
    """What the sections of a script are made from. `spec` has local or Transformer Engine kernels.

    `keys` are megatron-core's keys of the modules that it knows of, with their grids, encoders
    first.
    """

    plan: Plan

    @classmethod
    def of(cls, plan: Plan) -> "Resolved":
        """`ValueError` where no script can have it."""
        for named in (*plan.spec.modules, *plan.grids):
            if not named.name.isidentifier():
                raise ValueError(f"{named.name!r} is no name in Python, where a script needs one")
        return cls(plan=plan)

    @property
    def spec(self) -> Spec:
        train = attrs.evolve(self.plan.spec.train, kernels=self.kernels)
        return attrs.evolve(self.plan.spec, train=train)

    @property
    def kernels(self) -> Kernels:
        """`auto` is local: that needs nothing but torch and megatron-core."""
        kernels = self.plan.spec.train.kernels
        return Kernels.LOCAL if kernels is Kernels.AUTO else kernels

    @property
    def keys(self) -> dict[str, GridPlan]:
        grids = {grid.name: grid for grid in self.plan.grids}
        spec = self.plan.spec
        encoders = {flow.encoder: grids[spec.module(flow.encoder).grid] for flow in spec.flows}
        return encoders | {LANGUAGE: grids[spec.language.grid]}

    @property
    def flows(self) -> tuple[Flow, ...]:
        return self.plan.spec.flows

    @property
    def language_grid(self) -> GridPlan:
        return self.keys[LANGUAGE]

    @property
    def colocated(self) -> bool:
        """Whether every rank runs all modules, as the role of megatron-core has it."""
        return len({grid.ranks for grid in self.keys.values()}) == 1

    @property
    def pipelined(self) -> bool:
        """Whether a rank waits for others' activations: `build_communicator` is not `None`."""
        return not self.colocated or self.language_grid.axis("pp") > 1

    @property
    def staged(self) -> tuple[GridPlan, ...]:
        """The grids with more than one pipeline stage."""
        return tuple(grid for grid in self.plan.grids if grid.axis("pp") > 1)

    @cached_property
    def builder(self) -> Any:
        """The builder's files, run on stand-ins; what asks for a machine has its answer."""
        traced: Any = Traced()

        def resolve(kernels: Kernels) -> Kernels:
            return kernels

        def backend(_: Kernels) -> Code:
            return name("kernels")

        traced.layer_specs.resolve, traced.layer_specs.backend = resolve, backend
        traced.layer_specs.LocalKernels = name("LocalKernels")
        return traced

    @property
    def kernel_set(self) -> str:
        """The expression that makes the layers' kernel set."""
        return "LocalKernels()" if self.kernels is Kernels.LOCAL else "TESpecProvider()"

    @cached_property
    def configs(self) -> dict[str, Code]:
        """The TransformerConfig of every module, by the module's name."""
        spec, build = self.spec, self.builder.configs
        configs: dict[str, Code] = {}
        for flow in self.flows:
            for module in map(spec.module, flow.path[:-1]):
                if isinstance(module.kind, CustomKind):
                    configs[module.name] = build.custom_config(spec, module)
                elif module.name == flow.encoder:
                    configs[module.name] = build.encoder_config(spec, module)
                else:
                    configs[module.name] = build.projector_config(spec, flow)
        configs[spec.language.name] = build.language_config(spec)
        return {module: said(config) for module, config in configs.items()}
