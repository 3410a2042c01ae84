"""Painting with the mouse on a shown canvas: the region is drawn again, no more."""

from __future__ import annotations

import os

import numpy as np
import pytest
from docks import WAIT, finish
from qtpy.QtCore import QEvent, QPoint, QPointF, Qt
from qtpy.QtGui import QMouseEvent
from qtpy.QtTest import QTest
from qtpy.QtWidgets import QApplication
from scipy.ndimage import binary_dilation

import napari_flowsr as flowsr
from napari_flowsr.io.provenance import NAMESPACE
from napari_flowsr.widgets._edit_session import is_edit_layer

pytestmark = pytest.mark.skipif(
    not os.environ.get("DISPLAY") or os.environ.get("QT_QPA_PLATFORM") == "offscreen",
    reason="needs a display on which a window is drawn (Xvfb and QT_QPA_PLATFORM=xcb)",
)


@pytest.fixture
def cells():
    y, x = np.mgrid[:96, :128]
    noise = np.random.default_rng(0).normal(size=y.shape)
    return (120 + 60 * np.sin(y / 3) * np.cos(x / 4) + 3 * noise).astype(np.uint8)


@pytest.fixture
def shown(make_napari_viewer, qtbot, cells, model):
    """A viewer on the screen, with the dock, a sample and an empty mask."""
    viewer = make_napari_viewer(show=True)
    viewer.window.resize(1200, 800)
    place = {"scale": (0.5, 0.5), "translate": (-0.25, -0.25)}
    sample = flowsr.posterior(cells, model, device="cpu", seed=3).sample(1)[0]
    viewer.add_image(cells, name="cells")
    viewer.add_image(sample, name="fine", **place)
    _, dock = viewer.window.add_plugin_dock_widget("napari-flowsr", "Edit")
    session = dock.session
    session.model, session.device = model, "cpu"
    session.target, session.image = viewer.layers["fine"], viewer.layers["cells"]
    session.automatic, session.brush_size = True, 8
    dock.new_mask()
    qtbot.waitExposed(viewer.window._qt_window)
    qtbot.wait(500)
    viewer.reset_view()
    qtbot.wait(200)
    yield viewer, dock
    session.automatic = False
    dock.cancel()
    finish(qtbot, dock)
    dock.leave()


def canvas_of():
    """What vispy draws on; there is no public name for it."""
    found = [
        w for w in QApplication.allWidgets()
        if type(w).__name__ == "CanvasBackendDesktop" and w.isVisible()
    ]  # fmt: skip
    assert len(found) == 1
    return found[0]


def where(viewer, canvas, world):
    """Pixel of the canvas at a place in the world."""
    camera = getattr(viewer, "scene", viewer).camera
    centre = np.array([canvas.height(), canvas.width()]) / 2
    y, x = centre + (np.array(world) - camera.center[-2:]) * camera.zoom
    return QPoint(round(x), round(y))


def drag(viewer, canvas, *worlds):
    """Press, move and release the left button."""
    points = [where(viewer, canvas, w) for w in worlds]
    left, none = Qt.MouseButton.LeftButton, Qt.KeyboardModifier.NoModifier
    QTest.mouseMove(canvas, points[0])
    QTest.mousePress(canvas, left, none, points[0])
    for point in (*points[1:], points[-1]):
        event = QMouseEvent(
            QEvent.Type.MouseMove, QPointF(point),
            QPointF(canvas.mapToGlobal(point)), Qt.MouseButton.NoButton, left, none,
        )  # fmt: skip
        QApplication.sendEvent(canvas, event)
        QApplication.processEvents()
    QTest.mouseRelease(canvas, left, none, points[-1])


def test_a_painted_region_changes_and_the_rest_does_not(qtbot, shown):
    viewer, dock = shown
    fine, mask = viewer.layers["fine"], dock.session.mask
    before, canvas = fine.data.copy(), canvas_of()
    assert viewer.layers.selection.active is mask
    drag(viewer, canvas, (40, 50), (42, 54), (44, 58))
    assert mask.data.any()
    qtbot.waitUntil(
        lambda: is_edit_layer(dock.session.target) and not dock.is_running,
        timeout=WAIT,
    )
    edited, painted = dock.session.target, mask.data > 0
    # The stroke is where the mouse was: HR pixels are half as large as those of LR.
    marked = np.argwhere(painted)
    assert painted[80, 100]
    assert (marked.min(0) >= (72, 92)).all(), marked.min(0)
    assert (marked.max(0) <= (96, 124)).all(), marked.max(0)
    assert len(marked) > 80  # a stroke, not one dab of the brush
    assert (edited.data[painted] != before[painted]).mean() > 0.5
    reach = 2 * (dock.session.model.flow.halo + 1)
    near = binary_dilation(painted, np.ones((2 * reach + 1,) * 2))
    assert not near.all()
    np.testing.assert_array_equal(edited.data[~near], before[~near])
    np.testing.assert_array_equal(fine.data, before)
    assert len(edited.metadata[NAMESPACE]["edits"]) == 1
    # The brush is still in hand: the next stroke is drawn into the same layer.
    first = edited.data.copy()
    drag(viewer, canvas, (70, 20), (72, 24))
    qtbot.waitUntil(
        lambda: len(dock.layers.history(edited)) == 2 and not dock.is_running,
        timeout=WAIT,
    )
    second = edited.data.copy()
    assert (second != first).any()
    # Ctrl+Z in the window, the mask being active, takes stroke and edit back.
    QTest.keyClick(canvas, Qt.Key.Key_Z, Qt.KeyboardModifier.ControlModifier)
    qtbot.waitUntil(lambda: (edited.data == first).all(), timeout=WAIT)
    np.testing.assert_array_equal(mask.data > 0, painted)
    # On the edited layer it is the edit that is undone, and the mask stays.
    viewer.layers.selection.active = edited
    QTest.keyClick(canvas, Qt.Key.Key_Z, Qt.KeyboardModifier.ControlModifier)
    qtbot.waitUntil(lambda: (edited.data == before).all(), timeout=WAIT)
    both = Qt.KeyboardModifier.ControlModifier | Qt.KeyboardModifier.ShiftModifier
    QTest.keyClick(canvas, Qt.Key.Key_Z, both)
    qtbot.waitUntil(lambda: (edited.data == first).all(), timeout=WAIT)
    # The dice key rolls, from the window as well.
    key = getattr(Qt.Key, f"Key_{dock.key}")
    QTest.keyClick(canvas, key)
    qtbot.waitUntil(
        lambda: dock.session.seed == 1 and not dock.is_running, timeout=WAIT
    )
    assert (edited.data != first)[painted].any()
    np.testing.assert_array_equal(edited.data[~near], before[~near])


def test_a_drawn_shape_changes_its_inside_when_it_is_done(qtbot, shown):
    viewer, dock = shown
    canvas, fine = canvas_of(), viewer.layers["fine"]
    before, runs = fine.data.copy(), []
    shapes = dock.session.mask = viewer.add_shapes(name="shapes", ndim=2)
    viewer.layers.selection.active = shapes
    start = dock.run
    dock.run = lambda: (runs.append(len(shapes.data)), start())[1]
    shapes.mode = "add_rectangle"
    drag(viewer, canvas, (30, 40), (34, 46), (40, 52))
    qtbot.waitUntil(
        lambda: is_edit_layer(dock.session.target) and not dock.is_running,
        timeout=WAIT,
    )
    edited = dock.session.target
    assert runs == [1]
    inside = np.s_[62:78, 82:102]
    assert (edited.data[inside] != before[inside]).mean() > 0.5
    first = edited.data.copy()
    # A polygon takes clicks: nothing is run before the last one.
    shapes.mode = "add_polygon"
    left, none = Qt.MouseButton.LeftButton, Qt.KeyboardModifier.NoModifier
    for world in ((60, 20), (60, 40), (75, 40)):
        point = where(viewer, canvas, world)
        QTest.mouseMove(canvas, point)
        QTest.mouseClick(canvas, left, none, point)
        qtbot.wait(250)
    assert runs == [1]
    QTest.keyClick(canvas, Qt.Key.Key_Escape)
    qtbot.waitUntil(lambda: len(runs) == 2 and not dock.is_running, timeout=WAIT)
    assert (edited.data != first).any()
    # Moved: drawn again where it is now.
    shapes.mode, shapes.selected_data = "select", {0}
    second = edited.data.copy()
    drag(viewer, canvas, (35, 46), (30, 70), (20, 90))
    qtbot.waitUntil(lambda: len(runs) == 3 and not dock.is_running, timeout=WAIT)
    there = np.s_[34:46, 172:188]
    assert (edited.data[there] != second[there]).mean() > 0.5
