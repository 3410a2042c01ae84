"""Buttons, folder, progress and status below the list of models."""

from __future__ import annotations

from collections.abc import Mapping

from qtpy.QtWidgets import (
    QGridLayout,
    QHBoxLayout,
    QLabel,
    QProgressBar,
    QPushButton,
    QVBoxLayout,
    QWidget,
)

from napari_flowsr.io.catalogue import Entry
from napari_flowsr.io.collection import user_folder
from napari_flowsr.widgets.parts.download_form import DownloadForm

__all__ = ["ModelBar"]

_WHICH = (
    "Our files and published ones: SRFlow, HCFlow, LINF, learned priors, RRDB. Nothing "
    "in a file is executed."
)
_BUTTONS = {
    "import": ("Import file…", _WHICH),
    "download": ("Download…", "From an address, or from a repository of the hub."),
    "remove": ("Remove", "Delete its file, after a question."),
    "licence": (
        "State licence…",
        "Write into its file which licence its weights have.",
    ),
}
_FOR_CHOSEN = ("remove", "licence")


class ModelBar(QWidget):
    """What can be done with the collection.

    Parameters
    ----------
    form : DownloadForm
        Shown below the buttons when it is asked for.
    """

    def __init__(self, form: DownloadForm, parent: QWidget | None = None) -> None:
        super().__init__(parent)
        self._form = form
        self.buttons = {key: QPushButton(text) for key, (text, _) in _BUTTONS.items()}
        grid = QGridLayout()
        for number, button in enumerate(self.buttons.values()):
            grid.addWidget(button, number // 2, number % 2)
        self.folder = _wrapped("")
        self.open = QPushButton("Open folder")
        self.open.setToolTip("Show the imported models in the file manager.")
        folder = QHBoxLayout()
        folder.addWidget(self.folder, 1)
        folder.addWidget(self.open)
        self.progress = QProgressBar()
        self.cancel = QPushButton("Cancel")
        self.busy = QWidget()
        busy = QHBoxLayout(self.busy)
        busy.setContentsMargins(0, 0, 0, 0)
        busy.addWidget(self.progress, 1)
        busy.addWidget(self.cancel)
        self.busy.hide()
        self.status = _wrapped("")
        self.left_out = _wrapped("")
        self.left_out.hide()
        layout = QVBoxLayout(self)
        layout.setContentsMargins(0, 0, 0, 0)
        layout.addLayout(grid)
        layout.addWidget(form)
        layout.addWidget(_wrapped("Or drop model files anywhere on this dock."))
        layout.addLayout(folder)
        layout.addWidget(self.left_out)
        layout.addWidget(self.busy)
        layout.addWidget(self.status)

    def advance(self, done: int, total: int) -> None:
        """Move the bar; a total of 0 says that nobody knows how long."""
        self.progress.setRange(0, total)
        self.progress.setValue(done)

    def show_left_out(self, reasons: Mapping[str, str]) -> None:
        """Say how many files of the folder are not listed; the tooltip says why."""
        count = len(reasons)
        files = "1 file is" if count == 1 else f"{count} files are"
        self.left_out.setText(
            f"⚠ {files} in the folder, but not usable: {', '.join(reasons)}."
        )
        self.left_out.setToolTip(
            "\n".join(f"{name}: {reason}" for name, reason in reasons.items())
        )
        self.left_out.setVisible(bool(reasons))

    def show_state(self, chosen: Entry | None, *, is_busy: bool) -> None:
        """Enable what can be done now; tooltips say why the rest cannot."""
        self.busy.setVisible(is_busy)
        busy = "An import is running." if is_busy else ""
        stays = ""
        if chosen is None:
            stays = "Choose a model."
        elif chosen.is_built_in:
            stays = "It is built in and stays as it is."
        for key, button in self.buttons.items():
            why_not = busy or (stays if key in _FOR_CHOSEN else "")
            button.setEnabled(not why_not)
            button.setToolTip(why_not or _BUTTONS[key][1])
        self._form.get.setEnabled(not is_busy)
        folder = str(user_folder())
        self.folder.setText(f"Imported models: {_breakable(folder)}")
        self.folder.setToolTip(
            f"{folder}\nThe environment variable NAPARI_FLOWSR_HOME moves it."
        )


def _breakable(path: str) -> str:
    """Path that can be broken after its separators."""
    return path.replace("/", "/\u200b").replace("\\", "\\\u200b")


def _wrapped(text: str) -> QLabel:
    label = QLabel(text)
    label.setWordWrap(True)
    return label
