"""The Upscale dock warns of a learned prior without licence before it is used."""

from __future__ import annotations

import pytest
from docks import prior_file
from napari.components import ViewerModel

from napari_flowsr.io import catalogue, importing
from napari_flowsr.io.catalogue import licence_notice
from napari_flowsr.widgets import upscale_dock
from napari_flowsr.widgets._models import changes
from napari_flowsr.widgets._upscale import Notice
from napari_flowsr.widgets.parts.prior_warning import PriorWarning
from napari_flowsr.widgets.upscale_dock import UpscaleDock


@pytest.fixture
def dock(qtbot, tmp_path, monkeypatch, image):
    monkeypatch.setenv("NAPARI_FLOWSR_HOME", str(tmp_path / "home"))
    importing.import_file(prior_file(tmp_path), "lp", licence="not stated")
    importing.import_file(prior_file(tmp_path), "free", licence="MIT")
    viewer = ViewerModel()
    viewer.add_image(image, name="cells")
    widget = UpscaleDock(viewer)
    qtbot.addWidget(widget)
    yield widget
    widget.leave()


def test_the_warning_stands_below_the_prior(dock):
    warning = dock.form.advanced.prior_warning
    dock.form.advanced.expand(animate=False)
    dock.session.prior_model = "lp"
    assert not warning.isVisibleTo(dock)  # it is not used
    dock.session.prior = "learned"
    assert warning.isVisibleTo(dock)
    assert warning.texts == (licence_notice("lp"),)
    assert "No licence is stated" in warning.text()
    dock.session.prior_model = "free"
    assert not warning.isVisibleTo(dock)
    dock.session.prior_model = "no-such-prior"
    assert not warning.isVisibleTo(dock)
    dock.session.prior_model = "lp"
    catalogue.state_licence("lp", "CC0-1.0")
    changes.models.emit()
    assert not warning.isVisibleTo(dock)


def test_no_line_of_the_warning_is_cut(qtbot, dock):
    dock.session.prior_model, dock.session.prior = "lp", "learned"
    warning = PriorWarning(dock.session)
    qtbot.addWidget(warning)
    warning.resize(300, 10)
    warning.show()
    assert warning.height() >= warning.heightForWidth(warning.width()) > 30


def test_only_what_is_shown_already_is_not_told_again(dock, monkeypatch):
    told = []
    monkeypatch.setattr(upscale_dock, "show_warning", told.append)
    dock.form.advanced.expand(animate=False)
    model, prior = licence_notice("mine"), licence_notice("lp")
    choice = dock.form.input.model
    choice.texts = (model,)
    choice.warning.setVisible(True)
    dock._on_result(Notice((model, prior)))
    assert told == [prior]
    dock.session.prior_model, dock.session.prior = "lp", "learned"
    dock._on_result(Notice((model, prior)))
    assert told == [prior]
    # Folded away it is not seen.
    dock.form.advanced.collapse(animate=False)
    dock._on_result(Notice((model, prior)))
    assert told == [prior, prior]
