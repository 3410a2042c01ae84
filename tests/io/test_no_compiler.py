"""Loading and running a model does not load torch's compiler, which takes seconds."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

_SHAPES = """
import sys
sys.path.insert(0, sys.argv[1])
import torch
from every_family import CASES, WITH_PRIOR
from napari_flowsr.io.checkpoint import _NothingDrawn
from napari_flowsr.models import _registry
from napari_flowsr.models.learned_prior import build_prior

cases = [case.values[0] for case in CASES]
with_prior = [case.values[0] for case in WITH_PRIOR]
priors = [case.with_prior().flow.latent_module.config for case in with_prior]
before = "torch._dynamo" in sys.modules
with torch.device("meta"), _NothingDrawn():
    for case in cases:
        built = _registry.build(case.family, case.config)
        assert all(p.is_meta for p in built.parameters()), case
    for config in priors:
        build_prior(config)
print(len(cases) > len(priors) > 3, before, "torch._dynamo" in sys.modules)
"""
_RUN = """
import sys
import numpy as np
import napari_flowsr as flowsr

for name in ("micro-2x", "micro-any", "rescale-4x"):
    model = flowsr.load_model(name, device="cpu")
    print(name, "torch._dynamo" in sys.modules)
model = flowsr.load_model("micro-2x", device="cpu")
flowsr.upscale(np.eye(24, dtype=np.float32), model, axes="YX", n=2)
print("run", "torch._dynamo" in sys.modules)
"""


def _printed(program: str, *args: str) -> list[str]:
    command = [sys.executable, "-W", "ignore", "-c", program, *args]
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    return done.stdout.splitlines()


def test_the_shapes_of_every_family_are_found_without_the_compiler() -> None:
    tests = str(Path(__file__).parent.parent)
    assert _printed(_SHAPES, tests) == ["True False False"]


def test_no_compiler() -> None:
    assert _printed(_RUN) == [
        "micro-2x False",
        "micro-any False",
        "rescale-4x False",
        "run False",
    ]
