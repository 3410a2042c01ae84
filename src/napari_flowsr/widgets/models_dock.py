"""The Models dock: what there is, what it is for, and how to add more."""

from __future__ import annotations

import threading
from collections.abc import Iterable, Sequence
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

from napari.qt.threading import create_worker
from napari.utils.notifications import show_error, show_warning
from qtpy.compat import isalive
from qtpy.QtCore import QTimer, QUrl
from qtpy.QtGui import QDesktopServices
from qtpy.QtWidgets import (
    QFileDialog,
    QInputDialog,
    QMessageBox,
    QVBoxLayout,
    QWidget,
)

from napari_flowsr.errors import FlowSRError, OptionError
from napari_flowsr.io.atomic import make_folder
from napari_flowsr.io.catalogue import Entry, remove, state_licence
from napari_flowsr.io.collection import user_folder
from napari_flowsr.widgets._bridge import Bridge
from napari_flowsr.widgets._ending import when_destroyed
from napari_flowsr.widgets._importing import (
    Outcome,
    Wanted,
    fetch_all,
    of_address,
    of_files,
    replaced_by,
)
from napari_flowsr.widgets._left_out import left_out
from napari_flowsr.widgets._models import changes
from napari_flowsr.widgets.parts.download_form import DownloadForm
from napari_flowsr.widgets.parts.model_bar import ModelBar
from napari_flowsr.widgets.parts.model_list import ModelList

__all__ = ["ModelsDock"]

_FILTER = "Model files (*.safetensors *.pth *.pt);;All files (*)"


class ModelsDock(QWidget):
    """Built-in and imported models, their cards, and import.

    Files can be dropped on the dock. Nothing is fetched from the network unless an
    address is given.
    """

    def __init__(self, parent: QWidget | None = None) -> None:
        super().__init__(parent)
        self.setAcceptDrops(True)
        self._cancelled = threading.Event()
        self._worker: Any = None
        self._bridge = Bridge(self)
        self._bridge.progressed.connect(self._on_progress)
        self._build()
        self._connect()
        self._update()
        self.bar.show_left_out(left_out(self.models))

    # --- for scripts --------------------------------------------------------------

    @property
    def models(self) -> list[Entry]:
        """Models and learned priors, as listed."""
        return self.list.entries

    @property
    def chosen(self) -> Entry | None:
        """The one whose card is shown."""
        return self.list.chosen

    def choose(self, name: str, kind: str | None = None) -> None:
        """Show the card of a model, or of a learned prior (``kind="prior"``)."""
        self.list.choose(name, kind)

    @property
    def is_busy(self) -> bool:
        """Whether an import or download is going on."""
        return self._worker is not None

    def import_files(
        self,
        paths: Iterable[str | Path],
        *,
        name: str | None = None,
        licence: str | None = None,
        overwrite: bool = False,
    ) -> Any:
        """Import files in a worker thread.

        Parameters
        ----------
        paths : iterable of path
            Model files or learned priors, ours or published ones.
        name : str, optional
            Future name, for one file; that of the file if not given.
        licence : str, optional
            Of the weights, where the files do not tell.
        overwrite : bool
            Replace imported models of the same names.

        Returns
        -------
        FunctionWorker
            ``returned`` gives an `Outcome`. It starts when the event loop is idle.

        Raises
        ------
        OptionError
            There is nothing to import, two files have the same name, or another import
            is running.
        """
        return self._start(
            of_files(paths, name=name, licence=licence, overwrite=overwrite)
        )

    def download(
        self,
        address: str,
        sha256: str = "",
        *,
        name: str | None = None,
        overwrite: bool = False,
    ) -> Any:
        """Fetch a file and import it, in a worker thread; see `import_files`."""
        return self._start(
            [of_address(address, sha256, name=name, overwrite=overwrite)]
        )

    def cancel(self) -> None:
        """End a download, or what follows the file that is being imported."""
        self._cancelled.set()

    def remove(
        self, name: str, *, kind: str | None = None, confirm: bool = True
    ) -> bool:
        """Delete an imported model after a question; tell whether it was done.

        ``kind`` is ``"model"`` or ``"prior"``, where both have the name.

        Raises
        ------
        OptionError, ModelNotFoundError
            If it is built in, or there is none.
        """
        entry = self.list.entry_of(name, kind)
        if confirm and entry is not None and not entry.is_built_in:
            question = f"Delete '{name}'?\n{entry.path}\nThis cannot be undone."
            if not self._confirmed("Remove model", question):
                return False
        # What the question named is deleted, and nothing else of that name.
        remove(name, kind=kind if entry is None else entry.kind)
        self.say(f"'{name}' was removed.")
        changes.models.emit()
        return True

    def state_licence(
        self, name: str, licence: str, *, kind: str | None = None
    ) -> None:
        """Write into an imported model which licence its weights have."""
        entry = self.list.entry_of(name, kind)
        state_licence(name, licence, kind=kind if entry is None else entry.kind)
        self.say(f"The licence of '{name}' was written into its file.")
        changes.models.emit()

    def open_folder(self) -> None:
        """Show the folder of the imported models in the file manager."""
        folder = make_folder(user_folder())
        if not QDesktopServices.openUrl(QUrl.fromLocalFile(str(folder))):
            self.say(f"No file manager was found. The folder is {folder}")

    # --- construction -------------------------------------------------------------

    def _build(self) -> None:
        self.list = ModelList()
        self.form = DownloadForm()
        self.bar = ModelBar(self.form)
        self.buttons = self.bar.buttons
        layout = QVBoxLayout(self)
        layout.setContentsMargins(4, 4, 4, 4)
        layout.addWidget(self.list, 1)
        layout.addWidget(self.bar)
        self.setMinimumWidth(300)

    def _connect(self) -> None:
        self.list.changed.connect(self._update)
        self.buttons["import"].clicked.connect(self._on_import)
        self.buttons["download"].clicked.connect(self._on_download)
        self.buttons["remove"].clicked.connect(self._on_remove)
        self.buttons["licence"].clicked.connect(self._on_licence)
        self.form.asked.connect(self._on_asked)
        self.bar.open.clicked.connect(self._on_open)
        self.bar.cancel.clicked.connect(self.cancel)
        # Held weakly; other docks import and remove, too.
        changes.models.connect(self.refresh)
        when_destroyed(self, self._cancelled.set)

    def refresh(self) -> None:
        """Read the collection anew."""
        if isalive(self):  # type: ignore[no-untyped-call]
            self.list.refresh()
            self.bar.show_left_out(left_out(self.models))

    # --- what the widgets show ----------------------------------------------------

    def say(self, text: str) -> None:
        """Set the status line."""
        self.bar.status.setText(text)

    def _update(self) -> None:
        self.bar.show_state(self.chosen, is_busy=self.is_busy)

    # --- working ------------------------------------------------------------------

    def _start(self, wanted: Sequence[Wanted]) -> Any:
        if self.is_busy:
            raise OptionError("An import is running already. Wait until it is done.")
        if not wanted:
            raise OptionError("There is no file to import. Choose one or more.")
        self._cancelled.clear()
        worker = create_worker(
            fetch_all,
            wanted,
            self._cancelled,
            self._bridge.tell,
            _start_thread=False,
        )
        worker.returned.connect(self._on_returned)
        self._worker = worker
        self.bar.advance(0, 0)
        self._update()
        QTimer.singleShot(0, worker.start)
        return worker

    def _on_progress(self, message: str, done: int, total: int) -> None:
        if self.is_busy:
            self.bar.advance(done, total)
            self.say(message)

    def _on_returned(self, outcome: Outcome) -> None:
        self._worker = None
        said = [f"Imported {', '.join(e.name for e in outcome.entries)}."]
        said = said if outcome.entries else []
        if outcome.is_cancelled:
            said.append("Cancelled.")
        said += [str(error) or type(error).__name__ for error in outcome.errors]
        self.say(" ".join(said))
        for error in outcome.errors:
            show_error(str(error) or type(error).__name__)
        if outcome.entries:
            changes.models.emit()
            last = outcome.entries[-1]
            self.choose(last.name, last.kind)
            self.form.hide()
        for entry in outcome.entries:
            if not entry.licence_is_stated:
                show_warning(
                    f"No licence is stated for '{entry.name}'. Ask the authors of the "
                    "weights before you use them, and write it down with 'State "
                    "licence…'."
                )
        self._update()

    # --- what happens on a click --------------------------------------------------

    def _guarded(self, action: Any, *_: Any) -> None:
        try:
            action()
        except (FlowSRError, OSError) as error:
            self.say(str(error))
            show_error(str(error))

    def _on_open(self) -> None:
        self._guarded(self.open_folder)

    def _on_import(self) -> None:
        paths, _ = QFileDialog.getOpenFileNames(self, "Import models", "", _FILTER)
        if paths:
            self._guarded(partial(self._import_asking, paths))

    def _import_asking(self, paths: Sequence[str]) -> None:
        """Import; ask before imported models of the same names are replaced."""
        self._start_asking(of_files(paths))

    def _start_asking(self, wanted: Sequence[Wanted]) -> None:
        known = replaced_by(wanted)
        question = f"Replace {', '.join(known)}, which is imported already?"
        if known and not self._confirmed("Import models", question):
            return
        # Only what was asked about is replaced.
        self._start([replace(one, overwrite=one.name in known) for one in wanted])

    def _on_download(self) -> None:
        self.form.show()
        self.form.address.setFocus()

    def _on_asked(self, address: str, sha256: str) -> None:
        self._guarded(partial(self._download_asking, address, sha256))

    def _download_asking(self, address: str, sha256: str) -> None:
        # The question comes before the file, which may be large, is fetched.
        self._start_asking([of_address(address, sha256, overwrite=True)])

    def _on_remove(self) -> None:
        chosen = self.chosen
        if chosen is not None:
            self._guarded(partial(self.remove, chosen.name, kind=chosen.kind))

    def _on_licence(self) -> None:
        chosen = self.chosen
        if chosen is None:
            return
        text, agreed = QInputDialog.getText(
            self, "Licence", f"Licence of the weights of '{chosen.name}':"
        )
        if agreed:
            state = partial(self.state_licence, chosen.name, text, kind=chosen.kind)
            self._guarded(state)

    def _confirmed(self, title: str, question: str) -> bool:
        answer = QMessageBox.question(self, title, question)
        return bool(answer == QMessageBox.StandardButton.Yes)

    # --- drag and drop ------------------------------------------------------------

    def dragEnterEvent(self, event: Any) -> None:
        if _dropped(event) and not self.is_busy:
            event.acceptProposedAction()

    def dropEvent(self, event: Any) -> None:
        paths = _dropped(event)
        if paths:
            event.acceptProposedAction()
            # The other program waits until the drop is over.
            ask = partial(self._import_asking, paths)
            QTimer.singleShot(0, partial(self._guarded, ask))


def _dropped(event: Any) -> list[str]:
    """Files that are being dragged."""
    paths = [url.toLocalFile() for url in event.mimeData().urls() if url.isLocalFile()]
    return [path for path in paths if Path(path).is_file()]
