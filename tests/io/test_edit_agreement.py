"""Edits that agree with different images are not repeated by one script."""

from __future__ import annotations

import numpy as np
import pytest

from napari_flowsr.errors import OptionError
from napari_flowsr.io.edit_script import edit_record, edit_step
from napari_flowsr.io.provenance import provenance_script, record


@pytest.mark.parametrize(
    ("other", "said"),
    [
        ({"source_sha256": "1" * 64}, "another low-resolution image"),
        ({"lr": "downscale"}, "another low-resolution image"),
        ({"roi": [[0, 8], [0, 8]]}, "another region of the low-resolution image"),
        ({"model_sha256": "1" * 64}, "another model"),
        ({"prior": "learned"}, "another prior"),
        ({"noise": 0.1}, "another noise level"),
        ({"precision": "bfloat16"}, "another precision"),
    ],
    ids=lambda value: next(iter(value)) if isinstance(value, dict) else "",
)
def test_edits_that_differ_in_what_they_agree_with(other, said):
    base = record(
        "sample", model="tiny-2x", model_sha256="a" * 64, family="compact",
        source_sha256="b" * 64, temperature=0.7, seed=5, scale=2.0, axes="YX",
        prior="standard", noise=None, consistent=True, nan="fill", sample=0, n=1,
    )  # fmt: skip
    mask = np.zeros((48, 60), bool)
    mask[4:20, 6:30] = True
    steps = [edit_step("resample", mask=mask, seed=s, label="again") for s in (1, 2)]
    steps[1]["precision"] = "float32"  # which the record, of before, does not tell
    provenance_script(edit_record(base, steps))
    steps[1] |= other
    with pytest.raises(OptionError, match=f"edit 2: again cannot .* {said}"):
        provenance_script(edit_record(base, steps))
