"""The docs' pictures, drawn from plans of the specs they show."""

from collections.abc import Callable
from pathlib import Path
from typing import Final

import mimodsl
from drawing import bridges, factorizations, placements, timeline
from mimodsl.planner.plan import Plan

SPECS: Final = Path(__file__).parents[2] / "specs"


def _plan(name: str) -> Plan:
    return mimodsl.plan(mimodsl.load(SPECS / f"{name}.mimo"))


PICTURES: Final[dict[str, Callable[[], str]]] = {
    "two_factorizations": lambda: factorizations.views(_plan("gpt_moe"), "llm"),
    "groups": lambda: factorizations.groups(_plan("gpt_moe"), "llm"),
    "colocated": lambda: placements.placement(_plan("nemotron_vlm_colocated")),
    "non_colocated": lambda: placements.placement(_plan("nemotron_vlm")),
    "fan_in": lambda: bridges.bridge(mimodsl.plan(bridges.FAN_IN)),
    "fan_out": lambda: bridges.bridge(mimodsl.plan(bridges.FAN_OUT)),
    "schedule": lambda: timeline.schedule(_plan("nemotron_vlm_pp")),
}
"""Every picture by the name of its file in `docs/pictures/`."""
