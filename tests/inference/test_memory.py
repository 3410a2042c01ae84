from __future__ import annotations

import pytest
import torch

from napari_flowsr.core.device import resolve_device
from napari_flowsr.errors import DeviceError, OptionError
from napari_flowsr.inference import memory
from napari_flowsr.inference.memory import is_out_of_memory, plan_budget


def budget(model, monkeypatch, free, **options):
    monkeypatch.setattr(memory, "available_memory", lambda device: free)
    asked = {"scale": 2.0, "halo": 10, "tile": "auto", "samples": 8, **options}
    return plan_budget(model.flow, (5000, 4000), **asked)


def test_less_memory_means_smaller_tiles_then_smaller_batches(
    model, monkeypatch
) -> None:
    plans = [budget(model, monkeypatch, free) for free in (1e10, 2e7, 5e6, 1e5)]
    assert plans[0].tile == 256
    assert [p.tile for p in plans] == sorted((p.tile for p in plans), reverse=True)
    assert [p.batch for p in plans] == sorted((p.batch for p in plans), reverse=True)
    assert plans[-1].tile == 32
    assert plans[-1].batch == 1
    assert plans[2].peak_bytes <= 5e6


def test_quantiles_need_room_for_all_samples(model, monkeypatch) -> None:
    few, many = (
        budget(model, monkeypatch, 5e7, samples=n, keep=n).tile for n in (8, 500)
    )
    assert many < few


def test_a_given_tile_is_kept(model, monkeypatch) -> None:
    assert budget(model, monkeypatch, 1e5, tile=77).tile == 77
    assert budget(model, monkeypatch, 1e5, tile=77).batch == 1
    assert budget(model, monkeypatch, 1e5, tile=None).tile == 5000


def test_memory_of_this_machine_is_known() -> None:
    assert memory.available_memory(torch.device("cpu")) > 1 << 20


@pytest.mark.parametrize(
    ("error", "expected"),
    [
        (MemoryError(), True),
        (torch.OutOfMemoryError("x"), True),
        (
            RuntimeError("[enforce fail] DefaultCPUAllocator: can't allocate memory"),
            True,
        ),
        (RuntimeError("MPS backend out of memory"), True),
        (RuntimeError("size mismatch"), False),
        (ValueError("out of memory"), False),
    ],
)
def test_out_of_memory_is_recognised(error, expected) -> None:
    assert is_out_of_memory(error) is expected


# --- device -------------------------------------------------------------------


def test_cpu_by_name_and_automatically(monkeypatch) -> None:
    assert resolve_device("cpu")[0] == torch.device("cpu")
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    monkeypatch.setattr(torch.backends.mps, "is_available", lambda: False)
    device, reason = resolve_device("auto")
    assert device.type == "cpu"
    assert "GPU" in reason


def test_gpu_first(monkeypatch) -> None:
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 2)
    monkeypatch.setattr(torch.cuda, "get_device_name", lambda index: f"Card {index}")
    assert resolve_device("auto")[0] == torch.device("cuda:0")
    device, reason = resolve_device("cuda:1")
    assert device == torch.device("cuda:1")
    assert "Card 1" in reason
    assert resolve_device("cuda")[0] == torch.device("cuda:0")
    with pytest.raises(DeviceError, match="2 CUDA devices"):
        resolve_device("cuda:2")


def test_apple_gpu(monkeypatch) -> None:
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    monkeypatch.setattr(torch.backends.mps, "is_available", lambda: True)
    assert resolve_device("auto")[0].type == "mps"
    monkeypatch.setattr(torch.backends.mps, "is_available", lambda: False)
    with pytest.raises(DeviceError, match="mps"):
        resolve_device("mps")


@pytest.mark.parametrize("spec", ["gpu", "cuda:x", "meta", "", 3.5])
def test_unknown_devices(spec) -> None:
    with pytest.raises(DeviceError, match="'auto'"):
        resolve_device(spec)


@pytest.mark.parametrize(
    ("asked", "expected"),
    [("500MB", 500e6), ("2 GB", 2e9), ("1.5kB", 1500), ("700", 700), ("9999T", None)],
)
def test_the_memory_may_be_limited(monkeypatch, asked, expected):
    monkeypatch.setenv(memory.LIMIT, asked)
    free = memory.available_memory(torch.device("cpu"))
    assert free == expected if expected else free > 1e6


@pytest.mark.parametrize("asked", ["much", "0", "-1GB", "4 XB"])
def test_an_amount_that_is_none_is_refused(monkeypatch, asked):
    monkeypatch.setenv(memory.LIMIT, asked)
    with pytest.raises(OptionError, match="such as 4GB"):
        memory.free_memory()
