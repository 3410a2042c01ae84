"""Model files and learned priors read: inspected, imported.

Command line and Models dock share it. Nothing here needs a network; see `io.download`.
"""

from __future__ import annotations

from dataclasses import asdict, is_dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from napari_flowsr.errors import ModelNotFoundError, OptionError
from napari_flowsr.io import collection, foreign, priors
from napari_flowsr.io.catalogue import (
    Entry,
    cleaned_licence,
    entries,
    licence_notice,
    notices,
    proposed_name,
)
from napari_flowsr.io.checkpoint import read_model
from napari_flowsr.io.content import file_sha256
from napari_flowsr.io.header import read_header
from napari_flowsr.models.card import is_stated

if TYPE_CHECKING:
    from collections.abc import Mapping

    from napari_flowsr.models.card import Model

__all__ = ["holds_prior", "import_file", "inspect_file", "known_licence"]

# --- inspecting -----------------------------------------------------------------


def holds_prior(path: Path) -> bool:
    """Whether a file is one of a learned prior.

    Raises
    ------
    CheckpointError
        If it is damaged or unknown.
    """
    if read_header(path) is not None:
        return False
    state = foreign.read_state(path)
    known = foreign.recognise(state)
    if known is None:
        raise foreign.unknown_network(path)
    return known.kind == "prior"


def inspect_file(
    name_or_path: str | Path, assume: Mapping[str, Any] | None = None
) -> dict[str, Any]:
    """All that is known of a model or a learned prior, JSON-able.

    Returns
    -------
    dict
        ``kind``, ``file``, ``file_bytes``, ``storage`` (data types of the tensors) and
        ``notices``; of a model ``card``, ``config``, ``deterministic``, ``latents``,
        ``multiple_of`` and ``receptive_field``; of a prior `Prior.facts`.
    """
    path = _find(name_or_path)
    about: dict[str, Any] = {
        "kind": "prior" if holds_prior(path) else "model",
        "file": str(path),
        "file_bytes": path.stat().st_size,
        "storage": _storage(path),
    }
    if about["kind"] == "prior":
        facts = priors.read_prior(path).facts()
        stated = is_stated(facts["licence"])
        warned = [] if stated else [licence_notice(facts["name"])]
        return about | facts | {"notices": warned}
    model = read_model(path, assume=assume)
    if Path(str(name_or_path)) != path:
        model = type(model)(model.card.with_(name=str(name_or_path)), model.flow)
    return about | _of_model(model)


def _find(name_or_path: str | Path) -> Path:
    try:
        return collection.find_model(name_or_path)
    except ModelNotFoundError:
        if str(name_or_path) in priors.prior_names():
            return priors.find_prior(name_or_path)
        raise


def _storage(path: Path) -> dict[str, int]:
    """How many numbers the file has of each data type."""
    found: dict[str, int] = {}
    for tensor in foreign.read_state(path).values():
        kind = str(tensor.dtype).removeprefix("torch.")
        found[kind] = found.get(kind, 0) + tensor.numel()
    return found


def _of_model(model: Model) -> dict[str, Any]:
    flow = model.flow
    config: Any = flow.config
    side = 8 * flow.multiple_of
    spec = flow.latent_spec((side, side), flow.scales[0])
    return {
        "card": asdict(model.card),
        "config": asdict(config) if is_dataclass(config) else dict(config),  # type: ignore[arg-type]
        "deterministic": flow.deterministic,
        "multiple_of": flow.multiple_of,
        "receptive_field": flow.receptive_field,
        "latents": {"lr_size": [side, side], "shapes": [list(s) for s in spec.shapes]},
        "notices": list(notices(model.card)),
    }


# --- importing ------------------------------------------------------------------


def known_licence(path: Path) -> str:
    """Licence that a file tells, or that is known of its published kind."""
    header = read_header(path)
    if header is not None:
        return header.card.licence
    known = foreign.recognise(foreign.read_state(path))
    if known is None:
        raise foreign.unknown_network(path)
    return known.licence


def import_file(
    path: str | Path,
    name: str | None = None,
    *,
    licence: str | None = None,
    assume: Mapping[str, Any] | None = None,
    overwrite: bool = False,
    address: str = "",
) -> Entry:
    """Keep a model or a learned prior under a name, translated to our format.

    Parameters
    ----------
    path : path
        A file of ours or a published one; recognised by its content.
    name : str, optional
        Its future name; `proposed_name` if not given.
    licence : str, optional
        Of the weights, where the file does not tell or the caller knows better.
    assume, overwrite
        As `collection.import_model`.
    address : str
        Where the file was downloaded from, for the card.
    """
    path = Path(path).expanduser()
    if not path.is_file():
        raise ModelNotFoundError(f"There is no file {path}. Check the path.")
    name = proposed_name(path) if name is None else name
    licence = cleaned_licence(licence)
    if holds_prior(path):
        if assume:
            raise OptionError(
                f"{path.name} is a learned prior; its tensors tell everything. Leave "
                f"the assumption of {', '.join(assume)} out."
            )
        priors.import_prior(path, name, overwrite=overwrite, licence=licence)
        return next(e for e in entries() if (e.name, e.kind) == (name, "prior"))
    source = {"file": path.name, "sha256": file_sha256(path)}
    if address:
        source["address"] = address
    card = collection.import_model(
        path, name, assume=assume, overwrite=overwrite, licence=licence, source=source
    )
    return Entry(name, "model", collection.find_model(name), False, card.licence, card)
