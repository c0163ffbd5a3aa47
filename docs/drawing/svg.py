"""A drawing of boxes, words and arrows as SVG that reads on light and on dark ground."""

from html import escape
from typing import Final

HUES: Final = (205, 28, 150, 320, 265, 55, 180, 0)
"""Of the fills that tell things apart, neighbours far from each other."""

_STYLE: Final = """
.mimo { color: #1f2328; font: 13px system-ui, "Segoe UI", "DejaVu Sans", sans-serif; }
@media (prefers-color-scheme: dark) { .mimo { color: #e6edf3; } }
.mimo text { fill: currentColor; stroke: none; text-anchor: middle; dominant-baseline: central; }
.mimo .start { text-anchor: start; } .mimo .end { text-anchor: end; }
.mimo .dim { opacity: .7; } .mimo .strong { font-weight: 600; }
.mimo .plain { fill: none; stroke: currentColor; stroke-opacity: .45; }
.mimo .line { fill: none; stroke: currentColor; stroke-width: 1.4; stroke-opacity: .75; }
.mimo .thin { fill: none; stroke: currentColor; stroke-dasharray: 3 3; stroke-opacity: .6; }
"""


class Drawing:
    """Shapes in pixels from the upper left; `height` and `width` grow with what is drawn."""

    def __init__(self, title: str) -> None:
        self._title = title
        self._shapes: list[str] = []
        self._arrows = False
        self.width = 0.0
        self.height = 0.0

    def box(
        self,
        at: tuple[float, float],
        size: tuple[float, float],
        words: str = "",
        *,
        hue: int | None = None,
        look: str = "",
    ) -> None:
        """A rounded rectangle with words in its middle, filled in one of `HUES` or outlined."""
        (x, y), (width, height) = at, size
        self._reach(x + width, y + height)
        fill = 'class="plain"'
        if hue is not None:
            color = f"hsl({HUES[hue % len(HUES)]} 75% 50%)"
            fill = f'fill="{color}" fill-opacity=".3" stroke="{color}"'
        self._shapes.append(
            f'<rect x="{x:g}" y="{y:g}" width="{width:g}" height="{height:g}" rx="4" {fill}/>'
        )
        if words:
            self.text(x + width / 2, y + height / 2, words, look)

    def text(self, x: float, y: float, words: str, look: str = "") -> None:
        """Words about (x, y): their middle, or with `start` or `end` in `look` that end."""
        self._reach(x, y + 10)
        kind = f' class="{look}"' if look else ""
        self._shapes.append(f'<text x="{x:g}" y="{y:g}"{kind}>{escape(words)}</text>')

    def arrow(self, start: tuple[float, float], end: tuple[float, float], look: str) -> None:
        """A straight arrow: `line`, or `thin` and dashed."""
        self._arrows = True
        (x, y), (to_x, to_y) = start, end
        self._shapes.append(
            f'<path d="M{x:g} {y:g} L{to_x:g} {to_y:g}" class="{look}" marker-end="url(#tip)"/>'
        )

    def render(self) -> str:
        """The file's text."""
        width, height = self.width + 12, self.height + 8
        tip = (
            '<marker id="tip" viewBox="0 0 8 8" refX="7" refY="4" markerWidth="7" markerHeight="7" '
            'orient="auto-start-reverse"><path d="M0 0 L8 4 L0 8 z" fill="currentColor"/></marker>'
        )
        head = (
            '<svg xmlns="http://www.w3.org/2000/svg" class="mimo" role="img" '
            f'viewBox="-2 -2 {width:g} {height:g}" width="{width:g}" height="{height:g}">'
        )
        return "\n".join(
            (
                head,
                f"<title>{escape(self._title)}</title>",
                f"<style>{_STYLE}</style>",
                *([f"<defs>{tip}</defs>"] if self._arrows else []),
                *self._shapes,
                "</svg>\n",
            )
        )

    def _reach(self, x: float, y: float) -> None:
        self.width, self.height = max(self.width, x), max(self.height, y)
