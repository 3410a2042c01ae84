"""Where to download a model from: an address with its sum, or a file of the hub."""

from __future__ import annotations

from qtpy.QtCore import Signal
from qtpy.QtWidgets import (
    QFormLayout,
    QGroupBox,
    QHBoxLayout,
    QLineEdit,
    QPushButton,
    QWidget,
)

__all__ = ["DownloadForm"]


class DownloadForm(QGroupBox):
    """Two fields and two buttons; hidden until it is asked for."""

    asked = Signal(str, str)
    """Address and SHA-256, as typed."""

    def __init__(self, parent: QWidget | None = None) -> None:
        super().__init__("Download", parent)
        self.address = QLineEdit()
        self.address.setPlaceholderText("https://…  or  hub:owner/name/file")
        self.address.setToolTip(
            "Address of a model file, or hub:owner/name/path/of/file for a repository "
            "of the Hugging Face hub (needs the extra 'hub'). Nothing is fetched "
            "before you click Get."
        )
        self.sha256 = QLineEdit()
        self.sha256.setPlaceholderText("64 hexadecimal digits")
        self.sha256.setToolTip(
            "As the publisher of the file states it. Needed for https; the hub's files "
            "are those of their revision."
        )
        self.get = QPushButton("Get")
        self.close_ = QPushButton("Close")
        buttons = QHBoxLayout()
        buttons.addWidget(self.get, 2)
        buttons.addWidget(self.close_, 1)
        rows = QFormLayout(self)
        rows.setFieldGrowthPolicy(QFormLayout.FieldGrowthPolicy.AllNonFixedFieldsGrow)
        rows.addRow("From", self.address)
        rows.addRow("SHA-256", self.sha256)
        rows.addRow(buttons)
        self.get.clicked.connect(self._ask)
        self.address.returnPressed.connect(self._ask)
        self.close_.clicked.connect(self.hide)
        self.hide()

    def _ask(self) -> None:
        if self.get.isEnabled():
            self.asked.emit(self.address.text(), self.sha256.text())
