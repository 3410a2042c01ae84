"""What the Export dock asks and tells: format, file, replacement, pixel sizes."""

from __future__ import annotations

from importlib import metadata, util
from typing import Any

from qtpy.QtWidgets import QComboBox, QFileDialog, QMessageBox, QWidget

from napari_flowsr.errors import ExportError, OptionError
from napari_flowsr.io.images import WRITABLE, suffix
from napari_flowsr.widgets._export import Export, named_targets

__all__ = ["FormatBox", "ask_path", "may_write", "said_sizes", "why_no_zarr"]

_FORMATS = {".ome.tif": "OME-TIFF", ".png": "PNG", ".ome.zarr": "OME-Zarr"}


def why_no_zarr() -> str:
    """Reason why OME-Zarr cannot be written here; empty if it can."""
    remedy = "Install it with: pip install napari-flowsr[zarr]"
    if util.find_spec("zarr") is None:
        return f"OME-Zarr needs the package zarr, which is not installed. {remedy}"
    version = metadata.version("zarr")
    if int(version.partition(".")[0]) < 3:
        return f"OME-Zarr needs zarr 3; installed is {version}. {remedy}"
    return ""


class FormatBox(QComboBox):
    """Choice of the format; one that cannot be written here is greyed, with why."""

    def __init__(self) -> None:
        super().__init__()
        for kind, title in _FORMATS.items():
            self.addItem(f"{title} ({kind})", kind)
        if reason := why_no_zarr():
            row = self.findData(".ome.zarr")
            self.setItemText(row, "OME-Zarr (needs zarr 3)")
            model: Any = self.model()
            model.item(row).setEnabled(False)
            model.item(row).setToolTip(reason)
            self.setToolTip(reason)

    @property
    def kind(self) -> str:
        """Suffix of the format."""
        return str(self.currentData())

    @kind.setter
    def kind(self, value: str) -> None:
        if value not in _FORMATS:
            raise OptionError(
                f"The format is {value!r}; choose one of {', '.join(_FORMATS)}."
            )
        if value == ".ome.zarr" and (reason := why_no_zarr()):
            raise ExportError(reason)
        self.setCurrentIndex(self.findData(value))


def ask_path(parent: QWidget, exports: list[Export], kind: str) -> str:
    """Ask for a file (one layer) or a folder (several); empty if cancelled."""
    if len(exports) > 1:
        title = f"Folder for {len(exports)} files"
        return QFileDialog.getExistingDirectory(parent, title)
    path, _ = QFileDialog.getSaveFileName(
        parent,
        "Export",
        named_targets("", [exports[0].name], kind)[0].name,
        f"{_FORMATS[kind]} (*{kind})",
        options=QFileDialog.Option.DontConfirmOverwrite,
    )
    return path + kind if path and suffix(path) not in WRITABLE else path


def may_write(parent: QWidget, exports: list[Export], path: str, kind: str) -> bool:
    """Ask before files are replaced; True if there are none."""
    targets = named_targets(path, [export.name for export in exports], kind)
    files = [f for e, t in zip(exports, targets, strict=True) for f in e.files(t)]
    existing = [file.name for file in files if file.exists()]
    if not existing:
        return True
    question = "These exist already:\n" + "\n".join(existing)
    answer = QMessageBox.question(parent, "Replace files?", question)
    return bool(answer == QMessageBox.StandardButton.Yes)


def said_sizes(exports: list[Export]) -> str:
    """Pixel sizes that will be in the files, in words."""
    lines = []
    for export in exports:
        size = export.pixel_size
        edges = [f"{size[a]:.6g}" for a in "ZYX" if a in size]
        said = " × ".join(edges) + " µm" if edges else "no pixel size"
        # A size is not broken over two lines.
        said = said.replace(" ", "\N{NO-BREAK SPACE}") if edges else said
        lines.append(f"{export.name}: {said}")
    return "\n".join(lines)
