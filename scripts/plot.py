"""Draws small line charts as SVG: both axes begin at zero, so that what is linear or flat looks it."""

from __future__ import annotations

from dataclasses import dataclass
from html import escape

WIDTH, HEIGHT = 360, 240
LEFT, RIGHT, TOP, BOTTOM = 56, 16, 46, 44
COLOURS = ["#1f6feb", "#c2410c", "#15803d"]
INK, FAINT = "#57606a", "#d0d7de"


@dataclass
class Series:
    """What is measured, at each place."""

    name: str
    points: list[tuple[float, float]]


@dataclass
class Panel:
    """One chart: `across` and `unit` are what its axes count."""

    title: str
    across: str
    unit: str
    series: list[Series]


def draw(panels: list[Panel]) -> str:
    """Returns an SVG with the charts, two in a row."""
    rows = (len(panels) + 1) // 2
    drawn = [
        f'<g transform="translate({number % 2 * WIDTH} {number // 2 * HEIGHT})">{chart(panel)}</g>'
        for number, panel in enumerate(panels)
    ]
    size = f'width="{2 * WIDTH}" height="{rows * HEIGHT}" viewBox="0 0 {2 * WIDTH} {rows * HEIGHT}"'
    style = 'font-family="system-ui, sans-serif" font-size="11"'
    background = '<rect width="100%" height="100%" fill="white"/>'
    return f'<svg xmlns="http://www.w3.org/2000/svg" {size} {style}>\n{background}\n' + "\n".join(drawn) + "\n</svg>\n"


def chart(panel: Panel) -> str:
    points = [point for series in panel.series for point in series.points]
    most = [ceiling(max(point[axis] for point in points)) for axis in (0, 1)]

    def place(point: tuple[float, float]) -> tuple[float, float]:
        across = LEFT + point[0] / most[0] * (WIDTH - LEFT - RIGHT)
        return round(across, 1), round(HEIGHT - BOTTOM - point[1] / most[1] * (HEIGHT - TOP - BOTTOM), 1)

    parts = [text(LEFT, TOP - 28, f"{panel.title}, {panel.unit}", INK, weight="bold")]
    for step in range(5):
        at = (most[0] * step / 4, most[1] * step / 4)
        (x, _), (_, y) = place((at[0], 0)), place((0, at[1]))
        parts.append(f'<path d="M{LEFT} {y}H{WIDTH - RIGHT}" stroke="{FAINT}"/>')
        parts.append(text(LEFT - 6, y + 4, f"{at[1]:g}", INK, anchor="end"))
        parts.append(text(x, HEIGHT - BOTTOM + 16, f"{at[0]:g}", INK, anchor="middle"))
    parts.append(text((LEFT + WIDTH - RIGHT) / 2, HEIGHT - 10, panel.across, INK, anchor="middle"))
    for number, (series, colour) in enumerate(zip(panel.series, COLOURS)):
        places = [place(point) for point in series.points]
        line = " ".join(f"{x},{y}" for x, y in places)
        parts.append(f'<polyline points="{line}" fill="none" stroke="{colour}" stroke-width="2"/>')
        parts += [f'<circle cx="{x}" cy="{y}" r="3" fill="{colour}"/>' for x, y in places]
        parts.append(text(WIDTH - RIGHT, TOP - 28 + 14 * number, series.name, colour, anchor="end"))
    return "".join(parts)


def ceiling(value: float) -> float:
    """Returns the least number above `value` that a scale may end with: 1, 2, 4 or 8 times a power of ten."""
    power = 1e-3
    while True:
        for factor in (1, 2, 4, 8):
            if value <= factor * power:
                return factor * power
        power *= 10


def text(x: float, y: float, words: str, colour: str, anchor: str = "start", weight: str = "normal") -> str:
    return f'<text x="{x}" y="{y}" fill="{colour}" text-anchor="{anchor}" font-weight="{weight}">{escape(words)}</text>'
