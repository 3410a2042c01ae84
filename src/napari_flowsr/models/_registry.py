"""The families of networks, by name, and how one is built from a configuration.

A family is one module of this package that has ``CONFIG`` (a frozen dataclass),
``FLOW`` (its `ConditionalFlow`, built from a ``CONFIG``) and ``example_configs()``
((tiny ones, which the contract tests run). A family with published weights has a second
module with ``ASSUMABLE``, ``infer_config`` and ``remap``, which `io.foreign` calls.
"""

from __future__ import annotations

import dataclasses
import difflib
from importlib import import_module
from typing import TYPE_CHECKING, Any

from pydantic import TypeAdapter, ValidationError

from napari_flowsr.errors import OptionError

if TYPE_CHECKING:
    from collections.abc import Mapping
    from types import ModuleType

    from napari_flowsr.core.flow import ConditionalFlow

__all__ = ["build", "config_dict", "example_configs", "families", "family_module"]
__all__ += ["is_deterministic", "makes_small", "published_module"]

# Modules are imported when they are asked for: one more family costs no start-up time.
_MODULES = {
    "adflow": "napari_flowsr.models.adflow",
    "compact": "napari_flowsr.models.compact",
    "hcflow": "napari_flowsr.models.hcflow",
    "hcflow-rescale": "napari_flowsr.models.hcflow_rescale",
    "l1": "napari_flowsr.models.l1",
    "linf": "napari_flowsr.models.linf",
    "rrdb": "napari_flowsr.models.rrdb",
    "srflow": "napari_flowsr.models.srflow",
}
# Translators of published weights.
_PUBLISHED = {
    "hcflow": "napari_flowsr.models.hcflow_published",
    "hcflow-rescale": "napari_flowsr.models.hcflow_rescale_published",
    "linf": "napari_flowsr.models.linf_published",
    "rrdb": "napari_flowsr.models.rrdb_published",
    "srflow": "napari_flowsr.models.srflow_published",
}
# What lists of models need to know of a family before torch, and with it the module, is
# loaded. The contract tests compare it with the networks.
_DETERMINISTIC = frozenset({"rrdb"})
_RESCALING = frozenset({"hcflow-rescale"})


def families() -> tuple[str, ...]:
    """Names of all families, sorted."""
    return tuple(sorted(_MODULES))


def family_module(family: str) -> ModuleType:
    """Return the module of a family; `OptionError` lists the known ones."""
    if family not in _MODULES:
        close = difflib.get_close_matches(family, _MODULES, n=1)
        hint = f" Did you mean {close[0]!r}?" if close else ""
        raise OptionError(
            f"There is no model family {family!r}; known are "
            f"{', '.join(families())}.{hint}"
        )
    return import_module(_MODULES[family])


def is_deterministic(family: str) -> bool:
    """Whether a family predicts one image and has no flow; False for an unknown one."""
    return family in _DETERMINISTIC


def makes_small(family: str) -> bool:
    """Whether a family has a network that makes images small (``downscale``)."""
    return family in _RESCALING


def published_module(family: str) -> ModuleType | None:
    """Return the translator of a family's published weights, if it has one."""
    name = _PUBLISHED.get(family)
    return None if name is None else import_module(name)


def example_configs(family: str) -> tuple[Any, ...]:
    """Tiny configurations of a family, for tests and try-outs."""
    configs: tuple[Any, ...] = family_module(family).example_configs()
    return configs


def config_dict(config: Any) -> dict[str, Any]:
    """A configuration as plain JSON-able values; `build` takes it back."""
    plain: dict[str, Any] = TypeAdapter(type(config)).dump_python(config, mode="json")
    return plain


def _parse(family: str, kind: type, config: Mapping[str, Any]) -> Any:
    """Make a ``kind`` from a mapping, with every name and type checked."""
    known = [field.name for field in dataclasses.fields(kind)]
    unknown = sorted(set(config) - set(known))
    if unknown:
        raise OptionError(
            f"Unknown configuration key {', '.join(map(repr, unknown))} for the "
            f"{family} family; known are {', '.join(known)}."
        )
    try:
        return TypeAdapter(kind).validate_python(dict(config))
    except ValidationError as error:
        first = error.errors()[0]
        key = ".".join(map(str, first["loc"])) or family
        raise OptionError(
            f"Configuration of the {family} family: {key} was given as "
            f"{first['input']!r}. {first['msg']}."
        ) from error


def build(family: str, config: Any = None) -> ConditionalFlow:
    """Build an untrained network.

    Parameters
    ----------
    family : str
        One of `families`.
    config : mapping or the family's configuration, optional
        Keys that are absent take their defaults.

    Raises
    ------
    OptionError
        For an unknown family or key, or a value of the wrong type or domain.
    """
    module = family_module(family)
    if not isinstance(config, module.CONFIG):
        config = _parse(family, module.CONFIG, config or {})
    flow: ConditionalFlow = module.FLOW(config)
    return flow
