"""What is done when Qt deletes a widget is done once, however the widget goes."""

from __future__ import annotations

import gc
from functools import partial

import pytest
from qtpy.QtCore import QCoreApplication, QEvent
from qtpy.QtWidgets import QWidget

from napari_flowsr.widgets import _ending
from napari_flowsr.widgets._ending import when_destroyed


def _collected(widget: QWidget) -> None:
    """Garbage in a cycle, whose connections the collector sees."""
    widget.own = [widget]


def _deleted(widget: QWidget) -> None:
    widget.deleteLater()


def _clear() -> None:
    gc.collect()
    QCoreApplication.sendPostedEvents(None, QEvent.Type.DeferredDelete)


@pytest.mark.parametrize(
    ("go", "inside"), [(_deleted, False), (_deleted, True), (_collected, True)]
)
def test_the_end_of_a_widget_is_told_once(qapp, go, inside) -> None:
    called: list[int] = []
    _clear()  # docks of earlier tests would go amid this one
    held = len(_ending._held)
    outer = QWidget()
    widget = QWidget(outer) if inside else outer
    when_destroyed(widget, partial(called.append, 1))
    assert len(_ending._held) == held + 1
    go(outer)
    del outer, widget
    _clear()
    assert called == [1]
    assert len(_ending._held) == held
