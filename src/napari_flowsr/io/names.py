"""Names of what is imported: unique over models, learned priors and built-in ones."""

from __future__ import annotations

import re

from napari_flowsr.errors import OptionError

__all__ = ["KINDS", "check_kind", "check_new_name", "holders"]

KINDS = {"model": "model", "prior": "learned prior"}
"""What has a name, and what people are told that it is."""

NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._+-]{0,63}")


def holders(name: str) -> tuple[str, ...]:
    """Which of `KINDS` a name stands for; two only in folders of older versions."""
    from napari_flowsr.io import collection, prior_files

    if not NAME.fullmatch(name):
        return ()
    folders = {
        "model": (collection.builtin_folder(), collection.user_folder()),
        "prior": (prior_files.builtin_prior_folder(), prior_files.prior_folder()),
    }
    return tuple(
        kind
        for kind, places in folders.items()
        if any((place / f"{name}.safetensors").is_file() for place in places)
    )


def check_kind(name: str, kind: str | None) -> str | None:
    """Kind that a name stands for; None if it stands for nothing.

    Raises
    ------
    OptionError
        If ``kind`` is none of `KINDS`; or was not given, and there are two.
    """
    if kind is not None and kind not in KINDS:
        raise OptionError(f"kind is {kind!r}; give {' or '.join(map(repr, KINDS))}.")
    found = holders(name)
    if kind is not None:
        return kind if kind in found else None
    if len(found) > 1:
        raise OptionError(
            f"{name!r} is a model and a learned prior. Say which is meant by kind: "
            f"{' or '.join(map(repr, KINDS))} (--kind)."
        )
    return found[0] if found else None


def check_new_name(
    name: str, kind: str | None = None, *, overwrite: bool = False
) -> None:
    """Refuse a name that cannot be given to an imported model or prior.

    Parameters
    ----------
    name : str
        The future name.
    kind : str, optional
        One of `KINDS`; None while it is not known, as before a download.
    overwrite : bool
        Whether one of the same name and kind may be replaced.

    Raises
    ------
    OptionError
        If it is no name, built in, or taken. One of another kind is never replaced.
    """
    from napari_flowsr.io import collection, prior_files

    what = KINDS.get(kind or "model", "model").removeprefix("learned ")
    if not NAME.fullmatch(name):
        raise OptionError(
            f"{name!r} cannot be a {what}'s name; up to 64 letters, digits, '.', '_', "
            "'+' and '-' can. Give another name."
        )
    built_in = collection.builtin_folder(), prior_files.builtin_prior_folder()
    if any((folder / f"{name}.safetensors").exists() for folder in built_in):
        raise OptionError(
            f"{name!r} is the name of a built-in model or prior. Give another name."
        )
    for taken in holders(name):
        if kind not in (None, taken):
            raise OptionError(
                f"A {KINDS[taken]} {name!r} is imported already, and a "
                f"{KINDS[kind or taken]} of this name could not be told from it. Give "
                "another name, or remove the other one first."
            )
        if not overwrite:
            raise OptionError(
                f"A {KINDS[taken]} {name!r} is imported already. Remove it first, give "
                "another name, or ask for it to be overwritten."
            )
