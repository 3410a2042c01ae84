"""Keys on single layers, which take none away from napari. No Qt."""

from __future__ import annotations

import contextlib
import weakref
from collections.abc import Callable, Mapping
from typing import Any

__all__ = ["LayerKeys", "free_key"]

_WISHED = ("N", "J", "U", "K", "Q", "W")


def free_key(layers: tuple[Any, ...] = ()) -> str:
    """First of a few letters that napari, as it is set up now, uses for nothing."""
    from napari.components import ViewerModel
    from napari.layers import Image, Labels, Shapes
    from napari.settings import get_settings

    used = {
        str(key).upper()
        for keys in get_settings().shortcuts.shortcuts.values()
        for key in keys
    }
    for holder in (ViewerModel, Image, Labels, Shapes):
        used |= {str(key).upper() for key in holder.class_keymap}
    for layer in layers:
        used |= {str(key).upper() for key in layer.keymap}
    free = [key for key in _WISHED if key not in used]
    return free[0] if free else "Control-Alt-N"


class LayerKeys:
    """Bindings on instances of layers, taken off again in the end."""

    def __init__(self) -> None:
        self._bound: weakref.WeakKeyDictionary[Any, set[str]] = (
            weakref.WeakKeyDictionary()
        )

    def bind(self, layer: Any, actions: Mapping[str, Callable[[], Any]]) -> None:
        """Bind keys; where the layer has a binding of its own, that stays.

        Bound methods are held weakly, so that a layer keeps no dock alive.
        """
        mine = self._bound.setdefault(layer, set())
        for key, action in actions.items():
            if key in mine:
                continue
            with contextlib.suppress(ValueError):  # somebody else's
                layer.bind_key(key, _weak(action))
                mine.add(key)

    def release(self, layer: Any = None) -> None:
        """Take the bindings off one layer, or all."""
        layers = list(self._bound) if layer is None else [layer]
        for one in layers:
            for key in self._bound.pop(one, set()):
                one.bind_key(key, None)


def _weak(action: Callable[[], Any]) -> Callable[[Any], None]:
    reference = weakref.WeakMethod(action)

    def call(layer: Any) -> None:
        method = reference()
        if method is not None:
            method()

    return call
