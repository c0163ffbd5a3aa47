"""How long a step takes at least on given GPUs, and what bounds it."""

from mimodsl.planner.time.accelerator import ACCELERATORS, Accelerator
from mimodsl.planner.time.least import Least, StageTime, StepTime
from mimodsl.planner.time.step import least_time

__all__ = ["ACCELERATORS", "Accelerator", "Least", "StageTime", "StepTime", "least_time"]
