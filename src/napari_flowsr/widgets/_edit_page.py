"""What the Edit dock and its pages agree on. No Qt.

A page is a ``QWidget`` with the members of `EditPage`. It never touches the target:
what it computed it yields as `Edited` or `NewLayers`, and the dock does the rest, so
that each edit is undone, recorded and placed in the same way.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Protocol

import numpy as np
import numpy.typing as npt

from napari_flowsr.widgets._layers import Output

if TYPE_CHECKING:
    from napari_flowsr.inference.distribution import Posterior
    from napari_flowsr.widgets._edit_session import EditSession
    from napari_flowsr.widgets._edit_sources import Binding

__all__ = ["EditContext", "EditPage", "Edited", "NewLayers", "Relay"]

Array = npt.NDArray[Any]


@dataclass(frozen=True)
class Edited:
    """New pixels of the target.

    Parameters
    ----------
    array : ndarray
        Of the shape of `EditContext.target_array`.
    label : str
        What was done, in few words: the history and the status line show it.
    record : dict
        Facts for the provenance, JSON-able.
    also : tuple of Output
        Layers to show beside it, such as an unharmonised paste.
    """

    array: Array
    label: str
    record: dict[str, Any]
    also: tuple[Output, ...] = ()


@dataclass(frozen=True)
class NewLayers:
    """Layers to add; the target stays.

    Parameters
    ----------
    outputs : tuple of Output
        Bottom to top.
    said : str
        For the status line.
    """

    outputs: tuple[Output, ...]
    said: str


@dataclass
class Relay:
    """Progress from the worker's thread to the dock; of no use until a run is on."""

    send: Callable[[int, int, str], None] | None = None


@dataclass(frozen=True)
class EditContext:
    """What a run of a page works on, fixed when it starts.

    Parameters
    ----------
    viewer : napari.components.ViewerModel or None
        The viewer.
    session : EditSession
        The state of the dock; read it in the main thread only.
    target : napari.layers.Image or None
        HR layer to be edited; ``None`` only for pages that do not need one.
    image : napari.layers.Image or None
        LR layer; without it the LR image is the downscale of the target.
    mask : napari.layers.Labels, Shapes or None
        Where to edit.
    """

    viewer: Any
    session: EditSession
    target: Any
    image: Any
    mask: Any
    _binding: Binding
    _relay: Relay = field(default_factory=Relay)

    def posterior(self, **changes: Any) -> Posterior:
        """Posterior of the LR image, kept between runs; for the worker's thread.

        Seed and temperature are those of the session when the run began.

        Parameters
        ----------
        **changes
            Keywords of `napari_flowsr.posterior` that are to be other ones, such as a
            ``temperature`` map; of such a posterior nothing is kept.
        """
        return self._binding.posterior(**changes)

    def target_array(self) -> Array:
        """HR pixels of the target as they are now, a copy; for the main thread.

        Of a stack of samples the one that is shown: the axes are those of the LR image.
        """
        return self._binding.target_array()

    def mask_array(self) -> npt.NDArray[np.float32] | None:
        """Mask on the HR grid, for the main thread: 0 (keep) to 1, feathered.

        Looped axes first, then Y and X, without colour, as a posterior takes it;
        ``None`` without a mask layer.

        Raises
        ------
        FlowSRError
            It has no pixels, lies outside the target, or cannot be matched to it.
        """
        return self._binding.mask_array()

    def labels_array(self, layer: Any) -> Array:
        """Values of a Labels or Image layer on the HR grid, nearest; main thread.

        Axes as of `mask_array`. Labels are 0, images NaN, outside the layer.
        """
        return self._binding.resampled(layer)

    def planes(self, array: Array) -> Array:
        """An array without colour, in the axes of the image: looped axes, Y and X.

        Maps and masks are given to a posterior so.
        """
        return self._binding.planes(array)

    def placed(self, *leading: str, on_lr: bool = False) -> dict[str, Any]:
        """Keywords of `add_image` that put an array where the target lies.

        Parameters
        ----------
        *leading : str
            Labels of axes in front of those of `target_array`, such as ``"sample"``.
        on_lr : bool
            The array is on the LR grid.
        """
        return self._binding.placed(leading, on_lr=on_lr)

    def record(self, post: Posterior, kind: str, **facts: Any) -> dict[str, Any]:
        """Provenance of a layer, with names of layers and the page's own facts."""
        return self._binding.record(post, kind, **facts)

    def report(self, done: int, total: int, message: str = "") -> None:
        """Tell progress from within a call, in the worker's thread.

        May be handed to a function as ``progress=context.report``; where a page's
        generator can yield `napari_flowsr.inference.events.Progress` it does that.
        """
        if self._relay.send is not None:
            self._relay.send(done, total, message)


class EditPage(Protocol):
    """A tool of the Edit dock; a ``QWidget`` made as ``Page(session, viewer)``.

    Attributes
    ----------
    title : str
        In the box of tools.
    changed : Signal
        A field changed: validate again.

    Notes
    -----
    A page may also have: ``needs_target = False``, where it works on the LR image
    alone; a signal ``run_requested``: run, in place of a run that is going on; and
    ``release()``, called when the dock is closed.
    """

    title: str
    changed: Any

    def problems(self, context: EditContext) -> dict[str, str]:
        """Field name to the reason why Run cannot be pressed; empty if it can."""
        ...

    def prepare(self, context: EditContext) -> Callable[[], Iterable[Any]]:
        """Read fields and layers now; return what the worker is to call.

        That yields `Progress` and result events and touches no layer and no widget.
        """
        ...

    def show(self, event: Any, context: EditContext) -> None:
        """Show, in the main thread, an event that is not `Edited` or `NewLayers`."""
        ...
