"""What a run of the Edit dock reads: arrays, the mask, and a posterior. No Qt."""

from __future__ import annotations

import weakref
import zlib
from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from napari_flowsr.errors import OptionError
from napari_flowsr.io.provenance import image_hash, jsonable
from napari_flowsr.models.card import Model
from napari_flowsr.widgets._edit_geometry import Pairing
from napari_flowsr.widgets._edit_session import EDIT, EditSession, is_edit_layer
from napari_flowsr.widgets._geometry import layer_array, whole_box
from napari_flowsr.widgets._masks import Grid, feathered, mask_on, values_on

if TYPE_CHECKING:
    from napari_flowsr.inference.distribution import Posterior

__all__ = ["Binding", "Kept"]

Array = npt.NDArray[Any]

# Larger images are taken to be the same as long as the array is; reading them all
# would take longer than what is saved.
_SUMMED = 1 << 26
# Of the posterior of an edit, all that determines pixels but seed and temperature.
_USED = (
    *("source_name", "source_sha256", "lr", "roi", "model", "model_sha256"),
    *("prior", "prior_name", "prior_sha256"),
    *("scale", "axes", "noise", "consistent", "nan", "precision"),
)
# Options that can be changed without reading the image again.
_CHEAP = {"seed", "temperature", "tile", "noise", "precision"}


# LR images of layers that are edited, kept with these: the edits change what they would
# be made from, and a dock that is opened anew needs those of the beginning.
_REDUCED: weakref.WeakKeyDictionary[Any, Array] = weakref.WeakKeyDictionary()


class Kept:
    """What is kept between runs: the model, the posterior, and reduced targets."""

    def __init__(self) -> None:
        self._key: Any = None
        self._post: Posterior | None = None
        self._held: Any = None  # keeps the ids in the key from being used again
        self._model: tuple[Any, Model] | None = None
        self._reduced: weakref.WeakKeyDictionary[Any, Array] = (
            weakref.WeakKeyDictionary()
        )

    def reduced_of(self, layer: Any) -> Array | None:
        """LR image of a layer that was reduced, if it was."""
        return _REDUCED.get(layer, self._reduced.get(layer))

    def keep_reduced(self, layer: Any, array: Array) -> None:
        """The LR image of a layer, for as long as there is the layer."""
        (_REDUCED if is_edit_layer(layer) else self._reduced)[layer] = array

    def hand_on(self, layer: Any, other: Any) -> None:
        """The LR image of a layer is that of the one made from it, too."""
        array = self.reduced_of(layer)
        if array is not None:
            self.keep_reduced(other, array)

    def model(self, model: Any, device: str, prior: Any) -> Model:
        """The loaded model."""
        from napari_flowsr.io.collection import load_model
        from napari_flowsr.io.priors import with_prior

        key = (id(model) if isinstance(model, Model) else str(model), device, prior)
        if self._model is None or self._model[0] != key:
            if isinstance(model, Model):
                loaded = model if prior is None else with_prior(model, prior)
            else:
                loaded = load_model(model, device=device, prior=prior)
            self._model = key, loaded
        return self._model[1]

    def posterior(
        self, key: Any, held: Any, make: Callable[[], Posterior]
    ) -> Posterior:
        """The last posterior, or a new one if anything of its key differs."""
        if self._post is None or self._key != key:
            self._post = make()
            self._key, self._held = key, held
        return self._post

    def clear(self) -> None:
        """Let go of everything but the reduced targets."""
        self._key = self._post = self._held = self._model = None


class Binding:
    """Layers and options of one run, fixed when it starts.

    Parameters
    ----------
    session : EditSession
        Read now, in the main thread.
    dims : napari.components.Dims or None
        Which sample of a stack is shown.
    kept : Kept
        Of the dock.
    pairing : Pairing or None
        ``None`` where target and image do not fit: then nothing can be read.
    """

    def __init__(
        self, session: EditSession, dims: Any, kept: Kept, pairing: Pairing | None
    ) -> None:
        self._pairing, self._kept = pairing, kept
        self._options = session.options()
        self._model = session.model
        self._prior = session.prior_model if session.prior == "learned" else None
        self._mask, self._feather = session.mask, float(session.feather or 0)
        self._index = () if pairing is None else pairing.index(dims)
        self._small: Array | None = None
        self._from_target = False
        self._seen: list[tuple[str, Any]] = []
        self.post: Posterior | None = None

    @property
    def pairing(self) -> Pairing:
        """How target and LR image lie to each other."""
        if self._pairing is None:
            raise OptionError("Choose a target, and the image that it was made from.")
        return self._pairing

    # --- the main thread ------------------------------------------------------------

    def fix(self) -> None:
        """Read the LR image, or what it will be made from."""
        pair = self.pairing
        self._seen = self._pixels()
        if pair.image is not None and pair.box is not None:
            self._small = layer_array(pair.image)[pair.box.slices]
            return
        self._small = self._kept.reduced_of(pair.target)
        if self._small is None:
            self._small, self._from_target = self.target_array(), True

    def _pixels(self) -> list[tuple[str, Any]]:
        pair = self.pairing
        layers = [x for x in (pair.target, pair.image) if x is not None]
        return [(x.name, _identity(layer_array(x))) for x in layers]

    def changed(self) -> str:
        """Name of a layer that has other pixels than when the run began, or nothing.

        Of large ones it is known only that they got another array.
        """
        now = zip(self._pixels(), self._seen, strict=True)
        return next((name for (name, a), (_, b) in now if a != b), "")

    def target_array(self) -> Array:
        """Copy of the pixels to edit."""
        if self.pairing.target is None:
            raise OptionError("There is no target chosen: the image to edit.")
        return np.array(layer_array(self.pairing.target)[self._index])

    def mask_array(self) -> npt.NDArray[np.float32] | None:
        """Soft mask, looped axes first, then Y and X."""
        if self._mask is None:
            return None
        return feathered(self.planes(mask_on(self._grid, self._mask)), self._feather)

    def resampled(self, layer: Any) -> Array:
        """Values of another layer, looped axes first, then Y and X."""
        outside = 0.0 if layer._type_string == "labels" else float("nan")
        if getattr(layer, "rgb", False):
            raise OptionError(
                f"'{layer.name}' is in colour; one number for each pixel is needed. "
                "Choose a layer of one channel."
            )
        return self.planes(values_on(self._grid, layer, outside))

    @property
    def _grid(self) -> Grid:
        return self.pairing.grid

    def planes(self, array: Array) -> Array:
        """Looped axes first, then Y and X; of an array without colour."""
        axes = self.pairing.axes
        return np.moveaxis(array, (axes.index("Y"), axes.index("X")), (-2, -1))

    def placed(
        self, leading: Sequence[str] = (), *, on_lr: bool = False
    ) -> dict[str, Any]:
        """Keywords of `add_image`."""
        return self.pairing.placed(leading, on_lr=on_lr)

    # --- the worker's thread ----------------------------------------------------------

    def posterior(self, **changes: Any) -> Posterior:
        """Posterior of the LR image with the options of the session."""
        from napari_flowsr.inference.distribution import Posterior

        base = self._base()
        options = {**self._options, **changes}
        if set(changes) <= _CHEAP:
            temperature = options["temperature"]
            if temperature is None:
                temperature = base.model.card.temperature
            cheap = {n: options[n] for n in _CHEAP - {"temperature"}}
            self.post = Posterior(
                base.model,
                base._bound.intensities,
                temperature=temperature,
                options=replace(base.options, **cheap),
                device=options["device"],
                progress=None,
            )
            return self.post
        return self._made(base.model, options)

    def _base(self) -> Posterior:
        """The one that is kept."""
        if self._small is None:
            raise RuntimeError("A run's layers are read before it starts.")
        options = {n: v for n, v in self._options.items() if n not in _CHEAP}
        model = self._kept.model(self._model, options["device"], self._prior)
        small = self.lr_array(model)
        fit = self.pairing.axes, self.pairing.scale
        key = (_identity(small), id(model), *fit, tuple(options.items()))
        made = {n: self._options[n] for n in ("tile", "noise")} | options
        return self._kept.posterior(
            key, (small, model), lambda: self._made(model, made)
        )

    def _made(self, model: Model, options: dict[str, Any]) -> Posterior:
        from napari_flowsr.inference.posterior import posterior

        given = {**options, "scale": self.pairing.scale}
        return posterior(self.lr_array(model), model, axes=self.pairing.axes, **given)

    def lr_array(self, model: Model) -> Array:
        """The LR image; of a target that has none, made now."""
        if self._small is None:
            raise RuntimeError("A run's layers are read before it starts.")
        if self._from_target:
            from napari_flowsr.inference.reduced import reduced

            pair = self.pairing
            found = reduced(self._small, model, axes=pair.axes, scale=pair.scale)
            self._small = found.lr
            self._kept.keep_reduced(pair.target, self._small)
            self._from_target = False
        return self._small

    def record(self, post: Posterior, kind: str, **facts: Any) -> dict[str, Any]:
        """Provenance of a layer of the dock."""
        pair = self.pairing
        known: dict[str, Any] = {"tool": EDIT}
        if pair.target is not None:
            known["target_name"] = pair.target.name
        if self._index:
            known["target_sample"] = self._index[0]
        if pair.image is None:
            known |= {"source_name": pair.target.name, "lr": "downscale"}
        else:
            known["source_name"] = pair.image.name
        if pair.box is not None and pair.box != whole_box(pair.image):
            ends = zip(pair.box.start, pair.box.stop, strict=True)
            known["roi"] = [list(p) for p in ends]
        record = dict(post.provenance(kind, **{**known, **facts}))
        if "roi" in known:
            # The hash of the whole layer, as in records of Upscale.
            record["source_sha256"] = image_hash(layer_array(pair.image))
        return record

    def used(self, post: Posterior) -> dict[str, Any]:
        """LR image, model and options of an edit, for its entry in the record."""
        record = jsonable(self.record(post, "edited"))
        return {name: record.get(name) for name in _USED}


def _identity(array: Any) -> tuple[Any, ...]:
    """Changes when the pixels do, for arrays that are quickly read."""
    total = 0
    if isinstance(array, np.ndarray) and array.nbytes <= _SUMMED:
        total = zlib.crc32(np.ascontiguousarray(array).data)
    base = array if getattr(array, "base", None) is None else array.base
    return id(base), tuple(array.shape), str(array.dtype), total
