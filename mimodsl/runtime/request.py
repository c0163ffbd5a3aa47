"""What a caller asks of a run: the options of `mimodsl.train` and `mimodsl build`, and the checks
that need no spec."""

from __future__ import annotations

from collections.abc import Callable
from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, Final

import attrs
from attrs import field, frozen
from attrs.converters import optional
from attrs.validators import ge, gt
from attrs.validators import optional as if_given

from mimodsl.wrong_options import WrongOptions, literal

if TYPE_CHECKING:
    from mimodsl.data import Data
    from mimodsl.ir.spec import Spec

STEPS: Final = 10
EVAL_STEPS: Final = 4
TIMEOUT: Final = 300.0
"""Seconds without news of any rank after which a run hangs."""

type DataSource = str | Callable[[Spec], Data]
"""A function of samples for a spec, or a class of them, itself or as `module:name`."""


class DeviceChoice(StrEnum):
    """What the ranks are to compute on; `meta` builds one rank of every role and computes nothing.

    `auto` is CUDA where every rank gets a GPU of its own, else the CPU where the world fits this
    machine, else meta.
    """

    AUTO = "auto"
    CPU = "cpu"
    CUDA = "cuda"
    META = "meta"


@frozen(kw_only=True)
class TrainRequest:
    """How a spec is to be trained; `mimodsl.train` describes each option.

    `None` stands for an option that is not given. Raises `WrongOptions`, a `ValueError`, for
    options that do not go together.
    """

    steps: int | None = field(default=None, validator=if_given(ge(0)))
    seed: int | None = field(default=None, validator=if_given(ge(0)))
    data: DataSource | None = None
    save: Path | None = field(default=None, converter=optional(Path))
    save_every: int | None = field(default=None, validator=if_given(ge(1)))
    load: Path | None = field(default=None, converter=optional(Path))
    resume: bool = False
    eval_every: int | None = field(default=None, validator=if_given(ge(1)))
    eval_steps: int | None = field(default=None, validator=if_given(ge(1)))
    log_dir: Path | None = field(default=None, converter=optional(Path))
    profile: Path | None = field(default=None, converter=optional(Path))
    profile_steps: tuple[int, int] | None = field(default=None, converter=optional(tuple))
    profile_ranks: tuple[int, ...] | None = field(default=None, converter=optional(tuple))
    share_groups: bool = True
    timeout: float | None = field(default=None, validator=if_given(gt(0)))
    device: DeviceChoice = field(default=DeviceChoice.AUTO, converter=DeviceChoice)

    def __attrs_post_init__(self) -> None:
        if self.save_every and not self.save:
            raise WrongOptions("{save_every} needs {save:DIR}, which says where to")
        if self.resume and (self.load or not self.save):
            wrong = "is not for {load}" if self.load else "needs one"
            raise WrongOptions(f"{{resume}} goes on from the folder of {{save:DIR}}, and {wrong}")
        if self.eval_steps and not self.eval_every:
            raise WrongOptions("{eval_steps} needs {eval_every:N}, which says when")
        if isinstance(self.data, str) and not _is_qualified(self.data):
            raise WrongOptions(
                f"{{data}}: expected MODULE:FUNCTION, found {literal(repr(self.data))}"
            )
        self._check_profile()
        if self.device is DeviceChoice.META and (given := self.training_options):
            name = given[0]
            raise WrongOptions(f"{{device:=meta}} trains nothing, and has no use for {{{name}}}")

    def _check_profile(self) -> None:
        if (self.profile_steps or self.profile_ranks) and not self.profile:
            raise WrongOptions("{profile_steps} and {profile_ranks} need {profile:DIR}")
        if self.profile_steps:
            first, last = self.profile_steps
            if not 1 <= first <= last:
                raise WrongOptions(
                    "{profile_steps} has a first step from 1 on and a last one, "
                    f"not {first} and {last}"
                )

    @property
    def training_options(self) -> tuple[str, ...]:
        """The given options that only a run which trains, loads or saves has a use for."""
        return tuple(
            each.name
            for each in attrs.fields(TrainRequest)
            if each.name != "device"
            and getattr(self, each.name) != each.default
            and (each.name != "steps" or self.steps)
        )


def _is_qualified(text: str) -> bool:
    """Whether a text has the form `module:function`."""
    module, _, name = text.partition(":")
    return name.isidentifier() and all(part.isidentifier() for part in module.split("."))
