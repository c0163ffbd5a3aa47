"""Arithmetic for help lines: divisors, nearest fits, and divisions written out."""

from collections.abc import Callable, Iterable
from math import isqrt, log
from typing import Final

_MOST_STEPS: Final = 1 << 16


def divisors(number: int) -> tuple[int, ...]:
    """The divisors of a positive number, ascending.

    Above 2**32, a divisor is left out if it and its cofactor are both above 65,536: help lines are
    not worth a search of seconds.
    """
    steps = min(isqrt(number), _MOST_STEPS)
    small = [d for d in range(1, steps + 1) if number % d == 0]
    return (*small, *(number // d for d in reversed(small) if d * d != number))


def nearest(wanted: int, candidates: Iterable[int]) -> tuple[int, ...]:
    """The nearest candidate at or below a number and the nearest above it, ascending."""
    below, above = None, None
    for candidate in candidates:
        if candidate <= wanted:
            below = candidate if below is None else max(below, candidate)
        else:
            above = candidate if above is None else min(above, candidate)
    return tuple(candidate for candidate in (below, above) if candidate is not None)


def by_distance(wanted: int, candidates: Iterable[int]) -> list[int]:
    """Candidates by their ratio to a number, nearest first; of two equals, the larger first."""
    return sorted(candidates, key=lambda candidate: (abs(log(candidate / wanted)), -candidate))


def next_multiple(number: int, factor: int) -> int:
    """The smallest multiple of a factor that is not below a number."""
    return -(-number // factor) * factor


def divides_one_way(a: int, b: int) -> bool:
    """Whether one of two numbers is a multiple of the other, as fan-in and fan-out need."""
    return a % b == 0 or b % a == 0


def division(number: int, divisor: int) -> str:
    """A division with its remainder, written out: `32 = 3·10 + 2`."""
    quotient, remainder = divmod(number, divisor)
    return f"{number} = {divisor}·{quotient} + {remainder}"


def legal_neighbours(wanted: int, limit: int, fits: Callable[[int], bool]) -> tuple[int, ...]:
    """The nearest divisors of `limit` around a number that also satisfy `fits`."""
    return nearest(wanted, filter(fits, divisors(limit)))
