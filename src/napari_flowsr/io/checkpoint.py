"""Model files: one ``.safetensors`` with card and configuration in its header.

The header's metadata has one entry, ``napari-flowsr``: JSON with the format version,
the family, its configuration and the model card. Such a file describes itself; nothing
in it is executed. Files of other programs go through `io.foreign`.
"""

from __future__ import annotations

import threading
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file, save
from torch import Tensor, nn
from torch.nn.modules.module import register_module_parameter_registration_hook
from torch.overrides import TorchFunctionMode

from napari_flowsr.core.layout import laid_out
from napari_flowsr.errors import CheckpointError, ModelNotFoundError, OptionError
from napari_flowsr.io import foreign
from napari_flowsr.io.atomic import atomic_path
from napari_flowsr.io.content import file_sha256
from napari_flowsr.io.header import KEY, Header, description, read_header
from napari_flowsr.models._registry import build, config_dict
from napari_flowsr.models.card import Model, ModelCard

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping

    from napari_flowsr.core.flow import ConditionalFlow

__all__ = ["Header", "build_with", "file_sha256", "load_weights", "read_header"]
__all__ += ["read_model", "save_model"]

Network = TypeVar("Network", bound=nn.Module)
# Weights of a network beyond those of its file, so that the tensors that are missing
# can be named.
_SPARE = 1000


# --- writing ------------------------------------------------------------------


def save_model(
    path: str | Path,
    flow: ConditionalFlow,
    card: ModelCard,
    *,
    dtype: torch.dtype = torch.float32,
) -> None:
    """Write a network and its card, atomically.

    Parameters
    ----------
    path : path
        Target, ``.safetensors``; replaced if it exists.
    flow : ConditionalFlow
        Any family; its configuration goes into the header.
    card : ModelCard
        Stored without its ``sha256`` and ``prior``, which are not of this file.
    dtype : torch.dtype
        Storage of the weights: ``float32``, or ``float16`` for half the size.

    Raises
    ------
    CheckpointError
        If a weight is not finite, or not representable in ``dtype``.
    ExportError
        If the file cannot be written.
    """
    path = Path(path)
    if path.suffix != ".safetensors":
        raise OptionError(
            f"Model files are written as .safetensors; {path.name} was asked for."
        )
    tensors = {}
    for name, tensor in flow.state_dict().items():
        stored = tensor.to(dtype) if tensor.is_floating_point() else tensor
        tensors[name] = stored.detach().cpu().contiguous()
    check_finite(tensors, path)
    told = description(flow.family, config_dict(flow.config), card)
    data = save(tensors, metadata={KEY: told})
    with atomic_path(path) as temporary:
        temporary.write_bytes(data)


# --- reading ------------------------------------------------------------------


def check_finite(tensors: Mapping[str, Tensor], path: Path) -> None:
    """Raise `CheckpointError` if a weight is NaN or infinite."""
    for name, tensor in tensors.items():
        if tensor.is_floating_point() and not bool(torch.isfinite(tensor).all()):
            raise CheckpointError(
                f"{path.name}: the tensor {name} has values that are not finite in "
                f"{str(tensor.dtype).removeprefix('torch.')}. Such a network gives "
                "no image; use an earlier checkpoint, or store it as float32."
            )


def load_weights(
    network: nn.Module, tensors: Mapping[str, Tensor], path: Path, label: str
) -> None:
    """Load tensors into ``network``, every name, shape and kind of number checked.

    Raises
    ------
    CheckpointError
        Names the tensors that are missing, left over, of another shape or kind.
    """
    _check_tensors(network, tensors, path, label)
    check_finite(tensors, path)
    network.load_state_dict(dict(tensors))


def _keeps(given: Tensor, own: Tensor) -> bool:
    """Whether values stay what they are: weights are real numbers, flags are whole."""
    if own.is_floating_point():
        return given.is_floating_point()
    return not given.is_complex()


def _check_tensors(
    network: nn.Module, tensors: Mapping[str, Tensor], path: Path, label: str
) -> None:
    own = network.state_dict()
    problems = {
        "missing": sorted(set(own) - set(tensors)),
        "not known": sorted(set(tensors) - set(own)),
        "of another shape": [
            f"{name} ({tuple(tensors[name].shape)}, expected {tuple(own[name].shape)})"
            for name in sorted(set(own) & set(tensors))
            if own[name].shape != tensors[name].shape
        ],
        "of another kind of number": [
            f"{name} ({str(tensors[name].dtype).removeprefix('torch.')})"
            for name in sorted(set(own) & set(tensors))
            if not _keeps(tensors[name], own[name])
        ],
    }
    found = [
        f"{len(names)} {what}: {', '.join(names[:3])}{', …' if len(names) > 3 else ''}"
        for what, names in problems.items()
        if names
    ]
    if found:
        raise CheckpointError(
            f"{path.name} does not fit the {label} network that its description "
            f"asks for; tensors {'; '.join(found)}. The file is damaged, or of a "
            "variant that this version does not know."
        )


def _network(
    path: Path, family: str, config: Any, tensors: Mapping[str, Tensor]
) -> ConditionalFlow:
    return build_with(lambda: build(family, config), tensors, path, family)


def build_with(
    make: Callable[[], Network], tensors: Mapping[str, Tensor], path: Path, label: str
) -> Network:
    """Build a network with these weights; memory is taken only if they fit.

    Parameters
    ----------
    make : callable
        Builds it; called twice, first on a device without memory.
    tensors : mapping
        All its weights.
    path : Path
        Where they and what ``make`` knows are from.
    label : str
        Of the network, for messages.

    Raises
    ------
    CheckpointError
        If they do not fit, or no such network can be built.
    OptionError
        As ``make`` does.
    """
    try:
        limited = _no_more_weights_than(len(tensors))
        with torch.device("meta"), _NothingDrawn(), limited:
            _check_tensors(make(), tensors, path, label)
        network = make()
    except (ArithmeticError, LookupError, MemoryError, RuntimeError, TypeError,
            ValueError) as error:  # fmt: skip
        reason = str(error).strip().split("\n")[0][:200] or type(error).__name__
        raise CheckpointError(
            f"{path.name} describes a {label} network that cannot be built ({reason})."
            " The file is damaged, or too large for this computer."
        ) from error
    load_weights(network, tensors, path, label)
    return network


class _NothingDrawn(TorchFunctionMode):
    """Within, random numbers are not drawn, and the tensors for them have any values.

    To draw them on a device without memory torch loads its compiler, which takes longer
    than all the rest of loading a model.
    """

    _NEW = frozenset({torch.randn, torch.rand})
    _IN_PLACE = frozenset({Tensor.normal_, Tensor.uniform_})

    def __torch_function__(
        self, func: Any, types: Any, args: Any = (), kwargs: Any = None
    ) -> Any:
        kwargs = dict(kwargs or {})
        if func in self._NEW:
            kwargs.pop("generator", None)
            return torch.empty(*args, **kwargs)
        return args[0] if func in self._IN_PLACE else func(*args, **kwargs)


@contextmanager
def _no_more_weights_than(count: int) -> Iterator[None]:
    """Within, a network with more weights raises `ValueError` while it is built.

    Layers take memory even on a device without any, so that a file could ask for more
    of them than any memory holds.
    """
    here, made = threading.get_ident(), 0

    def counted(*_: object) -> None:
        nonlocal made
        made += threading.get_ident() == here
        if made > count + _SPARE:
            raise ValueError(f"it has more weights than the {count} of the file")

    handle = register_module_parameter_registration_hook(counted)
    try:
        yield
    finally:
        handle.remove()


def _check_card(card: ModelCard, flow: ConditionalFlow, path: Path) -> None:
    """Raise `CheckpointError` for a card that the network contradicts."""
    problem = ""
    if card.channels != flow.channels:
        problem = f"channels {card.channels}, the network has {flow.channels}"
    for scale in (*card.scales, *(card.scale_range or ())):
        try:
            flow.check_scale(scale)
        except OptionError:
            problem = f"the scale {scale:g}, which the network does not have"
    if problem:
        raise CheckpointError(
            f"{path.name}: its card says {problem}. The file was changed or written by "
            "another program; download it again, or train the model again."
        )


def _read_own(path: Path, header: Header) -> Model:
    try:
        tensors = load_file(path)
    except (SafetensorError, OSError, RuntimeError, OverflowError) as error:
        raise CheckpointError(
            f"{path.name} is damaged ({error}). Copy or download it again."
        ) from error
    try:
        flow = _network(path, header.family, header.config, tensors)
    except OptionError as error:
        raise CheckpointError(
            f"{path.name} needs a network that this version cannot build. {error} "
            "Update napari-flowsr, or train the model again."
        ) from error
    _check_card(header.card, flow, path)
    return Model(header.card, flow)


def read_model(
    path: str | Path,
    *,
    device: str | torch.device = "cpu",
    prior: str | Path | None = None,
    assume: Mapping[str, Any] | None = None,
) -> Model:
    """Read a model file, ours or an official one; recognised by its content.

    Parameters
    ----------
    path : path
        Our ``.safetensors``, an official ``.pth``, or an official state dict as
        ``.safetensors``.
    device : str or torch.device
        Where the network goes.
    prior : path, optional
        File of a learned prior, for `ConditionalFlow.learned_prior`.
    assume : mapping, optional
        Hyper-parameters that an official file cannot tell; see `io.foreign.ASSUME`.

    Returns
    -------
    Model
        In eval mode, float32, no parameter requiring a gradient, with ``card.sha256``
        of the file.
    """
    path = Path(path)
    assume = {} if assume is None else assume
    foreign.check_assume(assume)
    if not path.is_file():
        raise ModelNotFoundError(
            f"There is no model file {path}. Give the path of a .safetensors or .pth "
            "file, or the name of a model that `napari-flowsr models list` shows."
        )
    header = read_header(path)
    if header is None:
        found = foreign.read_official(path, assume)
        flow = _network(path, found.card.family, found.config, found.tensors)
        model = Model(found.card, flow)
    elif assume:
        raise OptionError(
            f"{path.name} states all its hyper-parameters; assume= is for official "
            "files that do not. Leave it out."
        )
    else:
        model = _read_own(path, header)
    # For use, not for training: without this each sample would hold on to a graph.
    flow = laid_out(model.flow.float().eval().requires_grad_(False).to(device))
    card = model.card.with_(sha256=file_sha256(path), parameters=flow.parameter_count)
    if prior is not None:
        # It needs this module: its tensors are checked as those of a model are.
        from napari_flowsr.io.priors import read_prior

        found_prior = read_prior(prior)
        flow.attach_prior(found_prior.module)
        card = card.with_(prior=found_prior.facts())
    return Model(card, flow)
