"""Models and learned priors as people meet them: listed, inspected, imported, removed.

Command line and Models dock share it. Nothing here needs a network; see `io.download`.
"""

from __future__ import annotations

import re
from dataclasses import asdict, dataclass, is_dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from napari_flowsr.errors import ModelNotFoundError, OptionError
from napari_flowsr.io import collection, foreign, priors
from napari_flowsr.io.checkpoint import (
    describe_anew,
    file_sha256,
    read_header,
    read_model,
)
from napari_flowsr.io.names import KINDS, check_kind
from napari_flowsr.models._registry import is_deterministic
from napari_flowsr.models.card import NOT_STATED, ModelCard, is_stated

if TYPE_CHECKING:
    from collections.abc import Mapping

    from napari_flowsr.models.card import Model

__all__ = ["Entry", "cleaned_licence", "entries", "holds_prior", "import_file"]
__all__ += ["inspect_file", "known_licence", "licence_notice", "notices"]
__all__ += ["proposed_name", "remove", "state_licence"]

_LONGEST_LICENCE = 300


@dataclass(frozen=True)
class Entry:
    """A model or a learned prior at hand."""

    name: str
    kind: str
    """``model`` or ``prior``."""
    path: Path
    is_built_in: bool
    licence: str
    card: ModelCard | None = None
    """Of a model."""
    label: str = ""
    """Of a prior: what it is a prior of."""

    @property
    def licence_is_stated(self) -> bool:
        """As `ModelCard.licence_is_stated`."""
        return is_stated(self.licence)


def notices(card: ModelCard) -> tuple[str, ...]:
    """What people should know before they use a model; empty for most."""
    found = []
    if not card.licence_is_stated:
        found.append(licence_notice(card.name))
    if card.prior and not is_stated(str(card.prior.get("licence", ""))):
        found.append(licence_notice(str(card.prior.get("name", "the learned prior"))))
    if card.prior:
        found.append(
            f"The learned prior '{card.prior.get('name', '')}' makes one prediction: "
            "all samples are the same, and there is no spread, which is no sign of "
            "certainty. For samples that differ choose the Gaussian prior."
        )
    if is_deterministic(card.family):
        found.append(
            f"'{card.name}' is deterministic: all samples are the same, and the "
            "standard deviation is 0. That is no sign of certainty; it tells nothing "
            "about it."
        )
    return tuple(found)


def licence_notice(name: str) -> str:
    """Warning for weights without a licence."""
    return (
        f"No licence is stated for the weights of '{name}': all rights are reserved. "
        "Ask their authors before you use them or publish results."
    )


# --- listing --------------------------------------------------------------------


def entries() -> list[Entry]:
    """Built-in and imported models, then learned priors; headers only."""
    built_in = collection.builtin_folder()
    found = []
    for card in collection.list_models():
        path = collection.find_model(card.name)
        inside = path.parent == built_in
        found.append(Entry(card.name, "model", path, inside, card.licence, card))
    for name in priors.prior_names():
        path = priors.find_prior(name)
        about = priors.prior_header(path)
        licence = about.get("licence", NOT_STATED)
        label = about.get("label", "learned prior")
        inside = path.parent == priors.builtin_prior_folder()
        found.append(Entry(name, "prior", path, inside, licence, label=label))
    return found


def remove(name: str, kind: str | None = None) -> None:
    """Delete an imported model or prior; built-in ones stay.

    Parameters
    ----------
    name : str
        As listed.
    kind : str, optional
        ``model`` or ``prior``; needed where a name stands for both, as it could in
        older versions.
    """
    found = check_kind(name, kind)
    if found == "prior":
        path = priors.find_prior(name)
        if path.parent == priors.builtin_prior_folder():
            raise OptionError(
                f"{name!r} is a built-in learned prior; only imported ones are removed."
            )
        path.unlink()
        return
    if kind == "prior":
        raise ModelNotFoundError(
            f"No learned prior {name!r} is imported; imported are "
            f"{', '.join(priors.prior_names()) or 'none'}."
        )
    collection.remove_model(name)


def state_licence(name: str, licence: str, kind: str | None = None) -> Entry:
    """Write into an imported model or prior which licence its weights have.

    Parameters
    ----------
    name, kind
        As `remove`.
    licence : str
        Its name.

    Raises
    ------
    OptionError
        If it is built in, or the text is empty or too long.
    """
    text = cleaned_licence(licence)
    wanted = (name, check_kind(name, kind))
    entry = next((e for e in entries() if (e.name, e.kind) == wanted), None)
    if entry is None:
        raise ModelNotFoundError(
            f"No {KINDS[kind or 'model']} {name!r} is imported. Import it first."
        )
    if entry.is_built_in or text is None:
        raise OptionError(
            f"The licence of {name!r} is to be {licence!r}; give the name of a "
            "licence, and an imported model: those of built-in ones stay."
        )
    if entry.card is None:
        priors.describe_prior(name, text)
    else:
        describe_anew(entry.path, entry.card.with_(licence=text))
    return next(e for e in entries() if (e.name, e.kind) == wanted)


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


def proposed_name(path: str | Path) -> str:
    """Name for an imported file: its own, without what a name cannot have."""
    name = re.sub(r"[^A-Za-z0-9.+_-]+", "_", Path(path).stem).lstrip("._+-")
    return name[:64] or "model"


def cleaned_licence(text: str | None) -> str | None:
    """Licence as given by a person, in one line; None if nothing was given."""
    cleaned = " ".join((text or "").split())
    if len(cleaned) > _LONGEST_LICENCE:
        raise OptionError(
            f"The licence has {len(cleaned)} characters; give its name, such as "
            f"'CC BY 4.0', in at most {_LONGEST_LICENCE}."
        )
    return cleaned or None


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
