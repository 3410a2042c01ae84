"""The Models dock where names meet: two kinds, two files, a download."""

from __future__ import annotations

import shutil

import pytest
from docks import prior_file, tiny_file
from qtpy.QtWidgets import QInputDialog, QMessageBox

from napari_flowsr.errors import OptionError
from napari_flowsr.io import importing
from napari_flowsr.widgets import _importing, models_dock
from napari_flowsr.widgets.models_dock import ModelsDock


@pytest.fixture
def home(tmp_path, monkeypatch):
    monkeypatch.setenv("NAPARI_FLOWSR_HOME", str(tmp_path / "home"))
    return tmp_path / "home"


@pytest.fixture
def told(monkeypatch):
    said = []
    monkeypatch.setattr(models_dock, "show_error", said.append)
    monkeypatch.setattr(models_dock, "show_warning", said.append)
    return said


@pytest.fixture
def dock(qtbot, home, told):
    widget = ModelsDock()
    qtbot.addWidget(widget)
    return widget


@pytest.fixture
def asked(monkeypatch):
    """Questions that were asked; they are answered with Yes."""
    texts = []

    def question(_, title, text):
        texts.append(text)
        return QMessageBox.StandardButton.Yes

    monkeypatch.setattr(QMessageBox, "question", question)
    return texts


def finished(qtbot, dock):
    qtbot.waitUntil(lambda: not dock.is_busy, timeout=60_000)


# --- a model and a learned prior of the same name -----------------------------


@pytest.fixture
def twins(dock, home, tmp_path):
    """Of an older version, which allowed a model and a prior of the same name."""
    entry = importing.import_file(prior_file(tmp_path), "same", licence="not stated")
    model = home / "models" / "same.safetensors"
    model.parent.mkdir(exist_ok=True)
    shutil.copy(tiny_file(tmp_path), model)
    dock.refresh()
    return {"model": model, "prior": entry.path}


@pytest.mark.parametrize("kind", ["model", "prior"])
def test_the_chosen_row_is_removed_and_no_other(dock, twins, asked, kind):
    dock.choose("same", kind)
    assert dock.chosen.kind == kind
    dock.buttons["remove"].click()
    assert str(twins[kind]) in asked[0]
    assert not twins[kind].exists()
    (other,) = {"model", "prior"} - {kind}
    assert twins[other].exists()
    assert [e.kind for e in dock.models if e.name == "same"] == [other]


@pytest.mark.parametrize("kind", ["model", "prior"])
def test_the_licence_is_written_into_the_chosen_row(dock, twins, monkeypatch, kind):
    monkeypatch.setattr(QInputDialog, "getText", lambda *_: ("CC0-1.0", True))
    dock.choose("same", kind)
    dock.buttons["licence"].click()
    stated = {e.kind: e.licence for e in dock.models if e.name == "same"}
    (other,) = {"model", "prior"} - {kind}
    assert stated == {kind: "CC0-1.0", other: "not stated"}
    # Still chosen, though the list was read anew.
    assert (dock.chosen.name, dock.chosen.kind) == ("same", kind)


# --- two files of the same name -----------------------------------------------


def test_files_of_the_same_name_are_refused_together(
    qtbot, dock, home, told, asked, tmp_path
):
    first = tiny_file(tmp_path / "a", "own")
    second = tiny_file(tmp_path / "b", "own")
    other = tiny_file(tmp_path / "c", "other")
    dock.import_files([first], licence="MIT")
    finished(qtbot, dock)
    before = (home / "models" / "own.safetensors").read_bytes()
    told.clear()
    dock._guarded(lambda: dock._import_asking([str(first), str(second), str(other)]))
    assert not dock.is_busy
    assert asked == []
    for said in (str(first), str(second), "would all be named 'own'", "Rename"):
        assert said in told[0]
    assert (home / "models" / "own.safetensors").read_bytes() == before
    # The same file twice is one file.
    dock.import_files([other, other])
    finished(qtbot, dock)
    assert "Imported other." in dock.bar.status.text()


def test_only_what_was_asked_about_is_replaced(
    qtbot, dock, home, asked, tmp_path, monkeypatch
):
    own, other = tiny_file(tmp_path, "own"), tiny_file(tmp_path, "other")
    dock.import_files([own])
    finished(qtbot, dock)
    started = []
    monkeypatch.setattr(dock, "_start", started.append)
    dock._import_asking([str(own), str(other)])
    assert asked == ["Replace own, which is imported already?"]
    assert {one.name: one.overwrite for one in started[0]} == {
        "own": True,
        "other": False,
    }


# --- a download whose name is taken -------------------------------------------


def test_a_download_is_asked_about_before_it_is_fetched(
    qtbot, dock, home, told, tmp_path, monkeypatch
):
    fetched, asked = [], []
    answer = QMessageBox.StandardButton.No

    def fetch(address, sha256, *, progress):
        fetched.append(address)
        return tiny_file(tmp_path / "fetched", "own")

    def question(_, title, text):
        asked.append(text)
        return answer

    monkeypatch.setattr(_importing, "download", fetch)
    monkeypatch.setattr(QMessageBox, "question", question)
    dock.import_files([tiny_file(tmp_path, "own")], licence="MIT")
    finished(qtbot, dock)
    address = "https://example.org/models/own.safetensors?raw=1"
    with pytest.raises(OptionError, match="'own' is imported already"):
        dock.download(address, "0" * 64)
    dock.form.address.setText(address)
    dock.form.sha256.setText("0" * 64)
    dock.form.get.click()
    assert asked == ["Replace own, which is imported already?"]
    assert not dock.is_busy
    assert fetched == []
    answer = QMessageBox.StandardButton.Yes
    dock.form.get.click()
    finished(qtbot, dock)
    assert fetched == [address]
    assert dock.chosen.name == "own"
    assert dock.chosen.licence == "not stated"  # that of the new file
    # A built-in one is refused without a question.
    told.clear()
    dock.form.address.setText("hub:owner/name/micro-2x.safetensors")
    dock.form.get.click()
    assert "built-in model" in told[0]
    assert (len(asked), len(fetched)) == (2, 1)
