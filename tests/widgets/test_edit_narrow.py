"""All pages of the Edit dock in a dock of 320 pixels, with napari's style."""

from __future__ import annotations

import numpy as np
import pytest
from qtpy.QtCore import QPoint
from qtpy.QtWidgets import QApplication, QScrollArea, QStyle, QWidget

from napari_flowsr.widgets.parts.edit_content_page import PAINT, PASTE

WIDTH = 320


@pytest.fixture
def dock(make_napari_viewer):
    viewer = make_napari_viewer()
    viewer.add_image(np.zeros((20, 24), np.uint8), name="a name longer than the dock")
    _, dock = viewer.window.add_plugin_dock_widget("napari-flowsr", "Edit")
    yield dock
    dock.leave()


def shown(dock, title):
    """The page, laid out as in a dock of that width."""
    dock.session.page = title
    dock.resize(WIDTH, 900)
    for widget in dock.findChildren(QWidget):
        widget.ensurePolished()  # with the minima of napari's style, as when shown
        widget.updateGeometry()
    QApplication.sendPostedEvents()
    QApplication.processEvents()
    return dock.form.page


def room(dock):
    """Pixels that a form may take: a dock's, less margins and a scroll bar."""
    area = dock.findChild(QScrollArea)
    margins = dock.layout().contentsMargins()
    inner = area.widget().layout().contentsMargins()
    bar = area.style().pixelMetric(QStyle.PixelMetric.PM_ScrollBarExtent)
    sides = (margins.left(), margins.right(), inner.left(), inner.right())
    return WIDTH - sum(sides) - bar


def test_no_page_is_cut_and_none_floats(dock):
    titles = [page.title for page in dock.form.pages]
    assert len(titles) == 7
    for title in [*titles, *titles]:  # what was shown once has its final sizes
        page = shown(dock, title)
        own = [w for w in page.children() if isinstance(w, QWidget)]
        tops = [w.mapTo(page, QPoint(0, 0)).y() for w in own if w.isVisibleTo(page)]
        assert min(tops) <= page.layout().contentsMargins().top(), title
    assert dock.form.minimumSizeHint().width() <= room(dock)
    content = shown(dock, "Content")
    for way in (PAINT, PASTE):
        content.way.setCurrentText(way)
        shown(dock, "Content")
        assert dock.form.minimumSizeHint().width() <= room(dock), way


def test_all_tools_are_in_sight_in_one_box(dock):
    box, titles = dock.form.tool, [page.title for page in dock.form.pages]
    assert [box.itemText(i) for i in range(box.count())] == titles
    shown(dock, titles[0])
    assert box.minimumSizeHint().width() <= room(dock)
    for title in reversed(titles):
        box.setCurrentText(title)
        assert dock.session.page == title
        assert dock.form.page is dock.form.page_of(title)
        assert dock.form.stack.currentWidget() is dock.form.page
    dock.session.page = titles[4]
    assert box.currentText() == titles[4]
