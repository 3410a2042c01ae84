"""Many files: what is there is left out, what fails is told, the rest goes on."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Any

from napari_flowsr.errors import Cancelled, FlowSRError
from napari_flowsr.jobs.files import upscale_file
from napari_flowsr.jobs.order import Order
from napari_flowsr.jobs.plan import check_targets, exists
from napari_flowsr.jobs.schedule import Outcome, Task, run_tasks
from napari_flowsr.jobs.volume import Volume

__all__ = ["FileOutcome", "run_files"]

Tell = Callable[[Path, int, int], object]


@dataclass(frozen=True)
class FileOutcome:
    """What became of a file.

    Parameters
    ----------
    source : Path
        The file.
    facts : dict
        Of what was made of it; empty if nothing was.
    error : str
        Why it failed; else empty.
    """

    source: Path
    facts: dict[str, Any] = field(default_factory=dict)
    error: str = ""

    @property
    def skipped(self) -> bool:
        """Whether it was left out, for its results were there."""
        return not (self.facts or self.error)


@dataclass
class _File:
    """A file at work."""

    source: Path
    files: Mapping[str, Path]
    order: Order
    overwrite: bool
    tell: Tell
    volume: Volume | None = None
    facts: dict[str, Any] = field(default_factory=dict)
    total: int = 1
    errors: list[str] = field(default_factory=list)
    left: int = 0
    tiles: int = 1

    def begin(self, *, here: bool, afresh: bool) -> list[Task]:
        """Say what is to be done."""
        check_targets(self.files, overwrite=self.overwrite)
        if all(path.suffix == ".zarr" for path in self.files.values()):
            self.volume = Volume(self.source, self.files, self.order)
            tell_plane = self._tell_plane if here else None
            tasks = self.volume.begin(afresh=afresh, progress=tell_plane)
            self.total = self.volume.planes
        else:
            tell = partial(self.tell, self.source) if here else None
            arguments = self.source, self.files, self.order, self.overwrite, tell
            tasks = [Task(self.source.name, upscale_file, arguments)]
        self.left = len(tasks)
        if here:
            self._tell_planes()
        return tasks

    def _tell_plane(self, done: int, total: int) -> None:
        """Tell how far a plane is, as part of the whole file."""
        # Planes are of one size. A last tile is told when the plane is written, too.
        self.tiles = total
        complete = self.total - self.left
        self.tell(self.source, complete * total + done, self.total * total)

    def _tell_planes(self) -> None:
        complete = self.total - self.left
        self.tell(self.source, complete * self.tiles, self.total * self.tiles)

    def take(self, outcome: Outcome) -> None:
        """Note what became of a task."""
        self.left -= 1
        if outcome.error:
            self.errors.append(f"{outcome.task.name}: {outcome.error}")
        elif self.volume is None:
            self.facts = outcome.value
        else:
            self._tell_planes()

    def end(self) -> FileOutcome:
        """Write what is complete."""
        if self.errors:
            return FileOutcome(self.source, error=" ".join(self.errors))
        if self.volume is not None:
            self.facts = self.volume.finish(overwrite=self.overwrite)
        return FileOutcome(self.source, self.facts)


def run_files(
    plan: Mapping[Path, Mapping[str, Path]],
    order: Order,
    *,
    scheduler: str | None = None,
    resume: bool = False,
    overwrite: bool = False,
    progress: Tell = lambda *_: None,
    cancelled: Callable[[], bool] = lambda: False,
) -> Iterator[FileOutcome]:
    """Upscale files, and tell of each when it is over.

    Results that are OME-Zarr are computed plane by plane, as `jobs.volume` tells, and
    what was begun of them goes on; others as whole files.

    Parameters
    ----------
    plan : mapping
        Image file to the file of each of ``order.kinds``.
    order : Order
        What is wanted.
    scheduler : str, optional
        As of `jobs.schedule.run_tasks`.
    resume : bool
        Leave out files all of whose results exist, and replace those of which some do.
    overwrite : bool
        Replace results, and begin volumes afresh.
    progress : callable
        Called with a file, what is done of it and all there is to do: in tiles of
        single samples where it is computed here, in planes on other machines. A file
        that is begun is told with what was done of it before.
    cancelled : callable
        Asked often, also amid a tile where it is computed here.

    Raises
    ------
    OptionError
        The scheduler does not answer.
    Cancelled
        ``cancelled()`` was true.
    """
    waiting: list[tuple[Task, _File]] = []
    for source, files in plan.items():
        if resume and all(exists(path) for path in files.values()):
            yield FileOutcome(source)
            continue
        file = _File(source, files, order, overwrite or resume, progress)
        try:
            own = file.begin(here=scheduler is None, afresh=overwrite and not resume)
            if not own:
                yield file.end()
                continue
        except Cancelled:
            raise
        except (FlowSRError, OSError) as error:
            yield FileOutcome(source, error=str(error))
            continue
        if scheduler is None:
            yield from _over([(task, file) for task in own], None, cancelled)
        else:
            waiting += [(task, file) for task in own]
    if waiting:
        yield from _over(waiting, scheduler, cancelled)


def _over(
    work: list[tuple[Task, _File]],
    scheduler: str | None,
    cancelled: Callable[[], bool],
) -> Iterator[FileOutcome]:
    """Run tasks; tell of each file whose last one is over."""
    owners = {id(task): file for task, file in work}
    tasks = [task for task, _ in work]
    for outcome in run_tasks(tasks, scheduler, cancelled=cancelled):
        file = owners[id(outcome.task)]
        file.take(outcome)
        if file.left == 0:
            try:
                yield file.end()
            except (FlowSRError, OSError) as error:
                yield FileOutcome(file.source, error=str(error))
