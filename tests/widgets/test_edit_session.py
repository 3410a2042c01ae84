"""State of the Edit dock: what fits what, and what a target tells. No Qt."""

from __future__ import annotations

import numpy as np
import pytest
from napari.layers import Image, Labels, Points

from napari_flowsr.errors import OptionError
from napari_flowsr.io.provenance import NAMESPACE
from napari_flowsr.widgets._edit_session import EditSession, is_edit_layer
from napari_flowsr.widgets._edit_sources import Binding, Kept


def lr(shape=(17, 20), **options):
    return Image(np.zeros(shape, np.uint8), name="lr", **options)


def hr(shape=(34, 40), **options):
    return Image(np.zeros(shape, np.uint8), name="hr", **options)


@pytest.fixture
def session(model):
    return EditSession(model=model, device="cpu", image=lr(), target=hr())


def test_an_hr_image_of_the_lr_image_fits(session):
    assert session.problems() == {}
    pair = session.pairing()
    assert (pair.scale, pair.drop, pair.axes) == (2.0, 0, "YX")
    session.target = hr((5, 34, 40))
    pair = session.pairing()
    assert (pair.scale, pair.drop) == (2.0, 1)


@pytest.mark.parametrize("axis", ["sample", "tau", "t"])
def test_of_a_stack_without_an_lr_image_the_shown_one_is_edited(session, axis):
    from napari.components import ViewerModel

    strip = np.random.default_rng(0).integers(0, 255, (3, 34, 40)).astype(np.uint8)
    record = {"kind": "interpolation", "stack": axis}
    facts = {NAMESPACE: record} if axis == "t" else {}
    viewer = ViewerModel()
    session.image = None
    session.target = viewer.add_image(
        strip, axis_labels=(axis, "y", "x"), metadata=facts
    )
    pair = session.pairing()
    assert (pair.drop, pair.axes, pair.grid.shape) == (1, "YX", (34, 40))
    viewer.dims.set_point(0, 2)
    binding = Binding(session, viewer.dims, Kept(), pair)
    np.testing.assert_array_equal(binding.target_array(), strip[2])


def test_a_series_in_time_is_no_stack(session):
    session.image = None
    session.target = hr((3, 34, 40), axis_labels=("t", "y", "x"))
    assert session.pairing().drop == 0
    # Nor is what was edited of a strip, which has one axis less.
    record = {"kind": "edited", "stack": "t"}
    session.target = hr(metadata={NAMESPACE: record})
    assert session.pairing().drop == 0


@pytest.mark.parametrize(
    ("image", "target", "message"),
    [
        (lr(), hr((34, 41)), r"34 x 41 pixels; an HR image of 'lr' \(17 x 20\) has 34"),
        (lr(), hr((2, 3, 34, 40)), "'hr' has 4 axes and 'lr' 2"),
        (lr((3, 17, 20)), hr(), "'hr' has 2 axes and 'lr' 3"),
        (lr((17, 20, 3), rgb=True), hr(), "one is in colour"),
        (lr(units=("um", "um")), hr(), "'hr' is in pixel and 'lr' in micrometer"),
        (None, hr((35, 40)), r"35 x 40 pixels, not a multiple of the scale 2.*34 x 40"),
        (None, None, "There is no target chosen"),
        (None, Labels(np.ones((4, 4), int)), "labels layer; only Image layers"),
    ],
    ids=["size", "more-axes", "fewer", "colour", "units", "multiple", "none", "kind"],
)
def test_what_does_not_fit_is_told(session, image, target, message):
    session.image, session.target = image, target
    with pytest.raises(OptionError, match=message):
        session.pairing()
    assert "target" in session.problems()


def test_the_same_layer_is_not_both(session):
    session.image = session.target
    assert "Image and target are both 'hr'" in session.problems()["target"]


def test_values_are_checked(session):
    for name, value in {
        "feather": -1.0,
        "brush_size": 0,
        "mask": Points(np.zeros((1, 2))),
        "outputs": ("samples",),
        "samples": 0,
    }.items():
        before = getattr(session, name)
        setattr(session, name, value)
        assert set(session.problems()) == {name}
        setattr(session, name, before)
    session.feather = float("nan")
    assert "width in HR pixels" in session.problems()["feather"]


def test_restoring_keeps_the_layers(session):
    session.mask, session.page = Labels(np.ones((34, 40), int)), "Re-sample"
    image, target = session.image, session.target
    session.feather, session.automatic, session.seed = 3.0, True, 9
    session.restore({"temperature": 0.5})
    assert (session.feather, session.automatic, session.seed) == (0.0, False, 0)
    assert session.temperature == 0.5
    assert session.image is image
    assert session.target is target
    assert session.mask is not None
    assert session.page == "Re-sample"


def test_an_any_scale_model_takes_the_scale_that_fits(any_scale):
    session = EditSession(model=any_scale, image=lr((10, 12)), target=hr((33, 40)))
    pair = session.pairing()
    assert round(10 * pair.scale) == 33
    assert round(12 * pair.scale) == 40
    session.target = hr((33, 60))
    assert "target" in session.problems()


def test_a_record_tells_image_model_scale_and_part(session):
    image = lr()
    target = hr(
        (20, 24),
        metadata={
            NAMESPACE: {
                "model": "micro-2x",
                "model_sha256": "f" * 64,
                "source_name": "renamed since",
                "scale": 2.0,
                "seed": 4,
                "roi": [[3, 13], [2, 14]],
            },
            "napari-flowsr-layer": {"source": str(image.unique_id), "layer": "x"},
        },
    )
    other = lr()
    session.target = target
    session.take_over([other, image, target])
    assert session.image is image
    assert session.model == "micro-2x"
    assert session.scale is None
    assert session.seed == 0
    pair = session.pairing()
    assert pair.box.slices == (slice(3, 13), slice(2, 14))
    # By name, where the image was saved and opened again.
    del target.metadata["napari-flowsr-layer"]
    target.metadata[NAMESPACE]["source_name"] = "lr"
    session.image = None
    session.take_over([other, target])
    assert session.image is other


def test_a_model_that_has_gone_is_left_to_the_person(session, model):
    session.target = hr(metadata={NAMESPACE: {"model": "gone", "model_sha256": "1"}})
    session.take_over([])
    assert session.model is model


def test_a_duplicate_of_an_edited_layer_is_the_persons():
    layer = hr()
    layer.metadata[NAMESPACE] = {"tool": "edit", "kind": "edited"}
    layer.metadata["napari-flowsr-layer"] = {"layer": str(layer.unique_id)}
    assert is_edit_layer(layer)
    assert not is_edit_layer(hr(metadata=layer.metadata))


# --- what a run reads -------------------------------------------------------------


def bound(session, kept=None):
    binding = Binding(session, None, kept or Kept(), session.pairing())
    binding.fix()
    return binding


def test_the_posterior_is_kept_until_something_matters(session, image):
    kept = Kept()
    session.image = Image(image)
    first = bound(session, kept).posterior()
    session.seed, session.temperature = 7, 0.3
    second = bound(session, kept).posterior()
    assert second.options.seed == 7
    assert second._bound.intensities is first._bound.intensities
    assert bound(session, kept).posterior(seed=3).options.seed == 3
    session.image.data[0, 0] = 255  # in place: no event tells
    third = bound(session, kept).posterior()
    assert third._bound.intensities is not first._bound.intensities
    assert third._bound.intensities.source.array[0, 0] == 255


def test_samples_of_the_posterior_are_those_of_a_script(session, image, model):
    import napari_flowsr as flowsr

    session.image = Image(image)
    session.seed, session.temperature = 7, 0.3
    found = bound(session).posterior().sample(2)
    expected = flowsr.posterior(
        image, model, seed=7, temperature=0.3, device="cpu"
    ).sample(2)
    np.testing.assert_array_equal(found, expected)


def test_axes_in_another_order_reach_the_model_as_maps(model):
    """Y and X need not be last; maps are given to a posterior with them last."""
    rng = np.random.default_rng(0)
    small = Image(
        rng.integers(0, 255, (6, 8, 2)).astype(np.uint8), axis_labels=("y", "x", "z")
    )
    large = Image(
        rng.integers(0, 255, (12, 16, 2)).astype(np.uint8), axis_labels=("y", "x", "z")
    )
    painted = np.zeros((12, 16, 2), np.uint8)
    painted[3:6, 4:9, 1] = 1
    session = EditSession(
        model=model, device="cpu", image=small, target=large, mask=Labels(painted)
    )
    binding = bound(session)
    mask = binding.mask_array()
    np.testing.assert_array_equal(mask, np.moveaxis(painted, -1, 0))
    post = binding.posterior()
    edited = post.resample(binding.target_array(), mask, 1)
    np.testing.assert_array_equal(edited[..., 0], large.data[..., 0])
    assert (edited[..., 1] != large.data[..., 1]).any()


def test_outputs_are_placed_where_they_belong(session):
    session.image = lr(scale=(0.5, 0.5), translate=(3, 4))
    session.target = hr((5, 34, 40), scale=(1, 0.25, 0.25), translate=(0, 2.9, 3.9))
    binding = bound(session)
    on_hr = Image(np.zeros((34, 40)), **binding.placed())
    np.testing.assert_allclose(on_hr.translate, (2.9, 3.9))
    stack = Image(np.zeros((2, 34, 40)), **binding.placed(("sample",)))
    np.testing.assert_allclose(stack.scale, (1, 0.25, 0.25))
    assert stack.axis_labels[0] == "sample"
    on_lr = Image(np.zeros((17, 20)), **binding.placed(on_lr=True))
    np.testing.assert_allclose(on_lr.scale, (0.5, 0.5))
    np.testing.assert_allclose(on_lr.translate, (3, 4))
    session.image = None
    session.target = hr(scale=(0.25, 0.25), translate=(2.875, 3.875))
    on_lr = Image(np.zeros((17, 20)), **bound(session).placed(on_lr=True))
    np.testing.assert_allclose(on_lr.scale, (0.5, 0.5))
    np.testing.assert_allclose(on_lr.translate, (3, 4))


def test_a_model_chosen_by_its_name_is_the_one_of_the_record():
    """The header of a file of ours does not tell its own hash."""
    import napari_flowsr as flowsr

    image = lr()
    target = hr()
    target.metadata[NAMESPACE] = {
        "tool": "edit",
        "kind": "edited",
        "source_name": "lr",
        "model": "micro-2x",
        "model_sha256": flowsr.load_model("micro-2x", device="cpu").card.sha256,
    }
    target.metadata["napari-flowsr-layer"] = {
        "source": str(image.unique_id),
        "layer": str(target.unique_id),
    }
    session = EditSession(model="micro-2x", image=image, target=target)
    assert is_edit_layer(target)
    assert session.warnings() == {}
    session.model = flowsr.load_model("micro-2x", device="cpu")
    assert session.warnings() == {}
    session.model = "micro-4x"
    assert "'micro-4x'" in session.warnings()["model"]
