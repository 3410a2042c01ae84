"""The models at hand: built-in ones, imported ones, and any file by its path.

To list and to find them takes no torch; what reads or writes weights imports it.
"""

from __future__ import annotations

import difflib
import logging
import os
from functools import lru_cache
from importlib.resources import files
from pathlib import Path
from typing import TYPE_CHECKING, Any

import platformdirs

from napari_flowsr.errors import (
    CheckpointError,
    FlowSRError,
    ModelNotFoundError,
    OptionError,
)
from napari_flowsr.io.atomic import atomic_path, make_folder
from napari_flowsr.io.content import file_sha256
from napari_flowsr.io.header import read_header
from napari_flowsr.io.names import NAME, check_new_name
from napari_flowsr.io.prior_files import find_prior, prior_names
from napari_flowsr.models.card import Model, ModelCard

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

__all__ = ["builtin_folder", "export_model", "find_model", "import_model"]
__all__ += ["list_models", "load_model", "remove_model", "user_folder"]

_LOG = logging.getLogger(__name__)
_SUFFIXES = {".safetensors", ".pth", ".pt"}


def builtin_folder() -> Path:
    """Folder of the models that come with the package."""
    return Path(str(files("napari_flowsr"))) / "weights"


def user_folder() -> Path:
    """Folder of imported models: ``$NAPARI_FLOWSR_HOME/models``, or the user's data."""
    home = os.environ.get("NAPARI_FLOWSR_HOME")
    base = home or platformdirs.user_data_dir("napari-flowsr", appauthor=False)
    return Path(base).expanduser() / "models"


def _paths() -> dict[str, Path]:
    """Name to file, built-in models first; a built-in name cannot be taken over."""
    found: dict[str, Path] = {}
    for folder in (builtin_folder(), user_folder()):
        for path in sorted(folder.glob("[!.]*.safetensors")):
            found.setdefault(path.stem, path)
    return found


@lru_cache(maxsize=256)
def _sha256(path: Path, size: int, modified_ns: int) -> str:
    return file_sha256(path)


def _card(name: str, path: Path) -> ModelCard:
    header = read_header(path)
    if header is None:
        raise CheckpointError(
            f"{path} was not written by napari-flowsr. Import it with "
            "`napari-flowsr models import`."
        )
    stat = path.stat()
    sha256 = _sha256(path, stat.st_size, stat.st_mtime_ns)
    return header.card.with_(name=name, sha256=sha256)


def list_models() -> list[ModelCard]:
    """Cards of the built-in and imported models; reads headers, no weights.

    A damaged file in the user's folder is left out, and named in the log.
    """
    cards = []
    for name, path in _paths().items():
        try:
            cards.append(_card(name, path))
        except Exception as error:  # noqa: BLE001  one bad file hides no other
            said = error if isinstance(error, FlowSRError) else repr(error)
            _LOG.warning("Model %s is left out: %s", name, said)
    return cards


def find_model(name_or_path: str | Path) -> Path:
    """Return the file behind a model's name or path.

    Raises
    ------
    ModelNotFoundError
        With the closest names.
    """
    known = _paths()
    text = str(name_or_path)
    if text in known:
        return known[text]
    path = Path(text).expanduser()
    if path.is_file():
        return path
    if path.is_dir():
        raise ModelNotFoundError(
            f"{text!r} is a folder, not a model. Give a .safetensors or .pth file, or "
            f"the name of a model: {', '.join(known) or 'none is installed'}."
        )
    if text in prior_names():
        raise ModelNotFoundError(
            f"{text!r} is a learned prior, no model. Give the name of a model, and "
            "this one besides (--prior-model, prior=); learned priors are not exported."
        )
    hint = _hint(path.stem if path.suffix in _SUFFIXES else path.name, known)
    if path.suffix in _SUFFIXES or path.name != text:
        raise ModelNotFoundError(
            f"There is no model file {text}.{hint} Check the path, or give the name of "
            f"a model: {', '.join(known) or 'none is installed'}."
        )
    raise ModelNotFoundError(
        f"There is no model {text!r}.{hint} Known are "
        f"{', '.join(known) or 'none'}; a path of a model file works too."
    )


def _hint(text: str, known: Iterable[str]) -> str:
    """Question with the names that are meant, as far as one can tell."""
    plain = {name.lower(): name for name in known}
    text = text.lower()
    close = difflib.get_close_matches(text, plain, n=3, cutoff=0.5)
    # What was left out, such as "2x" for "micro-2x", weighs too much for difflib.
    close += [name for name in plain if len(text) > 1 and text in name]
    names = [repr(plain[name]) for name in dict.fromkeys(close)]
    return f" Did you mean {' or '.join(names)}?" if names else ""


def load_model(
    name_or_path: str | Path,
    device: str = "auto",
    prior: str | Path | None = None,
    assume: Mapping[str, Any] | None = None,
) -> Model:
    """Load a model by name, or from a file of ours or of the published programs.

    Parameters
    ----------
    name_or_path : str or path
        A name that `list_models` shows, or a ``.safetensors`` or ``.pth`` file.
    device : str
        ``"auto"``, ``"cpu"``, ``"cuda"``, ``"mps"``, ...
    prior : str or path, optional
        Name of an imported learned prior, or its file (`io.priors`).
    assume : mapping, optional
        What an official file cannot tell, see `io.foreign.ASSUME`.

    Raises
    ------
    ModelNotFoundError, CheckpointError, OptionError, DeviceError
    """
    from napari_flowsr.core.device import resolve_device
    from napari_flowsr.io.checkpoint import read_model

    path = find_model(name_or_path)
    where, _ = resolve_device(device)
    prior_path = None if prior is None else find_prior(prior)
    model = read_model(path, device=where, prior=prior_path, assume=assume)
    if str(name_or_path) in _paths():
        return Model(model.card.with_(name=str(name_or_path)), model.flow)
    return model


def import_model(
    path: str | Path,
    name: str | None = None,
    *,
    assume: Mapping[str, Any] | None = None,
    overwrite: bool = False,
    licence: str | None = None,
    source: Mapping[str, str] | None = None,
) -> ModelCard:
    """Translate a model file and keep it in the user's folder, under a name.

    Parameters
    ----------
    path : path
        Our file or an official one.
    name : str, optional
        Its future name; the file's name if not given.
    assume : mapping, optional
        As in `load_model`.
    overwrite : bool
        Replace an imported model of the same name.
    licence : str, optional
        Of the weights, instead of what the file says.
    source : mapping, optional
        For the card: where the file came from.

    Returns
    -------
    ModelCard
        Of the imported model.
    """
    from napari_flowsr.io.checkpoint import read_model, save_model

    path = Path(path)
    name = path.stem if name is None else name
    check_new_name(name, "model", overwrite=overwrite)
    target = user_folder() / f"{name}.safetensors"
    model = read_model(path, assume=assume)
    card = model.card.with_(name=name, licence=licence or model.card.licence)
    if source is not None:
        card = card.with_(source=dict(source))
    make_folder(target.parent)
    save_model(target, model.flow, card)
    return _card(name, target)


def export_model(name: str, target: str | Path) -> Path:
    """Write a model's file to ``target`` (a file, or a folder), atomically.

    A file of ours is copied; an official one is translated.
    """
    source = find_model(name)
    target = Path(target)
    if target.is_dir():
        target = target / f"{source.stem}.safetensors"
    if read_header(source) is None:
        from napari_flowsr.io.checkpoint import read_model, save_model

        model = read_model(source)
        save_model(target, model.flow, model.card)
        return target
    data = source.read_bytes()
    with atomic_path(target) as temporary:
        temporary.write_bytes(data)
    return target


def remove_model(name: str) -> None:
    """Delete an imported model; built-in ones stay."""
    is_name = NAME.fullmatch(name) is not None
    path = user_folder() / f"{name}.safetensors"
    if is_name and path.is_file():
        path.unlink()
        return
    if is_name and (builtin_folder() / f"{name}.safetensors").exists():
        raise OptionError(f"{name!r} is built in and cannot be removed.")
    imported = sorted(p.stem for p in user_folder().glob("[!.]*.safetensors"))
    raise ModelNotFoundError(
        f"No model {name!r} is imported; imported are {', '.join(imported) or 'none'}."
    )
