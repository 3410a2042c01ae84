"""Read damaged and invented files of every kind, and tell what came of it.

One valid file of each kind is made, then mutated (bits, cuts, splices, numbers in
headers, entries of the JSON in them) and read, again and again, with a limit of memory
and of time for each. Whatever is raised has to be a `FlowSRError`; a file that leads to
anything else is kept in a temporary folder, whose path is printed.

    python benchmarks/fuzz_files.py --minutes 10 --seed 0
"""

from __future__ import annotations

import argparse
import json
import logging
import random
import resource
import shutil
import signal
import struct
import sys
import tempfile
import time
import traceback
import warnings
import zlib
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import torch

import napari_flowsr as flowsr
from napari_flowsr.errors import FlowSRError
from napari_flowsr.inference.rescaled import load_latents, save_latents
from napari_flowsr.io.checkpoint import read_header, read_model, save_model
from napari_flowsr.io.flowsr_file import Edit, load_edit, save_edit
from napari_flowsr.io.images import open_image, read_image, write_image
from napari_flowsr.io.priors import read_prior
from napari_flowsr.io.provenance import provenance_script
from napari_flowsr.models._registry import build
from napari_flowsr.models.card import Model, ModelCard
from napari_flowsr.models.learned_prior import LearnedPriorConfig, build_prior
from napari_flowsr.models.rrdb import RRDBConfig, RRDBNet
from napari_flowsr.training.config import load_config

if TYPE_CHECKING:
    from types import FrameType

MEMORY = 4 << 30
SECONDS = 10


@dataclass(frozen=True)
class Kind:
    """A kind of file: how one is made, and what reads it."""

    name: str
    make: Callable[[Path], Path]
    read: Callable[[Path], Any]


# --- one valid file of each kind ----------------------------------------------------


def network(family: str, config: Any) -> Model:
    """A small untrained network."""
    torch.manual_seed(0)
    flow = build(family, config).eval()
    card = ModelCard("tiny", family, flow.scales, flow.channels, sha256="0" * 64)
    return Model(card, flow)


def tiny() -> Model:
    """Of a family of ours."""
    config = {"scale": 2, "width": 4, "blocks": 1, "steps": 1, "hidden": 4}
    return network("compact", config)


def small_pair() -> tuple[Any, Any]:
    """A small image and its latents."""
    config = {
        "scale": 4, "channels": 1, "width": 4, "blocks": (1, 1), "growth": 2,
        "steps": (2,), "conditional_steps": (1,), "hidden": 3, "conditional_hidden": 4,
    }  # fmt: skip
    model = network("hcflow-rescale", config)
    image = np.random.default_rng(0).integers(0, 255, (9, 14), np.uint8)
    return flowsr.rescale_down(image, model, bits=8)


def make_model(folder: Path) -> Path:
    """Ours, with its card."""
    model = tiny()
    save_model(folder / "m.safetensors", model.flow, model.card)
    return folder / "m.safetensors"


def make_published(folder: Path) -> Path:
    """A state dict as torch writes it, in an archive."""
    state = RRDBNet(RRDBConfig(scale=2, width=4, blocks=1, growth=2)).state_dict()
    state = {k.removeprefix("encoder."): v for k, v in state.items()}
    torch.save(state, folder / "m.pth")
    return folder / "m.pth"


def make_old(folder: Path) -> Path:
    """A state dict as older versions of torch wrote it, without an archive."""
    path = make_published(folder)
    torch.save(torch.load(path), path, _use_new_zipfile_serialization=False)
    return path


def make_prior(folder: Path) -> Path:
    """A learned prior's tensors under their published names."""
    config = LearnedPriorConfig("patch", level_channels=(27,), dim=4, depth=1)
    state = build_prior(config).state_dict()
    torch.save({k.removeprefix("generator."): v for k, v in state.items()},
               folder / "lp.pth")  # fmt: skip
    return folder / "lp.pth"


def make_own_prior(folder: Path) -> Path:
    """A learned prior that was trained here."""
    from napari_flowsr.io.priors import write_prior

    config = LearnedPriorConfig("patch", level_channels=(27,), dim=4, depth=1)
    path = folder / "lp.safetensors"
    write_prior(path, build_prior(config), licence="CC0", about={"steps": 3})
    return path


def make_edit(folder: Path) -> Path:
    """An edited image, with a map of temperature."""
    image = np.random.default_rng(0).random((6, 7)).astype(np.float32)
    post = flowsr.posterior(image, tiny(), temperature=np.full((6, 7), 0.5))
    edit = Edit(
        latents=post.encode(post.sample(1)[0]), image=image,
        record=post.provenance("edited", edits=[], hr_sha256="1" * 64),
        layer={"dtype": "float32", "name": "a", "placed": {"scale": [1.0, 1.0]}},
    )  # fmt: skip
    return save_edit(folder / "e.flowsr", edit)


def make_latents(folder: Path) -> Path:
    """Latents of a small image."""
    return save_latents(folder / "a.latents.safetensors", small_pair()[1])


def make_recipe(folder: Path) -> Path:
    """A training recipe."""
    path = folder / "recipe.toml"
    path.write_text(
        'family = "compact"\nseed = 3\ndegradation = "gaussian:sigma=1.5"\n'
        "[model]\nscale = 2\nwidth = 8\n[[stages]]\n"
        'name = "flow"\nsteps = 10\npatch = 8\nlosses = { nll = 1.0 }\n'
    )
    return path


def making_image(suffix: str) -> Callable[[Path], Path]:
    """Makes a small image, with the record that brings it back."""

    def make(folder: Path) -> Path:
        small, latents = small_pair()
        facts = {
            "tool": "rescale", "kind": "small", "model": "tiny", "family": "hcflow",
            "model_sha256": "0" * 64, "source_sha256": "1" * 64, "source_name": "a",
            "temperature": None, "seed": None, "detail_inferred": False,
            "rescaled": latents.about.facts(),
        }  # fmt: skip
        path = folder / f"small{suffix}"
        write_image(path, small, axes="YX", pixel_size=0.1, provenance=facts)
        return path

    return make


def make_packed_tiff(folder: Path) -> Path:
    """TIFF with packed strips, of several pages."""
    import tifffile

    pixels = np.random.default_rng(0).integers(0, 99, (3, 20, 31), np.uint16)
    how = {"compression": "zlib", "rowsperstrip": 5, "photometric": "minisblack"}
    tifffile.imwrite(folder / "p.tif", pixels, **how)
    return folder / "p.tif"


def make_jpeg(folder: Path) -> Path:
    """A photograph's format."""
    from skimage import io

    pixels = np.random.default_rng(0).integers(0, 255, (20, 30, 3), np.uint8)
    io.imsave(folder / "a.jpg", pixels, check_contrast=False)
    return folder / "a.jpg"


def make_npy(folder: Path) -> Path:
    """NumPy's own format."""
    np.save(folder / "a.npy", np.arange(42.0).reshape(6, 7))
    return folder / "a.npy"


# --- what reads them ----------------------------------------------------------------


def look_at_model(path: Path) -> None:
    """Header, then weights."""
    read_header(path)
    read_model(path)


def look_at_edit(path: Path) -> None:
    """All that does not need its model."""
    edit = load_edit(path)
    _ = edit.options
    provenance_script(edit.record)


def look_at_image(path: Path) -> None:
    """Pixels, pixels when they are used, and what brings them back."""
    from napari_flowsr.inference.rescale_record import record_of

    found = read_image(path)
    lazy = open_image(path).data
    np.asarray(lazy[tuple(slice(0, 4) for _ in lazy.shape)])
    record_of(found.metadata)
    if "napari-flowsr" in found.metadata:
        provenance_script(found.metadata)


KINDS = (
    Kind("model", make_model, look_at_model),
    Kind("published model", make_published, look_at_model),
    Kind("published model, old", make_old, look_at_model),
    Kind("published prior", make_prior, read_prior),
    Kind("prior", make_own_prior, read_prior),
    Kind("edited image", make_edit, look_at_edit),
    Kind("latents", make_latents, load_latents),
    Kind("recipe", make_recipe, load_config),
    Kind("PNG", making_image(".png"), look_at_image),
    Kind("OME-TIFF", making_image(".ome.tif"), look_at_image),
    Kind("packed TIFF", make_packed_tiff, look_at_image),
    Kind("OME-Zarr", making_image(".ome.zarr"), look_at_image),
    Kind("JPEG", make_jpeg, look_at_image),
    Kind("NPY", make_npy, look_at_image),
)


# --- mutations ----------------------------------------------------------------------

NUMBERS = (0, 1, -1, 2, 255, 65535, 2**31 - 1, 2**31, 2**32, 2**53, 2**63 - 1, -(2**63))
ODD: tuple[Any, ...] = (
    *NUMBERS, 10**13, 10**30, 1e308, float("inf"), float("nan"), 0.5, True, None, "",
    "../../x", "/etc/passwd", "x" * 5000, "\0", "1/0", "__import__('os')", "O", ">f8",
    [], {}, [[]], [1, 2], {"a": 1}, [0] * 70, ["a", None],
)  # fmt: skip
TOKENS = (b"\0\0\0\0", b"\xff\xff\xff\xff", b"\xff" * 8, b"\x7f\xff\xff\xff", b"PK\3\4",
          b"../", b"[" * 300, b"{" * 300, b"9" * 30, b"-1", b"1e999", b'"', b"NaN",
          b"\n", b"[[a]]\n", b"\x80\x02", b"R.")  # fmt: skip


def damaged(data: bytes, rng: random.Random) -> bytes:
    """Bytes with something changed, lost, doubled or put in."""
    out = bytearray(data)
    for _ in range(rng.choice((1, 1, 2, 4, 16))):
        # Headers are where the decisions are.
        at = rng.randrange(min(len(out), rng.choice((64, 1024, len(out) or 1))) or 1)
        count, how = rng.choice((1, 2, 4, 8, 100)), rng.randrange(7)
        if how == 0 and out:
            out[at % len(out)] ^= 1 << rng.randrange(8)
        elif how == 1:
            out[at : at + 1] = bytes([rng.randrange(256)])
        elif how == 2:
            del out[at : at + count]
        elif how == 3:
            out[at:at] = out[at : at + count]
        elif how == 4:
            token = rng.choice(TOKENS)
            out[at : at + (len(token) if rng.random() < 0.7 else 0)] = token
        elif how == 5 and rng.random() < 0.3:
            del out[rng.randrange(len(out) + 1) :]
        elif how == 6:
            value = rng.choice(NUMBERS) % 2 ** (8 * (size := rng.choice((2, 4, 8))))
            out[at : at + size] = value.to_bytes(size, rng.choice(("little", "big")))
    return bytes(out)


def changed(value: Any, rng: random.Random) -> Any:
    """JSON with an entry lost, replaced, renamed, or one deeper that is."""
    if isinstance(value, dict) and value and rng.random() < 0.95:
        key = rng.choice(list(value))
        how = rng.random()
        if how < 0.1:
            return {k: v for k, v in value.items() if k != key}
        if how < 0.15:
            return {**value, str(rng.choice(ODD)): value[key]}
        return {**value, key: changed(value[key], rng)}
    if isinstance(value, list) and value and rng.random() < 0.85:
        at = rng.randrange(len(value))
        how = rng.random()
        if how < 0.15:
            return value[:at] + value[at + 1 :]
        if how < 0.25:
            return [*value[:at], value[at], *value[at:]]
        return [*value[:at], changed(value[at], rng), *value[at + 1 :]]
    if isinstance(value, str) and value.startswith("{"):
        return json.dumps(changed(json.loads(value), rng))  # JSON within JSON
    if isinstance(value, int | float) and rng.random() < 0.3:
        return rng.choice((value + 1, value - 1, -value, value * 10**9, value / 3))
    if rng.random() < 0.03:
        return nested(rng.choice((50, 100, 900)))
    return rng.choice(ODD)


def nested(depth: int) -> Any:
    """A list in a list, and so on."""
    value: Any = 1
    for _ in range(depth):
        value = [value]
    return value


def with_json(path: Path, data: bytes, rng: random.Random) -> bytes:
    """The file with its JSON changed; that of PNG, safetensors and zarr is known."""
    if path.suffix in (".safetensors", ".flowsr"):
        length = struct.unpack("<Q", data[:8])[0]
        header = json.loads(data[8 : 8 + length])
        text = json.dumps(changed(header, rng)).encode()
        return struct.pack("<Q", len(text)) + text + data[8 + length :]
    if path.suffix == ".json":
        return json.dumps(changed(json.loads(data), rng)).encode()
    if path.suffix == ".png":
        return in_png(data, rng)
    if path.suffix == ".tif" and b'"json">{' in data:
        return in_ome_xml(data, rng)
    return damaged(data, rng)


def in_png(data: bytes, rng: random.Random) -> bytes:
    """Chunks changed, and their checksums right again."""
    out, at = [data[:8]], 8
    while at < len(data):
        length, kind = struct.unpack(">I4s", data[at : at + 8])
        body = data[at + 8 : at + 8 + length]
        at += length + 12
        mark, _, text = body.rpartition(b"\0")
        if kind == b"iTXt" and text.startswith(b"{") and rng.random() < 0.5:
            body = mark + b"\0" + json.dumps(changed(json.loads(text), rng)).encode()
        elif rng.random() < 0.15:
            body = damaged(body, rng)
        check = struct.pack(">I", zlib.crc32(kind + body))
        out.append(struct.pack(">I", len(body)) + kind + body + check)
    return b"".join(out)


def in_ome_xml(data: bytes, rng: random.Random) -> bytes:
    """The record in the description, as long as it was."""
    start = data.index(b'"json">{') + 7
    end = data.index(b"</M>", start)
    plain = data[start:end].replace(b"&quot;", b'"')
    try:
        text = json.dumps(changed(json.loads(plain), rng)).encode()
    except ValueError:
        text = damaged(plain, rng)
    return data[:start] + text[: end - start].ljust(end - start) + data[end:]


def mutated(good: Path, target: Path, rng: random.Random) -> None:
    """Write a mutation of a file, or of a file in a folder."""
    if good.is_dir():
        shutil.rmtree(target, ignore_errors=True)
        shutil.copytree(good, target)
        files = sorted(p for p in target.rglob("*") if p.is_file())
        one = rng.choice(files)
        one.write_bytes(mutation(one, one.read_bytes(), rng))
        return
    target.write_bytes(mutation(good, good.read_bytes(), rng))


def mutation(path: Path, data: bytes, rng: random.Random) -> bytes:
    """Content of a file with something changed."""
    return with_json(path, data, rng) if rng.random() < 0.5 else damaged(data, rng)


# --- running ------------------------------------------------------------------------


class TooSlow(BaseException):
    """A file takes longer than `SECONDS`; no reader may catch this."""


@contextmanager
def limited(memory: int, seconds: int) -> Iterator[None]:
    """Limit of memory beyond what is taken now, and of time."""
    before = resource.getrlimit(resource.RLIMIT_AS)
    with Path("/proc/self/statm").open() as file:
        taken = int(file.read().split()[0]) * resource.getpagesize()

    def late(_: int, __: FrameType | None) -> None:
        raise TooSlow

    signal.signal(signal.SIGPROF, late)
    resource.setrlimit(resource.RLIMIT_AS, (taken + memory, before[1]))
    # Of this process: other programs may keep the machine busy.
    signal.setitimer(signal.ITIMER_PROF, seconds)
    try:
        yield
    finally:
        signal.setitimer(signal.ITIMER_PROF, 0)
        resource.setrlimit(resource.RLIMIT_AS, before)


def outcome(kind: Kind, path: Path, seconds: int = SECONDS) -> str:
    """``read``, ``refused``, or the traceback of what else came of a file."""
    try:
        with warnings.catch_warnings(), limited(MEMORY, seconds):
            warnings.simplefilter("ignore")
            kind.read(path)
    except FlowSRError as error:
        return "refused" if len(str(error)) > 30 else f"says nothing: {error!r}"
    except (Exception, TooSlow):  # noqa: BLE001  what is looked for
        return traceback.format_exc()
    return "read"


def main() -> int:
    """Fuzz all kinds in turn for the time that was given."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--minutes", type=float, default=10.0)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--kind", action="append", choices=[k.name for k in KINDS])
    options = parser.parse_args()
    torch.set_num_threads(1)
    logging.disable()  # tifffile tells of each damaged tag
    folder = Path(tempfile.mkdtemp(prefix="flowsr-fuzz-"))
    kinds = [k for k in KINDS if not options.kind or k.name in options.kind]
    made = {}
    for kind in kinds:
        (folder / kind.name).mkdir()
        made[kind.name] = kind.make(folder / kind.name)
        if (found := outcome(kind, made[kind.name])) != "read":
            sys.exit(f"The valid file of the kind {kind.name} is not read:\n{found}")
    counts: dict[str, Counter[str]] = {kind.name: Counter() for kind in kinds}
    seen: set[str] = set()
    end, number = time.monotonic() + 60 * options.minutes, 0
    while time.monotonic() < end:
        kind = kinds[number % len(kinds)]
        good = made[kind.name]
        target = good.with_name(f"mutated-{good.name}")
        mutated(good, target, random.Random(f"{options.seed} {number}"))
        found = outcome(kind, target)
        known = found in ("read", "refused")
        counts[kind.name][found if known else "failed"] += 1
        signature = "\n".join(found.splitlines()[-3:])
        if not known and signature not in seen:
            seen.add(signature)
            kept = folder / f"failed-{number}-{good.name}"
            target.rename(kept)
            print(f"{kind.name}: {kept}\n{found}", flush=True)
        number += 1
    report(counts)
    return 1 if seen else 0


def report(counts: dict[str, Counter[str]]) -> None:
    """Print how many files were tried, per kind."""
    columns = ("read", "refused", "failed")
    print(f"{'kind':22}{'tried':>8}" + "".join(f"{c:>9}" for c in columns))
    total: Counter[str] = Counter()
    for name, found in [*counts.items(), ("all", total)]:
        cells = "".join(f"{found[c]:9}" for c in columns)
        print(f"{name:22}{found.total():8}{cells}")
        total.update(found)


if __name__ == "__main__":
    sys.exit(main())
