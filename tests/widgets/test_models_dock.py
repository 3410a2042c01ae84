"""The Models dock: cards, import by dialog and drop, licences, removal, downloads."""

from __future__ import annotations

import socket
import threading
from pathlib import Path
from typing import Any

import pytest
import torch
from qtpy.QtCore import QMimeData, QUrl
from qtpy.QtWidgets import QFileDialog, QInputDialog, QMessageBox

from napari_flowsr.errors import OptionError
from napari_flowsr.io import importing
from napari_flowsr.io.checkpoint import save_model
from napari_flowsr.models._registry import build
from napari_flowsr.models.card import ModelCard
from napari_flowsr.models.rrdb import RRDBConfig, RRDBNet
from napari_flowsr.widgets import _importing, models_dock
from napari_flowsr.widgets.models_dock import ModelsDock
from napari_flowsr.widgets.parts.model_choice import ModelChoice


@pytest.fixture(autouse=True)
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    folder = tmp_path / "home"
    monkeypatch.setenv("NAPARI_FLOWSR_HOME", str(folder))
    return folder


@pytest.fixture
def told(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """What napari's notifications would say."""
    said: list[str] = []
    monkeypatch.setattr(models_dock, "show_error", said.append)
    monkeypatch.setattr(models_dock, "show_warning", said.append)
    return said


@pytest.fixture
def dock(qtbot: Any, home: Path, told: list[str]) -> ModelsDock:
    widget = ModelsDock()
    qtbot.addWidget(widget)
    return widget


@pytest.fixture
def model_file(tmp_path: Path) -> Path:
    """A file of ours whose card states no licence."""
    flow = build("compact", {"width": 4, "blocks": 1, "steps": 1, "hidden": 4})
    save_model(
        tmp_path / "own.safetensors", flow, ModelCard("own", "compact", (2.0,), 1)
    )
    return tmp_path / "own.safetensors"


@pytest.fixture
def encoder(tmp_path: Path) -> Path:
    net = RRDBNet(RRDBConfig(scale=2, width=4, blocks=1, growth=2))
    state = {k.removeprefix("encoder."): v for k, v in net.state_dict().items()}
    torch.save(state, tmp_path / "RRDB_DF2K_2X.pth")
    return tmp_path / "RRDB_DF2K_2X.pth"


def finished(qtbot: Any, dock: ModelsDock) -> None:
    qtbot.waitUntil(lambda: not dock.is_busy, timeout=60_000)


def names(dock: ModelsDock) -> list[str]:
    return [entry.name for entry in dock.models]


def test_cards_of_the_built_in_models(dock: ModelsDock, home: Path) -> None:
    assert {"micro-2x", "micro-4x", "micro-any", "rescale-4x"} <= set(names(dock))
    dock.choose("micro-4x")
    text = dock.list.card.toPlainText()
    assert dock.chosen is not None
    assert dock.chosen.card is not None
    psnr = f"{dock.chosen.card.metrics['psnr']['mode']:.2f}"
    for said in ("micro-4x", "compact", "4×", "microscopy", "BSD-3-Clause", psnr,
                 "CRPS", "Not for", "SHA-256"):  # fmt: skip
        assert said in text, said
    assert not dock.buttons["remove"].isEnabled()
    assert "built in" in dock.buttons["remove"].toolTip()
    assert str(home / "models") in dock.bar.folder.toolTip()
    assert "NAPARI_FLOWSR_HOME" in dock.bar.folder.toolTip()


def test_nothing_is_asked_of_the_network(
    qtbot: Any, monkeypatch: pytest.MonkeyPatch, encoder: Path
) -> None:
    def refuse(*_: object) -> None:
        raise AssertionError("the network was used")

    monkeypatch.setattr(socket.socket, "connect", refuse)
    monkeypatch.setattr(socket, "getaddrinfo", refuse)
    dock = ModelsDock()
    qtbot.addWidget(dock)
    dock.import_files([encoder])
    finished(qtbot, dock)
    assert "RRDB_DF2K_2X" in names(dock)


def test_import_is_in_another_thread(
    qtbot: Any, dock: ModelsDock, model_file: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The window answers while a file is read, and a second import is refused."""
    go = threading.Event()
    where: list[int] = []

    def slow(*args: Any, **options: Any) -> Any:
        where.append(threading.get_ident())
        assert go.wait(30)
        return import_file(*args, **options)

    import_file = importing.import_file
    monkeypatch.setattr(importing, "import_file", slow)
    dock.import_files([model_file])
    qtbot.waitUntil(lambda: bool(where), timeout=30_000)
    assert where[0] != threading.get_ident()
    qtbot.waitUntil(lambda: "Importing own.safetensors" in dock.bar.status.text())
    assert dock.bar.busy.isVisibleTo(dock)
    assert not dock.buttons["import"].isEnabled()
    with pytest.raises(OptionError, match="running already"):
        dock.import_files([model_file])
    go.set()
    finished(qtbot, dock)
    assert dock.chosen is not None
    assert dock.chosen.name == "own"
    assert dock.buttons["import"].isEnabled()


def test_missing_licences_are_warned_of_and_can_be_stated(
    qtbot: Any, dock: ModelsDock, model_file: Path, told: list[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:  # fmt: skip
    dock.import_files([model_file])
    finished(qtbot, dock)
    assert any("No licence is stated for 'own'" in text for text in told)
    assert "Ask their authors" in dock.list.card.toPlainText()
    item = dock.list.names.currentItem()
    assert "⚠" in item.text()
    monkeypatch.setattr(QInputDialog, "getText", lambda *_: ("CC BY 4.0", True))
    dock.buttons["licence"].click()
    assert "Ask their authors" not in dock.list.card.toPlainText()
    assert "CC BY 4.0" in dock.list.card.toPlainText()
    assert "⚠" not in dock.list.names.currentItem().text()


def test_the_import_dialog_and_its_question(
    qtbot: Any, dock: ModelsDock, encoder: Path, told: list[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:  # fmt: skip
    monkeypatch.setattr(
        QFileDialog, "getOpenFileNames", lambda *_: ([str(encoder)], "")
    )
    dock.buttons["import"].click()
    finished(qtbot, dock)
    assert "RRDB_DF2K_2X" in names(dock)
    assert told == []
    assert "deterministic" in dock.list.card.toPlainText()
    asked: list[str] = []
    answer = QMessageBox.StandardButton.No

    def question(_: Any, title: str, text: str) -> Any:
        asked.append(text)
        return answer

    monkeypatch.setattr(QMessageBox, "question", question)
    dock.buttons["import"].click()
    assert not dock.is_busy
    assert "Replace RRDB_DF2K_2X" in asked[0]
    answer = QMessageBox.StandardButton.Yes
    dock.buttons["import"].click()
    finished(qtbot, dock)
    assert told == []


class _Drag:
    """A drag event; making one of Qt's own is deprecated there."""

    def __init__(self, paths: list[Path]) -> None:
        self.data = QMimeData()
        self.data.setUrls([QUrl.fromLocalFile(str(path)) for path in paths])
        self.is_accepted = False

    def mimeData(self) -> QMimeData:
        return self.data

    def acceptProposedAction(self) -> None:
        self.is_accepted = True


def drop(dock: ModelsDock, paths: list[Path]) -> bool:
    """Drag files over the dock and let go; tell whether it takes them."""
    event = _Drag(paths)
    dock.dragEnterEvent(event)
    if event.is_accepted:
        dock.dropEvent(event)
    return event.is_accepted


def test_files_are_dropped(
    qtbot: Any, dock: ModelsDock, model_file: Path, encoder: Path, tmp_path: Path,
    told: list[str],
) -> None:  # fmt: skip
    """One that is no model does not keep the others out."""
    bad = tmp_path / "bad.pth"
    bad.write_bytes(b"no model")
    assert dock.acceptDrops()
    assert not drop(dock, [tmp_path])
    assert not drop(dock, [])
    assert drop(dock, [model_file, bad, encoder])
    qtbot.waitUntil(lambda: dock.is_busy)
    finished(qtbot, dock)
    assert {"own", "RRDB_DF2K_2X"} <= set(names(dock))
    assert any("bad.pth is no model file" in text for text in told)
    assert "bad.pth" in dock.bar.status.text()


def test_removal_asks_first(
    qtbot: Any, dock: ModelsDock, model_file: Path, home: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:  # fmt: skip
    dock.import_files([model_file], licence="MIT")
    finished(qtbot, dock)
    path = home / "models" / "own.safetensors"
    answer = QMessageBox.StandardButton.No
    monkeypatch.setattr(QMessageBox, "question", lambda *_: answer)
    dock.buttons["remove"].click()
    assert path.exists()
    answer = QMessageBox.StandardButton.Yes
    dock.buttons["remove"].click()
    assert not path.exists()
    assert "own" not in names(dock)
    with pytest.raises(OptionError, match="built in"):
        dock.remove("micro-2x")


def test_other_docks_follow_and_warn_before_use(
    qtbot: Any, dock: ModelsDock, model_file: Path
) -> None:
    choice = ModelChoice()
    qtbot.addWidget(choice)
    assert choice.box.findData("own") < 0
    dock.import_files([model_file])
    finished(qtbot, dock)
    assert choice.box.findData("own") >= 0
    assert choice.value == "micro-2x"
    assert not choice.warning.isVisibleTo(choice)
    choice.choose("own")
    assert choice.warning.isVisibleTo(choice)
    assert "No licence is stated" in choice.warning.text()
    dock.state_licence("own", "MIT")
    assert choice.value == "own"
    assert not choice.warning.isVisibleTo(choice)
    with qtbot.waitSignal(choice.changed):
        dock.remove("own", confirm=False)


def test_a_download_can_be_cancelled(
    qtbot: Any, dock: ModelsDock, monkeypatch: pytest.MonkeyPatch
) -> None:
    started = threading.Event()

    def endless(address: str, sha256: str | None, *, progress: Any) -> Path:
        for done in range(1, 10_000):
            started.set()
            progress(done << 20, 10_000 << 20)
            threading.Event().wait(0.01)
        raise AssertionError("it was not cancelled")

    monkeypatch.setattr(_importing, "download", endless)
    dock.buttons["download"].click()
    assert dock.form.isVisibleTo(dock)
    dock.form.address.setText("hub:owner/name/model.pth")
    dock.form.get.click()
    qtbot.waitUntil(started.is_set, timeout=30_000)
    qtbot.waitUntil(lambda: dock.bar.progress.maximum() == 10_000 << 10)
    dock.bar.cancel.click()
    finished(qtbot, dock)
    assert "Cancelled" in dock.bar.status.text()


def test_a_downloaded_file_is_imported(
    qtbot: Any, dock: ModelsDock, model_file: Path, monkeypatch: pytest.MonkeyPatch,
    tmp_path: Path,
) -> None:  # fmt: skip
    def fetch(address: str, sha256: str | None, *, progress: Any) -> Path:
        folder = tmp_path / "fetched"
        folder.mkdir()
        return model_file.rename(folder / "own.safetensors")

    monkeypatch.setattr(_importing, "download", fetch)
    dock.download("https://example.org/own.safetensors", "0" * 64)
    finished(qtbot, dock)
    assert dock.chosen is not None
    assert dock.chosen.card is not None
    source = dock.chosen.card.source
    assert source["address"] == "https://example.org/own.safetensors"
    assert not (tmp_path / "fetched").exists()


def test_bad_addresses_are_explained(
    qtbot: Any, dock: ModelsDock, told: list[str]
) -> None:
    dock.download("https://example.org/own.safetensors")
    finished(qtbot, dock)
    assert any("needs the SHA-256" in text for text in told)
    with pytest.raises(OptionError, match="no file to import"):
        dock.import_files([])
    with pytest.raises(OptionError, match="One name was given for 2 files"):
        dock.import_files(["a", "b"], name="c")


def test_the_folder_is_opened(
    dock: ModelsDock, home: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    opened: list[str] = []
    monkeypatch.setattr(
        models_dock.QDesktopServices,
        "openUrl",
        lambda url: opened.append(url.toLocalFile()) or False,
    )
    dock.bar.open.click()
    assert [Path(path) for path in opened] == [home / "models"]
    assert (home / "models").is_dir()
    assert "No file manager" in dock.bar.status.text()


def test_the_dock_in_a_viewer(make_napari_viewer: Any, qtbot: Any) -> None:
    viewer = make_napari_viewer()
    _, widget = viewer.window.add_plugin_dock_widget("napari-flowsr", "Models")
    assert isinstance(widget, ModelsDock)
    assert "micro-2x" in names(widget)
