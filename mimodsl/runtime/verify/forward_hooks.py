"""Watches the forward pass: what every sample is, module by module and layer by layer."""
# pyright: reportUnknownMemberType=false, reportUnknownVariableType=false
# pyright: reportUnknownArgumentType=false

from collections.abc import Callable, Mapping
from typing import Any

import torch
from attrs import define, field
from megatron.core.models.common.language_module.language_module import LanguageModule
from torch import Tensor, nn

from mimodsl.builder.assembly import Assembly
from mimodsl.builder.families.package import Custom, CustomDecoder
from mimodsl.builder.families.vision import ImageEncoder
from mimodsl.builder.model import modules_of
from mimodsl.ir.flow import Flow
from mimodsl.planner.roles import ModuleRole
from mimodsl.runtime.verify.record import Point, SampleNorm

type _Take = Callable[[Any, Any, Any], None]


@define(kw_only=True)
class ForwardHooks:
    """Records what passes through a model's modules, from their hooks.

    `roles` are this rank's, by module name: they say which samples a microbatch ought to be.
    """

    assembly: Assembly
    roles: Mapping[str, ModuleRole]
    _seen: list[SampleNorm] = field(factory=list[SampleNorm], init=False)
    _microbatch: int = field(default=-1, init=False)
    _inside: bool = field(default=False, init=False)

    def watch(self) -> None:
        """Hang hooks into every module of the model."""
        model = self.assembly.model
        model.register_forward_pre_hook(self._enter, with_kwargs=True)
        model.register_forward_hook(self._leave, always_call=True)
        inner = {name: module.module for name, module in modules_of(model).items()}
        for flow in self.assembly.spec.flows:
            if flow.encoder in inner:
                self._watch_modality(flow, inner[flow.encoder])
        for module in inner.values():
            if isinstance(module, LanguageModule):
                self._watch_language(module)

    def taken(self) -> tuple[SampleNorm, ...]:
        """What a step's forward passes came to, in their order. Empties the record."""
        seen = tuple(self._seen)
        self._seen.clear()
        self._microbatch = -1
        return seen

    def _enter(self, _model: Any, _args: Any, kwargs: dict[str, Any]) -> None:
        self._microbatch += 1
        self._inside = True
        language = self.assembly.spec.language.name
        if language in self.roles:
            for name in ("input_ids", "labels"):
                self._record(Point(module=language, name=name), _marked(kwargs[name]), ())

    def _leave(self, *_: Any) -> None:
        # A hook called outside a forward pass is one of a recomputation.
        self._inside = False

    def _watch_modality(self, flow: Flow, modality: nn.Module) -> None:
        for module in modality.modules():
            is_built_in = isinstance(module, ImageEncoder)
            if is_built_in or type(module) is Custom:
                point = Point(module=flow.encoder, name="images")
                hook = self._before("x", lambda x: x.square().flatten(1).sum(1), point, ())
                module.register_forward_pre_hook(hook, with_kwargs=True)
                if is_built_in:
                    self._watch_layers(flow.encoder, module, ())
                self._watch_output(flow.encoder, module)
        if flow.projector is not None:
            self._watch_output(flow.projector, modality)

    def _watch_output(self, name: str, module: nn.Module) -> None:
        """The output of an encoder or projector, `[n, ...]` with samples one after the other."""
        hook = self._after(_by_first, Point(module=name, name="output"), ())
        module.register_forward_hook(hook)

    def _watch_language(self, module: nn.Module) -> None:
        name = self.assembly.spec.language.name
        groups = self.assembly.process_groups[name]
        split = self.roles[name].plan.split_sequence
        whole = (groups.cp.rank(),)
        part = (*whole, groups.tp.rank()) if split else whole
        arrival = self._before("decoder_input", _by_second, Point(module=name, name="input"), part)
        module.register_forward_pre_hook(arrival, with_kwargs=True)
        if not isinstance(module, CustomDecoder):
            self._watch_layers(name, module, part)
        if groups.pp.rank() == groups.pp.size() - 1:
            hook = self._after(_by_first, Point(module=name, name="token losses"), whole)
            module.register_forward_hook(hook)

    def _watch_layers(self, name: str, module: nn.Module, part: tuple[int, ...]) -> None:
        for path, layer in module.named_modules():
            parent, _, last = path.rpartition(".")
            if parent.endswith("layers") and last.isdigit():
                number: Any = layer.layer_number
                point = Point(module=name, name=f"layer {number - 1}")
                layer.register_forward_hook(self._after(_by_second, point, part))

    def _before(
        self, argument: str, values: Callable[[Tensor], Tensor], point: Point, part: tuple[int, ...]
    ) -> _Take:
        def take(_module: Any, args: Any, kwargs: dict[str, Any]) -> None:
            tensor = kwargs.get(argument, args[0] if args else None)
            if self._inside and tensor is not None:
                self._record(point, values(tensor.detach().double()), part)

        return take

    def _after(
        self, values: Callable[[Tensor], Tensor], point: Point, part: tuple[int, ...]
    ) -> _Take:
        def take(_module: Any, _args: Any, output: Any) -> None:
            if self._inside:
                tensor: Tensor = output[0] if isinstance(output, tuple) else output
                self._record(point, values(tensor.detach().double()), part)

        return take

    def _record(self, point: Point, values: Tensor, part: tuple[int, ...]) -> None:
        """Values `[n]`, several a sample where it has several images or tokens."""
        samples = self.roles[point.module].samples(self._microbatch)
        for sample, value in zip(samples, _per_sample(values, len(samples)), strict=True):
            self._seen.append(SampleNorm(point=point, sample=sample, part=part, value=value))


def _per_sample(values: Tensor, samples: int) -> list[float]:
    if values.numel() % samples:  # not dealt as it ought to be: seen, and reported, as nothing
        return [float("nan")] * samples
    return values.reshape(samples, -1).sum(1).tolist()


def _by_first(tensor: Tensor) -> Tensor:
    return tensor.square().flatten(1).sum(1)


def _by_second(tensor: Tensor) -> Tensor:
    """`[s, b, h]`, as transformer layers have it."""
    return tensor.square().sum((0, 2))


def _marked(tokens: Tensor) -> Tensor:
    """Token ids `[b, s]` as one number a sample, which depends on their order."""
    places = torch.arange(1, tokens.size(1) + 1, device=tokens.device, dtype=torch.float64)
    return (tokens.double() + 1) @ places.sqrt()
