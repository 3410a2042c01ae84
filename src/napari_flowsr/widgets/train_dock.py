"""The Train dock: a model of one's own images, and how its training goes."""

from __future__ import annotations

import time
import weakref
from collections.abc import Callable
from functools import partial
from typing import TYPE_CHECKING, Any

from napari.utils.notifications import show_error, show_info
from qtpy.compat import isalive
from qtpy.QtWidgets import QMessageBox, QTabWidget, QVBoxLayout

from napari_flowsr.data.files import ArrayImage
from napari_flowsr.errors import FlowSRError, OptionError
from napari_flowsr.training.recipe import scale_of
from napari_flowsr.widgets import _devices, _train_job
from napari_flowsr.widgets._ending import LeavingWidget
from napari_flowsr.widgets._geometry import layer_array, layer_axes
from napari_flowsr.widgets._models import changes
from napari_flowsr.widgets._preferences import read_preferences
from napari_flowsr.widgets._train_job import Training
from napari_flowsr.widgets._train_record import Layer, Record, forget, interrupted
from napari_flowsr.widgets._train_request import Request
from napari_flowsr.widgets._train_session import TrainSession, default_folder
from napari_flowsr.widgets._viewer import viewer_reference
from napari_flowsr.widgets.parts.train_bar import InterruptedBox, TrainBar
from napari_flowsr.widgets.parts.train_form import TrainForm, scrolled
from napari_flowsr.widgets.parts.train_picture import PictureView
from napari_flowsr.widgets.parts.train_plots import TrainPlots

if TYPE_CHECKING:
    import napari.viewer

__all__ = ["TrainDock"]

_REDRAW = 1.0  # seconds; to draw curves costs what the training could use


class TrainDock(LeavingWidget):
    """Choose images and a preset; watch a model learn.

    Unlike the docks on `widgets._dock.RunDock` this one does not own its run, which
    takes minutes to days: `widgets._train_job` holds it, and a dock that is opened
    later shows it again.

    Parameters
    ----------
    napari_viewer : napari.viewer.Viewer
        Held weakly.

    Attributes
    ----------
    session : TrainSession
        State; set its fields to drive the dock.
    """

    def __init__(self, napari_viewer: napari.viewer.Viewer) -> None:
        super().__init__()
        self._viewer = viewer_reference(napari_viewer)
        self.session = TrainSession(**self._defaults())
        self._is_over = False
        self._training: Training | None = None
        self._drawn = -_REDRAW
        self._build()
        self._connect()
        self._validate()
        self.box.show_records(self._interrupted())
        self._follow(_train_job.current())

    def _defaults(self) -> dict[str, Any]:
        return {"device": read_preferences().device}

    # --- construction -------------------------------------------------------------

    def _build(self) -> None:
        viewer = self._viewer()
        self.form = TrainForm(self.session, viewer)
        self.box = InterruptedBox()
        self.plots = TrainPlots(viewer)
        self.picture = PictureView()
        self.bar = TrainBar()
        self.tabs = QTabWidget()
        self.tabs.setDocumentMode(True)
        self.tabs.addTab(scrolled(self.box, self.form), "Set up")
        self.tabs.addTab(scrolled(self.plots, self.picture), "Progress")
        layout = QVBoxLayout(self)
        layout.setContentsMargins(4, 4, 4, 4)
        layout.addWidget(self.tabs, 1)
        layout.addWidget(self.bar)
        self.setMinimumWidth(300)

    def _connect(self) -> None:
        bar, box = self.bar, self.box
        for signal, action in (
            (bar.run_clicked, self.run),
            (bar.pause_clicked, self.pause_or_resume),
            (bar.keep_clicked, self.keep),
            (bar.discard_clicked, self.discard),
            (box.resume_clicked, self.resume_interrupted),
            (box.keep_clicked, self.keep_interrupted),
            (box.discard_clicked, self.discard_interrupted),
            (self.form.restore_clicked, self.restore_defaults),
        ):
            signal.connect(partial(_act, weakref.WeakMethod(action)))
        self.session.events.connect(self._validate)
        # Held weakly: names are taken, models have gone.
        changes.models.connect(self._collection_changed)
        _devices.news.found.connect(self._collection_changed)
        _train_job.news.started.connect(self._started)

    @property
    def viewer(self) -> Any:
        """The viewer, or ``None`` when it has gone."""
        return self._viewer()

    # --- state --------------------------------------------------------------------

    @property
    def training(self) -> Training | None:
        """The training that is shown."""
        return self._training

    @property
    def is_running(self) -> bool:
        """Whether a training is going on, of this dock or an earlier one."""
        return self._training is not None and self._training.is_running

    def _validate(self, *_: Any) -> dict[str, str]:
        problems = self.session.problems()
        self.form.show_problems(problems)
        warnings = self.session.warnings()
        self.bar.set_ready(
            next(iter(problems.values()), ""), next(iter(warnings.values()), "")
        )
        return problems

    def _collection_changed(self) -> None:
        if isalive(self) and not self.is_running:  # type: ignore[no-untyped-call]
            self._validate()

    def restore_defaults(self) -> None:
        """All fields but the images as they were at first."""
        self.session.restore(self._defaults())
        self.form.recipe.propose_anew()

    # --- a training ---------------------------------------------------------------

    def run(self) -> Any:
        """Begin; return the worker.

        Raises
        ------
        OptionError
            A field has a value that cannot be used, another training is going on, or
            an interrupted one has the name.
        """
        if self._is_over:
            raise OptionError("This dock was closed. Open it anew from the menu.")
        if problems := self._validate():
            raise OptionError(" ".join(problems.values()))
        session = self.session
        from_layers = session.source == "layers"
        record = Record(
            config=session.config(),
            output=session.output,
            layers=tuple(map(_told, session.layers)) if from_layers else (),
            folder="" if from_layers else session.folder,
            lr_folder=session.lr_folder,
            held_out=session.held_out,
            validation_folder=session.validation_folder,
        )
        if record.has_state:
            raise OptionError(
                f"An interrupted training is called '{record.name}' already. Resume or "
                "discard that one, or give another name."
            )
        return self._start(record, session.layers if from_layers else ())

    def _start(self, record: Record, layers: tuple[Any, ...]) -> Any:
        images = tuple(
            ArrayImage(layer_array(one), layer_axes(one), one.name) for one in layers
        )
        scale = scale_of(record.config)
        training = _train_job.start(Request(record, images or (record.folder,), scale))
        return training.worker

    def _started(self, training: Training) -> None:
        """Here, or in the dock of another viewer."""
        if isalive(self) and not self._is_over:  # type: ignore[no-untyped-call]
            self.box.show_records(self._interrupted())
            self._follow(training)

    def pause_or_resume(self) -> None:
        """Let the computer be free for a while, and go on."""
        training = self._training
        if training is not None and training.state == "running":
            training.pause()
        elif training is not None:
            training.resume()

    def keep(self) -> None:
        """Stop, and take the model as it is into the collection."""
        if self._training is not None:
            self._training.keep()

    def discard(self, *, confirm: bool = True) -> None:
        """Stop, and delete what was trained, after a question."""
        training = self._training
        if training is None or not training.is_running:
            return
        question = (
            f"Stop the training of '{training.name}' at step {training.step} and "
            "delete what it learned? This cannot be undone."
        )
        if not confirm or self._confirmed(question):
            training.discard()

    # --- interrupted ones ---------------------------------------------------------

    def _interrupted(self) -> list[Record]:
        folder = self.session.output.parent
        found = [r for f in {folder, default_folder()} for r in interrupted(f)]
        shown = _train_job.current()
        if shown is not None and shown.is_running:
            found = [one for one in found if one.output != shown.record.output]
        return found

    def resume_interrupted(self) -> Any:
        """Go on with the training that is offered; return the worker."""
        record = self.box.record
        if record is None:
            raise OptionError("No interrupted training is offered.")
        layers = self.viewer.layers if self.viewer is not None else ()
        return self._start(record, record.layers_in(layers))

    def keep_interrupted(self) -> Any:
        """Write the model of the training that is offered as it is."""
        worker = self.resume_interrupted()
        self.keep()
        return worker

    def discard_interrupted(self, *, confirm: bool = True) -> None:
        """Delete the state of the training that is offered, after a question."""
        record = self.box.record
        question = "Delete the interrupted training? This cannot be undone."
        if record is not None and (not confirm or self._confirmed(question)):
            forget(record)
            self.box.show_records(self._interrupted())

    # --- what is shown ------------------------------------------------------------

    def _follow(self, training: Training | None) -> None:
        """Show a training from now on, with what it told before."""
        self._unfollow()
        self._training = training
        if training is None:
            return
        training.changed.connect(self._show_state)
        training.stepped.connect(self._show_curves)
        training.pictured.connect(self._show_pictures)
        if training.is_running:
            self.tabs.setCurrentIndex(1)
        self._show_curves()
        self._show_pictures()
        self._show_state()

    def _unfollow(self) -> None:
        if self._training is not None:
            self._training.changed.disconnect(self._show_state)
            self._training.stepped.disconnect(self._show_curves)
            self._training.pictured.disconnect(self._show_pictures)

    def _show_state(self) -> None:
        training = self._training
        self.bar.show_training(training)
        if training is None or training.is_running:
            return
        self.plots.show_curves(training.curves)
        self.box.show_records(self._interrupted())
        if training.state == "kept":
            self.form.recipe.propose_anew()
        words, bad = training.words, training.state == "failed"
        self._validate()
        self.bar.say(words, bad=bad)

    def _show_curves(self) -> None:
        training = self._training
        if training is None:
            return
        self.bar.show_training(training)
        if time.monotonic() - self._drawn >= _REDRAW:
            self.plots.show_curves(training.curves)
            self._drawn = time.monotonic()

    def _show_pictures(self) -> None:
        if self._training is not None:
            self.picture.show_pictures(self._training.pictures)

    def _guarded(self, action: Callable[[], Any]) -> None:
        try:
            action()
        except FlowSRError as error:
            self.bar.refuse(str(error))
            show_error(str(error))

    def _confirmed(self, question: str) -> bool:
        answer = QMessageBox.question(self, "Train", question)
        return bool(answer == QMessageBox.StandardButton.Yes)

    # --- the end ------------------------------------------------------------------

    def leave(self) -> None:
        """Let go of viewer and training, which goes on."""
        if self._is_over:
            return
        self._is_over = True
        self._unfollow()
        self.plots.release()
        if self.is_running:
            show_info(
                "The training goes on. Open the Train dock again to see it, or to stop "
                "it."
            )


def _act(action: weakref.WeakMethod[Any], *_: Any) -> None:
    """Do what a button is for; Qt would keep the dock of a function of its own."""
    method = action()
    if method is not None:
        method.__self__._guarded(method)


def _told(layer: Any) -> Layer:
    """What finds a layer again."""
    path = getattr(getattr(layer, "source", None), "path", None)
    return Layer(layer.name, str(path or ""))
