"""What careless calls are told: one line and status 2, before any long work."""

from __future__ import annotations

import errno
import sys

import numpy as np
import pytest

from napari_flowsr.cli import _jobs, demo
from napari_flowsr.io.images import write_image
from napari_flowsr.jobs import plan, run
from napari_flowsr.jobs.schedule import ATTEMPTS

pytestmark = pytest.mark.usefixtures("home")

TINY = ("-m", "tiny-2x", "--device", "cpu")


@pytest.fixture
def places(tmp_path, picture):
    """Names for arguments: a picture, a file, folders with and without pictures."""
    (tmp_path / "file").write_text("text")
    (tmp_path / "raw").mkdir()
    (tmp_path / "taken.tif").mkdir()
    write_image(tmp_path / "raw" / "a.tif", np.eye(12, dtype=np.uint8))
    return {"tmp": tmp_path, "picture": picture}


@pytest.fixture
def no_work(monkeypatch):
    """Whatever takes long fails the test."""

    def worked(*_: object) -> None:
        raise AssertionError("worked before it was known whether that can be kept")

    monkeypatch.setattr(_jobs.Job, "load", worked)
    monkeypatch.setattr(demo, "_compute", worked)


@pytest.mark.usefixtures("no_work")
@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["upscale", "{picture}", "-d", "{tmp}/file"], "choose another folder"),
        (["upscale", "{picture}", "-d", "{tmp}/file/sub"], "choose another folder"),
        (["upscale", "{picture}", "{tmp}/file/x.tif"], "choose another folder"),
        (
            ["upscale", "{picture}", "-o", "{tmp}/taken.tif", "--overwrite"],
            "folder of this name",
        ),
        (["upscale", "{picture}", "{picture}"], "overwritten by its own result"),
        (["upscale", "{picture}", "{tmp}/out.jpg"], "an output must end in .ome.tif"),
        (["upscale", "{picture}", "{tmp}/out"], "an output must end in .ome.tif"),
        (["batch", "{tmp}/raw", "{tmp}/file"], "choose another folder"),
        (["batch", "{tmp}/raw", "{tmp}/file/sub"], "choose another folder"),
        (["batch", "{tmp}/raw", "{tmp}/raw"], "is the input folder"),
        (["demo", "-d", "{tmp}/file"], "choose another folder"),
        (["demo", "-d", "{tmp}/file/sub"], "choose another folder"),
    ],
)
def test_a_result_that_cannot_be_kept_is_not_computed(cli, places, arguments, said):
    before = sorted(places["tmp"].rglob("*"))
    done = cli(*(a.format(**places) for a in arguments))
    assert done.status == 2
    assert done.err.startswith("Error: ")
    assert done.err.count("\n") == 1
    assert said in done.err
    assert sorted(places["tmp"].rglob("*")) == before


@pytest.mark.usefixtures("no_work")
def test_a_format_that_lacks_its_package_is_refused(cli, picture, monkeypatch):
    monkeypatch.setattr(plan, "find_spec", lambda _: None)
    done = cli("upscale", picture, "-o", picture.with_name("x.ome.zarr"))
    assert done.status == 2
    assert "pip install napari-flowsr[zarr]" in done.err


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["models", "inspect", "{picture}"], "is no model file"),
        (["models", "import", "{picture}"], "is no model file"),
        (["models", "inspect", "{tmp}/raw"], "is a folder, not a model"),
        (["models", "inspect", "TINY"], "Did you mean 'tiny-2x'?"),
        (["models", "inspect", "tiny-2x.pth"], "Did you mean 'tiny-2x'"),
        (["upscale", "{tmp}/raw", *TINY], "is a folder, not an image"),
        (
            [
                "train",
                "{tmp}/raw",
                "-o",
                "{tmp}/m.safetensors",
                "--config",
                "{picture}",
            ],
            "no readable TOML file",
        ),
        (
            ["train", "{tmp}/raw", "-o", "{tmp}/m.safetensors", "--config", "{tmp}/no"],
            "no readable TOML file",
        ),
        (
            ["train", "{tmp}/raw", "-o", "{tmp}/m.safetensors", "--set", "model=3"],
            "expected fields of the network",
        ),
        (["models", "export", "tiny-2x", "{tmp}/file/x.safetensors"], "another folder"),
    ],
)
def test_a_mistake_is_called_what_it_is(cli, places, arguments, said):
    done = cli(*(a.format(**places) for a in arguments))
    assert done.status == 2
    assert done.err.count("\n") == 1
    assert said in done.err


def test_a_batch_outlives_a_disk_that_fails(cli, places, monkeypatch):
    write_image(places["tmp"] / "raw" / "b.tif", np.eye(12, dtype=np.uint8))
    upscale, tries = run.upscale_file, []

    def flaky(path, *rest):
        if path.name == "a.tif":
            tries.append(path)
            raise OSError(errno.EIO, "Input/output error", str(path))
        return upscale(path, *rest)

    monkeypatch.setattr(run, "upscale_file", flaky)
    done = cli("batch", places["tmp"] / "raw", places["tmp"] / "o", *TINY, "--json")
    assert done.status == 2
    assert [len(done.json[key]) for key in ("done", "failed")] == [1, 1]
    assert "Input/output error" in done.json["failed"][0]["error"]
    assert len(tries) == ATTEMPTS


# --- the net ------------------------------------------------------------------


@pytest.mark.parametrize(
    ("error", "said"),
    [
        (PermissionError(errno.EACCES, "Permission denied", "a.toml"), "'a.toml'"),
        (OSError(errno.ENOSPC, "No space left on device"), "disk is full"),
    ],
)
def test_errors_of_the_system_are_one_line(cli, monkeypatch, error, said):
    def fail() -> None:
        raise error

    monkeypatch.setattr("napari_flowsr.io.collection.list_models", fail)
    done = cli("models", "list")
    assert done.status == 2
    assert said in done.err
    assert str(error.strerror) in done.err
    assert done.err.count("\n") == 1


def test_a_bug_is_not_hidden(cli, monkeypatch):
    def fail() -> None:
        raise ValueError("a bug")

    monkeypatch.setattr("napari_flowsr.io.collection.list_models", fail)
    with pytest.raises(ValueError, match="a bug"):
        cli("models", "list")


@pytest.mark.skipif(sys.platform == "win32", reason="other rules for names")
def test_a_name_that_is_too_long_is_no_traceback(cli):
    done = cli("upscale", "x" * 5000, *TINY)
    assert done.status == 2
    assert "shorter name" in done.err
