"""Scripts that remake what exploring gave."""

from __future__ import annotations

import ast

import numpy as np
import pytest

import napari_flowsr as flowsr
from napari_flowsr.errors import OptionError
from napari_flowsr.io.explore_script import KINDS
from napari_flowsr.io.provenance import provenance_script

IMAGE = (np.random.default_rng(0).random((11, 9)) * 200).astype(np.uint8)


@pytest.fixture(scope="module")
def post():
    return flowsr.posterior(IMAGE, seed=3, temperature=0.6)


MADE = {
    "interpolation": (
        lambda p: p.interpolate(0, 2, 0.3),
        {"first": 0, "second": 2, "t": 0.3},
    ),
    "interpolation-stack": (
        lambda p: p.interpolate(0, 2, [0, 0.5]),
        {"first": 0, "second": 2, "values": [0, 0.5]},
    ),
    "sweep": (lambda p: p.sweep([0, 0.9], 1), {"temperatures": [0, 0.9], "sample": 1}),
    "levels": (lambda p: p.with_levels([0.4], 1), {"factors": [0.4], "sample": 1}),
    "best": (
        lambda p: p.best_of(3, "likelihood").image,
        {"n": 3, "by": "likelihood", "sample": 0},
    ),
    "best-reference": (
        lambda p: p.best_of(3, "reference", p.sample(3)[1]).image,
        {"n": 3, "by": "reference", "sample": 1},
    ),
}


@pytest.mark.parametrize("name", MADE)
def test_a_script_remakes_the_pixels(post, name) -> None:
    make, facts = MADE[name]
    expected = make(post)
    record = post.provenance(name.partition("-")[0], source_name="cells", **facts)
    space: dict = {"__name__": "remade"}
    exec(provenance_script({"napari-flowsr": record}), space)
    found = space["remake"](IMAGE)
    assert found.dtype == np.uint8
    assert found.shape == expected.shape
    # How many are decoded together decides about the last bits, before rounding.
    assert np.abs(found.astype(int) - expected).max() <= 1


@pytest.mark.parametrize(
    ("kind", "facts"),
    [
        ("interpolation", {"first": 0, "second": 2}),
        ("interpolation", {"first": 0, "second": 2, "t": float("nan")}),
        ("interpolation", {"first": "__import__('os')", "second": 2, "t": 0}),
        ("sweep", {"temperatures": ["print()"], "sample": 0}),
        ("levels", {"factors": None, "sample": 0}),
        ("best", {"n": 3, "by": "consistency').x or ('", "sample": 0}),
        ("best", {"n": 3, "by": "consistency"}),
    ],
)
def test_damaged_records_are_refused(post, kind, facts) -> None:
    record = {**post.provenance(kind), **facts}
    with pytest.raises(OptionError, match="damaged"):
        provenance_script(record)


def test_every_kind_has_a_valid_script(post) -> None:
    assert {name.partition("-")[0] for name in MADE} == set(KINDS)
    for name, (_, facts) in MADE.items():
        record = post.provenance(name.partition("-")[0], **facts)
        ast.parse(provenance_script(record))
