"""Edited images in files: written from the Edit dock, and gone on with next week."""

from __future__ import annotations

import dataclasses

import numpy as np
import pytest
import torch
from docks import WAIT, Gate, finish
from napari.components import ViewerModel

import napari_flowsr as flowsr
from napari_flowsr.core import device, precision
from napari_flowsr.errors import OptionError
from napari_flowsr.io.provenance import NAMESPACE
from napari_flowsr.models.card import Model
from napari_flowsr.widgets._edit_session import is_edit_layer
from napari_flowsr.widgets.edit_dock import EditDock

FINE = {"scale": (0.25, 0.25), "translate": (2.875, 3.875), "units": ("um", "um")}


def opened(qtbot, model, *layers):
    viewer = ViewerModel()
    for name, data, place in layers:
        viewer.add_image(data, name=name, **place)
    dock = EditDock(viewer)
    qtbot.addWidget(dock)
    dock.session.model, dock.session.device = model, "cpu"
    return viewer, dock


@pytest.fixture
def cells(image):
    return np.tile(image, (2, 2))


@pytest.fixture
def edited(qtbot, cells, model):
    hr = flowsr.posterior(cells, model, device="cpu", seed=5).sample(1)[0]
    coarse = {"scale": (0.5, 0.5), "translate": (3, 4), "units": ("um", "um")}
    viewer, dock = opened(qtbot, model, ("cells", cells, coarse), ("fine", hr, FINE))
    dock.session.image = viewer.layers["cells"]
    dock.session.target = viewer.layers["fine"]
    yield viewer, dock
    dock.leave()


def edit(qtbot, dock):
    mask = dock.new_mask()
    mask.data[8:16, 8:16] = 1
    dock.run()
    finish(qtbot, dock)
    return dock.session.target


def written(qtbot, dock, path):
    dock.files.save(path)
    finish(qtbot, dock)
    assert "Written to" in dock.bar.status.text()
    return path.with_name(path.name + ".flowsr")


def test_a_session_goes_on_next_week(qtbot, edited, cells, model, tmp_path):
    _, dock = edited
    before = edit(qtbot, dock)
    path = written(qtbot, dock, tmp_path / "a")
    viewer, later = opened(qtbot, model)
    later.files.open(path)
    finish(qtbot, later)
    layer, image = later.session.target, later.session.image
    assert is_edit_layer(layer)
    assert layer.name == before.name
    assert layer.data.dtype == np.uint8
    # Latents are float32: a value half-way between two whole ones may be rounded anew.
    assert np.abs(layer.data.astype(int) - before.data).max() <= 1
    assert (layer.data == before.data).mean() > 0.99
    np.testing.assert_array_equal(image.data, cells)
    np.testing.assert_allclose(layer.translate, before.translate)
    np.testing.assert_allclose(image.scale, (0.5, 0.5))
    assert [str(u) for u in layer.units] == ["micrometer"] * 2
    assert layer.metadata[NAMESPACE] == before.metadata[NAMESPACE]
    assert later.session.problems() == {}
    # Editing goes on, into the same layer.
    kept = layer.data.copy()
    later.session.seed = 3
    assert edit(qtbot, later) is layer
    assert (layer.data != kept).any()
    assert len(layer.metadata[NAMESPACE]["edits"]) == 2
    assert len(viewer.layers) == 3
    later.leave()


def test_the_lr_image_that_is_there_is_used(qtbot, edited, tmp_path):
    viewer, dock = edited
    edit(qtbot, dock)
    path = written(qtbot, dock, tmp_path / "a")
    dock.files.open(path)
    finish(qtbot, dock)
    assert dock.session.image is viewer.layers["cells"]
    assert sum(x.name.startswith("cells") for x in viewer.layers) == 1


def test_of_an_image_without_lr_image(qtbot, edited, model, tmp_path):
    _, dock = edited
    dock.session.image = None
    before = edit(qtbot, dock)
    path = written(qtbot, dock, tmp_path / "a")
    viewer, later = opened(qtbot, model)
    later.files.open(path)
    finish(qtbot, later)
    layer = later.session.target
    assert later.session.image is None
    assert layer.data.dtype == before.data.dtype
    assert (layer.data == before.data).mean() > 0.99
    np.testing.assert_array_equal(
        later._kept.reduced_of(layer), dock._kept.reduced_of(before)
    )
    assert len(viewer.layers) == 1
    later.leave()


def test_what_cannot_be_written_or_read_is_told(qtbot, edited, make_tiny, tmp_path):
    viewer, dock = edited
    with pytest.raises(OptionError, match="was not edited yet"):
        dock.files.save(tmp_path / "a")
    edit(qtbot, dock)
    path = written(qtbot, dock, tmp_path / "a")
    (tmp_path / "bad.flowsr").write_bytes(b"no such thing")
    count = len(viewer.layers)
    dock.files._try(dock.files.open, str(tmp_path / "bad.flowsr"))
    finish(qtbot, dock)
    assert "bad.flowsr" in dock.bar.status.text()
    unlike = make_tiny(name="other")
    other = Model(dataclasses.replace(unlike.card, sha256="1" * 64), unlike.flow)
    _, later = opened(qtbot, other)
    later.files.open(path)
    finish(qtbot, later)
    assert "tiny" in later.bar.status.text()
    assert not list(later.viewer.layers)
    assert len(viewer.layers) == count
    later.leave()


def test_cancelled_reading_is_told_as_such(qtbot, edited, tmp_path, monkeypatch):
    viewer, dock = edited
    edit(qtbot, dock)
    path = written(qtbot, dock, tmp_path / "a")
    count = len(viewer.layers)
    gate = Gate(dock.session.model.flow, monkeypatch)
    dock.files.open(path)
    qtbot.waitUntil(lambda: gate.calls == 1, timeout=WAIT)
    dock.cancel()
    gate.open()
    finish(qtbot, dock)
    assert dock.bar.status.text() == "Cancelled. Nothing was changed."
    assert len(viewer.layers) == count


def test_latents_are_of_the_precision_of_the_edits(qtbot, edited, model, tmp_path):
    """Not of the one that is chosen when they are written."""
    _, dock = edited
    dock.session.precision = "bfloat16"
    layer = edit(qtbot, dock)
    before = layer.data.copy()
    assert layer.metadata[NAMESPACE]["precision"] == "bfloat16"
    dock.session.precision = "float32"
    path = written(qtbot, dock, tmp_path / "edited")
    found = flowsr.load_edit(path)
    assert found.options["precision"] == "bfloat16"
    for options in (found.options, {**found.options, "precision": "float32"}):
        post = flowsr.posterior(found.image, model, device="cpu", **options)
        pairs = zip(post.encode(before).levels, found.latents.levels, strict=True)
        same = all(torch.allclose(a, b, atol=1e-5) for a, b in pairs)
        assert same == (options["precision"] == "bfloat16")
    dock.files.open(path)
    finish(qtbot, dock)
    assert dock.session.precision == "bfloat16"


def test_a_device_without_the_precision_of_the_edits(
    qtbot, edited, tmp_path, monkeypatch
):
    """The file decides: float32 is no remedy, another device is."""
    viewer, dock = edited
    dock.session.precision = "bfloat16"
    layer = edit(qtbot, dock)
    path = written(qtbot, dock, tmp_path / "edited")
    dock.session.precision = "float32"  # or else the dock has its own say
    count, before = len(viewer.layers), path.read_bytes()
    monkeypatch.setattr(precision, "_has", lambda device, _: device.type != "cuda")
    monkeypatch.setattr(device, "resolve_device", lambda _: (torch.device("cuda"), ""))
    for action, name in ((dock.files.save, layer.name), (dock.files.open, path.name)):
        action(path)
        finish(qtbot, dock)
        said = dock.bar.status.text()
        assert f"'{name}' was edited in the precision 'bfloat16', and the" in said
        assert "device 'cuda' has no automatic conversion" in said
        assert said.rstrip().endswith("Choose another device, such as cpu.")
    assert path.read_bytes() == before
    assert len(viewer.layers) == count


def test_a_file_of_an_unknown_precision(qtbot, edited, tmp_path):
    _, dock = edited
    edit(qtbot, dock)
    path = written(qtbot, dock, tmp_path / "edited")
    found = flowsr.load_edit(path)
    odd = dataclasses.replace(found, record={**found.record, "precision": "float8"})
    flowsr.save_edit(path, odd)
    dock.files.open(path)
    finish(qtbot, dock)
    assert "precision is 'float8'" in dock.bar.status.text()
