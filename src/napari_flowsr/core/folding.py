r"""Decoding alone, with everything done beforehand that can be.

A flow's inverse is taken apart into steps of four kinds. What depends on no image is
done once for a network: runs of actnorms and channel mixings become one matrix and one
shift, in float64; the actnorms inside of nets become part of their convolutions. What
depends on the LR image alone is done once for each image (`Program.ready`): scales and
shifts of injectors and heads, and the condition half of each coupling's first
convolution, which is linear in what is concatenated. What is left for a sample is small
(`Program.decode`): of the published SRFlow's 4x network about a thirtieth of all
products.

Log-determinants are not computed: who wants them, or gradients, uses the transforms.

References
----------
SRFlow (Lugmayr et al., 2020), arXiv:2006.14200, section 3.2, read from right to left.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Sequence
from typing import TYPE_CHECKING, TypeVar

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from napari_flowsr.core.features import StackedFeatures
from napari_flowsr.core.interrupt import check_interrupt
from napari_flowsr.core.layout import layout_of
from napari_flowsr.core.nets import PredictorNet, soft_bound
from napari_flowsr.core.transforms.actnorm import ActNorm
from napari_flowsr.core.transforms.affine import (
    AffineInjector,
    ConditionalAffineCoupling,
)
from napari_flowsr.core.transforms.base import Compose, Transform
from napari_flowsr.core.transforms.head import GaussianHead
from napari_flowsr.core.transforms.invconv import FixedRotation, InvertibleConv1x1

if TYPE_CHECKING:
    from collections.abc import Callable

    from napari_flowsr.core.scales import LogScale

__all__ = ["Prepared", "Program", "Seen", "fold", "folded_once"]

T = TypeVar("T")

Seen = Tensor | StackedFeatures
"""What the steps of a level see of the LR image."""


class _Step(ABC):
    """One of the kinds of steps, latent side to image side."""

    tensors = 0
    """How many `ready` gives."""
    values = 0
    """Their channels in all."""

    def ready(self, u: Seen | None) -> tuple[Tensor, ...]:
        """What depends on the condition alone."""
        return ()

    @abstractmethod
    def __call__(self, z: Tensor, ready: Sequence[Tensor]) -> Tensor:
        """Decode a step."""


class Program:
    """Steps in the order of decoding.

    Parameters
    ----------
    steps : sequence of callable
        As `fold` makes them.
    """

    def __init__(self, steps: Sequence[_Step]) -> None:
        self.steps = tuple(steps)
        self.tensors = sum(step.tensors for step in steps)
        self.values = sum(step.values for step in steps)

    def bytes_for(self, u: Seen) -> int:
        """Memory of what `ready` gives."""
        own = u.own if isinstance(u, StackedFeatures) else u
        cells = own.shape[0] * own.shape[-2] * own.shape[-1]
        return self.values * cells * own.element_size()

    def ready(self, u: Seen | None) -> tuple[Tensor, ...]:
        """All that depends on the condition alone, in the order of the steps."""
        out: list[Tensor] = []
        for step in self.steps:
            check_interrupt()
            out += step.ready(u)
        return tuple(out)

    def decode(self, z: Tensor, ready: Sequence[Tensor]) -> Tensor:
        """Latent side to image side, given what `ready` gave."""
        at = 0
        for step in self.steps:
            check_interrupt()
            z = step(z, ready[at : at + step.tensors])
            at += step.tensors
        return z


Prepared = Sequence[tuple[Program, tuple[Tensor, ...] | None]]
"""Programs, each with what it made ready, unless it sees the sample."""


# --- the kinds ----------------------------------------------------------------


class _Linear(_Step):
    """z becomes M z + c for every pixel: actnorms and mixings in a row."""

    def __init__(self, matrix: Tensor, shift: Tensor, like: Tensor) -> None:
        self._weight = matrix[:, :, None, None].to(like)
        self._shift = shift.to(like)

    def __call__(self, z: Tensor, ready: Sequence[Tensor]) -> Tensor:
        return F.conv2d(z, self._weight, self._shift)


class _Affine(_Step):
    """z becomes z scale(u) + shift(u): an injector or a Gaussian head."""

    tensors = 2

    def __init__(self, of_u: AffineInjector | GaussianHead, channels: int) -> None:
        self.values = 2 * channels
        self._net = None
        self._of_u = of_u
        if isinstance(of_u, AffineInjector) and isinstance(of_u.net, PredictorNet):
            self._net = _FoldedNet(of_u.net)

    def ready(self, u: Seen | None) -> tuple[Tensor, ...]:
        if isinstance(self._of_u, GaussianHead):
            mean, logs = self._of_u.mean_logs(_whole(u))
            return logs.exp(), mean.contiguous()
        if self._net is None or u is None:
            shift, logs = self._of_u.shift_logs(_whole(u))
        else:
            shift, h = self._net.of_condition(u)
            logs = self._of_u.log_scale(h)
        return torch.exp(-logs), -shift

    def __call__(self, z: Tensor, ready: Sequence[Tensor]) -> Tensor:
        scale, shift = ready
        return torch.addcmul(shift, z, scale)


class _Couple(_Step):
    """The second half of z is scaled and shifted by a net of the first half and u."""

    def __init__(self, net: PredictorNet, log_scale: LogScale, kept: int) -> None:
        self._net = _FoldedNet(net, kept)
        self._log_scale = log_scale
        self._kept = kept
        self.tensors = int(self._net.sees_condition)
        self.values = self.tensors * self._net.hidden

    def ready(self, u: Seen | None) -> tuple[Tensor, ...]:
        return (self._net.first_of(u),) if self.tensors and u is not None else ()

    def __call__(self, z: Tensor, ready: Sequence[Tensor]) -> Tensor:
        kept, moved = z[:, : self._kept], z[:, self._kept :]
        shift, h = self._net(kept, ready[0] if ready else None)
        scale = torch.exp(-self._log_scale(h))
        return torch.cat((kept, torch.addcmul(-shift, moved, scale)), 1)


class _Whole(_Step):
    """A transform of another kind, decoded as it is; it must not see a condition."""

    def __init__(self, transform: Transform) -> None:
        self._transform = transform

    def __call__(self, z: Tensor, ready: Sequence[Tensor]) -> Tensor:
        return self._transform.inverse(z)[0]


class _FoldedNet:
    """A predictor net with its norms in its convolutions, shifts before log-scales.

    Parameters
    ----------
    net : PredictorNet
        In eval mode.
    seen : int
        Channels of the activation in its input; the rest are the condition's. 0: the
        condition is all it sees.
    """

    def __init__(self, net: PredictorNet, seen: int = 0) -> None:
        first, middle, last = net.convolutions()
        weight, self._first_bias = first.folded()
        layout = layout_of(weight.device)
        self._of_x, self._of_u = (
            part.contiguous(memory_format=layout)
            for part in (weight[:, :seen], weight[:, seen:])
        )
        self._middle, self._middle_bias = middle.folded()
        weight, bias = last.folded()
        # The published order interleaves them; apart they are contiguous.
        order = torch.cat([torch.arange(i, weight.shape[0], 2) for i in (0, 1)])
        self._last, self._last_bias = weight[order], bias[order]
        self._bound = net.bound
        self.sees_condition = self._of_u.shape[1] > 0
        self.hidden = self._middle.shape[1]

    def first_of(self, u: Seen) -> Tensor:
        """The condition's part of the first convolution, bias included."""
        if isinstance(u, StackedFeatures):
            return u.convolved(self._of_u, self._first_bias)
        return F.conv2d(u, self._of_u, self._first_bias, padding=1)

    def of_condition(self, u: Seen) -> tuple[Tensor, Tensor]:
        """Shift and unbounded log-scale where the condition is all that is seen."""
        if self._bound < float("inf"):
            u = soft_bound(_present(_whole(u)), self._bound)
        return self._rest(self.first_of(u))

    def __call__(self, x: Tensor, of_u: Tensor | None) -> tuple[Tensor, Tensor]:
        """Shift and unbounded log-scale."""
        if self._bound < float("inf"):
            x = soft_bound(x, self._bound)
        if of_u is None:
            return self._rest(F.conv2d(x, self._of_x, self._first_bias, padding=1))
        return self._rest(F.conv2d(x, self._of_x, padding=1).add_(of_u))

    def _rest(self, h: Tensor) -> tuple[Tensor, Tensor]:
        h = F.conv2d(h.relu_(), self._middle, self._middle_bias)
        out = F.conv2d(h.relu_(), self._last, self._last_bias, padding=1)
        half = out.shape[1] // 2
        return out[:, :half], out[:, half:]


def _whole(u: Seen | None) -> Tensor | None:
    return u.whole() if isinstance(u, StackedFeatures) else u


def _present(u: Tensor | None) -> Tensor:
    if u is None:
        raise TypeError("A net of the condition was folded without one.")
    return u


# --- from transforms to steps -------------------------------------------------


class _Linears:
    """Linear maps in a row, as one, in float64."""

    def __init__(self) -> None:
        self._found: tuple[Tensor, Tensor] | None = None
        self._like: Tensor | None = None

    def add(self, matrix: Tensor, shift: Tensor, like: Tensor) -> None:
        """One more, after those before; ``like`` has the dtype and device to use."""
        if self._found is not None:
            before, moved = self._found
            matrix, shift = matrix @ before, matrix @ moved + shift
        self._found, self._like = (matrix, shift), like

    def taken(self) -> list[_Step]:
        """What was found, as a step, if anything was."""
        if self._found is None or self._like is None:
            return []
        found, self._found = _Linear(*self._found, self._like), None
        return [found]


@torch.no_grad()
def fold(transform: Transform, channels: int) -> Program:
    """Take the inverse of a transform apart.

    Parameters
    ----------
    transform : Transform
        In eval mode; its parameters are copied, so later changes are not seen.
    channels : int
        Of its activations.
    """
    steps: list[_Step] = []
    linears = _Linears()
    for part in reversed(_flat(transform)):
        if isinstance(part, ActNorm):
            scale = torch.exp(-part.logs.detach().cpu().double().flatten())
            shift = -part.bias.detach().cpu().double().flatten()
            linears.add(torch.diag(scale), shift, part.bias)
        elif isinstance(part, InvertibleConv1x1 | FixedRotation):
            inverse, like = part.inverse_matrix(), part.matrix
            linears.add(inverse, inverse.new_zeros(inverse.shape[0]), like)
        else:
            steps += [*linears.taken(), _other(part, channels)]
    return Program([*steps, *linears.taken()])


def _flat(transform: Transform) -> list[Transform]:
    if isinstance(transform, Compose):
        return [part for inner in transform.ordered() for part in _flat(inner)]
    return [transform]


def _other(part: Transform, channels: int) -> _Step:
    if isinstance(part, AffineInjector | GaussianHead):
        return _Affine(part, channels)
    if isinstance(part, ConditionalAffineCoupling) and isinstance(
        part.net, PredictorNet
    ):
        return _Couple(part.net, part.log_scale, channels // 2)
    return _Whole(part)


def folded_once(network: nn.Module, make: Callable[[], T]) -> T:
    """``make()``, kept with a network until a parameter or buffer of it changes."""
    held = [*network.parameters(), *network.buffers()]
    # Training, loading and moving change the version or the memory of a tensor.
    key = tuple((t.data_ptr(), t._version, t.dtype, t.device) for t in held)
    kept = network.__dict__.get("_folded")
    if kept is None or kept[0] != key:
        # Assigned in the ordinary way, modules would become submodules.
        network.__dict__["_folded"] = kept = (key, make())
    found: T = kept[1]
    return found
