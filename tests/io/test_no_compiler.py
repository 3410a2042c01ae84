"""Loading and running a model does not load torch's compiler, which takes seconds."""

from __future__ import annotations

import subprocess
import sys

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


def test_no_compiler() -> None:
    command = [sys.executable, "-W", "ignore", "-c", _RUN]
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    lines = done.stdout.split("\n")[:4]
    assert lines == [
        "micro-2x False",
        "micro-any False",
        "rescale-4x False",
        "run False",
    ]
