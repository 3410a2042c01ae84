"""One image file: read, upscaled in memory, written."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from napari_flowsr.inference.events import Finished, Progress
from napari_flowsr.io.atomic import make_folder
from napari_flowsr.io.images import read_image, write_image

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping
    from pathlib import Path

    from napari_flowsr.jobs.order import Order

__all__ = ["upscale_file"]


def upscale_file(
    source: Path,
    targets: Mapping[str, Path],
    order: Order,
    overwrite: bool = False,
    progress: Callable[[int, int], object] | None = None,
) -> dict[str, Any]:
    """Upscale one file and write all its outputs; return the facts for people.

    Nothing is written before everything is computed.

    Parameters
    ----------
    source : Path
        Image file.
    targets : mapping
        File for each of ``order.kinds``.
    order : Order
        What is wanted.
    overwrite : bool
        Replace existing files.
    progress : callable, optional
        Called with what is done and all there is to do.
    """
    image = read_image(source)
    post = order.bind(image, order.load())
    for event in post.stream(order.n, order.outputs, order.quantiles, preview=False):
        if isinstance(event, Progress) and progress is not None:
            progress(event.done, event.total)
        elif isinstance(event, Finished):
            result = event.result
    written = []
    for kind, array in order.arrays(result):
        make_folder(targets[kind].parent)
        facts = order.facts(kind, image, post, source.name)
        paths = write_image(targets[kind], array, overwrite=overwrite, **facts)
        written += [{"kind": kind, "path": str(path)} for path in paths]
    return {
        "input": str(source),
        "input_shape": list(image.data.shape),
        "output_shape": list(post.geometry.output_shape),
        "axes": post.geometry.axes,
        "n": order.n,
        "outputs": written,
        "report": dict(result.report),
    }
