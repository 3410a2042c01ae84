"""The Rescale dock after the model in use was removed."""

from __future__ import annotations

from napari.components import ViewerModel
from test_rescale_dock import rescaler

from napari_flowsr.io import catalogue, collection
from napari_flowsr.io.checkpoint import save_model
from napari_flowsr.widgets._models import changes
from napari_flowsr.widgets.rescale_dock import RescaleDock


def test_it_says_how_to_get_another(qtbot, tmp_path, monkeypatch, image):
    monkeypatch.setenv("NAPARI_FLOWSR_HOME", str(tmp_path))
    monkeypatch.setattr(collection, "builtin_folder", lambda: tmp_path / "none")
    (tmp_path / "models").mkdir()
    made = rescaler()
    for name in ("mine", "other"):
        card = made.card.with_(name=name, sha256="")
        save_model(tmp_path / "models" / f"{name}.safetensors", made.flow, card)
    viewer = ViewerModel()
    viewer.add_image(image, name="cells")
    dock = RescaleDock(viewer)
    qtbot.addWidget(dock)
    dock.session.model = "mine"
    assert dock.bar.run.isEnabled()

    catalogue.remove("mine")
    changes.models.emit()
    assert not dock.bar.run.isEnabled()
    assert "Choose one: other" in dock.bar.run.toolTip()

    catalogue.remove("other")
    changes.models.emit()
    assert "None" not in dock.bar.run.toolTip()
    assert "models import FILE" in dock.bar.run.toolTip()
    dock.leave()
