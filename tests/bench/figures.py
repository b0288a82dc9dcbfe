"""A measured figure and the bar that it is held to; measures nothing."""

import operator
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

_HOLDS = {"<": operator.lt, "<=": operator.le, ">=": operator.ge, "=": operator.eq}


@dataclass(frozen=True, slots=True)
class Figure:
    """`bar` is a relation and a number, as "< 100"; None for what is only told."""

    name: str
    value: float
    unit: str
    bar: str | None = None

    @property
    def holds(self) -> bool:
        """What has no bar always holds."""
        if self.bar is None:
            return True
        relation, _, limit = self.bar.partition(" ")
        return bool(_HOLDS[relation](self.value, float(limit)))

    def as_json(self) -> dict[str, Any]:
        return {
            "name": self.name,
            "value": round(self.value, 3),
            "unit": self.unit,
            "bar": self.bar,
            "holds": self.holds,
        }


def table(figures: Sequence[Figure]) -> str:
    """One line each."""
    width = max(len(figure.name) for figure in figures)
    return "\n".join(
        f"  {'ok ' if figure.holds else 'NOT'}  {figure.name:<{width}}  {figure.value:>12,.3f} {figure.unit}"
        + (f"  (bar: {figure.bar})" if figure.bar else "")
        for figure in figures
    )


def percentile(values: Sequence[float], share: float) -> float:
    """The value that `share` of all do not exceed; nearest rank."""
    ordered = sorted(values)
    return ordered[min(len(ordered) - 1, int(share * len(ordered)))]
