"""What a training told of itself: numbers over its steps, kept small. No Qt."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

__all__ = ["Curve", "Curves"]

_MOST = 2000  # points of a curve; more than a dock has pixels


@dataclass
class Curve:
    """A number over steps; where it grows long, neighbours are averaged.

    Parameters
    ----------
    steps, values : list of float
        Of points so far.
    every : int
        Steps that a point stands for.
    """

    steps: list[float] = field(default_factory=list)
    values: list[float] = field(default_factory=list)
    every: int = 1
    _pending: list[tuple[float, float]] = field(default_factory=list)

    def add(self, step: float, value: float) -> None:
        """One more; what is not finite is no point."""
        if not math.isfinite(value):
            return
        self._pending.append((step, value))
        if len(self._pending) < self.every:
            return
        self.steps.append(_mean([s for s, _ in self._pending]))
        self.values.append(_mean([v for _, v in self._pending]))
        self._pending = []
        if len(self.steps) > _MOST:
            self._halve()

    def _halve(self) -> None:
        pairs = range(0, len(self.steps) - 1, 2)
        self.steps = [_mean(self.steps[i : i + 2]) for i in pairs]
        self.values = [_mean(self.values[i : i + 2]) for i in pairs]
        self.every *= 2

    def cut(self, step: float) -> None:
        """Forget what is later: a run goes on from an earlier state."""
        kept = sum(1 for one in self.steps if one <= step)
        del self.steps[kept:], self.values[kept:]
        self._pending = []

    def to_dict(self) -> dict[str, Any]:
        """Plain, JSON-able."""
        return {"steps": self.steps, "values": self.values, "every": self.every}


@dataclass
class Curves:
    """Loss of every stage, and figures of validation.

    Parameters
    ----------
    loss : dict
        Name of the stage to its curve, in the order of the stages.
    figures : dict
        Key of `Validation.metrics` to its curve.
    """

    loss: dict[str, Curve] = field(default_factory=dict)
    figures: dict[str, Curve] = field(default_factory=dict)

    def add_loss(self, stage: str, step: int, value: float) -> None:
        """Of one step."""
        self.loss.setdefault(stage, Curve()).add(step, value)

    def add_figures(self, step: int, metrics: Mapping[str, float]) -> None:
        """Of one validation."""
        for key, value in metrics.items():
            self.figures.setdefault(key, Curve()).add(step, value)

    def gain(self, key: str) -> Curve:
        """PSNR of ``key`` over that of bicubic enlargement, in dB."""
        found, base = self.figures.get(key), self.figures.get("psnr_bicubic")
        if found is None or base is None:
            return Curve()
        under = dict(zip(base.steps, base.values, strict=True))
        both = [
            (step, value - under[step])
            for step, value in zip(found.steps, found.values, strict=True)
            if step in under
        ]
        return Curve([step for step, _ in both], [value for _, value in both])

    def cut(self, step: int) -> None:
        """Forget what is later than a step."""
        for curve in (*self.loss.values(), *self.figures.values()):
            curve.cut(step)

    def to_dict(self) -> dict[str, Any]:
        """Plain, JSON-able."""
        return {
            part: {key: curve.to_dict() for key, curve in curves.items()}
            for part, curves in (("loss", self.loss), ("figures", self.figures))
        }

    @classmethod
    def from_dict(cls, data: Mapping[str, Any]) -> Curves:
        """The inverse of `to_dict`."""
        loss, figures = (
            {key: Curve(**value) for key, value in data.get(part, {}).items()}
            for part in ("loss", "figures")
        )
        return cls(loss, figures)


def _mean(values: list[float]) -> float:
    return sum(values) / len(values)
