"""`demo` with the built-in model."""

from __future__ import annotations

import subprocess
import sys
import types
from pathlib import Path

import numpy as np
import pytest
from matplotlib.image import imread
from skimage import data

from napari_flowsr.cli import demo as module
from napari_flowsr.io.images import read_image

FILES = [
    "cell-input.ome.tif",
    "cell-mean.ome.tif",
    "cell-samples.ome.tif",
    "cell-std.ome.tif",
    "overview.png",
]


@pytest.fixture
def small(monkeypatch):
    """A part of the bundled image, so that a test takes seconds."""
    part = data.cell()[300:400, 330:420].copy()
    monkeypatch.setattr(data, "cell", lambda: part)
    return part


def test_demo_makes_everything_it_promises(cli, small, tmp_path):
    out = tmp_path / "flowsr-demo"
    done = cli("demo", "-d", out, "-n", 3, "--device", "cpu")
    assert done.status == 0, done.err
    assert sorted(path.name for path in out.iterdir()) == FILES
    samples = read_image(out / "cell-samples.ome.tif")
    assert samples.data.shape == (3, 200, 180)
    assert samples.data.dtype == np.uint8
    assert samples.pixel_size == pytest.approx({"Y": 0.0535, "X": 0.0535})
    assert samples.metadata["napari-flowsr"]["detail_inferred"] is True
    mean = read_image(out / "cell-mean.ome.tif").data
    std = read_image(out / "cell-std.ome.tif").data
    # The mean is of the unrounded samples, which the files clip to 0 to 255.
    inside = ((samples.data > 0) & (samples.data < 255)).all(0)
    np.testing.assert_allclose(mean[inside], samples.data.mean(0)[inside], atol=0.51)
    assert std.min() >= 0
    assert std.max() > 0
    height, width = imread(out / "overview.png").shape[:2]
    assert width > height > 600
    for word in ("overview.png", "What to try next", "inferred", " s on "):
        assert word in done.out
    for name in FILES:
        assert name in done.out


def test_demo_can_be_repeated_and_gives_the_same(cli, small, tmp_path):
    arguments = ("demo", "-d", tmp_path / "d", "-n", 2, "--device", "cpu", "--json")
    assert cli(*arguments).status == 0
    first = read_image(tmp_path / "d" / "cell-samples.ome.tif").data
    again = cli(*arguments)
    assert again.status == 0
    assert set(again.json["outputs"]) == {"input", "samples", "mean", "std", "overview"}
    np.testing.assert_array_equal(
        read_image(tmp_path / "d" / "cell-samples.ome.tif").data, first
    )


def test_demo_refuses_a_file_as_folder(cli, small, tmp_path):
    (tmp_path / "f").write_text("x")
    done = cli("demo", "-d", tmp_path / "f", "-n", 2)
    assert done.status == 2
    assert "is a file" in done.err


def test_demo_opens_aligned_layers_in_napari(cli, small, tmp_path, monkeypatch):
    """With napari's model of a viewer, which needs neither Qt nor a display."""
    from napari.components import ViewerModel

    opened = []
    docked = []

    def viewer(title):
        model = ViewerModel(title=title)
        window = types.SimpleNamespace(
            add_plugin_dock_widget=lambda *names: docked.append(names)
        )
        opened.append(model)
        return types.SimpleNamespace(add_image=model.add_image, window=window)

    import napari

    monkeypatch.setattr(napari, "Viewer", viewer, raising=False)
    monkeypatch.setattr(napari, "run", lambda: None, raising=False)
    done = cli("demo", "-d", tmp_path, "-n", 2, "--device", "cpu", "--napari")
    assert done.status == 0, done.err
    assert docked == [("napari-flowsr", "Upscale")]
    source, *made = opened[0].layers
    assert [layer.data.shape[-2:] for layer in made] == [(200, 180)] * 3
    for layer in made:
        lead = layer.ndim - 2
        first = np.array(layer.data_to_world([0] * lead + [-0.5, -0.5]))[lead:]
        last = np.array(layer.data_to_world([0] * lead + [199.5, 179.5]))[lead:]
        np.testing.assert_allclose(first, source.data_to_world([-0.5, -0.5]))
        np.testing.assert_allclose(last, source.data_to_world([99.5, 89.5]))
        assert layer.metadata["napari-flowsr"]["detail_inferred"] is True


def test_demo_without_qt_says_what_to_install(cli, small, tmp_path, monkeypatch):
    import napari

    def viewer(title):
        raise ImportError("no Qt binding")

    monkeypatch.setattr(napari, "Viewer", viewer, raising=False)
    done = cli("demo", "-d", tmp_path, "-n", 2, "--device", "cpu", "--napari")
    assert done.status == 2
    assert "napari-flowsr[all]" in done.err
    assert (tmp_path / "overview.png").exists()


def test_the_pixel_size_is_that_of_the_documentation():
    assert f"{module.PIXEL_UM} µm" in (data.cell.__doc__ or "")


@pytest.mark.slow
@pytest.mark.timeout(900)
def test_the_documented_command_works_in_an_empty_folder(tmp_path):
    done = subprocess.run(
        [sys.executable, "-m", "napari_flowsr", "demo", "-n", "2"],
        cwd=tmp_path, capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    assert sorted(p.name for p in Path(tmp_path, "flowsr-demo").iterdir()) == FILES
