"""Curves as one SVG picture: small panels with logarithmic axes, now in full and an earlier state dashed."""

from __future__ import annotations

import math
from collections.abc import Mapping
from html import escape

from scaling.curve import Curve

PANELS = [
    ("routing", 0, "sticky choice of a replica", "us per call"),
    ("listing", 2, "Ray's head: 1,000 agents list replicas", "CPU % of one core"),
    ("resume", 3, "start of one agent worker on a resume", "CPU-s"),
    ("board", 3, "board after 10 deaths of each agent", "CPU % of one core"),
    ("board", 1, "driver: two looks a second", "CPU % of one core"),
    ("exchanges", 3, "one resources actor", "CPU % of one core"),
    ("worker", 2, "one agent worker", "MiB"),
]
"""Curve, column, title, unit of each panel."""
WIDTH, HEIGHT, COLUMNS, LEFT, TOP, RIGHT, BOTTOM = 250, 196, 4, 44, 38, 12, 34
NOW, BEFORE = "#2563eb", "#9ca3af"
STYLE = (
    "text{font:10px sans-serif;fill:#374151}.t{font-weight:bold}.n{fill:none;stroke:#2563eb;stroke-width:2}"
    ".b{fill:none;stroke:#9ca3af;stroke-width:1.5;stroke-dasharray:4 3}.g{stroke:#e5e7eb}"
)
Points = list[tuple[float, float]]


def draw(now: Mapping[str, Curve], before: Mapping[str, Curve]) -> str:
    """The picture of all panels whose curve is there."""
    panels = [one for one in PANELS if one[0] in now]
    rows = math.ceil(len(panels) / COLUMNS)
    width, height = WIDTH * min(COLUMNS, max(1, len(panels))), HEIGHT * rows
    parts = [
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {width} {height}" width="{width}" height="{height}">',
        f'<style>{STYLE}</style><rect width="{width}" height="{height}" fill="white"/>',
    ]
    for place, (name, column, title, unit) in enumerate(panels):
        lines = [_points(now[name], column), _points(before[name], column) if name in before else []]
        x, y = WIDTH * (place % COLUMNS), HEIGHT * (place // COLUMNS)
        parts.append(f'<g transform="translate({x},{y})">{_panel(lines, title, now[name].x, unit)}</g>')
    return "\n".join([*parts, "</svg>", ""])


def _points(curve: Curve, column: int) -> Points:
    """Zeros and gaps have no place on a logarithmic axis."""
    return [(row[0], row[1 + column]) for row in curve.rows if row[0] > 0 and (row[1 + column] or 0) > 0]


def _panel(lines: list[Points], title: str, x_name: str, unit: str) -> str:
    every = [point for line in lines for point in line]
    across, up = _decades([x for x, _ in every]), _decades([y for _, y in every])

    def at(x: float, y: float) -> tuple[float, float]:
        wide, high = WIDTH - LEFT - RIGHT, HEIGHT - TOP - BOTTOM
        return LEFT + wide * _share(x, across), HEIGHT - BOTTOM - high * _share(y, up)

    out = [f'<text class="t" x="6" y="13">{escape(title)}</text><text x="6" y="25">{escape(unit)}</text>']
    for power in range(across[0], across[1] + 1):
        x, bottom = at(10.0**power, 10.0 ** up[0])
        out.append(f'<line class="g" x1="{x:.1f}" x2="{x:.1f}" y1="{TOP}" y2="{bottom:.1f}"/>')
        out.append(f'<text x="{x:.1f}" y="{bottom + 12:.1f}" text-anchor="middle">{_label(power)}</text>')
    for power in range(up[0], up[1] + 1):
        x, y = at(10.0 ** across[0], 10.0**power)
        out.append(f'<line class="g" x1="{x:.1f}" x2="{WIDTH - RIGHT}" y1="{y:.1f}" y2="{y:.1f}"/>')
        out.append(f'<text x="{LEFT - 4}" y="{y + 3:.1f}" text-anchor="end">{_label(power)}</text>')
    for kind, line in zip("nb", lines, strict=True):
        if line:
            path = " ".join(f"{x:.1f},{y:.1f}" for x, y in (at(*point) for point in line))
            out.append(f'<polyline class="{kind}" points="{path}"/>')
    out.append(f'<text x="{WIDTH - RIGHT}" y="{HEIGHT - 6}" text-anchor="end">{escape(x_name)}</text>')
    return "".join(out)


def _decades(values: list[float]) -> tuple[int, int]:
    low = math.floor(math.log10(min(values)) + 1e-9)
    return low, max(low + 1, math.ceil(math.log10(max(values)) - 1e-9))


def _share(value: float, decades: tuple[int, int]) -> float:
    return (math.log10(value) - decades[0]) / (decades[1] - decades[0])


def _label(power: int) -> str:
    return f"{10**power:,}" if 0 <= power <= 4 else f"{10.0**power:g}" if -3 <= power < 0 else f"1e{power}"
