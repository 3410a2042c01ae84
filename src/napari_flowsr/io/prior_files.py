"""Where files of learned priors are, and what their headers say; see `io.priors`.

Neither tensors nor torch are needed for it.
"""

from __future__ import annotations

import difflib
from pathlib import Path

from napari_flowsr.errors import CheckpointError, ModelNotFoundError
from napari_flowsr.io.header import read_metadata, write_metadata
from napari_flowsr.io.names import NAME

__all__ = ["builtin_prior_folder", "describe_prior", "find_prior", "prior_folder"]
__all__ += ["prior_header", "prior_names"]


def prior_header(path: Path) -> dict[str, str]:
    """``label``, ``licence`` and more of a prior; empty for a published file."""
    try:
        return read_metadata(path) or {}
    except CheckpointError:
        return {}


def prior_folder() -> Path:
    """Folder of imported priors, beside that of the imported models."""
    from napari_flowsr.io.collection import user_folder

    return user_folder().parent / "priors"


def builtin_prior_folder() -> Path:
    """Folder of the priors that come with the package."""
    from napari_flowsr.io.collection import builtin_folder

    return builtin_folder() / "priors"


def prior_names() -> list[str]:
    """Names of the built-in and imported priors."""
    folders = builtin_prior_folder(), prior_folder()
    return sorted({p.stem for f in folders for p in f.glob("[!.]*.safetensors")})


def find_prior(name_or_path: str | Path) -> Path:
    """Return the file behind a prior's name or path."""
    text = str(name_or_path)
    for folder in (builtin_prior_folder(), prior_folder()):
        named = folder / f"{text}.safetensors"
        if NAME.fullmatch(text) and named.is_file():
            return named
    path = Path(text).expanduser()
    if path.is_file():
        return path
    known = prior_names()
    close = difflib.get_close_matches(text, known, n=2, cutoff=0.5)
    hint = f" Did you mean {' or '.join(map(repr, close))}?" if close else ""
    raise ModelNotFoundError(
        f"There is no learned prior {text!r}.{hint} Known are "
        f"{', '.join(known) or 'none'}; a path of its file works too."
    )


def describe_prior(name: str, licence: str) -> None:
    """Write into an imported prior's file which licence its weights have."""
    write_metadata(prior_folder() / f"{name}.safetensors", {"licence": licence})
