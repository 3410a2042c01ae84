"""Many runs of the docks, disturbed at random moments, and what is left behind.

    python benchmarks/soak.py [--runs 200] [--warm 40] [--every 20] [--seed 0] [--show]

A real viewer with the Upscale and the Edit dock, a cell image of 48 x 48, the model
micro-2x, two samples. Upscaling and re-sampling inside a mask take turns; a fixed seed
decides what disturbs each run, and when: a cancel, another mask, the image edited,
renamed, removed and put back, the dock closed and opened, an undo, a second run.

Every ``--every`` runs all results are removed, so that the state is the one of the
beginning, and what is there is counted: anonymous memory, layers, threads, widgets, Qt
objects, open files. Memory is that after ``malloc_trim``, where there is one: what the
allocator keeps for later is no leak. The exit status is 1 if memory grew by 5 % or
more after the warm-up, or anything else by one; but for the last column, objects that
napari 0.9.2 itself keeps: signals of each worker, five validators of each slider that
went, parts of the frame of each dock that was closed (``--napari`` shows that without
this package).
"""

from __future__ import annotations

import argparse
import contextlib
import ctypes
import gc
import os
import random
import sys
import tempfile
import threading
import time
from collections import Counter
from dataclasses import astuple, dataclass, fields
from pathlib import Path
from typing import Any

import numpy as np
import psutil

_SCRATCH = tempfile.TemporaryDirectory(prefix="flowsr-soak-")
os.environ.setdefault("NAPARI_CONFIG", str(Path(_SCRATCH.name, "settings.yaml")))
os.environ.setdefault("NAPARI_FLOWSR_HOME", str(Path(_SCRATCH.name, "flowsr")))

SIDE, MODEL, SAMPLES, PATIENCE = 48, "micro-2x", 2, 120.0
NEW_LAYERS = {"cells", "fine", "mask"}
GROWTH = 0.05


@dataclass(frozen=True)
class Count:
    """What there is at one moment."""

    run: int
    anonymous_mb: float
    layers: int
    all_layers: int
    """Living `Layer` objects, of any viewer or none."""
    threads: int
    """Python's, and napari's workers among them."""
    widgets: int
    """That Qt has."""
    own_objects: int
    """Of Qt, of classes of this package."""
    files: int
    qt_objects: int
    """That Python holds, with what napari keeps."""

    @classmethod
    def now(cls, run: int, viewer: Any) -> Count:
        from napari.layers import Layer
        from qtpy.QtCore import QObject
        from qtpy.QtWidgets import QApplication

        for _ in range(3):
            pump(0.2)
            gc.collect()
        with contextlib.suppress(OSError, AttributeError):
            ctypes.CDLL("libc.so.6").malloc_trim(0)
        found = gc.get_objects()
        objects = [x for x in found if issubclass(type(x), QObject)]
        process = psutil.Process()
        return cls(
            run,
            anonymous_mb(process),
            len(viewer.layers),
            sum(issubclass(type(x), Layer) for x in found),
            threading.active_count(),
            len(QApplication.allWidgets()),
            sum(type(x).__module__.startswith("napari_flowsr.") for x in objects),
            process.num_fds() if hasattr(process, "num_fds") else process.num_handles(),
            len(objects),
        )


def anonymous_mb(process: psutil.Process) -> float:
    """Memory that no file stands for, in MB."""
    status = Path("/proc/self/status")
    if status.exists():
        for line in status.read_text(encoding="ascii").splitlines():
            if line.startswith("RssAnon:"):
                return int(line.split()[1]) / 1024
    return float(process.memory_info().rss) / 2**20


def pump(seconds: float) -> None:
    """Let Qt work."""
    from qtpy.QtCore import QCoreApplication, QEvent
    from qtpy.QtWidgets import QApplication

    end = time.monotonic() + seconds
    while True:
        QApplication.processEvents()
        # Deleted only by an event loop of the same depth; a script has none.
        QCoreApplication.sendPostedEvents(None, QEvent.Type.DeferredDelete)
        if time.monotonic() >= end:
            return
        time.sleep(0.004)


class Soak:
    """A viewer with two docks, and what is done to them.

    Parameters
    ----------
    seed : int
        Of what is done when.
    show : bool
        Whether the window is shown.
    """

    def __init__(self, seed: int, *, show: bool = False) -> None:
        import napari

        y, x = np.mgrid[:SIDE, :SIDE]
        noise = np.random.default_rng(seed).normal(size=y.shape)
        wave = 120 + 60 * np.sin(y / 3) * np.cos(x / 4)
        self.pixels = (wave + 3 * noise).astype(np.uint8)
        self.random = random.Random(seed)
        self.viewer = napari.Viewer(show=show)
        self.docks: dict[str, tuple[Any, Any]] = {}
        self.told: Counter[str] = Counter()
        self.seconds = 1.0
        self.viewer.add_image(self.pixels.copy(), name="cells", scale=(0.5, 0.5))
        fine = np.kron(self.pixels, np.ones((2, 2), np.uint8))
        self.viewer.add_image(
            fine, name="fine", scale=(0.25, 0.25), translate=(-0.125, -0.125)
        )
        mask = np.zeros((2 * SIDE, 2 * SIDE), np.uint8)
        mask[30:50, 30:50] = 1
        self.viewer.add_labels(
            mask, name="mask", scale=(0.25, 0.25), translate=(-0.125, -0.125)
        )
        for name in ("Upscale", "Edit"):
            self.open(name)

    # --- the docks ----------------------------------------------------------------

    def open(self, name: str) -> None:
        """Open a dock, as from the menu."""
        window = self.viewer.window
        self.docks[name] = window.add_plugin_dock_widget("napari-flowsr", name)
        self.choose(name)

    def choose(self, name: str) -> Any:
        """Choose layers and options; return the widget."""
        widget, layers = self.docks[name][1], self.viewer.layers
        session = widget.session
        session.model, session.device, session.samples = MODEL, "cpu", SAMPLES
        session.image = layers["cells"]
        session.seed = self.random.randrange(1000)
        if name == "Edit":
            edited = [x for x in layers if "edited" in x.name]
            session.page = "Re-sample"
            session.target = edited[-1] if edited else layers["fine"]
            session.mask = layers["mask"]
        return widget

    def close(self, name: str) -> None:
        """Close a dock by its own button."""
        self.docks.pop(name)[0].destroyOnClose()

    # --- a run --------------------------------------------------------------------

    def run(self, name: str) -> str:
        """Run a dock, disturb it or not, wait for the end; return what was done."""
        widget = self.choose(name)
        kinds = [k for k in vars(type(self)) if k.startswith("_disturb_")]
        kind = self.random.choice([*kinds, *["_alone"] * len(kinds)])
        began = time.monotonic()
        worker = widget.run()
        if kind != "_alone":
            pump(self.random.uniform(0, 1.2 * self.seconds))
            getattr(self, kind)(name, widget)
        self.wait(lambda: worker.is_running or widget.is_running)
        if kind == "_alone":
            self.seconds = time.monotonic() - began
        self.restore()
        done = kind.rpartition("disturb_")[2].strip("_")
        self.told[done] += 1
        return done

    @staticmethod
    def wait(is_busy: Any) -> None:
        """Pump until it is over."""
        end = time.monotonic() + PATIENCE
        while is_busy():
            if time.monotonic() > end:
                raise SystemExit("A run did not end.")
            pump(0.01)
        pump(0.02)

    def _disturb_cancel(self, name: str, widget: Any) -> None:
        widget.cancel()

    def _disturb_image(self, name: str, widget: Any) -> None:
        layer = self.viewer.layers["cells"]
        layer.data[:10] = self.random.randrange(256)
        layer.refresh()

    def _disturb_other_data(self, name: str, widget: Any) -> None:
        self.viewer.layers["cells"].data = self.pixels[::-1].copy()

    def _disturb_mask(self, name: str, widget: Any) -> None:
        at = self.random.randrange(20, 70)
        self.viewer.layers["mask"].paint((at, at), 1)

    def _disturb_renamed(self, name: str, widget: Any) -> None:
        self.viewer.layers["cells"].name = "others"

    def _disturb_removed(self, name: str, widget: Any) -> None:
        self.viewer.layers.remove("cells")

    def _disturb_closed(self, name: str, widget: Any) -> None:
        self.close(name)

    def _disturb_second(self, name: str, widget: Any) -> None:
        from napari_flowsr.errors import OptionError

        other = self.choose("Edit" if name == "Upscale" else "Upscale")
        with contextlib.suppress(OptionError):
            other.run()

    def _disturb_undo(self, name: str, widget: Any) -> None:
        self.docks["Edit"][1].undo()

    # --- back to the beginning ----------------------------------------------------

    def restore(self) -> None:
        """Put back what a disturbance took away."""
        for name in ("Upscale", "Edit"):
            if name not in self.docks:
                self.open(name)
            widget = self.docks[name][1]
            self.wait(lambda widget=widget: widget.is_running)
        layers = self.viewer.layers
        if "others" in layers:
            layers["others"].name = "cells"
        if "cells" not in layers:
            self.viewer.add_image(self.pixels.copy(), name="cells", scale=(0.5, 0.5))
        layers["cells"].data = self.pixels.copy()
        # A person starts anew now and then.
        for layer in [x for x in layers if "edited" in x.name]:
            if self.random.random() < 0.1:
                layers.remove(layer)

    def clear(self) -> None:
        """Remove all results."""
        for layer in [x for x in self.viewer.layers if x.name not in NEW_LAYERS]:
            self.viewer.layers.remove(layer)
        mask = self.viewer.layers["mask"]
        mask.data = (np.indices(mask.data.shape).sum(0) % 97 == 0).astype(np.uint8)
        mask.data[30:50, 30:50] = 1
        for name in self.docks:
            self.choose(name)


def soak(
    runs: int, *, every: int, seed: int, show: bool = False
) -> tuple[list[Count], Counter[str]]:
    """Run; return the counts, and how often each disturbance was met."""
    from napari.settings import get_settings

    get_settings().application.gui_notification_level = "none"
    freeze()
    it = Soak(seed, show=show)
    counts = []
    try:
        for number in range(1, runs + 1):
            it.run("Upscale" if number % 2 else "Edit")
            if number % every == 0:
                it.clear()
                counts.append(Count.now(number, it.viewer))
                sys.stdout.write(row(counts[-1]))
                sys.stdout.flush()
    finally:
        it.viewer.close()
        pump(0.2)
    return counts, it.told


def freeze() -> None:
    """Leave what the modules hold out of each collection.

    napari collects all garbage whenever a layer is removed, which takes most of the
    time of a run as small as these.
    """
    import torch

    from napari_flowsr.widgets import edit_dock, upscale_dock  # noqa: F401

    torch.set_num_threads(1)
    gc.collect()
    gc.freeze()


def napari_alone() -> None:
    """Print which Qt objects napari keeps of workers, sliders and docks."""
    import napari
    from napari.qt.threading import create_worker
    from qtpy.QtCore import QObject
    from qtpy.QtWidgets import QLabel

    viewer = napari.Viewer(show=False)

    def work() -> Any:
        yield 1

    def worker() -> None:
        create_worker(work, _start_thread=True)
        pump(0.3)

    def slider() -> None:
        viewer.add_image(np.zeros((2, 8, 8)), name="deep")
        viewer.layers.remove("deep")

    def dock() -> None:
        viewer.window.add_dock_widget(QLabel(), name="dock").destroyOnClose()

    for make in (worker, slider, dock):
        before: Counter[str] = Counter()
        for _ in range(2):  # the first may leave something once
            kept = before
            for _ in range(5):
                make()
            pump(0.3)
            gc.collect()
            found = [x for x in gc.get_objects() if issubclass(type(x), QObject)]
            before = Counter(type(x).__name__ for x in found)
        left = {k: n - kept[k] for k, n in before.items() if n > kept[k]}
        sys.stdout.write(f"five of {make.__name__}: {left}\n")
    viewer.close()


def row(count: Count) -> str:
    """A line of the table."""
    return "| " + " | ".join(f"{x:g}" for x in astuple(count)) + " |\n"


def grown(first: Count, last: Count) -> list[str]:
    """What grew more than it may."""
    bad = []
    for field in fields(Count)[1:-1]:
        a, b = getattr(first, field.name), getattr(last, field.name)
        limit = a * (1 + GROWTH) if field.name == "anonymous_mb" else a
        if b > limit:
            bad.append(f"{field.name}: {a:g} after run {first.run}, {b:g} at the end")
    return bad


def main() -> int:
    """Print the table."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--runs", type=int, default=200)
    parser.add_argument("--warm", type=int, default=40)
    parser.add_argument("--every", type=int, default=20)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--show", action="store_true")
    parser.add_argument("--napari", action="store_true", help="napari alone")
    given = parser.parse_args()
    if given.napari:
        napari_alone()
        return 0
    names = [f.name for f in fields(Count)]
    sys.stdout.write(f"| {' | '.join(names)} |\n|{'---|' * len(names)}\n")
    began = time.monotonic()
    counts, told = soak(given.runs, every=given.every, seed=given.seed, show=given.show)
    first = next((c for c in counts if c.run >= given.warm), counts[0])
    bad = grown(first, counts[-1])
    growth = counts[-1].anonymous_mb / first.anonymous_mb - 1
    done = ", ".join(f"{k} {v}" for k, v in sorted(told.items()))
    sys.stdout.write(
        f"\n{given.runs} runs in {time.monotonic() - began:.0f} s: {done}.\n"
        f"Memory from run {first.run} to {counts[-1].run}: {growth:+.1%}.\n"
        + "".join(f"GROWN: {line}\n" for line in bad)
    )
    return 1 if bad else 0


if __name__ == "__main__":
    sys.exit(main())
