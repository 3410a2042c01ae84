"""The state behind the Upscale dock: what is accepted, and what is said where not."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from napari.layers import Image, Labels, Points

from napari_flowsr.errors import OptionError
from napari_flowsr.io.checkpoint import save_model
from napari_flowsr.widgets._checks import check_image_layer
from napari_flowsr.widgets._session import Session


class StandIn:
    """What napari 0.9 refuses to make a layer of, should it come by another way."""

    _type_string = "image"
    rgb = False

    def __init__(self, name, *levels):
        self.name, self.multiscale = name, len(levels) > 1
        self.data = levels if self.multiscale else levels[0]
        self.ndim = levels[0].ndim


@pytest.fixture
def session(model):
    return Session(image=Image(np.zeros((8, 6), "uint8"), name="cells"), model=model)


def test_needs_no_qt():
    """A script may hold a session without any window."""
    code = (
        "import sys; from napari_flowsr.widgets._session import Session; Session();"
        "from napari_flowsr.widgets import _geometry, _layers;"
        "bad = {'qtpy', 'PySide6', 'PyQt6', 'napari'} & set(sys.modules); "
        "sys.exit(', '.join(sorted(bad)))"
    )
    done = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=False
    )
    assert done.stderr.strip() == ""


def test_fields_of_the_contract():
    session = Session()
    for name in (
        *("image", "model", "samples", "temperature", "seed", "scale", "prior"),
        *("roi", "tile", "device", "outputs"),
    ):
        assert hasattr(session, name)
        assert hasattr(session.events, name)


def test_nothing_to_complain_about(session):
    assert session.problems() == {}


@pytest.mark.parametrize(
    ("field", "value", "reason"),
    [
        ("image", None, "no image"),
        ("model", "no-such-model", "no-such-model"),
        ("model", Path("no-such-model.safetensors"), "no model file"),
        ("model", 3, "a loaded model"),
        ("samples", 0, "at least 1"),
        ("samples", 2.5, "whole number"),
        ("samples", True, "whole number"),
        ("temperature", -0.1, "from 0"),
        ("temperature", float("nan"), "from 0"),
        ("temperature", 2.5, "to 2"),
        ("temperature", "hot", "'hot'"),
        ("seed", 1.5, "whole number"),
        ("seed", -1, "at least 0"),
        ("scale", 3, "3"),
        ("scale", "big", "'big'"),
        ("prior", "cauchy", "'gaussian'"),
        ("noise", "pink", "'shared'"),
        ("nan", "ignore", "'fill'"),
        ("precision", "half", "'bfloat16'"),
        ("tile", 0, "at least 1"),
        ("tile", "small", "whole number"),
        ("device", "abacus", "abacus"),
        ("outputs", (), "choose one or more"),
        ("outputs", ("mean", "median"), "median"),
        ("outputs", "mean", "choose one or more"),
        ("outputs", 3, "choose one or more"),
        ("pixel_size_um", 0.0, "above 0"),
        ("pixel_size_um", -1, "above 0"),
        ("pixel_size_um", float("nan"), "above 0"),
        ("pixel_size_um", float("inf"), "above 0"),
        ("pixel_size_um", "small", "'small'"),
        ("roi", "half", "'half'"),
        ("roi", (1, 2, 3), "height, width"),
        ("roi", (0, 0, "a", 3), "height, width"),
        ("roi", (0, 0, 0, 3), "height, width"),
        ("roi", None, "None"),
    ],
)
def test_a_bad_value_is_kept_and_the_reason_given(session, field, value, reason):
    setattr(session, field, value)
    assert getattr(session, field) is value
    problems = session.problems()
    assert list(problems) == [field]
    assert reason in problems[field]


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("samples", np.int64(3)),
        ("temperature", 0),
        ("temperature", np.float32(0.5)),
        ("temperature", None),
        ("seed", 2**40),
        ("scale", 2),
        ("scale", None),
        ("tile", None),
        ("tile", 32),
        ("device", "cpu"),
        ("outputs", ["mean"]),
        ("outputs", ("range",)),
        ("pixel_size_um", 0.1),
        ("roi", "view"),
        ("roi", (0, 0, 4, 4)),
        ("nan", "fill"),
        ("precision", "bfloat16"),
        ("noise", "shared"),
    ],
)
def test_a_good_value_is_accepted(session, field, value):
    setattr(session, field, value)
    assert session.problems() == {}


def test_several_problems_at_once(session):
    session.samples, session.seed = 0, None
    assert set(session.problems()) == {"samples", "seed"}


@pytest.mark.parametrize(
    ("layer", "reason"),
    [
        (Labels(np.zeros((4, 4), int), name="mask"), "'mask' is a labels layer"),
        (Points(np.zeros((1, 2)), name="dots"), "'dots' is a points layer"),
        (StandIn("wave", np.zeros((4, 4), complex)), "'wave' holds complex128"),
        (StandIn("line", np.zeros(4)), "'line' has one axis"),
        ("cells", "only Image layers"),
    ],
)
def test_what_cannot_be_upscaled_is_refused(session, layer, reason):
    with pytest.raises(OptionError, match=reason):
        check_image_layer(layer)
    session.image = layer
    assert reason in session.problems()["image"]


def test_multiscale_is_judged_by_its_first_level():
    levels = [np.zeros((16, 16)), np.zeros((8, 8))]
    with pytest.raises(OptionError, match="complex"):
        check_image_layer(StandIn("wave", *(level + 1j for level in levels)))
    check_image_layer(Image(levels, multiscale=True))


def test_a_change_is_told_once_and_only_a_change(session):
    heard = []
    session.events.temperature.connect(heard.append)
    session.temperature = 0.7
    session.temperature = 0.7
    session.seed = 3
    assert heard == [0.7]
    anything = []
    session.events.connect(lambda info: anything.append(info.signal.name))
    session.samples = 9
    assert anything == ["samples"]


def test_sessions_do_not_share_their_events(session):
    other, heard = Session(), []
    other.events.seed.connect(heard.append)
    session.seed = 5
    assert (heard, other.seed) == ([], 0)


def test_restore_keeps_the_image_alone(session):
    image, heard = session.image, []
    session.samples, session.temperature, session.roi = 9, 0.1, (0, 0, 2, 2)
    session.outputs, session.pixel_size_um, session.model = ("std",), 0.2, "other"
    session.events.samples.connect(heard.append)
    session.restore({"samples": 6, "device": "cpu"})
    assert session.image is image
    assert (session.samples, session.device, heard) == (6, "cpu", [6])
    untouched = Session()
    for name in ("temperature", "roi", "outputs", "pixel_size_um", "model"):
        assert getattr(session, name) == getattr(untouched, name)


def test_options_are_those_of_a_posterior(session, model):
    from napari_flowsr.inference.posterior import posterior

    session.temperature, session.seed, session.nan = 0.5, 4, "fill"
    options = session.options()
    assert options["temperature"] == 0.5
    assert options["seed"] == 4
    assert options["nan"] == "fill"
    post = posterior(session.image.data, model, **options)
    assert post.sample(1).shape == (1, 16, 12)


@pytest.mark.parametrize("scale", [0.5, 3, 50, float("nan")])
def test_the_scale_is_checked_against_the_card_of_a_name(session, scale):
    session.model, session.scale = "micro-2x", scale
    problem = session.problems()["scale"]
    assert "the model 'micro-2x' has 2" in problem
    assert "Choose another scale" in problem


def test_the_scale_is_checked_against_the_range_of_a_card(session, any_scale, tmp_path):
    path = tmp_path / "any.safetensors"
    save_model(path, any_scale.flow, any_scale.card.with_(sha256=""))
    session.model = path
    for scale, fits in ((0.5, False), (50, False), (3.3, True), (32, True)):
        session.scale = scale
        assert ("scale" not in session.problems()) == fits, scale
    session.scale = 50
    assert "any from 1 to 32" in session.problems()["scale"]
