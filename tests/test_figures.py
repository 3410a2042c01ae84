"""Figures: what they show is what they were given."""

from __future__ import annotations

from types import SimpleNamespace

import numpy as np
import pytest

from napari_flowsr.errors import ExportError, OptionError
from napari_flowsr.figures import (
    calibration_curve,
    evaluation_figure,
    overview,
    save_figure,
)


@pytest.fixture
def parts():
    rng = np.random.default_rng(0)
    lr = rng.random((60, 80)) * 100
    lr[40:55, 50:70] += 500 * rng.random((15, 20))
    hr = np.kron(lr, np.ones((2, 2)))
    return lr, hr, [hr + rng.normal(size=hr.shape) for _ in range(3)]


def labels(figure) -> list[str]:
    return [axes.get_title() for axes in figure.axes]


@pytest.mark.parametrize("size", [0.1, None])
def test_overview_labels_all_and_shares_the_contrast(parts, size):
    lr, hr, samples = parts
    figure = overview(
        lr, hr, samples, np.mean(samples, 0), np.std(samples, 0), pixel_size=size
    )
    for name in (
        "Bicubic",
        "Sample 0",
        "Sample 1",
        "Mean of the samples",
        "Uncertainty",
    ):
        assert any(name in label for label in labels(figure)), name
    zoomed = [axes for axes in figure.axes[1:6] if axes.images]
    assert len({axes.images[0].get_clim() for axes in zoomed}) == 1
    texts = " ".join(text.get_text() for axes in figure.axes for text in axes.texts)
    assert ("µm" if size else "px") in texts
    assert "not measured" in figure.get_supxlabel()


def test_overview_shows_the_same_region_everywhere(parts):
    lr, hr, samples = parts
    region = (10, 20, 24, 24)
    figure = overview(
        lr, hr, samples, np.mean(samples, 0), np.std(samples, 0), region=region
    )
    pictures = {
        axes.get_title(): axes.images[0].get_array() for axes in figure.axes[:7]
    }
    np.testing.assert_array_equal(pictures["Input (framed part)"], lr[10:34, 20:44])
    np.testing.assert_array_equal(pictures["Bicubic"], hr[20:68, 40:88])
    np.testing.assert_array_equal(pictures["Sample 1"], samples[1][20:68, 40:88])


def test_overview_finds_where_there_is_something_to_see():
    lr = np.zeros((200, 300))
    lr[120:150, 220:250] = np.random.default_rng(0).random((30, 30))
    hr = np.kron(lr, np.ones((2, 2)))
    figure = overview(lr, hr, [hr, hr], hr, hr * 0)
    shown = figure.axes[1].images[0].get_array()
    assert np.sum(shown) == pytest.approx(lr.sum())


@pytest.mark.parametrize("shape", [(1, 1), (3, 90), (40, 40, 3)])
def test_overview_of_odd_images(tmp_path, shape):
    rng = np.random.default_rng(0)
    lr = rng.random(shape)
    hr = np.repeat(np.repeat(lr, 2, 0), 2, 1)
    figure = overview(lr, hr, [hr, hr], hr, hr * 0, pixel_size=0.3)
    save_figure(figure, tmp_path / "o.png", dpi=50)
    assert (tmp_path / "o.png").stat().st_size > 2000


def test_calibration_of_a_perfect_prediction_is_the_diagonal():
    rng = np.random.default_rng(0)
    std = rng.uniform(0.5, 3.0, 200_000)
    predicted, found, count = calibration_curve(rng.normal(size=std.size) * std, std)
    assert count.sum() == std.size
    assert (np.diff(predicted) > 0).all()
    np.testing.assert_allclose(found, predicted, rtol=0.03)


def test_evaluation_figure_draws_each_image_and_the_curve(tmp_path):
    rng = np.random.default_rng(0)
    rows = []
    for i in range(5):
        psnr = dict.fromkeys(("bicubic", "mode", "sample", "mean"), 30.0)
        hr = rng.random((1 if i % 2 else 3, 48, 40)).astype("f4")
        samples = hr + 0.1 * rng.normal(size=(4, *hr.shape))
        rows.append(
            SimpleNamespace(
                name=f"{i}.png", hr=hr, bicubic=hr, mode=hr, samples=samples,
                mean=samples.mean(0),
                figures={"psnr": psnr},
            )
        )  # fmt: skip
    figure = evaluation_figure(rows, title="t")
    assert len([axes for axes in figure.axes if axes.images]) >= 4 * 7
    assert "Error against uncertainty" in labels(figure)
    save_figure(figure, tmp_path / "e.pdf")
    assert (tmp_path / "e.pdf").read_bytes().startswith(b"%PDF")
    with pytest.raises(OptionError, match="no evaluated image"):
        evaluation_figure([])


def evaluated(hr, samples):
    psnr = dict.fromkeys(("bicubic", "mode", "sample", "mean"), 30.0)
    return SimpleNamespace(
        name="a.png", hr=hr, bicubic=hr, mode=hr, samples=samples,
        mean=samples.mean(0), figures={"psnr": psnr},
    )  # fmt: skip


def test_a_calibrated_ensemble_lies_on_the_diagonal_for_any_number_of_samples():
    """The mean of n samples errs by its own scatter too."""
    rng = np.random.default_rng(0)
    shape = (1, 300, 300)
    width = rng.uniform(0.01, 0.05, shape)
    for n in (2, 8):
        samples = 0.5 + rng.normal(size=(n, *shape)) * width
        figure = evaluation_figure(
            [evaluated(0.5 + rng.normal(size=shape) * width, samples)]
        )
        axes = next(a for a in figure.axes if a.get_title().startswith("Error against"))
        curve = next(line for line in axes.lines if line.get_label() == "this model")
        predicted, found = curve.get_data()
        rms = [np.sqrt(np.mean(np.square(v))) for v in (predicted, found)]
        assert rms[0] == pytest.approx(rms[1], rel=0.01)
    single = evaluation_figure([evaluated(samples[0], samples[:1])])
    texts = [t.get_text() for axes in single.axes for t in axes.texts]
    assert "needs 2 samples or more" in texts


def test_a_row_has_the_contrast_of_its_own_true_image():
    """Crops of dark images used to be drawn nearly black."""
    rng = np.random.default_rng(0)
    hr = rng.uniform(0.1, 0.2, (1, 40, 40))
    figure = evaluation_figure([evaluated(hr, hr + rng.normal(size=(3, 1, 40, 40)))])
    limits = {axes.images[0].get_clim() for axes in figure.axes[:5]}
    assert limits == {tuple(np.percentile(hr, (0.1, 99.9)))}


def test_figures_are_written_whole_or_not_at_all(tmp_path, parts):
    lr, hr, samples = parts
    figure = overview(lr, hr, samples, hr, hr * 0)
    with pytest.raises(OptionError, match="format"):
        save_figure(figure, tmp_path / "o.xyz")
    with pytest.raises(ExportError, match="folder"):
        save_figure(figure, tmp_path / "none" / "o.png")
    assert list(tmp_path.iterdir()) == []
