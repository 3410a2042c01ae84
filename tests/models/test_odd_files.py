"""Published files and assumptions that no program makes."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor

from napari_flowsr.errors import CheckpointError, OptionError
from napari_flowsr.io.collection import load_model
from napari_flowsr.io.priors import read_prior
from napari_flowsr.models._registry import build
from napari_flowsr.models.learned_prior import LearnedPriorConfig, build_prior
from napari_flowsr.models.rrdb import RRDBConfig, RRDBNet


def _prior() -> dict[str, Tensor]:
    config = LearnedPriorConfig("patch", level_channels=(27,), dim=4, depth=1)
    state = build_prior(config).state_dict()
    return {k.removeprefix("generator."): v for k, v in state.items()}


def _encoder() -> dict[str, Tensor]:
    state = RRDBNet(RRDBConfig(scale=2, width=4, blocks=1, growth=2)).state_dict()
    return {k.removeprefix("encoder."): v for k, v in state.items()}


@pytest.mark.parametrize("name", ["input_proj.conv1.weight", "lr_proj.0.weight"])
def test_a_prior_with_a_number_for_a_tensor_is_refused(
    name: str, tmp_path: Path
) -> None:
    torch.save(_prior() | {name: torch.tensor(1.0)}, tmp_path / "lp.pth")
    with pytest.raises(CheckpointError, match="Copy or download it again"):
        read_prior(tmp_path / "lp.pth")


@pytest.mark.parametrize("dtype", [torch.complex64, torch.int32, torch.bool], ids=str)
@pytest.mark.parametrize(
    ("state", "read"),
    [(_prior, read_prior), (_encoder, load_model)],
    ids=["prior", "encoder"],
)
def test_weights_are_real_numbers(
    state: Callable[[], dict[str, Tensor]],
    read: Callable[[Path], object],
    dtype: torch.dtype,
    tmp_path: Path,
) -> None:
    torch.save({k: v.to(dtype) for k, v in state().items()}, tmp_path / "m.pth")
    with pytest.raises(CheckpointError, match=r"of another kind of number: .*\("):
        read(tmp_path / "m.pth")


def test_assumptions_are_a_dictionary(tmp_path: Path) -> None:
    torch.save(_encoder(), tmp_path / "m.pth")
    with pytest.raises(OptionError, match="assume is 'grid'; give a dictionary"):
        load_model(tmp_path / "m.pth", assume="grid")  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("family", "key"),
    [("linf", "scale_max"), ("linf", "res_scale"), ("hcflow", "quant"),
     ("srflow", "quant"), ("srflow", "affine_eps"), ("adflow", "quant")],
)  # fmt: skip
@pytest.mark.parametrize("value", [float("nan"), float("inf")])
def test_sizes_that_are_no_numbers_are_refused(
    family: str, key: str, value: Any
) -> None:
    with pytest.raises(OptionError, match=f"(?i){family} .*{key}"):
        build(family, {key: value})
