"""Volumes plane by plane: the pixels of the whole, whatever happens meanwhile."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

import napari_flowsr as flowsr
from napari_flowsr.core.interrupt import interruptible
from napari_flowsr.errors import Cancelled, ExportError, OptionError
from napari_flowsr.io.images import open_image, read_image, write_image
from napari_flowsr.jobs import schedule, volume
from napari_flowsr.jobs.run import run_files
from napari_flowsr.jobs.schedule import Task, run_tasks
from napari_flowsr.jobs.volume import Volume

pytest.importorskip("zarr")


def targets_of(order, folder: Path) -> dict[str, Path]:
    return {kind: folder / f"out-{kind}.ome.zarr" for kind in order.kinds}


@pytest.fixture
def expected(order, stack):
    """What the whole gives at once."""
    image = read_image(stack)
    post = flowsr.posterior(image.data, order.load(), axes=image.axes, **order.options)
    return list(post.stream(order.n, order.outputs, preview=False))[-1].result


def check(targets, order, expected) -> None:
    for kind, array in order.arrays(expected):
        back = read_image(targets[kind])
        if kind == "samples":
            array = np.moveaxis(
                array, 0, 1
            )  # sample 0 with its channels, sample 1, ...
            array = array.reshape(3, -1, *array.shape[-2:])
        assert back.axes == "CZYX"
        np.testing.assert_array_equal(back.data, np.swapaxes(array, 0, 1))
        assert back.pixel_size == pytest.approx({"Z": 1.0, "Y": 0.1, "X": 0.1})


def test_planes_alone_are_planes_of_the_whole(order, stack, tmp_path, expected):
    targets = targets_of(order, tmp_path)
    (outcome,) = run_files({stack: targets}, order)
    assert outcome.error == ""
    check(targets, order, expected)
    report = outcome.facts["report"]
    assert report["planes"] == 6
    assert report["lr_psnr"] == pytest.approx(expected.report["lr_psnr"], abs=0.01)
    record = read_image(targets["mean"]).metadata["napari-flowsr"]
    assert record["report"]["planes"] == 6
    assert record["n"] == 2
    names = sorted(p.name for p in tmp_path.iterdir())
    assert not [name for name in names if "partial" in name]
    again = list(run_files({stack: targets}, order, resume=True))
    assert again[0].skipped
    assert "exists already" in next(iter(run_files({stack: targets}, order))).error


@pytest.mark.parametrize("name", ["a.ome.tif", "a.ome.zarr"])
@pytest.mark.parametrize("axes", ["TCYX", "ZYXS"])
def test_files_are_read_when_they_are_used(tmp_path, name, axes):
    shape = (2, 3, 9, 11) if axes == "TCYX" else (2, 9, 11, 3)
    data = np.random.default_rng(0).integers(0, 255, shape, np.uint8)
    write_image(tmp_path / name, data, axes=axes)
    whole, unread = read_image(tmp_path / name), open_image(tmp_path / name)
    assert hasattr(unread.data, "__dask_graph__")
    assert (whole.axes, whole.pixel_size) == (unread.axes, unread.pixel_size)
    np.testing.assert_array_equal(np.asarray(unread.data), whole.data)


@pytest.mark.parametrize("axes", ["XY", "YXS", "TYXS", "XYZ"])
def test_any_order_of_axes(order, tmp_path, axes):
    rng = np.random.default_rng(1)
    shape = tuple({"X": 14, "Y": 11, "S": 3, "T": 2, "Z": 2}[a] for a in axes)
    data = rng.integers(0, 255, shape, np.uint8)
    np.save(tmp_path / "a.npy", data)
    order = replace(order, outputs=("mean",), options={**order.options, "axes": axes})
    targets = {"mean": tmp_path / "o.ome.zarr"}
    (outcome,) = run_files({tmp_path / "a.npy": targets}, order)
    assert outcome.error == ""
    mean = flowsr.posterior(data, order.load(), **order.options).mean(2)
    back = read_image(targets["mean"])
    got = np.transpose(back.data, [back.axes.index(a) for a in axes])
    np.testing.assert_array_equal(got, mean)


def test_pixels_without_a_value_are_filled_alike(order, tmp_path):
    data = np.random.default_rng(1).random((2, 12, 12), np.float32)
    data[1, 3:8, 4:9] = np.nan
    np.save(tmp_path / "a.npy", data)
    options = {**order.options, "axes": "ZYX"}
    order = replace(order, outputs=("mean",), options=options)
    plan = {tmp_path / "a.npy": {"mean": tmp_path / "o.ome.zarr"}}
    (outcome,) = run_files(plan, order)
    assert "NaN" in outcome.error
    order = replace(order, options={**options, "nan": "fill"})
    (outcome,) = run_files(plan, order)
    assert outcome.facts["report"]["filled_pixels"] == 25
    mean = flowsr.posterior(data, order.load(), **order.options).mean(2)
    np.testing.assert_array_equal(read_image(tmp_path / "o.ome.zarr").data, mean)


# --- begun again ------------------------------------------------------------------


def test_what_is_there_is_not_done_again(order, stack, tmp_path, expected):
    targets = targets_of(order, tmp_path)
    first = Volume(stack, targets, order)
    tasks = first.begin()
    assert len(tasks) == 6
    for task in tasks[1:4]:
        task.function(*task.arguments)
    with pytest.raises(ExportError, match="3 of 6 planes"):
        first.finish()
    assert not any(path.exists() for path in targets.values())
    second = Volume(stack, targets, order)
    left = second.begin()
    assert [t.name for t in left] == [tasks[i].name for i in (0, 4, 5)]
    for task in (*left, left[0]):  # twice does no harm
        task.function(*task.arguments)
    second.finish()
    check(targets, order, expected)


def test_what_was_begun_otherwise_is_not_mixed_with(order, stack, tmp_path, expected):
    targets = targets_of(order, tmp_path)
    begun = Volume(stack, targets, order)
    task = begun.begin()[0]
    task.function(*task.arguments)
    other = replace(order, options={**order.options, "seed": 5})
    (outcome,) = run_files({stack: targets}, other)
    assert "begun with another order" in outcome.error
    (outcome,) = run_files({stack: targets}, order, overwrite=True)  # afresh
    assert outcome.error == ""
    check(targets, order, expected)


def test_killed_and_begun_again(order, stack, tmp_path, expected):
    """A real process, killed when some planes are complete and others are not."""
    command = [
        sys.executable, "-m", "napari_flowsr", "batch", tmp_path, tmp_path / "o",
        "--pattern", "*.ome.tif", "--format", "ome.zarr", "-m", order.model, "-n", "2",
        "--outputs", ",".join(order.outputs), "--seed", "4", "--device", "cpu",
    ]  # fmt: skip
    process = subprocess.Popen(
        command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
    )
    done = tmp_path / "o" / f".{stack.name}.napari-flowsr-partial" / "done"
    try:
        while process.poll() is None and not list(done.glob("[0-9]*")):
            time.sleep(0.005)
    finally:
        process.kill()
        process.wait()
    again = subprocess.run(command, capture_output=True, text=True, check=False)
    # It may have been faster than this test, and be complete.
    assert again.returncode == 0 or "exists already" in again.stderr, again.stderr
    targets = {kind: tmp_path / "o" / f"stack-{kind}.ome.zarr" for kind in order.kinds}
    check(targets, order, expected)
    assert sorted(p.name for p in (tmp_path / "o").iterdir()) == sorted(
        path.name for path in targets.values()
    )


# --- failures ---------------------------------------------------------------------


def test_a_plane_that_fails_is_tried_again_then_told(
    order, stack, tmp_path, expected, monkeypatch
):
    targets, tries = targets_of(order, tmp_path), []
    compute = volume.compute_plane

    def flaky(folder, number, progress, healed=3):
        tries.append(number)
        if number == 2 and tries.count(2) < healed:
            raise RuntimeError("the network drive went away")
        return compute(folder, number, progress)

    monkeypatch.setattr(volume, "compute_plane", flaky)
    (outcome,) = run_files({stack: targets}, order)
    assert outcome.error == ""
    assert tries.count(2) == 3
    check(targets, order, expected)
    tries.clear()
    monkeypatch.setattr(volume, "compute_plane", lambda *at: flaky(*at, healed=99))
    (outcome,) = run_files({stack: targets}, order, overwrite=True)
    assert "plane 2: RuntimeError: the network drive went away" in outcome.error
    assert tries.count(2) == schedule.ATTEMPTS
    assert sorted(set(tries)) == list(range(6))  # the others were done
    monkeypatch.setattr(volume, "compute_plane", compute)
    (outcome,) = run_files({stack: targets}, order, resume=False, overwrite=False)
    assert "exists already" in outcome.error


def test_bad_input_is_not_tried_again():
    tries = []

    def bad():
        tries.append(1)
        raise OptionError("no")

    (outcome,) = run_tasks([Task("a", bad)])
    assert (outcome.error, len(tries)) == ("no", 1)


def test_stopping_leaves_what_is_complete(order, stack, tmp_path, expected):
    targets = targets_of(order, tmp_path)
    told = []

    def stop():
        return len(told) >= 2

    with pytest.raises(Cancelled, match="goes on"):
        list(
            run_files(
                {stack: targets},
                order,
                progress=lambda _, done, total: told.extend(
                    {6 * done // total} - {0, *told}
                ),
                cancelled=stop,
            )
        )
    assert told == [1, 2]
    assert not any(path.exists() for path in targets.values())
    (outcome,) = run_files({stack: targets}, order)
    assert outcome.error == ""
    check(targets, order, expected)


def test_tiles_are_told_within_a_plane(order, stack, tmp_path):
    options = {**order.options, "tile": 8}
    order = replace(order, outputs=("mean",), options=options)
    targets, told = targets_of(order, tmp_path), []
    begun = Volume(stack, targets, order)
    task = begun.begin()[0]
    task.function(*task.arguments)
    (outcome,) = run_files(
        {stack: targets}, order, progress=lambda _, *at: told.append(at)
    )
    assert outcome.error == ""
    # A plane was there; the others have 3 x 3 tiles of 2 samples each.
    assert told[0] == (1, 6)
    assert {total for _, total in told[1:]} == {6 * 18}
    done = [done for done, _ in told[1:]]
    assert done == sorted(done)
    assert len(set(done)) >= 5 * 9
    assert done[-1] == 6 * 18


def test_stopping_acts_within_a_tile(order, stack, tmp_path, monkeypatch):
    """Not after it: tiles of large networks take minutes."""
    from napari_flowsr.models.compact import Compact

    targets, begun, ended = targets_of(order, tmp_path), [], []
    decode = Compact.decode

    def watched(self, *args):
        begun.append(1)
        out = decode(self, *args)
        ended.append(1)
        return out

    monkeypatch.setattr(Compact, "decode", watched)
    with pytest.raises(Cancelled):
        list(run_files({stack: targets}, order, cancelled=lambda: bool(begun)))
    assert (len(begun), len(ended)) == (1, 0)


def test_stopping_acts_while_images_are_read_and_written(order, stack, tmp_path):
    """Large ones take minutes, in which no network is at work."""
    image, model = open_image(stack), order.load()
    with interruptible(lambda: True), pytest.raises(Cancelled):
        order.bind(image, model)
    before = sorted(tmp_path.iterdir())
    with interruptible(lambda: True), pytest.raises(Cancelled):
        write_image(tmp_path / "o.ome.zarr", np.zeros((4, 4), np.uint8))
    assert sorted(tmp_path.iterdir()) == before


# --- a cluster --------------------------------------------------------------------


@pytest.mark.slow
@pytest.mark.skipif(sys.platform == "win32", reason="signals differ on Windows")
@pytest.mark.filterwarnings("default")
def test_a_cluster_one_of_whose_workers_dies(order, stack, tmp_path, expected):
    distributed = pytest.importorskip("distributed")
    targets = targets_of(order, tmp_path)
    with distributed.LocalCluster(
        n_workers=2, threads_per_worker=1, dashboard_address=None,
        env={"OMP_NUM_THREADS": "1"},
    ) as cluster:  # fmt: skip
        victim = next(iter(cluster.workers.values())).pid
        killed = []

        def kill(*_):
            if not killed:
                killed.append(victim)
                os.kill(victim, signal.SIGKILL)

        (outcome,) = run_files(
            {stack: targets},
            order,
            scheduler=cluster.scheduler_address,
            progress=kill,
        )
    assert killed
    assert outcome.error == ""
    check(targets, order, expected)


@pytest.mark.filterwarnings("default")
def test_a_scheduler_that_does_not_answer(order, stack, tmp_path, monkeypatch):
    pytest.importorskip("distributed")
    monkeypatch.setattr(schedule, "_PATIENCE", "0.5s")
    with pytest.raises(OptionError, match="does not answer"):
        list(
            run_files(
                {stack: targets_of(order, tmp_path)},
                order,
                scheduler="tcp://127.0.0.1:1",
            )
        )


def test_a_scheduler_needs_its_package(monkeypatch):
    monkeypatch.setitem(sys.modules, "distributed", None)
    with pytest.raises(OptionError, match=r"napari-flowsr\[distributed\]"):
        list(run_tasks([Task("a", print)], "tcp://127.0.0.1:1"))
