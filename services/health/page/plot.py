"""The last hours of a model as a line of servers over a band of readiness, in numbers that a template draws."""

from collections.abc import Sequence
from dataclasses import dataclass

from services.health.history import Point

HOURS = 6
WIDTH, HEIGHT = 720, 72
_MINUTES = HOURS * 60
_BAND = 12
"""Height that the band of readiness takes, with the space above it."""

Bar = tuple[float, float]
"""Where it begins and how wide it is."""


@dataclass(frozen=True)
class Plot:
    """What is drawn: ``lines`` are points of polylines, ``words`` say the same to those who do not see it."""

    lines: tuple[str, ...]
    ready: tuple[Bar, ...]
    broken: tuple[Bar, ...]
    words: str
    width: int = WIDTH
    height: int = HEIGHT


def plot(points: Sequence[Point], now: float) -> Plot | None:
    """Return the plot of the hours until ``now`` (seconds since the epoch); None while there is too little to see."""
    first = int(now // 60) - _MINUTES
    points = [point for point in points if point.minute > first]
    if len(points) < 2:
        return None
    most = max(point.servers_online for point in points)
    least = min(point.servers_online for point in points)
    share = sum(point.ready for point in points) / len(points)
    runs = _without_gaps(points)
    span = _words(points[-1].minute - points[0].minute)
    servers = f"{least}" if least == most else f"{least} to {most}"
    words = f"Ready {100 * share:.0f} % of the last {span}, {servers} server{'' if most == 1 else 's'} online"
    return Plot(
        lines=tuple(_line(run, first, most) for run in runs),
        ready=tuple(_bars(points, first, ready=True)),
        broken=tuple(_bars(points, first, ready=False)),
        words=words,
    )


def _words(minutes: int) -> str:
    if minutes < 90:
        return f"{minutes} minute{'' if minutes == 1 else 's'}"
    return f"{minutes / 60:.0f} hours"


def _x(minute: int, first: int) -> float:
    return round((minute - first) * WIDTH / _MINUTES, 1)


def _line(points: Sequence[Point], first: int, most: int) -> str:
    """Return a line of steps: between two minutes the number of servers did not slide."""
    places = []
    for point in points:
        y = round(4 + (HEIGHT - _BAND - 8) * (1 - point.servers_online / max(most, 1)), 1)
        places += [f"{_x(point.minute - 1, first)},{y}", f"{_x(point.minute, first)},{y}"]
    return " ".join(places)


def _bars(points: Sequence[Point], first: int, *, ready: bool) -> list[Bar]:
    chosen = [point for point in points if point.ready is ready]
    return [
        (_x(run[0].minute - 1, first), round((run[-1].minute - run[0].minute + 1) * WIDTH / _MINUTES, 1))
        for run in _without_gaps(chosen)
    ]


def _without_gaps(points: Sequence[Point]) -> list[list[Point]]:
    runs: list[list[Point]] = []
    for point in points:
        if runs and point.minute - runs[-1][-1].minute == 1:
            runs[-1].append(point)
        else:
            runs.append([point])
    return runs
