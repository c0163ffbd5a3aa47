"""How long a step takes at least on given GPUs, and what bounds it."""

from mimodsl.plan.time.accelerator import ACCELERATORS, Accelerator
from mimodsl.plan.time.least import Least, StageTime, StepTime
from mimodsl.plan.time.step import least_time

__all__ = ["ACCELERATORS", "Accelerator", "Least", "StageTime", "StepTime", "least_time"]
