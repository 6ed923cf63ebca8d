"""Folded stacks, and a flame graph of them: one SVG that needs nothing else. A click enlarges a frame, a search marks some."""

from __future__ import annotations

from xml.sax.saxutils import escape

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

WIDTH, ROW, TOP = 1200, 17, 40
"""Pixels: of all samples, of one frame's height, above the frames."""
SMALLEST = 0.1
"""Pixels: a narrower frame is not drawn."""


class Frame:
    """A function where it was called.

    Fields:
        name: of the function.
        count: samples in it and in what it calls.
        below: the functions that it calls, by name.
    """

    __slots__ = ("below", "count", "name")

    def __init__(self, name: str) -> None:
        self.name, self.count = name, 0
        self.below: dict[str, Frame] = {}

    @property
    def depth(self) -> int:
        """How many rows it takes."""
        return 1 + max((frame.depth for frame in self.below.values()), default=0)


def fold(stacks: Iterable[tuple[Iterable[str], int]]) -> dict[str, int]:
    """Equal stacks together.

    Args:
        stacks: names from the outermost on, and how often.

    Returns:
        ``main;work;step`` to a number.
    """
    found: dict[str, int] = {}
    for names, count in stacks:
        key = ";".join(names)
        found[key] = found.get(key, 0) + count
    return found


def text(folded: Mapping[str, int]) -> str:
    """The format of flamegraph.pl: a stack and its count a line, sorted."""
    return "".join(f"{stack} {count}\n" for stack, count in sorted(folded.items()))


def tree(folded: Mapping[str, int]) -> Frame:
    """The frames of folded stacks, below one that is called all."""
    top = Frame("all")
    for stack, count in folded.items():
        top.count += count
        frame = top
        for name in stack.split(";"):
            frame = frame.below.setdefault(name, Frame(name))
            frame.count += count
    return top


def _colour(name: str) -> str:
    value = 0
    for letter in name.encode():
        value = (value * 31 + letter) & 0xFFFF
    if name.startswith("["):
        return f"rgb({120 + value % 40},{150 + value // 40 % 40},{190 + value % 50})"
    return f"rgb({205 + value % 50},{90 + value // 50 % 110},{40 + value // 7 % 40})"


_SCRIPT = """
const frames = [...document.querySelectorAll('g.frame')].map(g => ({g, r: g.querySelector('rect'), t: g.querySelector('text'),
  name: g.dataset.name, x: +g.querySelector('rect').getAttribute('x'), w: +g.querySelector('rect').getAttribute('width')}));
function fit(f, w) {
  const n = Math.floor((w - 6) / 7);
  f.t.textContent = n < 3 ? '' : f.name.length <= n ? f.name : f.name.slice(0, n - 2) + '..';
}
function show(f) {
  const k = WIDTH / f.w;
  for (const o of frames) {
    const x = (o.x - f.x) * k, w = o.w * k, left = Math.max(x, 0), right = Math.min(x + w, WIDTH);
    o.g.style.display = right - left > 0.05 ? '' : 'none';
    o.r.setAttribute('x', left); o.r.setAttribute('width', Math.max(right - left, 0)); o.t.setAttribute('x', left + 3);
    fit(o, right - left);
  }
}
for (const f of frames) f.g.addEventListener('click', () => show(f));
document.getElementById('search').addEventListener('click', () => {
  const what = prompt('Part of a name:') || '';
  for (const f of frames) f.r.style.stroke = what && f.name.includes(what) ? '#b0f' : '';
});
"""


def svg(folded: Mapping[str, int], title: str) -> str:
    """The flame graph: callers below what they call, as wide as their share of all samples.

    Args:
        folded: as fold() makes it.
        title: the line above it.
    """
    top = tree(folded)
    height = TOP + top.depth * ROW + 10
    parts = [
        f'<?xml version="1.0" encoding="UTF-8"?>\n<svg xmlns="http://www.w3.org/2000/svg" width="{WIDTH}" height="{height}" '
        f'viewBox="0 0 {WIDTH} {height}" font-family="Verdana, sans-serif" font-size="12">\n'
        f'<rect width="{WIDTH}" height="{height}" fill="#fbf7ee"/>\n'
        f'<text x="{WIDTH / 2}" y="24" text-anchor="middle" font-size="16">{escape(title)}</text>\n'
        f'<text id="search" x="{WIDTH - 60}" y="24" fill="#555" style="cursor:pointer">Search</text>\n'
    ]
    _draw(parts, top, 0.0, height - 10 - ROW, WIDTH / max(1, top.count), top.count)
    script = _SCRIPT.replace("WIDTH", str(WIDTH))
    parts.append(f"<script><![CDATA[{script}]]></script>\n</svg>\n")
    return "".join(parts)


def _draw(parts: list[str], frame: Frame, x: float, y: float, scale: float, total: int) -> None:
    width = frame.count * scale
    if width < SMALLEST:
        return
    letters = int((width - 6) / 7)
    label = "" if letters < 3 else frame.name if len(frame.name) <= letters else frame.name[: letters - 2] + ".."
    name = escape(frame.name, {'"': "&quot;"})
    share = 100 * frame.count / max(1, total)
    parts.append(
        f'<g class="frame" data-name="{name}"><title>{escape(frame.name)}: {frame.count} samples, {share:.2f}%</title>'
        f'<rect x="{x:.3f}" y="{y}" width="{width:.3f}" height="{ROW - 1}" rx="1" fill="{_colour(frame.name)}"/>'
        f'<text x="{x + 3:.3f}" y="{y + 12}">{escape(label)}</text></g>\n'
    )
    for one in sorted(frame.below.values(), key=lambda other: other.name):
        _draw(parts, one, x, y - ROW, scale, total)
        x += one.count * scale
