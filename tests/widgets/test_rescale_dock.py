"""The Rescale dock, driven as from a script and by clicks."""

from __future__ import annotations

import threading

import numpy as np
import pytest
import torch
from napari.components import ViewerModel

import napari_flowsr as flowsr
from napari_flowsr.errors import OptionError
from napari_flowsr.io import collection
from napari_flowsr.io.checkpoint import save_model
from napari_flowsr.io.provenance import NAMESPACE
from napari_flowsr.models.card import Model, ModelCard
from napari_flowsr.models.hcflow_rescale import HCFlowRescale, HCFlowRescaleConfig
from napari_flowsr.widgets._rescale_session import RescaleSession
from napari_flowsr.widgets.rescale_dock import RescaleDock
from napari_flowsr.widgets.upscale_dock import UpscaleDock

WAIT = 60_000  # ms; the machine may be busy


def rescaler(channels: int = 1) -> Model:
    torch.manual_seed(5)
    flow = HCFlowRescale(
        HCFlowRescaleConfig(
            scale=4, channels=channels, width=4, blocks=(1, 1), growth=2, steps=(2,),
            conditional_steps=(1,), hidden=3, conditional_hidden=4,
        )
    )  # fmt: skip
    with torch.no_grad():
        for parameter in flow.parameters():
            if not parameter.any():
                parameter.normal_(0, 0.005)
    card = ModelCard(
        "tiny-rescale", flow.family, flow.scales, channels, sha256="0" * 64,
        temperature=0.05,
    )  # fmt: skip
    return Model(card, flow.eval().requires_grad_(False))


@pytest.fixture(scope="module")
def small_maker() -> Model:
    return rescaler()


@pytest.fixture
def viewer(image):
    """An image of 17 × 20 pixels: 17 is no multiple of 4."""
    viewer = ViewerModel()
    viewer.add_image(image, name="cells", scale=(0.5, 0.5), translate=(3, 4))
    return viewer


@pytest.fixture
def dock(qtbot, viewer, small_maker):
    widget = RescaleDock(viewer)
    widget.session.model = small_maker
    widget.session.device = "cpu"
    qtbot.addWidget(widget)
    yield widget
    widget.cancel()
    finish(qtbot, widget)


def finish(qtbot, widget):
    qtbot.waitUntil(lambda: not widget.is_running, timeout=WAIT)


def run(qtbot, widget):
    widget.run()
    finish(qtbot, widget)
    return widget.outputs()


def kinds(layers):
    return [layer.metadata[NAMESPACE]["kind"] for layer in layers]


def corner(layer, pixel):
    return np.array(layer.data_to_world(pixel))


# --- making small -------------------------------------------------------------


def test_a_run_gives_small_restored_and_error(qtbot, dock, image, small_maker):
    small, back, error = made = run(qtbot, dock)
    assert kinds(made) == ["small", "restored", "error"]
    expected, latents = flowsr.rescale_down(image, small_maker, bits=8, device="cpu")
    np.testing.assert_array_equal(small.data, expected)
    restored = flowsr.rescale_up(
        expected, small_maker, like=latents.about, device="cpu"
    )
    np.testing.assert_array_equal(back.data, restored)
    difference = np.abs(restored.astype(float) - image)
    np.testing.assert_allclose(error.data, difference, atol=1e-4)
    assert difference.max() > 0
    text = dock.bar.status.text()
    assert "340 B → 25 B (7.4 %)" in text
    assert "detail sampled): PSNR" in text
    assert "3 layers in" in text
    assert small.metadata[NAMESPACE]["detail_inferred"] is False
    assert back.metadata[NAMESPACE]["detail_inferred"] is True
    assert small.metadata[NAMESPACE]["source_name"] == "cells"
    assert small.metadata[NAMESPACE]["model_sha256"] == "0" * 64


def test_layers_lie_on_the_image_though_it_was_padded(qtbot, dock, viewer):
    cells = viewer.layers["cells"]
    small, back, error = run(qtbot, dock)
    assert small.data.shape == (5, 5)
    np.testing.assert_allclose(small.scale, (2, 2))
    # The outer corner of the first pixel, and that of the small image's second one.
    np.testing.assert_allclose(corner(small, (-0.5, -0.5)), corner(cells, (-0.5, -0.5)))
    np.testing.assert_allclose(corner(small, (0.5, 0.5)), corner(cells, (3.5, 3.5)))
    for layer in (back, error):
        assert layer.data.shape == (17, 20)
        np.testing.assert_allclose(layer.scale, cells.scale)
        np.testing.assert_allclose(layer.translate, cells.translate)


def test_with_latents_nothing_is_lost(qtbot, dock, image, tmp_path):
    dock.session.detail = "exact"
    _, back, error = run(qtbot, dock)
    np.testing.assert_array_equal(back.data, image)
    assert not error.data.any()
    assert back.metadata[NAMESPACE]["exact"] is True
    assert back.metadata[NAMESPACE]["detail_inferred"] is False
    assert "identical" in dock.bar.status.text()
    assert "Latents:" in dock.bar.status.text()
    # They can be kept; a script writes the file that the button asks for.
    path = flowsr.save_latents(tmp_path / "a.safetensors", dock.session.latents)
    assert dock.form.latents.save.isEnabled()
    assert flowsr.load_latents(path).about.shape == image.shape


def test_only_what_is_wanted_is_computed(qtbot, dock, monkeypatch):
    monkeypatch.setattr("napari_flowsr.inference.rescale_up.up", lambda *_, **__: 1 / 0)
    dock.session.outputs = ("small",)
    assert kinds(run(qtbot, dock)) == ["small"]
    assert "PSNR" not in dock.bar.status.text()


def test_a_rerun_replaces_its_own_layers_alone(qtbot, dock, viewer, model):
    upscale = UpscaleDock(viewer)
    qtbot.addWidget(upscale)
    upscale.session.model, upscale.session.samples = model, 2
    upscale.session.device = "cpu"
    upscale.run()
    finish(qtbot, upscale)
    of_upscale = upscale.outputs()
    assert len(of_upscale) == 3
    first = run(qtbot, dock)
    second = run(qtbot, dock)
    assert len(second) == 3
    assert not set(first) & set(viewer.layers)
    assert upscale.outputs() == of_upscale
    upscale.run()
    finish(qtbot, upscale)
    assert dock.outputs() == second
    upscale.leave()


def test_contrast_and_bits(qtbot, dock, viewer, image):
    cells = viewer.layers["cells"]
    cells.contrast_limits = (60, 180)
    cells.colormap = "green"
    dock.session.bits = 16
    small, back, _ = run(qtbot, dock)
    assert small.data.dtype == np.uint16
    assert small.data.max() > 50_000
    low, high = np.percentile(image, (0.1, 99.9))
    expected = (np.array([60, 180]) - low) / (high - low) * 65535
    np.testing.assert_allclose(
        small.contrast_limits, expected.clip(0, 65535), rtol=0.01
    )
    assert back.contrast_limits == [60, 180]
    assert small.colormap.name == back.colormap.name == "green"


def test_colour_and_a_region(qtbot, viewer):
    pixels = np.random.default_rng(0).integers(0, 255, (30, 34, 3)).astype(np.uint8)
    photo = viewer.add_image(pixels, rgb=True, name="photo", scale=(0.1, 0.1))
    widget = RescaleDock(viewer)
    qtbot.addWidget(widget)
    widget.session.image, widget.session.model = photo, rescaler(3)
    widget.session.detail = "exact"
    widget.session.roi = (4, 8, 17, 18)
    small, back, error = run(qtbot, widget)
    assert small.rgb
    assert small.data.shape == (5, 5, 3)
    np.testing.assert_array_equal(back.data, pixels[4:21, 8:26])
    assert error.data.shape == (17, 18)
    np.testing.assert_allclose(corner(small, (-0.5, -0.5)), corner(photo, (3.5, 7.5)))
    np.testing.assert_allclose(corner(back, (0, 0)), corner(photo, (4, 8)))
    record = back.metadata[NAMESPACE]
    assert record["roi"] == [[4, 21], [8, 26]]
    widget.leave()


# --- bringing back ------------------------------------------------------------


def test_a_small_layer_is_brought_back(qtbot, dock, viewer, image):
    dock.session.detail = "exact"
    dock.session.outputs = ("small",)
    [small] = run(qtbot, dock)
    dock.session.image = small
    dock.session.direction = "up"
    [back] = run(qtbot, dock)
    assert "25 B → 340 B." in dock.bar.status.text()
    np.testing.assert_array_equal(back.data, image)
    cells = viewer.layers["cells"]
    np.testing.assert_allclose(back.scale, cells.scale)
    np.testing.assert_allclose(corner(back, (-0.5, -0.5)), corner(cells, (-0.5, -0.5)))
    # What was black and white in the small one.
    shown = np.percentile(image, (0.1, 99.9))
    np.testing.assert_allclose(back.contrast_limits, shown, atol=0.1)
    dock.session.detail = "sampled"
    [sampled] = run(qtbot, dock)
    # Of the size and type in the layer's record, not of its shape.
    assert sampled.data.shape == image.shape
    assert sampled.data.dtype == image.dtype


def test_latents_of_another_layer_are_refused_in_words(qtbot, dock, viewer, image):
    dock.session.detail = "exact"
    [small, *_] = run(qtbot, dock)
    other = viewer.add_image(small.data.copy() ^ 1, name="edited")
    dock.session.image, dock.session.direction = other, "up"
    assert run(qtbot, dock) == []
    assert "other pixels" in dock.bar.status.text()


def test_latents_are_asked_for(dock, tmp_path):
    dock.session.direction, dock.session.detail = "up", "exact"
    assert not dock.bar.run.isEnabled()
    assert "latents are needed" in dock.bar.run.toolTip()
    dock.session.latents = tmp_path / "none.safetensors"
    assert "There is no file" in dock.bar.run.toolTip()
    with pytest.raises(OptionError, match="There is no file"):
        dock.run()
    dock.session.latents = np.zeros(4)
    assert "of type ndarray" in dock.bar.run.toolTip()
    assert not dock.form.latents.save.isEnabled()
    dock.session.detail = "sampled"
    assert dock.bar.run.isEnabled()


def remade(layer, image, model, **keywords):
    """What the program of a layer makes."""
    names: dict = {"__name__": "script"}
    exec(flowsr.provenance_script(layer.metadata), names)
    return names["remake"](image, model, device="cpu", **keywords)


@pytest.mark.parametrize("detail", ["sampled", "exact"])
def test_layers_can_be_made_again_by_their_programs(
    qtbot, viewer, image, tmp_path, detail
):
    made = rescaler()
    path = tmp_path / "mine.safetensors"
    save_model(path, made.flow, made.card.with_(sha256=""))
    widget = RescaleDock(viewer)
    qtbot.addWidget(widget)
    widget.session.model, widget.session.device = path, "cpu"
    widget.session.detail, widget.session.seed = detail, 3
    widget.session.roi = (1, 2, 13, 14)
    small, back, error = run(qtbot, widget)
    for layer in (small, back):
        np.testing.assert_array_equal(remade(layer, image, path), layer.data)
    with pytest.raises(OptionError, match="no script"):
        flowsr.provenance_script(error.metadata)
    latents = widget.session.latents
    widget.session.image, widget.session.direction = small, "up"
    widget.session.roi = "whole"
    [again] = run(qtbot, widget)
    keywords = {"latents": latents} if detail == "exact" else {}
    found = remade(again, small.data, path, **keywords)
    np.testing.assert_array_equal(found, again.data)
    np.testing.assert_array_equal(again.data, back.data)
    widget.leave()


# --- what is refused ----------------------------------------------------------


def test_labels_and_masks_are_refused_with_the_reason(dock, viewer, image):
    labels = viewer.add_labels(np.zeros((9, 9), int), name="nuclei")
    mask = viewer.add_image(image > 100, name="mask")
    for layer, said in ((labels, "labels layer"), (mask, "is a mask")):
        dock.session.image = layer
        assert not dock.bar.run.isEnabled()
        assert said in dock.bar.run.toolTip()
        with pytest.raises(OptionError, match=said):
            dock.run()
    assert "nuclei" not in [
        dock.form.input.image.itemText(i) for i in range(dock.form.input.image.count())
    ]


def test_models_that_only_enlarge_are_not_offered(qtbot, viewer, monkeypatch, tmp_path):
    monkeypatch.setenv("NAPARI_FLOWSR_HOME", str(tmp_path))
    builtin, name = tmp_path / "builtin", "micro-2x.safetensors"
    builtin.mkdir()
    (builtin / name).symlink_to(collection.builtin_folder() / name)
    monkeypatch.setattr(collection, "builtin_folder", lambda: builtin)
    widget = RescaleDock(viewer)
    qtbot.addWidget(widget)
    assert widget.form.input.model.box.count() == 0
    assert not widget.bar.run.isEnabled()
    for text in (widget.form.input.model.card.text(), widget.bar.status.text()):
        assert "models import FILE" in text
    widget.session.model = "micro-2x"
    assert "only enlarges" in widget.bar.run.toolTip()
    widget.session.model = "rescale-4x"

    # One is imported: it is offered when the list is opened, and chosen.
    (tmp_path / "models").mkdir()
    made = rescaler()
    card = made.card.with_(name="mine", sha256="")
    save_model(tmp_path / "models" / "mine.safetensors", made.flow, card)
    widget.form.input.model.box.opening.emit()
    assert widget.session.model == "mine"
    assert widget.bar.run.isEnabled()
    assert "hcflow-rescale" in widget.form.input.model.card.text()
    # A new dock takes the one that there is.
    again = RescaleDock(viewer)
    qtbot.addWidget(again)
    assert again.session.model == "mine"
    for dock in (widget, again):
        dock.leave()


@pytest.mark.parametrize(
    ("field", "value", "said"),
    [
        ("bits", 12, "bits is 12"),
        ("detail", "all", "detail is 'all'"),
        ("direction", "left", "direction is 'left'"),
        ("outputs", ("mean",), "Outputs are"),
        ("seed", -1, "seed"),
        ("latents", 3, "of type int"),
    ],
)
def test_every_field_says_what_is_wrong(viewer, small_maker, field, value, said):
    session = RescaleSession(image=viewer.layers[0], model=small_maker)
    session.device = "cpu"
    assert session.problems() == {}
    if field == "latents":
        session.detail, session.direction = "exact", "up"
    setattr(session, field, value)
    assert said in session.problems()[field]


def test_fields_that_do_not_matter_are_hidden(dock):
    form = dock.form
    dock.show()
    assert form.latents.isHidden()
    assert form.drawing.temperature.isVisible()
    dock.session.detail = "exact"
    assert not form.latents.isHidden()
    assert form.latents.open.isHidden()
    assert not form.drawing.temperature.isVisible()
    dock.session.direction = "up"
    assert not form.latents.open.isHidden()
    assert not form.bits.isVisible()
    assert not form.output.kinds["error"].isVisible()


# --- cancelling ---------------------------------------------------------------


def test_cancel_stops_within_a_tile(qtbot, dock, viewer, monkeypatch):
    viewer.layers["cells"].data = np.tile(viewer.layers["cells"].data, (4, 4))
    dock.session.tile = 4
    entered, go, calls = threading.Event(), threading.Event(), []
    own = HCFlowRescale.downscale

    def held(self, hr):
        calls.append(hr.shape)
        if len(calls) > 4:  # the first are those of the probe of the precision
            entered.set()
            go.wait(30)
        return own(self, hr)

    monkeypatch.setattr(HCFlowRescale, "downscale", held)
    dock.run()
    qtbot.waitUntil(entered.is_set, timeout=WAIT)
    before = len(calls)
    dock.bar.cancel.click()
    go.set()
    finish(qtbot, dock)
    assert len(calls) <= before + 1
    assert dock.outputs() == []
    assert dock.bar.status.text().startswith("Cancelled")


def test_progress_goes_from_the_way_there_to_the_way_back(qtbot, dock, monkeypatch):
    seen = []
    monkeypatch.setattr("napari_flowsr.widgets._run._INTERVAL", 0)
    monkeypatch.setattr(dock.bar, "advance", lambda *a: seen.append(a))
    dock.session.tile = 2
    run(qtbot, dock)
    done = [a[0] for a in seen]
    assert done == sorted(done)
    assert {a[1] for a in seen} == {2000}
    assert seen[-1][0] > 1000
    assert {a[3] for a in seen} >= {"making it small"}


def test_by_its_name_in_a_viewer(make_napari_viewer):
    viewer = make_napari_viewer()
    viewer.add_image(np.random.default_rng(0).random((12, 12)), name="a")
    _, widget = viewer.window.add_plugin_dock_widget("napari-flowsr", "Rescale")
    assert type(widget).__name__ == "RescaleDock"
    names = "image model samples temperature seed scale prior roi tile device outputs"
    for name in names.split():
        assert hasattr(widget.session, name)
    assert widget.session.image is viewer.layers["a"]
    widget.session.model = rescaler()
    widget.session.device = "cpu"
    assert len(widget.outputs()) == 0


def test_a_pixel_size_is_given_to_the_input_too(qtbot, dock, viewer):
    cells = viewer.layers["cells"]
    dock.session.pixel_size_um = 0.1
    made = run(qtbot, dock)
    _, back, error = made
    for layer in made:
        assert [str(unit) for unit in layer.units] == ["micrometer"] * 2
    for layer in (back, error):
        np.testing.assert_allclose(layer.extent.world, cells.extent.world)
    np.testing.assert_allclose(made[0].scale, 0.4)
    assert "'cells' got pixels of 0.1 µm as well." in dock.bar.status.text()


def test_there_is_one_precision(dock):
    """Latents bring an image back exactly."""
    assert not hasattr(dock.form.advanced, "precision")
    dock.session.precision = "bfloat16"
    assert "rescaled in float32 alone" in dock.session.problems()["precision"]
