"""Pages of the Edit dock without the dock: runs in this thread, layers added."""

from __future__ import annotations

from napari.components import ViewerModel

from napari_flowsr.inference.events import Progress
from napari_flowsr.io.provenance import NAMESPACE
from napari_flowsr.widgets._edit_page import EditContext, NewLayers
from napari_flowsr.widgets._edit_session import EditSession
from napari_flowsr.widgets._edit_sources import Binding, Kept
from napari_flowsr.widgets._geometry import output_geometry, whole_box


class Driver:
    """A viewer with an LR image, samples of it as a stack, and a session for both."""

    def __init__(self, image, model, samples=3, **geometry):
        from napari_flowsr.inference.posterior import posterior

        self.viewer = ViewerModel()
        self.image = self.viewer.add_image(image, name="cells", **geometry)
        self.post = posterior(image, model, device="cpu")
        self.session = EditSession(image=self.image, model=model, device="cpu")
        drawn = self.post.sample(samples)
        self.stack = self._add_stack(drawn)
        self.session.target = self.stack
        self.kept = Kept()
        self.said = []

    def _add_stack(self, samples):
        placed = output_geometry(
            self.image, whole_box(self.image), samples.shape[1:], leading=("sample",)
        )
        placed["axis_labels"] = ("sample", *"zyx"[-self.image.ndim :])
        record = {"kind": "sample", "n": len(samples)}
        return self.viewer.add_image(
            samples, name="cells · samples", metadata={NAMESPACE: record}, **placed
        )

    def context(self):
        session = self.session
        binding = Binding(session, self.viewer.dims, self.kept, session.pairing())
        return EditContext(
            self.viewer, session, session.target, session.image, session.mask, binding
        )

    def run(self, page):
        """As the dock does; returns the layers that were added."""
        context = self.context()
        assert page.problems(context) == {}
        begin = page.prepare(context)
        context._binding.fix()
        added = []
        for event in begin():
            if isinstance(event, NewLayers):
                self.said.append(event.said)
                added += [
                    self.viewer.add_image(x.data, **x.options) for x in event.outputs
                ]
            elif not isinstance(event, Progress):
                page.show(event, context)
        return added
