"""The Edit dock: change an image where a mask says, in agreement with the data."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from napari.utils.notifications import show_error
from qtpy.QtCore import QTimer

from napari_flowsr.errors import FlowSRError, OptionError
from napari_flowsr.widgets._automatic import Automatic
from napari_flowsr.widgets._brush import Brush, kept_brush
from napari_flowsr.widgets._dock import RunDock
from napari_flowsr.widgets._edit_files import EditFiles
from napari_flowsr.widgets._edit_layers import EditLayers, make_mask
from napari_flowsr.widgets._edit_page import EditContext, Edited, NewLayers
from napari_flowsr.widgets._edit_pages import pages
from napari_flowsr.widgets._edit_session import (
    EDIT,
    EditSession,
    is_edit_layer,
    is_of_edit,
)
from napari_flowsr.widgets._edit_sources import Binding, Kept
from napari_flowsr.widgets._keys import LayerKeys, free_key
from napari_flowsr.widgets._preferences import read_preferences
from napari_flowsr.widgets._proposing import NO_IMAGE, Proposing, hint_of
from napari_flowsr.widgets.parts.edit_form import EditForm
from napari_flowsr.widgets.parts.edit_resample_page import ResamplePage

if TYPE_CHECKING:
    import napari.viewer

__all__ = ["EditDock", "pages"]

_OUTDATED = (
    "'{}' was changed while the edit was computed; the edit is dropped. Run it again."
)


class EditDock(RunDock):
    """Edits of an HR image that agree with its LR image.

    Parameters
    ----------
    napari_viewer : napari.viewer.Viewer
        Held weakly.

    Attributes
    ----------
    session : EditSession
        State; set its fields to drive the dock.
    """

    title = "Edit"
    tool = EDIT
    doubt = (
        "What an edit draws is <b>inferred, not measured</b>: it agrees with the "
        "low-resolution image, and so do many others."
    )
    session: EditSession
    form: EditForm

    def __init__(self, napari_viewer: napari.viewer.Viewer) -> None:
        super().__init__(napari_viewer, EditSession(**self._defaults(), **kept_brush()))
        history, session = self.form.history, self.session
        history.undo_clicked.connect(self.undo)
        history.redo_clicked.connect(self.redo)
        history.save_clicked.connect(self.files.save_clicked)
        history.open_clicked.connect(self.files.open_clicked)
        self.form.marking.new_clicked.connect(self._new_mask_clicked)
        # Those that are there, and each that is to come.
        for page in self.form.made:
            self._follow_page(page)
        self.form.page_made.connect(self._follow_page)
        session.events.target.connect(self._target_changed)
        session.events.page.connect(self.compare.end_beside)
        for name in ("mask", "automatic", "page"):
            getattr(session.events, name).connect(self._mask_changed, check_nargs=False)
        self._proposing = Proposing(self)
        self._proposing.propose()

    def _follow_page(self, page: Any) -> None:
        page.changed.connect(self._validate)
        if hasattr(page, "run_requested"):
            page.run_requested.connect(self.run_again)

    def _make_form(self, viewer: Any) -> EditForm:
        # The first that is made; the rest of the dock needs them from now on.
        self.layers, self._kept, self._keys = EditLayers(), Kept(), LayerKeys()
        self.automatic, self.files = Automatic(self), EditFiles(self)
        self._brush = Brush(self.session)
        self._context: EditContext | None = None
        self._page: Any = None
        self._version: Any = None
        self._is_wanted = False
        self._again = QTimer(self)
        self._again.setSingleShot(True)
        self._again.timeout.connect(self.run_again)
        self.key = free_key()
        form = EditForm(self.session, viewer, pages())
        page = form.page_of(ResamplePage.title)
        page.show_key(self.key)
        return form

    def _defaults(self) -> dict[str, Any]:
        wanted = read_preferences()
        return {
            "device": wanted.device,
            "tile": wanted.tile_option,
            "precision": wanted.precision,
            "temperature": wanted.temperature_option,
        }

    # --- state --------------------------------------------------------------------

    def context(self) -> EditContext:
        """What a run that began now would work on."""
        session, viewer = self.session, self.viewer
        try:
            pairing = session.pairing()
        except FlowSRError:
            pairing = None
        dims = None if viewer is None else viewer.dims
        return EditContext(
            viewer,
            session,
            session.target,
            session.image,
            session.mask,
            Binding(session, dims, self._kept, pairing),
        )

    def _validate(self, *_: Any) -> dict[str, str]:
        session, page = self.session, self.form.page
        problems = session.problems()
        if session.target is None and not getattr(page, "needs_target", True):
            problems.pop("target", None)
            if session.image is None:
                problems["image"] = NO_IMAGE
        if not problems:
            problems = page.problems(self.context())
        self.form.show_problems(problems)
        target = session.target
        warning = hint_of(session) if isinstance(page, ResamplePage) else ""
        warning = next(iter(session.warnings().values()), warning)
        self.bar.set_ready(next(iter(problems.values()), ""), warning)
        before = self.layers.source_of(target) if target is not None else None
        self.compare.set_source(session.image if before is None else before)
        self._show_history()
        return problems

    def _show_history(self) -> None:
        layer = self.session.target
        is_own = is_edit_layer(layer)
        history = self.layers.history(layer) if is_own else None
        self.form.history.show_history(history, is_own)

    def _target_changed(self, layer: Any) -> None:
        viewer = self.viewer
        if layer is not None and viewer is not None:
            self.session.take_over(viewer.layers)
        self._bind_keys(layer)

    def _bind_keys(self, layer: Any) -> None:
        if is_edit_layer(layer):
            actions = {"Control-Z": self.undo, "Control-Shift-Z": self.redo}
            self._keys.bind(layer, {**actions, self.key: self.roll})

    # --- the mask -------------------------------------------------------------------

    def new_mask(self) -> Any:
        """Add a mask on the target, choose it, and take the brush.

        Raises
        ------
        FlowSRError
            There is no target, or it does not fit the LR image.
        """
        viewer = self.viewer
        if viewer is None or self._tenure.is_over:
            raise OptionError("This dock was closed. Open it anew from the menu.")
        if self.session.target is None:
            raise OptionError("Choose a target first: the image to edit.")
        pairing = self.session.pairing()
        layer = make_mask(viewer, pairing, int(self.session.brush_size))
        self.session.mask = layer
        return layer

    def _new_mask_clicked(self) -> None:
        try:
            self.new_mask()
        except FlowSRError as error:
            self.bar.refuse(str(error))
            show_error(str(error))

    def _mask_changed(self, *_: Any) -> None:
        mask, session = self.session.mask, self.session
        if (old := self._brush.mask) is not None and old is not mask:
            self._keys.release(old)
            self._brush.drop()
        if mask is not None:
            self._keys.bind(mask, {self.key: self.roll})
            self._brush.take(mask)
        automatic = session.automatic and session.page == ResamplePage.title
        self.automatic.watch(mask if automatic else None)

    # --- running ------------------------------------------------------------------

    def run(self) -> Any:
        self._check_ready()
        context, page = self.context(), self.form.page
        context._binding.fix()
        work = page.prepare(context)
        shown = context.image if context.target is None else context.target
        job = self._start(work, shown.name)
        context._relay.send = job.report
        self._context, self._page = context, page
        if context.target is not None:
            # With the data, so that no other array can come to have their id.
            data = context.target.data
            self._version = self.layers.version(context.target), data
        return job.worker

    def run_again(self) -> None:
        """Run now, in place of a run that is going on; tell what keeps from it."""
        self._is_wanted = self.is_running
        if self.is_running:
            super().cancel()
        else:
            self._run_clicked()

    def cancel(self) -> None:
        self._is_wanted = False
        super().cancel()

    def roll(self) -> None:
        """Take the next seed and re-sample."""
        self.session.page = ResamplePage.title
        self.form.page.roll()

    def _is_unfinished(self) -> bool:
        return self._context is not None or self.files.is_unfinished

    def _on_end(self) -> None:
        self.files.is_unfinished = False
        self._context = self._page = self._version = None
        super()._on_end()
        if not self._is_wanted:
            self.automatic.drop()
        elif not self._tenure.is_over:
            self._is_wanted = False
            self._again.start(0)

    # --- results --------------------------------------------------------------------

    def _on_result(self, event: Any) -> None:
        context, page, viewer = self._context, self._page, self.viewer
        if self.files.show(event):
            return
        if context is None or viewer is None:
            return
        if isinstance(event, Edited):
            self._context = None
            self._show_edit(event, context, viewer)
        elif isinstance(event, NewLayers):
            with self._work_kept(viewer):
                self.layers.add(viewer, event.outputs)
            self.bar.say(event.said)
        else:
            page.show(event, context)

    def _show_edit(self, event: Edited, context: EditContext, viewer: Any) -> None:
        if context.target not in viewer.layers:
            self.bar.say("The target was removed meanwhile; the edit is dropped.")
            return
        name = context._binding.changed()
        if self.layers.version(context.target) != self._version[0]:
            name = context.target.name
        if name:
            self.bar.say(_OUTDATED.format(name), warning=True)
            return
        self.compare.reset()
        stroke = self.automatic.take()
        with self._work_kept(viewer):
            layer = self._own_layer(context, viewer)
            facts = {**context._binding.used(_post_of(context)), **event.record}
            changed = self.layers.write(layer, event.array, event.label, facts, stroke)
            beside = self.layers.add(viewer, event.also)
        if beside:
            self.compare.show_beside([layer, *beside])
        self._show_history()
        said = event.label[:1].upper() + event.label[1:]
        self.bar.say(f"{said}." if changed else f"{said}: no pixel became another.")
        if beside:
            names = " and ".join(f"'{x.name}'" for x in beside)
            self.bar.add(f"Beside it: {names}. 'Side by side' again ends that.")

    def _own_layer(self, context: EditContext, viewer: Any) -> Any:
        """The layer to write into: the target, or one that is made from it."""
        if is_edit_layer(context.target):
            return context.target
        record = context.record(_post_of(context), "edited")
        array = context.target_array()
        layer = self.layers.make(viewer, context._binding.pairing, array, record)
        self._kept.hand_on(context.target, layer)
        if self.session.target is context.target:  # else a person went on meanwhile
            self.session.target = layer
        return layer

    def undo(self) -> None:
        """Take the last edit of the target back."""
        self._step(self.layers.undo, "Undone")

    def redo(self) -> None:
        """Make the edit again that was taken back last."""
        self._step(self.layers.redo, "Made again")

    def _step(self, step: Callable[[Any], Any], said: str) -> None:
        layer = self.session.target
        if not is_edit_layer(layer) or self._tenure.is_over:
            return
        # A run reads the layer when it starts: its result would bring back what goes.
        stopped = self._context is not None
        if stopped:
            self.cancel()
            self._context = None
        change = step(layer)
        told = f"{said}: {change.label}." if change else "There is none left."
        self.bar.say(f"{told} The run was cancelled." if stopped else told)
        self._show_history()

    def outputs(self) -> list[Any]:
        """Layers in the viewer that the dock made of the present target or image."""
        viewer = self.viewer
        return [] if viewer is None else [x for x in viewer.layers if is_of_edit(x)]

    # --- the end --------------------------------------------------------------------

    def leave(self) -> None:
        if not self._tenure.is_over:
            self.automatic.watch(None)
            self._again.stop()
            self._proposing.release()
            self._keys.release()
            self._kept.clear()
            self._brush.release()
        super().leave()


def _post_of(context: EditContext) -> Any:
    """The posterior of a run, also where its page needed none."""
    post = context._binding.post
    return context.posterior() if post is None else post
