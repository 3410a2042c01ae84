"""Patches unlike any image of a collection, so that a flow stays sane on them.

The inverse of a flow extrapolates badly: on inputs that no training image resembles,
such as pure shot noise or a binary mask, its output can be of any size. A small share
of such patches teaches it otherwise; what they look like does not matter much, as long
as they differ from each other and from images.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from collections.abc import Callable

    from numpy.typing import NDArray

    Patch = NDArray[np.float32]

__all__ = ["unusual"]


def _shot_noise(rng: np.random.Generator, patch: Patch) -> Patch:
    """Poisson noise at 0.5 to 50 counts for the brightest pixel."""
    counts = float(np.exp(rng.uniform(np.log(0.5), np.log(50))))
    return np.asarray(rng.poisson(patch * counts) / counts)


def _read_noise(rng: np.random.Generator, patch: Patch) -> Patch:
    """Gaussian noise of 0.01 to 0.3 of the range."""
    sigma = float(np.exp(rng.uniform(np.log(0.01), np.log(0.3))))
    return np.asarray(patch + sigma * rng.standard_normal(patch.shape))


def _binary(rng: np.random.Generator, patch: Patch) -> Patch:
    """A mask: everything above a quantile of the patch."""
    return np.asarray(patch > np.quantile(patch, rng.uniform(0.1, 0.9)), np.float32)


def _white(rng: np.random.Generator, patch: Patch) -> Patch:
    """Uniform noise in blocks of 1 to 4 pixels."""
    side = int(rng.integers(1, 5))
    coarse = [-(-n // side) for n in patch.shape[-2:]]
    noise = rng.random((patch.shape[0], *coarse))
    blocks = noise.repeat(side, -2).repeat(side, -1)
    return np.asarray(blocks[:, : patch.shape[-2], : patch.shape[-1]], np.float32)


def _chequered(rng: np.random.Generator, patch: Patch) -> Patch:
    """A chequerboard or stripes with a period of 2 to 16 pixels."""
    half_y, half_x = rng.integers(1, 9, 2)
    y, x = np.indices(patch.shape[-2:])
    stripes = (y // half_y + (x // half_x if rng.random() < 0.7 else 0)) % 2
    return np.broadcast_to(stripes, patch.shape)


def _sparse(rng: np.random.Generator, patch: Patch) -> Patch:
    """Bright single pixels on black, or the reverse."""
    points = rng.random(patch.shape) < rng.uniform(0.001, 0.05)
    return np.asarray(points if rng.random() < 0.7 else ~points, np.float32)


_KINDS: tuple[Callable[[np.random.Generator, Patch], Patch], ...] = (
    _shot_noise,
    _read_noise,
    _binary,
    _white,
    _chequered,
    _sparse,
)


def unusual(rng: np.random.Generator, patch: NDArray[np.float32]) -> Patch:
    """Replace a patch by one of six unusual kinds, with a random part of the range.

    Parameters
    ----------
    rng : numpy.random.Generator
        Source of all choices.
    patch : ndarray
        ``(C, H, W)`` in ``[0, 1]``; some kinds start from it.

    Returns
    -------
    ndarray
        Same shape, float32, in ``[0, 1]``.
    """
    new = np.clip(_KINDS[rng.integers(len(_KINDS))](rng, patch), 0, 1)
    low, high = np.sort(rng.random(2)) if rng.random() < 0.5 else (0.0, 1.0)
    return np.asarray(low + (high - low) * new, np.float32)
