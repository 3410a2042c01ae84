"""Commands in napari's Layers menus and command palette."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from napari_flowsr.errors import FlowSRError, OptionError
from napari_flowsr.io.provenance import NAMESPACE, provenance_script

if TYPE_CHECKING:
    import napari.viewer

__all__ = ["copy_as_python", "copy_script"]


def copy_script(layer: Any) -> str:
    """Put the Python program that makes ``layer`` again on the clipboard.

    Parameters
    ----------
    layer : napari.layers.Layer or None
        A layer that this plugin made.

    Returns
    -------
    str
        The program.

    Raises
    ------
    OptionError
        No layer, or one that the plugin did not make.
    """
    from qtpy.QtWidgets import QApplication

    if layer is None or NAMESPACE not in layer.metadata:
        given = "no layer is" if layer is None else f"'{layer.name}' is"
        raise OptionError(
            f"For a Python program select one layer that FlowSR made; {given} selected."
        )
    text = provenance_script(layer.metadata)
    QApplication.clipboard().setText(text)
    return text


def copy_as_python(viewer: "napari.viewer.Viewer") -> None:  # noqa: UP037
    """Copy the program that makes the active layer again to the clipboard."""
    from napari.utils.notifications import show_error, show_info

    layer = viewer.layers.selection.active
    try:
        copy_script(layer)
    except FlowSRError as error:
        show_error(str(error))
        return
    show_info(f"The Python program that makes '{layer.name}' is on the clipboard.")
