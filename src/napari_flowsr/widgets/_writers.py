"""Writers of image layers for napari's Save dialog and ``layer.save``."""

from __future__ import annotations

from typing import Any

from napari_flowsr.errors import ExportError
from napari_flowsr.widgets._export import Export, file_names, named_targets, write_all

__all__ = ["write_layer", "write_layers"]


def write_layer(path: str, data: Any, meta: dict[str, Any]) -> list[str]:
    """Write one image layer (npe2's writer of one layer).

    Parameters
    ----------
    path : str
        ``.ome.tif``, ``.ome.tiff`` or ``.ome.zarr``; an existing file is replaced, as
        napari's dialog has asked.
    data, meta
        As napari gives them.

    Returns
    -------
    list of str
        The files.

    Raises
    ------
    ExportError
        The format cannot hold the layer, or the disk is full or read-only.
    """
    return [str(p) for p in Export.of(data, meta).write(path)]


def write_layers(
    path: str, layer_data: list[tuple[Any, dict[str, Any], str]]
) -> list[str]:
    """Write several image layers, a file each: ``name-LAYER.ome.tif``.

    Raises
    ------
    ExportError
        As `write_layer`; or one of these files, about which napari's dialog has not
        asked, exists already.
    """
    exports = [Export.of(data, meta) for data, meta, _ in layer_data]
    targets = named_targets(path, [export.name for export in exports])
    existing = [target for target in targets if target.exists()]
    if existing:
        raise ExportError(
            f"These files exist already: {file_names(existing)}. Several layers are "
            "written to a file each; choose another name, or remove them."
        )
    return [str(p) for p in write_all(exports, targets, overwrite=False)]
