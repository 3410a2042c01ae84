"""When people are warned that samples do not give the input back."""

from __future__ import annotations

import math

import pytest

from napari_flowsr.inference.agreement import disagreement, worst_agreement


@pytest.mark.parametrize(
    ("psnr", "worst"),
    [
        ([], None),
        ([None], math.inf),
        ([None, 61.5], 61.5),
        ([55.0, 39.0, 70.0], 39.0),
    ],
)
def test_the_worst_sample_counts(psnr, worst):
    assert worst_agreement({"lr_psnr": psnr}) == worst


def test_a_report_without_the_figure_says_nothing():
    assert worst_agreement({}) is None
    assert disagreement({}) == ""


@pytest.mark.parametrize("psnr", [[], [None], [40.0], [80.0, 40.0]])
def test_no_warning_from_40_db_on(psnr):
    assert disagreement({"lr_psnr": psnr}) == ""


@pytest.mark.parametrize(
    ("psnr", "percent"), [(39.9, "1.0"), (20.0, "10.0"), (-6.0, "199.5")]
)
def test_the_warning_is_in_plain_words(psnr, percent):
    text = disagreement({"lr_psnr": [60.0, psnr]})
    assert f"differ from it by {percent} % of its range" in text
    assert f"({psnr:.1f} dB; 40 dB or more is to be expected)" in text
    assert "Trust their detail less" in text
