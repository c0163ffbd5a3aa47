"""Numbers in three digits with a unit: operations, bytes, parameters, seconds."""

from typing import Final

GIB: Final = 2**30

_PREFIXES: Final = ("", "k", "M", "G", "T", "P", "E", "Z")
_MAGNITUDES: Final = ((1e12, "T"), (1e9, "B"), (1e6, "M"), (1e3, "k"))
_TIMES: Final = ("s", "ms", "µs", "ns")


def scaled(number: float, unit: str = "") -> str:
    """Three digits with a decimal prefix: `1.23 T`, `45.6 MB`."""
    power = 0
    while number >= 999.5 and power < len(_PREFIXES) - 1:
        number /= 1000
        power += 1
    digits = f"{number:.0f}" if power == 0 or number >= 99.95 else f"{number:#.3g}"
    return f"{digits} {_PREFIXES[power]}{unit}"


def rounded(count: int) -> str:
    """A number of parameters as models are named for it: `31.6 B` is 31.6 billion."""
    for unit, letter in _MAGNITUDES:
        if count >= unit * 0.9995:
            value = count / unit
            return f"{value:.{2 - min(2, len(str(int(value))) - 1)}f} {letter}"
    return str(count)


def duration(seconds: float) -> str:
    """Three digits with a unit: `1.23 s`, `45.6 ms`; a dash for less than half a nanosecond."""
    for unit in _TIMES:
        if seconds >= 0.9995:
            digits = f"{seconds:,.0f}" if seconds >= 99.95 else f"{seconds:#.3g}"
            return f"{digits} {unit}"
        seconds *= 1000
    return f"{seconds / 1000:.2f} ns" if seconds >= 500 else "–"


def gib(size: int) -> str:
    """Bytes in GiB, with two digits behind the point up to a hundred: `79.25`."""
    return f"{size / GIB:.2f}" if size < 100 * GIB else f"{size / GIB:,.0f}"
