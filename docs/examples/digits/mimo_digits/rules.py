"""What `check` knows of a `digit_cnn` beyond its single fields."""

from mimo_digits.kind import DigitCnn
from mimodsl.kinds import Context, Cost, Finding, Findings, Held, Scope, code, held, rule


@rule(
    "DIGITS001",
    "a side that is not halved twice",
    scope=Scope[Held[DigitCnn]]("one digit encoder", lambda spec: held(spec, DigitCnn)),
    cost=Cost.SILENT,
    seen="The last rows and columns of an image are never looked at.",
)
def halved_twice(spec: Context, encoder: Held[DigitCnn]) -> Findings:
    """Both poolings halve the side of an image, so it is a multiple of 4."""
    side = encoder.kind.side
    if side % 4:
        nearest = side + 4 - side % 4
        yield Finding(
            message=f"a side of {side} pixels is not halved twice",
            primary=spec.label(encoder.kind, "side", f"{side} = 4 · {side // 4} + {side % 4}"),
            help=(f"{code(f'side = {nearest}')} is",),
            edits=spec.writing(encoder.kind, "side", str(nearest)),
        )


RULES = (halved_twice,)
