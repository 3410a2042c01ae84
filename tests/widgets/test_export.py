"""The Export dock, driven as from a script and as by clicks."""

from __future__ import annotations

import copy
import gc
import threading
import weakref

import numpy as np
import pytest
from napari.components import ViewerModel
from napari.utils.notifications import notification_manager
from qtpy.QtCore import QEvent
from qtpy.QtWidgets import QApplication, QFileDialog, QMessageBox

from napari_flowsr.errors import ExportError, OptionError
from napari_flowsr.io.images import read_image
from napari_flowsr.io.provenance import NAMESPACE, record
from napari_flowsr.widgets import _export_questions
from napari_flowsr.widgets._run import Failed
from napari_flowsr.widgets._viewer import layer_events
from napari_flowsr.widgets.export_dock import ExportDock

SAMPLE = record(
    "sample",
    model="micro-2x",
    model_sha256="ab" * 32,
    family="compact",
    source_sha256="cd" * 32,
    source_name="source",
    temperature=0.8,
    seed=3,
)


def fill(viewer):
    """Source in pixels, two layers that the plugin made, one of another type."""
    rng = np.random.default_rng(0)
    viewer.add_image(rng.integers(0, 255, (8, 6), "uint8"), name="source")
    hr = rng.integers(0, 255, (16, 12), "uint8")
    for name in ("sample 0", "sample 1"):
        metadata = {NAMESPACE: copy.deepcopy(SAMPLE)}
        viewer.add_image(hr, name=name, scale=(0.5, 0.5), metadata=metadata)
    viewer.add_labels(np.zeros((8, 6), int), name="mask")
    return viewer


@pytest.fixture
def viewer():
    return fill(ViewerModel())


@pytest.fixture
def dock(qtbot, viewer):
    widget = ExportDock(viewer)
    qtbot.addWidget(widget)
    return widget


def result_of(qtbot, worker):
    found = []
    worker.returned.connect(found.append)
    with qtbot.waitSignal(worker.finished, timeout=20_000):
        pass
    qtbot.waitUntil(lambda: bool(found), timeout=5_000)
    return found[0]


def names(layers):
    return [layer.name for layer in layers]


def test_the_layers_of_the_plugin_are_chosen_at_first(dock, viewer):
    assert names(dock.layers) == ["sample 0", "sample 1"]
    assert dock._list.count() == 2
    dock._all.setChecked(True)
    assert dock._list.count() == 3
    assert names(dock.layers) == ["sample 0", "sample 1"]


def test_the_list_follows_the_viewer(dock, viewer):
    dock.choose(["sample 1"])
    viewer.layers["sample 1"].name = "best"
    assert names(dock.layers) == ["best"]
    assert dock._list.item(1).text() == "best"
    viewer.layers.remove("best")
    assert dock.layers == []
    assert not dock._export.isEnabled()
    assert "Check one" in dock._export.toolTip()
    viewer.layers.reverse()
    assert dock._list.count() == 1


def test_unchecking_by_hand(dock):
    from qtpy.QtCore import Qt

    dock._list.item(0).setCheckState(Qt.CheckState.Unchecked)
    assert names(dock.layers) == ["sample 1"]


def test_any_image_layer_can_be_chosen_but_no_other(dock):
    dock.choose(["source"])
    assert dock._all.isChecked()
    assert names(dock.layers) == ["source"]
    with pytest.raises(OptionError, match="no image layer 'mask'"):
        dock.choose(["mask"])
    assert names(dock.layers) == ["source"]


def test_one_file_with_the_pixel_size_of_the_field(qtbot, dock, tmp_path):
    dock.choose(["sample 1"])
    dock.pixel_size_um = 0.2
    assert "0.1 × 0.1 µm" in dock._sizes.text().replace("\N{NO-BREAK SPACE}", " ")
    path = tmp_path / "a.ome.tif"
    assert result_of(qtbot, dock.export(path)) == [path]
    found = read_image(path)
    assert found.pixel_size == pytest.approx({"Y": 0.1, "X": 0.1})
    assert found.metadata[NAMESPACE]["detail_inferred"] is True
    assert "a.ome.tif" in dock._status.text()
    assert dock._export.isEnabled()


def test_the_field_is_hidden_and_unused_where_the_size_is_known(dock, viewer):
    dock.choose(["sample 1"])
    assert dock._form.isRowVisible(dock._pixel)
    dock.pixel_size_um = 5
    for layer in viewer.layers:
        layer.units = ("um", "um")
    dock.choose(["sample 1"])
    assert not dock._form.isRowVisible(dock._pixel)
    assert "0.5 × 0.5 µm" in dock._sizes.text().replace("\N{NO-BREAK SPACE}", " ")


def test_a_folder_gets_a_file_for_each_layer(qtbot, dock, tmp_path):
    dock.file_format = ".png"
    paths = result_of(qtbot, dock.export(tmp_path))
    assert [path.name for path in paths] == ["sample-0.png", "sample-1.png"]
    assert read_image(paths[0]).metadata[NAMESPACE]["detail_inferred"] is True


def test_existing_files_stay_unless_told(qtbot, dock, tmp_path):
    dock.choose(["sample 0"])
    path = tmp_path / "a.ome.tif"
    path.write_bytes(b"precious")
    failed = result_of(qtbot, dock.export(path))
    assert isinstance(failed, Failed)
    assert isinstance(failed.error, ExportError)
    assert path.read_bytes() == b"precious"
    assert "exists already" in dock._status.text()
    assert "exists already" in notification_manager.records[-1].message
    assert result_of(qtbot, dock.export(path, overwrite=True)) == [path]


def test_runtime_errors_reach_the_user(qtbot, dock, tmp_path, monkeypatch):
    """Workers of napari treat some errors badly, so errors are returned as values."""
    main = threading.get_ident()

    def fail(*args, **kwargs):
        assert threading.get_ident() != main
        raise RuntimeError("the disk caught fire")

    monkeypatch.setattr("napari_flowsr.widgets._export.write_image", fail)
    failed = result_of(qtbot, dock.export(tmp_path / "a.ome.tif"))
    assert str(failed.error) == "the disk caught fire"
    assert dock._status.text() == "the disk caught fire"
    assert dock._export.isEnabled()


def test_one_export_at_a_time(qtbot, dock, tmp_path):
    worker = dock.export(tmp_path)
    assert not dock._export.isEnabled()
    with pytest.raises(OptionError, match="running already"):
        dock.export(tmp_path)
    result_of(qtbot, worker)


def test_nothing_chosen(dock, tmp_path):
    dock.choose([])
    with pytest.raises(OptionError, match="No layer is chosen"):
        dock.export(tmp_path)


def test_copy_as_python(dock):
    with pytest.raises(OptionError, match="2 layers are chosen"):
        dock.copy_as_python()
    assert not dock._copy.isEnabled()
    dock.choose(["sample 0"])
    dock._copy.click()
    text = QApplication.clipboard().text()
    compile(text, "script.py", "exec")
    assert "def remake(image" in text
    assert SAMPLE["model_sha256"] in text
    dock.choose(["source"])
    assert dock._copy.toolTip() == "FlowSR did not make this layer."


def test_zarr_is_greyed_with_the_reason_where_it_is_missing(qtbot, viewer, monkeypatch):
    monkeypatch.setattr(_export_questions.util, "find_spec", lambda name: None)
    widget = ExportDock(viewer)
    qtbot.addWidget(widget)
    item = widget._format.model().item(2)
    assert not item.isEnabled()
    assert "pip install napari-flowsr[zarr]" in item.toolTip()
    with pytest.raises(ExportError, match="not installed"):
        widget.file_format = ".ome.zarr"
    assert widget.file_format == ".ome.tif"
    with pytest.raises(OptionError, match=r"'\.jpg'"):
        widget.file_format = ".jpg"


def test_a_click_asks_for_the_file_and_before_replacing(
    qtbot, dock, tmp_path, monkeypatch
):
    dock.choose(["sample 0"])
    path = tmp_path / "a.ome.tif"
    answers = iter([QMessageBox.StandardButton.No, QMessageBox.StandardButton.Yes])
    asked = []

    def ask(parent, title, text):
        asked.append(text)
        return next(answers)

    monkeypatch.setattr(
        QFileDialog, "getSaveFileName", lambda *a, **k: (str(tmp_path / "a"), "")
    )
    monkeypatch.setattr(QMessageBox, "question", ask)
    dock._export.click()
    qtbot.waitUntil(lambda: "Written" in dock._status.text())
    assert read_image(path).data.shape == (16, 12)
    path.write_bytes(b"old")
    monkeypatch.setattr(QFileDialog, "getSaveFileName", lambda *a, **k: (str(path), ""))
    dock._export.click()
    assert path.read_bytes() == b"old"
    dock._export.click()
    qtbot.waitUntil(lambda: path.read_bytes() != b"old")
    qtbot.waitUntil(dock._export.isEnabled)
    assert asked == ["These exist already:\na.ome.tif"] * 2


def test_the_dock_says_that_detail_is_inferred_and_is_narrow(dock):
    from qtpy.QtWidgets import QLabel

    texts = " ".join(label.text() for label in dock.findChildren(QLabel))
    assert "inferred by the model, not measured" in texts
    assert dock.minimumSizeHint().width() <= 320


def test_a_deleted_dock_follows_no_more(qtbot, viewer):
    """Python's half may outlive Qt's, so weak references alone do not disconnect."""

    def followers():
        return [len(emitter.callbacks) for emitter in layer_events(viewer)]

    before = followers()
    widget = ExportDock(viewer)
    listed = widget._list
    assert followers() == [n + 1 for n in before]
    widget.deleteLater()
    QApplication.sendPostedEvents(None, QEvent.Type.DeferredDelete)
    with pytest.raises(RuntimeError, match="deleted"):
        listed.count()
    assert followers() == before


def test_the_dock_holds_neither_viewer_nor_layers(qtbot):
    viewer = fill(ViewerModel())
    widget = ExportDock(viewer)
    qtbot.addWidget(widget)
    layer = weakref.ref(viewer.layers["sample 0"])
    model = weakref.ref(viewer)
    del viewer
    gc.collect()
    assert model() is None
    assert layer() is None
    assert widget.layers == []


def test_in_a_viewer_without_leaks(make_napari_viewer, qtbot, tmp_path):
    viewer = fill(make_napari_viewer())
    dock, widget = viewer.window.add_plugin_dock_widget("napari-flowsr", "Export")
    widget.choose(["sample 0"])
    path = tmp_path / "a.ome.zarr"
    pytest.importorskip("zarr")
    assert result_of(qtbot, widget.export(path)) == [path]
    viewer.window.remove_dock_widget(dock)
    viewer.layers.pop()
