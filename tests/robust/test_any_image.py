"""Bad and hard images: the right result, or an error that says what to do."""

from __future__ import annotations

import warnings
from dataclasses import dataclass
from typing import Any

import dask.array
import numpy as np
import pytest
import torch
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st

import napari_flowsr as flowsr
from napari_flowsr.errors import FlowSRError
from napari_flowsr.models._registry import build
from napari_flowsr.models.card import Model, ModelCard

SCALE = 2
GOOD = "?bBhHiIlLfd"
DTYPES = [*GOOD, "e", ">u2", ">f4", ">i8", "<f8", "g", "c8", "O", "M8[s]", "U3"]
LETTERS = "TZCQ"


@dataclass(frozen=True)
class Case:
    """An image and what it is called."""

    image: Any
    axes: str | None
    plain: np.ndarray

    def __repr__(self) -> str:
        a = self.plain
        kind = type(self.image).__name__
        return f"{kind} {a.dtype} {a.shape} axes={self.axes} strides={a.strides}"


def _content(draw, shape, dtype):
    """Values of a dtype: noise, constants, extremes, non-finite ones."""
    rng = np.random.default_rng(draw(st.integers(0, 99)))
    kind = np.dtype(dtype).kind
    if kind in "OMU":
        return np.zeros(shape, dtype)
    how = draw(st.sampled_from(["noise", "constant", "saturated", "sparse", "bad"]))
    if kind == "b":
        return rng.random(shape) > (0.5 if how == "noise" else 2)
    low, high = (0, 1) if kind in "fc" else (np.iinfo(dtype).min, np.iinfo(dtype).max)
    values = {
        "noise": lambda: rng.integers(0, 100, shape),
        "constant": lambda: np.full(shape, 7),
        "saturated": lambda: np.where(rng.random(shape) > 0.5, high, low),
        "sparse": lambda: (rng.random(shape) > 0.95) * 50,
        "bad": lambda: rng.integers(0, 100, shape),
    }[how]()
    array = np.asarray(values).astype(dtype)
    if how == "bad" and kind == "f" and array.size:
        flat = array.reshape(-1)
        flat[:: draw(st.integers(1, 5))] = draw(
            st.sampled_from([np.nan, np.inf, -np.inf, np.finfo(dtype).max])
        )
    return array


@st.composite
def cases(draw):
    """Images of any shape, dtype, layout and container."""
    extra = draw(st.integers(0, 3))
    sides = st.sampled_from([0, 1, 2, 3, 5, 8, 13])
    shape = tuple(draw(st.integers(1, 2)) for _ in range(extra))
    shape += (draw(sides), draw(sides))
    axes = None
    if draw(st.booleans()):
        axes = "".join(draw(st.permutations(LETTERS))[:extra]) + "YX"
    if draw(st.integers(0, 3)) == 0:
        shape, axes = (*shape, draw(st.sampled_from([2, 3, 4]))), f"{axes or 'YX'}S"
        if len(axes) != len(shape):
            axes = None
    array = _content(draw, shape, draw(st.sampled_from(DTYPES)))
    layout = draw(st.sampled_from(["C", "F", "every second", "backwards", "read only"]))
    if layout == "F":
        array = np.asfortranarray(array)
    elif layout == "every second":
        array = np.repeat(np.repeat(array, 2, -1), 2, -2)[..., ::2, ::2]
    elif layout == "backwards":
        array = array[..., ::-1, :][..., ::-1]
    elif layout == "read only":
        array.flags.writeable = False
    kinds = [np.asarray, lambda a: a.tolist()]
    if array.size and array.dtype.kind not in "OMU":
        kinds.append(lambda a: dask.array.from_array(a, chunks=3))
    return Case(draw(st.sampled_from(kinds))(array), axes, array)


@pytest.fixture(scope="module")
def model() -> Model:
    torch.manual_seed(0)
    config = {"scale": SCALE, "width": 4, "blocks": 1, "steps": 1, "hidden": 4}
    flow = build("compact", config).eval()
    return Model(ModelCard("tiny", "compact", (2.0,), 1, temperature=0.5), flow)


@settings(
    max_examples=150,
    deadline=None,
    derandomize=True,
    suppress_health_check=[HealthCheck.too_slow],
)
@given(case=cases(), nan=st.sampled_from(["raise", "fill"]))
@example(case=Case(np.ones((1, 1)), None, np.ones((1, 1))), nan="raise")
@example(case=Case([[1, 2], [3]], None, np.empty(0)), nan="raise")
@example(case=Case("cell.tif", None, np.empty(0)), nan="raise")
@example(case=Case(None, None, np.empty(0)), nan="raise")
def test_the_right_result_or_a_clear_error(model, case, nan):
    before = np.array(case.plain, copy=True)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("error")
            found = flowsr.upscale(
                case.image, model, axes=case.axes, nan=nan, device="cpu"
            )
    except FlowSRError as error:
        text = str(error)
        assert len(text) > 40, text
        assert "Traceback" not in text
        found = None
    # The caller's array is never touched.
    np.testing.assert_array_equal(case.plain, before)
    if found is None:
        return
    given_as = np.asarray(case.image)
    assert found.dtype == given_as.dtype.newbyteorder("=")
    axes = case.axes or "Q" * (given_as.ndim - 2) + "YX"
    expected = tuple(
        SCALE * side if a in "YX" else side
        for a, side in zip(axes, given_as.shape, strict=True)
    )
    assert found.shape == (1, *expected)
    if found.dtype.kind == "f":
        assert np.isfinite(found).all()
    if given_as.size and (given_as == given_as.flat[0]).all():
        assert (found == given_as.flat[0]).all()
