"""Trains a spec on digits in a loop of its own, under torchrun, until it reads most of them.

torchrun --nproc-per-node 4 train.py
"""

import argparse
import json
import time
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

from torch import distributed

import mimodsl
from mimo_digits.samples import Digits
from mimodsl.builder.assembly import Assembly
from mimodsl.builder.schedule import Microbatch
from mimodsl.data import Data
from mimodsl.runtime.data import microbatches

EVALUATED = 5  # steps' worth of held-out samples: all 320 of them


def main() -> None:
    """Trains, and evaluates now and then, on one rank of the spec's world."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--spec", type=Path, default=Path(__file__).with_name("digits.mimo"))
    parser.add_argument("--steps", type=int, default=300)
    parser.add_argument("--every", type=int, default=50)
    parser.add_argument("--enough", type=float, default=0.97)
    parser.add_argument("--device", choices=("auto", "cpu", "cuda"), default="auto")
    options = parser.parse_args()

    mimodsl.join(options.device)
    spec = mimodsl.load(options.spec)
    assembly = mimodsl.build(spec)
    digits, timer = Digits(spec), PhaseTimer()
    for number, batch in enumerate(batches(assembly, digits, options.steps), start=1):
        result = assembly.train_step(batch, on_phase=timer.entered)
        log(step=number, loss=result.loss, lr=result.lr, seconds=timer.taken())
        if number % options.every == 0 or number == options.steps:
            accuracy = evaluate(assembly, digits.held_out())
            log(step=number, accuracy=accuracy)
            if accuracy >= options.enough:
                break
    distributed.destroy_process_group()


def batches(assembly: Assembly, data: Data, steps: int) -> Iterator[list[Microbatch]]:
    """This rank's share of every step.

    Any iterator will do whose microbatches are what `MimoModel.forward` takes; `microbatches`
    makes them of samples, and deals these to the ranks of every layout alike.
    """
    for step in range(steps):
        yield list(microbatches(data, step, assembly.process_groups))


def evaluate(assembly: Assembly, held_out: Data) -> float:
    """The share of held-out digits that are read."""
    return assembly.evaluate(batches(assembly, held_out, EVALUATED)).accuracy


class PhaseTimer:
    """How long each phase of a step takes on this rank, by a hook that hears when one begins."""

    def __init__(self) -> None:
        self._seconds: Counter[str] = Counter()
        self._phase, self._since = "start", time.perf_counter()

    def entered(self, phase: str) -> None:
        """Takes note that a phase begins, and with it that another ends."""
        now = time.perf_counter()
        self._seconds[self._phase] += now - self._since
        self._phase, self._since = phase, now

    def taken(self) -> dict[str, float]:
        """The seconds of every phase since this was last asked."""
        self.entered("start")
        seconds = {phase: round(time, 4) for phase, time in self._seconds.items()}
        self._seconds.clear()
        return seconds


def log(**values: object) -> None:
    """Prints a line of JSON on the first rank."""
    if distributed.get_rank() == 0:
        print(json.dumps(values), flush=True)


if __name__ == "__main__":
    main()
