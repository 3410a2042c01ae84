"""A ``.flowsr`` file: an edited image as latents, with all that decoding it takes.

It holds the latents of an HR image, the LR image that they belong to, the record of
how the image came about, and where its layer lies. With the same model the posterior
of that LR image decodes the latents to the image again, so that editing can go on.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from os import PathLike
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt
import torch

from napari_flowsr.core.latents import Latents
from napari_flowsr.errors import FlowSRError, OptionError
from napari_flowsr.io.content import jsonable, unpack_array
from napari_flowsr.io.latents_file import (
    Kind,
    levels_of,
    spec_facts,
    spec_of,
    tensors_of,
)
from napari_flowsr.io.suffixes import EDITED

if TYPE_CHECKING:
    from torch import Tensor

    from napari_flowsr.models.card import ModelCard

__all__ = ["Edit", "load_edit", "save_edit"]

_KIND = Kind(
    key="napari-flowsr-edit",
    version=1,
    what="latents of an edited image",
    expected=f"Give a {EDITED} file that napari-flowsr wrote.",
    remedy="Copy it again from where it was written.",
)
_OPTIONS = ("seed", "scale", "axes", "prior", "noise", "consistent", "nan", "precision")


@dataclass(frozen=True, kw_only=True, eq=False)
class Edit:
    """An HR image as latents, to go on with.

    Parameters
    ----------
    latents : Latents
        As `Posterior.encode` gave them for the HR image.
    image : ndarray
        The LR image of the posterior, as it was given to it.
    record : mapping
        Of the HR image, as `Posterior.provenance` makes it: it names the model and the
        options of the posterior. Edits are listed in it (`io.edit_script`).
    layer : mapping
        What a program wants to know of the HR image when it opens it again: dtype,
        axes, name, scale, translate, units, … Anything that JSON has.
    """

    latents: Latents
    image: npt.NDArray[Any]
    record: Mapping[str, Any]
    layer: Mapping[str, Any] = field(default_factory=dict)

    def __post_init__(self) -> None:
        missing = [key for key in ("model", "model_sha256") if key not in self.record]
        if missing:
            raise OptionError(
                f"The record of the edited image lacks {' and '.join(missing)}. Give "
                "what Posterior.provenance returned, or the record of its layer."
            )

    @property
    def model(self) -> str:
        """Name of the model whose latents these are."""
        return str(self.record["model"])

    @property
    def options(self) -> dict[str, Any]:
        """Keywords of `napari_flowsr.posterior` for the LR image."""
        found = {key: self.record[key] for key in _OPTIONS if key in self.record}
        temperature = self.record.get("temperature")
        if isinstance(temperature, Mapping):
            temperature = _map(temperature, self.latents, self.image)
        return found | ({} if temperature is None else {"temperature": temperature})

    def check_model(self, card: ModelCard) -> None:
        """Refuse any model but the one whose latents these are.

        Parameters
        ----------
        card : ModelCard
            Of the model that is to decode them.

        Raises
        ------
        OptionError
            It is another one.
        """
        expected = str(self.record["model_sha256"])
        if card.sha256 == expected:
            return
        same = " of the same name" if card.name == self.model else ""
        raise OptionError(
            f"These latents belong to another model{same}: '{self.model}' (SHA-256 "
            f"{expected[:12] or 'unknown'}…) made them, and '{card.name}' "
            f"({card.sha256[:12] or 'unknown'}…) was given. Choose the original model, "
            "or import its file."
        )


# --- writing ------------------------------------------------------------------


def save_edit(path: str | Path, edit: Edit, *, overwrite: bool = True) -> Path:
    """Write an edited image, whole or not at all.

    Parameters
    ----------
    path : path
        Ends in ``.flowsr``.
    edit : Edit
        What to write.
    overwrite : bool
        Replace an existing file.

    Raises
    ------
    OptionError
        The path ends otherwise.
    ExportError
        The file cannot be written.
    """
    path = Path(path)
    if path.suffix.lower() != EDITED:
        raise OptionError(
            f"An edit is written as {EDITED}; '{path.name}' was asked for. Choose a "
            f"name that ends in {EDITED}."
        )
    image = np.ascontiguousarray(edit.image)
    image = image.astype(image.dtype.newbyteorder("<"), copy=False)
    tensors = tensors_of(edit.latents.levels)
    # As bytes: not all data types of images are ones of tensors.
    tensors["image"] = torch.from_numpy(np.frombuffer(image.tobytes(), np.uint8).copy())
    if edit.latents.lr is not None:
        tensors["lr"] = edit.latents.lr
    about = {
        "spec": spec_facts(edit.latents.spec),
        "image": {"dtype": image.dtype.str, "shape": list(image.shape)},
        "record": jsonable(edit.record),
        "layer": jsonable(edit.layer),
    }
    _KIND.write(path, tensors, about, overwrite=overwrite)
    return path


# --- reading ------------------------------------------------------------------


def load_edit(path: str | Path) -> Edit:
    """Read what `save_edit` wrote; nothing in it is executed.

    Raises
    ------
    CheckpointError
        Another kind of file, a damaged one, or one of a newer version.
    """
    if not isinstance(path, str | PathLike):
        raise OptionError(f"path is {path!r}; give the path of a {EDITED} file.")
    path = Path(path)
    about, tensors = _KIND.read(path)
    try:
        spec = spec_of(about["spec"])
        latents = Latents(levels_of(tensors, spec), spec, tensors.get("lr"))
        _check_lr(latents)
        edit = Edit(
            latents=latents,
            image=_image(tensors["image"], about["image"]),
            record=_mapping(about["record"]),
            layer=_layer(_mapping(about["layer"])),
        )
        _ = edit.options  # with the map of temperature in them, if it can be unpacked
        return edit
    except (
        ValueError, KeyError, TypeError, IndexError, ArithmeticError, RuntimeError,
        FlowSRError,
    ) as error:  # fmt: skip
        raise _KIND.damaged(path, error) from error


def _check_lr(latents: Latents) -> None:
    """Raise `ValueError` for an LR image of another size than the latents need."""
    lr = latents.lr
    if lr is None:
        return
    given = (lr.shape[0], *lr.shape[2:])
    if not lr.is_floating_point() or given != (latents.batch, *latents.spec.lr_size):
        raise ValueError(f"the LR image of the latents is {tuple(lr.shape)}")


def _map(packed: Mapping[str, Any], latents: Latents, image: Any) -> Any:
    """A map of temperature, which has no more values than the images have."""
    values = image.size + sum(level.numel() for level in latents.levels)
    return unpack_array(packed, 8 * values)


def _layer(facts: dict[str, Any]) -> dict[str, Any]:
    """What a program wants to know, if its data type is one of images."""
    if "dtype" in facts and np.dtype(str(facts["dtype"])).kind not in "buif":
        raise ValueError(f"the image has the data type {facts['dtype']!r}")
    return facts


def _image(data: Tensor, facts: Mapping[str, Any]) -> npt.NDArray[Any]:
    dtype = np.dtype(str(facts["dtype"]))
    if dtype.kind not in "buif" or data.dtype != torch.uint8:
        raise ValueError(f"the LR image has the data type {dtype}")
    shape = tuple(int(side) for side in facts["shape"])
    if min(shape, default=0) < 0:
        raise ValueError(f"the LR image has the shape {shape}")
    stored = np.frombuffer(data.numpy().tobytes(), dtype).reshape(shape)
    return stored.astype(dtype.newbyteorder("="))  # a copy, which may be written to


def _mapping(value: Any) -> dict[str, Any]:
    if not isinstance(value, Mapping):
        raise TypeError(f"an entry is {type(value).__name__}; expected a mapping")
    return dict(value)
