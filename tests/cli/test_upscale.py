"""`upscale` and `batch`."""

from __future__ import annotations

import os
import runpy
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import psutil
import pytest
import tifffile
import torch
from safetensors.torch import save_file

import napari_flowsr as flowsr
from every_family import CASES
from napari_flowsr.cli.upscale import describe
from napari_flowsr.inference.events import Progress
from napari_flowsr.inference.posterior import Posterior
from napari_flowsr.io.checkpoint import save_model
from napari_flowsr.io.images import read_image, write_image
from napari_flowsr.io.priors import import_prior
from napari_flowsr.models.learned_prior import LearnedPriorConfig, build_prior

pytestmark = pytest.mark.usefixtures("home")
TINY = ("--model", "tiny-2x", "--device", "cpu")


def names(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.iterdir() if path.is_file())


def test_a_second_name_is_the_output(cli, picture, tmp_path):
    out = tmp_path / "out.ome.tif"
    done = cli("upscale", picture, out, *TINY, "-n", 2, "--seed", 4)
    assert done.status == 0, done.err
    assert str(out) in done.out
    back = read_image(out)
    assert back.data.shape == (2, 48, 60)
    assert back.data.dtype == np.uint16
    assert back.channel_names == ("sample 0", "sample 1")
    assert back.pixel_size == pytest.approx({"Y": 0.1, "X": 0.1})
    image = read_image(picture).data
    expected = flowsr.upscale(image, "tiny-2x", n=2, seed=4, device="cpu")
    np.testing.assert_array_equal(back.data, expected)


@pytest.mark.parametrize("command", ["upscale", "batch"])
def test_the_precision_is_used_and_recorded(cli, picture, tmp_path, command):
    flow = tmp_path / "home" / "models" / "rough-2x.safetensors"
    model = flowsr.load_model("tiny-2x", device="cpu")
    with torch.no_grad():
        for parameter in model.flow.parameters():
            if not parameter.any():
                parameter.normal_(0, 0.1)
    save_model(flow, model.flow, model.card.with_(name="rough-2x"))
    source = picture.parent if command == "batch" else picture
    to = [tmp_path / "out"] if command == "batch" else ["-d", tmp_path / "out"]
    asked = ("--model", "rough-2x", "--device", "cpu", "--precision")
    if command == "batch":
        asked = ("--pattern", picture.name, *asked)
    done = cli(command, source, *to, *asked, "bfloat16", "--outputs", "mean", "-n", 2)
    assert done.status == 0, done.err
    [path] = (tmp_path / "out").glob("*.tif")
    found, image = read_image(path), read_image(picture).data
    model = flowsr.load_model("rough-2x", device="cpu")
    full, half = (
        flowsr.posterior(image, model, device="cpu", precision=p).mean(2)
        for p in ("float32", "bfloat16")
    )
    np.testing.assert_array_equal(found.data, half)
    assert not np.array_equal(full, half)
    assert found.metadata["napari-flowsr"]["precision"] == "bfloat16"
    bad = cli(command, source, *to, *asked, "half", "--overwrite")
    assert bad.status != 0
    assert "'float32', 'bfloat16', 'float16'" in " ".join(bad.err.split())


def test_every_output_is_a_file_with_its_own_record(cli, picture, tmp_path):
    wanted = "std,mean,samples,quantiles"
    done = cli(
        "upscale", picture, "-d", tmp_path / "new", "--outputs", wanted, *TINY, "--json"
    )
    assert done.status == 0, done.err
    kinds = {row["kind"]: Path(row["path"]) for row in done.json[0]["outputs"]}
    assert list(kinds) == ["samples", "mean", "std", "q05", "q95"]
    assert read_image(kinds["samples"]).data.shape == (8, 48, 60)
    image = read_image(picture).data
    for kind, path in kinds.items():
        back = read_image(path)
        record = back.metadata["napari-flowsr"]
        assert record["detail_inferred"] is True
        assert record["source_name"] == "cell.ome.tif"
        names: dict = {"__name__": "script"}
        exec(flowsr.provenance_script(record), names)
        np.testing.assert_array_equal(names["remake"](image), back.data, err_msg=kind)


def test_several_outputs_of_one_name_get_the_kind_into_it(cli, picture, tmp_path):
    out = tmp_path / "o" / "x.ome.tif"
    cli("upscale", picture, "-o", out, "--outputs", "mean,std", *TINY, "-n", 2)
    assert names(tmp_path / "o") == ["x-mean.ome.tif", "x-std.ome.tif"]


def test_patterns_and_a_folder_at_the_end(cli, picture, tmp_path):
    (tmp_path / "out").mkdir()
    write_image(tmp_path / "more.png", np.eye(12, dtype=np.uint8) * 200)
    done = cli("upscale", tmp_path / "*.*", tmp_path / "out", *TINY)
    assert done.status == 0, done.err
    assert names(tmp_path / "out") == ["cell-samples.ome.tif", "more-samples.ome.tif"]


def test_other_formats(cli, picture, tmp_path):
    assert cli("upscale", picture, tmp_path / "o.png", *TINY).status == 0
    assert read_image(tmp_path / "o.png").data.shape == (48, 60)
    assert cli("upscale", picture, tmp_path / "o.ome.zarr", *TINY).status == 0
    assert read_image(tmp_path / "o.ome.zarr").pixel_size == pytest.approx(
        {"Y": 0.1, "X": 0.1}
    )


def test_pixel_size_and_axes_can_be_given(cli, tmp_path):
    np.save(tmp_path / "a.npy", np.random.default_rng(0).random((2, 12, 10, 3)))
    out = tmp_path / "a.ome.tif"
    refused = cli("upscale", tmp_path / "a.npy", out, *TINY)
    assert refused.status == 2
    assert "axes" in refused.err
    done = cli(
        "upscale",
        tmp_path / "a.npy",
        out,
        *TINY,
        "--axes",
        "TYXS",
        "--pixel-size",
        "0.5",
    )
    assert done.status == 0, done.err
    back = read_image(out)
    assert back.axes == "TYXS"
    assert back.data.shape == (2, 24, 20, 3)
    assert back.pixel_size == pytest.approx({"Y": 0.25, "X": 0.25})


def test_existing_files_are_kept_unless_asked(cli, picture, tmp_path):
    out = tmp_path / "o.ome.tif"
    out.write_bytes(b"precious")
    refused = cli("upscale", picture, "-o", out, *TINY)
    assert refused.status == 2
    assert "--overwrite" in refused.err
    assert out.read_bytes() == b"precious"
    assert cli("upscale", picture, "-o", out, *TINY, "--overwrite").status == 0
    assert read_image(out).data.shape == (48, 60)


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["{tmp}/none.tif", "-o", "{tmp}/o.tif"], "no file"),
        (["{tmp}/*.gif"], "Nothing matches"),
        (["{picture}", "{tmp}/o.tif", "-d", "{tmp}/new"], "no file"),
        (["{picture}", "-o", "{tmp}/o.gif"], "format"),
        (["{picture}", "-m", "nothing"], "There is no model 'nothing'"),
        (["{picture}", "--temperature", "-1"], "temperature"),
        (["{picture}", "--temperature", "warm"], "--temperature"),
        (["{picture}", "--outputs", "median"], "median"),
        (["{picture}", "--tile", "big"], "--tile"),
        (["{picture}", "--axes", "ZYX"], "ZYX"),
        (["{picture}", "--device", "abacus"], "abacus"),
        (["{picture}", "--noise", "loud"], "loud"),
        (["{picture}", "--scale", "3"], "3"),
        (["{picture}", "-n", "0"], "--samples"),
        (["{picture}", "--pixel-size", "0"], "--pixel-size"),
        (["{picture}", "-o", "{picture}", "--overwrite"], "its own result"),
        (["{picture}", "--frobnicate"], "--frobnicate"),
        (["{truncated}", "-o", "{tmp}/o.tif"], "truncated"),
        (["{nan}", "-o", "{tmp}/o.tif"], "NaN"),
        (["{complex}", "-o", "{tmp}/o.tif"], "complex"),
        ([], "INPUT"),
    ],
)
def test_bad_input_is_one_line_and_status_2(cli, picture, tmp_path, arguments, said):
    (tmp_path / "truncated.tif").write_bytes(picture.read_bytes()[:-500])
    np.save(tmp_path / "nan.npy", np.full((5, 6), np.nan))
    np.save(tmp_path / "complex.npy", np.ones((5, 6), complex))
    before = names(tmp_path)
    places = {
        "tmp": tmp_path,
        "picture": picture,
        "truncated": tmp_path / "truncated.tif",
        "nan": tmp_path / "nan.npy",
        "complex": tmp_path / "complex.npy",
    }
    filled = [a.format(**places) for a in arguments]
    model = () if "-m" in filled else TINY[:2]
    done = cli("upscale", *filled, *model)
    assert done.status == 2
    assert done.out == ""
    assert done.err.startswith("Error: ")
    assert done.err.count("\n") == 1
    assert said in done.err
    assert names(tmp_path) == before


def test_two_existing_files_are_not_guessed_about(cli, picture, tmp_path):
    other = tmp_path / "other.tif"
    tifffile.imwrite(other, np.zeros((5, 6), np.uint8))
    done = cli("upscale", picture, other, *TINY, "--overwrite")
    assert done.status == 2
    assert "both exist" in done.err


# --- Ctrl-C -------------------------------------------------------------------


def test_an_interruption_leaves_nothing(cli, picture, tmp_path, monkeypatch):
    def interrupted(self, n, outputs, quantiles, *, preview):
        yield Progress(1, 10, "")
        raise KeyboardInterrupt

    monkeypatch.setattr(Posterior, "stream", interrupted)
    before = names(tmp_path)
    done = cli("upscale", picture, tmp_path / "o.ome.tif", *TINY)
    assert done.status == 130
    assert "half-written" in done.err
    assert names(tmp_path) == before


@pytest.mark.skipif(sys.platform == "win32", reason="signals differ on Windows")
def test_a_real_interruption_ends_with_130(picture, tmp_path):
    pixels = np.random.default_rng(0).integers(0, 255, (2000, 2000), np.uint8)
    np.save(tmp_path / "large.npy", pixels)  # work for minutes, memory for 1 GB
    out = tmp_path / "o.ome.tif"
    process = subprocess.Popen(
        [sys.executable, "-m", "napari_flowsr", "upscale", tmp_path / "large.npy", out,
         *TINY, "-n", "50", "--tile", "64"],
        stderr=subprocess.PIPE, stdout=subprocess.PIPE, text=True,
        env={**os.environ, "OMP_NUM_THREADS": "1"},
    )  # fmt: skip
    try:
        while process.poll() is None:
            time.sleep(0.2)
            # Past the imports, by the work done: a busy machine takes longer.
            if psutil.Process(process.pid).cpu_times().user > 12:
                break
        assert process.poll() is None, process.communicate()
        process.send_signal(signal.SIGINT)
        _, err = process.communicate(timeout=60)
    finally:
        process.kill()
    assert process.returncode == 130, err
    assert "Traceback" not in err
    assert sorted(p.name for p in tmp_path.iterdir()) == [
        "cell.ome.tif", "home", "large.npy",
    ]  # fmt: skip


@pytest.mark.skipif(sys.platform == "win32", reason="signals differ on Windows")
def test_an_interruption_amid_an_import_ends_with_130_too(tmp_path):
    # Dataclasses and named tuples are made by exec of text.
    (tmp_path / "interrupted.py").write_text(
        "import sys\n"
        "from napari_flowsr.cli import app\n"
        "app.app = lambda **_: exec('raise KeyboardInterrupt')\n"
        "sys.exit(app.run([]))\n"
    )
    done = subprocess.run(
        [sys.executable, "-m", "interrupted"], cwd=tmp_path, capture_output=True,
        text=True, check=False,
    )  # fmt: skip
    assert done.returncode == 130, done.stderr
    assert "half-written" in done.stderr


# --- batch --------------------------------------------------------------------


@pytest.fixture
def folder(picture, tmp_path) -> Path:
    """Two good images, one of them deeper, a bad one, and a file of another kind."""
    source = tmp_path / "raw"
    (source / "day 2").mkdir(parents=True)
    picture.rename(source / "a.ome.tif")
    write_image(source / "day 2" / "c.png", np.eye(10, dtype=np.uint8) * 100)
    (source / "b.tif").write_bytes(b"II*\0 no image")
    (source / "notes.txt").write_text("text")
    return source


def test_batch_goes_on_after_a_bad_file(cli, folder, tmp_path):
    out = tmp_path / "out"
    done = cli("batch", folder, out, "-r", *TINY, "--outputs", "mean", "--json")
    assert done.status == 2
    found = done.json
    assert [Path(row["input"]).name for row in found["done"]] == ["a.ome.tif", "c.png"]
    assert [Path(row["input"]).name for row in found["failed"]] == ["b.tif"]
    assert "TIFF" in found["failed"][0]["error"]
    assert names(out) == ["a-mean.ome.tif"]
    assert names(out / "day 2") == ["c-mean.ome.tif"]


def test_batch_leaves_out_what_is_done(cli, folder, tmp_path):
    (folder / "b.tif").unlink()
    out = tmp_path / "out"
    assert cli("batch", folder, out, *TINY).status == 0
    made = (out / "a-samples.ome.tif").stat().st_mtime_ns
    again = cli("batch", folder, out, *TINY, "--resume", "--json")
    assert again.status == 0
    assert len(again.json["skipped"]) == 1
    assert (out / "a-samples.ome.tif").stat().st_mtime_ns == made
    assert cli("batch", folder, out, *TINY).status == 2


def test_batch_refuses_names_that_would_collide(cli, folder, tmp_path):
    write_image(folder / "a.png", np.zeros((5, 5), np.uint8))
    done = cli("batch", folder, tmp_path / "out", *TINY)
    assert done.status == 2
    assert "both" in done.err


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["{tmp}/none", "{tmp}/o"], "no folder"),
        (["{raw}", "{tmp}/o", "--pattern", "*.jpg"], "No image"),
        (["{raw}", "{tmp}/o", "--format", "bmp"], "--format"),
    ],
)
def test_batch_says_what_is_wrong(cli, folder, tmp_path, arguments, said):
    filled = [a.format(tmp=tmp_path, raw=folder) for a in arguments]
    done = cli("batch", *filled, *TINY)
    assert done.status == 2
    assert said in done.err


@pytest.mark.parametrize(("psnr", "warned"), [([39.0, 60.0], True), ([41.0], False)])
def test_a_bad_agreement_with_the_input_is_told(capsys, psnr, warned):
    facts = {
        "input": "a.tif",
        "input_shape": [2, 2],
        "output_shape": [4, 4],
        "axes": "YX",
        "n": 2,
        "seconds": 1.0,
        "outputs": [],
        "report": {"lr_psnr": psnr},
    }
    describe(facts)
    assert ("do not agree well with the input" in capsys.readouterr().out) is warned


# --- where there is no spread ---------------------------------------------------


@pytest.mark.parametrize("outputs", ["std", "mean,quantiles"])
def test_the_spread_of_one_sample_is_refused(cli, picture, tmp_path, outputs):
    done = cli("upscale", picture, *TINY, "-n", 1, "--outputs", outputs)
    assert done.status == 2
    assert "--samples 1; one sample has no spread" in done.err
    assert names(tmp_path) == ["cell.ome.tif"]
    assert cli("upscale", picture, *TINY, "-n", 1, "--outputs", "mean").status == 0


def test_the_spread_of_a_deterministic_model_is_refused(cli, picture, tmp_path):
    models = (c.values[0].model() for c in CASES)
    model = next(m for m in models if m.flow.deterministic and m.flow.channels == 1)
    file = tmp_path / "one.safetensors"
    save_model(file, model.flow, model.card)
    for command in (("upscale", picture), ("batch", tmp_path, tmp_path / "out")):
        done = cli(*command, "-m", file, "--device", "cpu", "--outputs", "std")
        assert done.status == 2
        assert "no spread, which is no sign of certainty" in done.err
        assert not list(tmp_path.rglob("*-std*"))


def test_no_spread_at_temperature_zero_is_told(cli, picture, tmp_path):
    done = cli("upscale", picture, *TINY, "-n", 2, "-t", 0, "--outputs", "std")
    assert done.status == 0, done.err
    assert "Warning: At temperature 0 all samples are the same" in done.err
    done = cli("upscale", picture, *TINY, "-n", 2, "-t", 0, "-d", tmp_path / "b")
    assert "temperature 0" not in done.err


# --- any scale, learned priors --------------------------------------------------


@pytest.fixture
def linf(tmp_path) -> Path:
    """A model of any scale, three channels, 3 x 3 patches."""
    (case,) = next(c.values for c in CASES if c.id == "linf-1")
    model = case.model()
    save_model(tmp_path / "linf.safetensors", model.flow, model.card)
    return tmp_path / "linf.safetensors"


def test_the_pixel_size_of_the_result_may_be_given(cli, picture, linf, tmp_path):
    out = tmp_path / "out.ome.tif"
    common = ("upscale", picture, "-o", out, "-m", linf, "--device", "cpu")
    done = cli(*common, "--target-pixel-size", 0.08)
    assert done.status == 0, done.err
    back = read_image(out)
    height, width = (round(side * 2.5) for side in read_image(picture).data.shape)
    assert back.data.shape == (height, width)
    assert back.pixel_size["Y"] == pytest.approx(0.08, rel=0.02)
    for extra, say in (
        (("--target-pixel-size", 0.08, "--scale", 2), "not both"),
        (("--target-pixel-size", -1), "positive"),
        (("--target-pixel-size", 0.001), "1 to 32"),
        (("--scale", 0.5), "1 to 32"),
    ):
        refused = cli(*common, *extra, "--overwrite")
        assert refused.status == 2
        assert say in refused.err
    tifffile.imwrite(tmp_path / "bare.tif", np.zeros((5, 5), np.uint8))
    bare = cli("upscale", tmp_path / "bare.tif", "-m", linf, "--target-pixel-size", 1)
    assert bare.status == 2
    assert "--pixel-size" in bare.err


def test_a_learned_prior_may_be_given(cli, picture, linf, tmp_path):
    config = LearnedPriorConfig("patch", (27,), dim=4, depth=2)
    state = build_prior(config).state_dict()
    names = {name: name.removeprefix("generator.") for name in state}
    save_file({names[k]: v for k, v in state.items()}, tmp_path / "lp.safetensors")
    out = tmp_path / "out.ome.tif"
    common = ("upscale", picture, "-o", out, "-m", linf, "--device", "cpu")
    done = cli(*common, "--prior-model", tmp_path / "lp.safetensors", "-n", 2)
    assert done.status == 0, done.err
    back = read_image(out)
    np.testing.assert_array_equal(*back.data)
    missing = cli(*common, "--prior", "learned", "--overwrite")
    assert missing.status == 2
    assert "--prior-model" in missing.err
    # Imported under a name, the script of the result finds it again.
    import_prior(tmp_path / "lp.safetensors")
    image = read_image(picture).data
    model = flowsr.load_model(linf, device="cpu", prior="lp")
    post = flowsr.posterior(image, model, prior="learned", device="cpu")
    expected = post.sample(1)[0]
    np.testing.assert_allclose(back.data[0], expected, atol=1)
    script = flowsr.provenance_script(post.provenance("sample"))
    (tmp_path / "remake.py").write_text(script, "utf-8")
    remake = runpy.run_path(str(tmp_path / "remake.py"))["remake"]
    np.testing.assert_array_equal(remake(image, model=linf, device="cpu"), expected)
