"""Files of learned priors: read, checked, and kept under a name.

A prior's file holds the tensors of a latent module under their published names, which
tell nearly all sizes. Ours say the rest in the header: configuration, the flow that
they were trained for, and how. Built-in ones come with the package; imported ones are
kept as ``.safetensors`` beside the imported models.
"""

from __future__ import annotations

import copy
import json
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch
from pydantic import TypeAdapter, ValidationError
from safetensors.torch import save

from napari_flowsr.core.layout import laid_out
from napari_flowsr.core.prior import LatentModule
from napari_flowsr.errors import CheckpointError, ModelNotFoundError, OptionError
from napari_flowsr.io import foreign
from napari_flowsr.io.atomic import atomic_path
from napari_flowsr.io.checkpoint import build_with, check_finite
from napari_flowsr.io.content import file_sha256
from napari_flowsr.io.names import check_new_name
from napari_flowsr.io.prior_files import (
    builtin_prior_folder,
    find_prior,
    prior_folder,
    prior_header,
    prior_names,
)
from napari_flowsr.io.untrusted import parse_json
from napari_flowsr.models.card import Model
from napari_flowsr.models.learned_prior import LearnedPriorConfig, build_prior
from napari_flowsr.models.learned_prior_published import (
    infer_config,
    published_names,
    remap,
)

__all__ = ["Prior", "builtin_prior_folder", "find_prior"]
__all__ += ["import_prior", "prior_folder", "prior_header", "prior_names", "read_prior"]
__all__ += ["with_prior", "write_prior"]

_CONFIG = TypeAdapter(LearnedPriorConfig)
_LABEL = "learned prior"


@dataclass(frozen=True)
class Prior:
    """A learned prior and what is known of it."""

    module: LatentModule
    """In eval mode, float32."""
    name: str
    label: str
    licence: str
    sha256: str
    inferred: dict[str, Any] = field(default_factory=dict)
    about: dict[str, Any] = field(default_factory=dict)
    """Of one trained here: name and sha256 of its flow, recipe, figures."""

    def facts(self) -> dict[str, Any]:
        """What a model's card and the provenance of its results say about it."""
        return {
            "name": self.name,
            "label": self.label,
            "licence": self.licence,
            "sha256": self.sha256,
            "parameters": sum(p.numel() for p in self.module.parameters()),
            "inferred": self.inferred,
        } | ({"about": self.about} if self.about else {})


def read_prior(path: str | Path) -> Prior:
    """Read a learned prior, recognised by its content.

    Raises
    ------
    CheckpointError
        If the file is damaged, or is none of a learned prior.
    ModelNotFoundError
        If there is no such file.
    """
    path = Path(path)
    if not path.is_file():
        raise ModelNotFoundError(f"There is no learned prior's file {path}.")
    state = foreign.read_state(path)
    known = foreign.recognise(state)
    if known is None or known.kind != "prior":
        what = "a file of an unknown kind" if known is None else f"of {known.label}"
        raise CheckpointError(
            f"{path.name} was given as learned prior, but it is {what}. Give a file "
            "of SRFlow-LP or LINF-LP as prior=, and models as the model."
        )
    header = prior_header(path)
    config = _config(path, header) or infer_config(state)
    tensors = remap(state, config)
    module = build_with(lambda: build_prior(config), tensors, path, known.label)
    laid_out(module.float().eval().requires_grad_(False))
    return Prior(
        module,
        path.stem,
        # Imported ones carry what their importer said.
        header.get("label", known.label),
        header.get("licence", known.licence),
        file_sha256(path),
        _CONFIG.dump_python(config, mode="json"),
        _about(path, header),
    )


def _about(path: Path, header: dict[str, str]) -> dict[str, Any]:
    """What a file of ours says about its training."""
    try:
        return dict(parse_json(header.get("about", "{}")))
    except (ValueError, TypeError) as error:
        raise _damaged(path, error) from error


def _damaged(path: Path, error: Exception) -> CheckpointError:
    return CheckpointError(
        f"{path.name} has a damaged description in its header ({error!r}). Copy or "
        "download it again."
    )


def _config(path: Path, header: dict[str, str]) -> LearnedPriorConfig | None:
    """What a file of ours says about its sizes; None for a published one."""
    if "config" not in header:
        return None
    try:
        return _CONFIG.validate_json(header["config"])
    except (ValidationError, OptionError) as error:
        raise _damaged(path, error) from error


def write_prior(
    path: str | Path,
    module: LatentModule,
    *,
    licence: str,
    about: dict[str, Any],
    dtype: torch.dtype = torch.float32,
) -> None:
    """Write a latent module that was trained here, atomically.

    Parameters
    ----------
    path : path
        Target, ``.safetensors``; replaced if it exists.
    module : LatentModule
        With a `LearnedPriorConfig` as ``config``.
    licence : str
        Of the weights.
    about : dict
        JSON-able: the flow that it was trained for, recipe, figures.
    dtype : torch.dtype
        Storage of the weights.
    """
    path = Path(path)
    config: LearnedPriorConfig = module.config  # type: ignore[assignment]
    tensors = {
        key: (t.to(dtype) if t.is_floating_point() else t).detach().cpu().contiguous()
        for key, t in published_names(module.state_dict(), config).items()
    }
    check_finite(tensors, path)
    header = {
        "label": _LABEL,
        "licence": licence,
        "config": _CONFIG.dump_json(config).decode(),
        "about": json.dumps(about, sort_keys=True),
    }
    with atomic_path(path) as temporary:
        temporary.write_bytes(save(tensors, metadata=header))


def with_prior(model: Model, name_or_path: str | Path) -> Model:
    """The same network with a learned prior attached; ``model`` stays as it is."""
    found = read_prior(find_prior(name_or_path))
    flow = copy.copy(model.flow)  # shares all parameters
    flow.attach_prior(found.module)
    return Model(model.card.with_(prior=found.facts()), flow)


# --- kept under a name ----------------------------------------------------------


def import_prior(
    path: str | Path,
    name: str | None = None,
    *,
    overwrite: bool = False,
    licence: str | None = None,
) -> str:
    """Keep a learned prior in the user's folder; returns its name.

    ``licence`` stands instead of what is known of the published file.
    """
    path = Path(path)
    name = path.stem if name is None else name
    check_new_name(name, "prior", overwrite=overwrite)
    _keep(path, name, licence)
    return name


def _keep(path: Path, name: str, licence: str | None) -> None:
    prior = read_prior(path)
    tensors = {
        key: (tensor.float() if tensor.is_floating_point() else tensor).contiguous()
        for key, tensor in foreign.read_state(path).items()
    }
    target = prior_folder() / f"{name}.safetensors"
    target.parent.mkdir(parents=True, exist_ok=True)
    about = prior_header(path) | {
        "label": prior.label,
        "licence": licence or prior.licence,
    }
    with atomic_path(target) as temporary:
        temporary.write_bytes(save(tensors, metadata=about))
