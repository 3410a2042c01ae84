"""The Models dock names files of its folder that cannot be used."""

from __future__ import annotations

import struct

import torch
from docks import tiny_file
from safetensors.torch import save_file

from napari_flowsr.widgets.models_dock import ModelsDock

_HEADER = b'{"a": {"dtype": "F32", "shape": [1], "data_offsets": 5}}'
DAMAGED = struct.pack("<Q", len(_HEADER)) + _HEADER + bytes(4)


def test_files_that_are_left_out_are_named(qtbot, tmp_path, monkeypatch):
    monkeypatch.setenv("NAPARI_FLOWSR_HOME", str(tmp_path))
    folder = tmp_path / "models"
    tiny_file(folder, "own")
    (folder / "notes.txt").write_text("not a model, and not meant as one")
    dock = ModelsDock()
    qtbot.addWidget(dock)
    label = dock.bar.left_out
    assert not label.isVisibleTo(dock)

    (folder / "broken.safetensors").write_bytes(DAMAGED)
    dock.refresh()
    assert label.isVisibleTo(dock)
    assert "1 file is in the folder, but not usable" in label.text()
    save_file({"a": torch.ones(1)}, folder / "foreign.safetensors")
    (folder / "published.pth").write_bytes(b"")
    tiny_file(folder, "micro-2x")

    again = ModelsDock()
    qtbot.addWidget(again)
    label = again.bar.left_out
    assert "4 files are" in label.text()
    reasons = dict(line.split(": ", 1) for line in label.toolTip().splitlines())
    assert "broken.safetensors" in reasons["broken.safetensors"]
    assert "not imported" in reasons["foreign.safetensors"]
    assert "not imported" in reasons["published.pth"]
    assert "built-in" in reasons["micro-2x.safetensors"]
    assert "own" in [entry.name for entry in again.models]
    for name in reasons:
        (folder / name).unlink()
    again.refresh()
    assert not label.isVisibleTo(again)
