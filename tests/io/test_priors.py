"""Files of learned priors that were trained here: written, read back, found by name."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import torch
from safetensors import safe_open
from safetensors.torch import load_file, save_file

from napari_flowsr.errors import CheckpointError, OptionError
from napari_flowsr.io import catalogue, prior_files, priors
from napari_flowsr.io.priors import read_prior, write_prior
from napari_flowsr.models.learned_prior import LearnedPriorConfig, build_prior

SMALL = LearnedPriorConfig(level_channels=(4, 6), dim=4, depth=1)
CONFIGS = [
    SMALL,
    LearnedPriorConfig("patch", (5,), dim=4, depth=1, channels=1, stride=1),
    LearnedPriorConfig("patch", (5,), 4, "edsr", blocks=2, has_tail=False, stride=1),
]


@pytest.mark.parametrize("config", CONFIGS, ids=["pyramid", "unet", "edsr"])
def test_a_prior_comes_back_with_what_its_names_do_not_tell(
    config: LearnedPriorConfig, tmp_path: Path
) -> None:
    module = build_prior(config)
    write_prior(tmp_path / "p.safetensors", module, licence="MIT", about={"flow": "x"})
    found = read_prior(tmp_path / "p.safetensors")
    assert found.module.config == config  # type: ignore[comparison-overlap]
    assert found.facts()["about"] == {"flow": "x"}
    assert found.licence == "MIT"
    own = module.state_dict()
    assert set(own) == set(found.module.state_dict())
    for key, value in found.module.state_dict().items():
        assert torch.equal(own[key], value), key


def test_a_file_that_asks_for_countless_halvings_is_refused_at_once(
    tmp_path: Path,
) -> None:
    """Found by fuzzing: 2 to that power was counted out for ever."""
    path = tmp_path / "p.safetensors"
    write_prior(path, build_prior(SMALL), licence="MIT", about={})
    with safe_open(path, "pt") as file:
        header = file.metadata()
    sizes = json.loads(header["config"])
    header["config"] = json.dumps({**sizes, "depth": 1 << 53})
    save_file(load_file(path), path, header)
    with pytest.raises(CheckpointError, match="at most 16"):
        read_prior(path)


def test_what_cannot_be_a_prior_is_refused(tmp_path: Path) -> None:
    module = build_prior(SMALL)
    next(module.parameters()).data.fill_(torch.inf)
    with pytest.raises(CheckpointError, match="finite"):
        write_prior(tmp_path / "p.safetensors", module, licence="", about={})
    assert list(tmp_path.iterdir()) == []


def test_built_in_priors_are_found_and_stay(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    built_in = tmp_path / "built-in"
    built_in.mkdir()
    monkeypatch.setattr(prior_files, "builtin_prior_folder", lambda: built_in)
    monkeypatch.setenv("NAPARI_FLOWSR_HOME", str(tmp_path / "home"))
    file = built_in / "own-lp.safetensors"
    write_prior(file, build_prior(SMALL), licence="MIT", about={}, dtype=torch.float16)
    assert priors.prior_names() == ["own-lp"]
    assert priors.find_prior("own-lp") == file
    (entry,) = [e for e in catalogue.entries() if e.kind == "prior"]
    assert entry.is_built_in
    with pytest.raises(OptionError, match="built-in"):
        catalogue.remove("own-lp")
    with pytest.raises(OptionError, match="built-in"):
        priors.import_prior(file, "own-lp")
    assert priors.import_prior(file, "other") == "other"
    assert priors.prior_header(priors.find_prior("other"))["config"]
    assert priors.prior_names() == ["other", "own-lp"]
