"""Models and learned priors as people meet them: listed, described, removed.

Headers tell all of it, so that docks list models without torch; `io.importing` reads
the rest of the files. Command line and Models dock share both.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from pathlib import Path

from napari_flowsr.errors import ModelNotFoundError, OptionError
from napari_flowsr.io import collection, prior_files
from napari_flowsr.io.header import describe_anew
from napari_flowsr.io.names import KINDS, check_kind
from napari_flowsr.models._registry import is_deterministic
from napari_flowsr.models.card import NOT_STATED, ModelCard, is_stated

__all__ = ["Entry", "cleaned_licence", "entries", "licence_notice", "notices"]
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
    for name in prior_files.prior_names():
        path = prior_files.find_prior(name)
        about = prior_files.prior_header(path)
        licence = about.get("licence", NOT_STATED)
        label = about.get("label", "learned prior")
        inside = path.parent == prior_files.builtin_prior_folder()
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
        path = prior_files.find_prior(name)
        if path.parent == prior_files.builtin_prior_folder():
            raise OptionError(
                f"{name!r} is a built-in learned prior; only imported ones are removed."
            )
        path.unlink()
        return
    if kind == "prior":
        raise ModelNotFoundError(
            f"No learned prior {name!r} is imported; imported are "
            f"{', '.join(prior_files.prior_names()) or 'none'}."
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
        prior_files.describe_prior(name, text)
    else:
        describe_anew(entry.path, entry.card.with_(licence=text))
    return next(e for e in entries() if (e.name, e.kind) == wanted)


# --- names and licences ---------------------------------------------------------


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
