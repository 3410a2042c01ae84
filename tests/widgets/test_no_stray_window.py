"""Opening a dock shows no window of its own, not for an instant."""

from __future__ import annotations

from importlib import import_module
from importlib.resources import files

import pytest
from napari.components import ViewerModel
from npe2 import PluginManifest
from qtpy.QtCore import QEvent, QObject
from qtpy.QtWidgets import QWidget

MANIFEST = PluginManifest.from_file(str(files("napari_flowsr") / "napari.yaml"))
DOCKS = [
    name
    for command in MANIFEST.contributions.commands or []
    if (name := str(command.python_name)).endswith("Dock")
]


class _Windows(QObject):
    """Notes each widget that is shown as a window."""

    def __init__(self) -> None:
        super().__init__()
        self.shown: list[str] = []

    def eventFilter(self, widget, event):
        if (
            event.type() == QEvent.Type.Show
            and isinstance(widget, QWidget)
            and widget.isWindow()
        ):
            self.shown.append(type(widget).__name__)
        return False


@pytest.mark.parametrize("name", DOCKS)
def test_a_dock_being_made_shows_nothing(name, qtbot, qapp, image) -> None:
    module, _, cls = name.partition(":")
    dock = getattr(import_module(module), cls)
    viewer = ViewerModel()
    viewer.add_image(image)
    windows = _Windows()
    qapp.installEventFilter(windows)
    try:
        widget = dock() if cls == "ModelsDock" else dock(viewer)
    finally:
        qapp.removeEventFilter(windows)
    qtbot.addWidget(widget)
    assert windows.shown == []
