"""How an error is told."""

from __future__ import annotations

import pytest

from napari_flowsr.inference.rescale_error import Loss


@pytest.mark.parametrize(
    ("largest", "told"),
    [(1.0, "100 %"), (0.996, "100 %"), (0.994, "99 %"), (2.346, "235 %"),
     (0.0123, "1.2 %"), (0.00005, "5.0e-05")],
)  # fmt: skip
def test_shares_are_told_without_exponents(largest: float, told: str) -> None:
    assert f"largest {told} of the range" in Loss(20.0, 0.01, largest).said()
