"""What the Batch tab computes and tells, apart from how it looks. No Qt."""

from __future__ import annotations

import os
import shlex
import subprocess
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from napari_flowsr.inference.agreement import disagreement
from napari_flowsr.inference.rescale_error import human_bytes
from napari_flowsr.jobs.order import Order
from napari_flowsr.jobs.outlook import Outlook, Sight, look
from napari_flowsr.jobs.plan import plan_folder
from napari_flowsr.jobs.run import FileOutcome, run_files
from napari_flowsr.widgets._batch_session import BatchSession

__all__ = ["BatchRequest", "Begun", "Pace", "Tally", "command", "doubts", "in_words"]

_PARTS = 10_000  # of progress, for a bar of whole numbers


@dataclass(frozen=True)
class Begun:
    """The run is about to begin: this is what it will do."""

    outlook: Outlook


class Pace:
    """How far a batch is, by the work that was left when it began.

    Parameters
    ----------
    work : mapping
        File to how much work it is.
    """

    def __init__(self, work: Mapping[Path, int]) -> None:
        self._work = {path: max(1, pixels) for path, pixels in work.items()}
        self._all = float(sum(self._work.values()))
        self._over = 0.0
        self._open: dict[Path, tuple[float, float]] = {}  # first told, and now

    def tell(self, path: Path, done: int, total: int) -> tuple[int, int]:
        """Take up how far a file is; what it had before this run does not count."""
        now = done / total if total else 0.0
        first, _ = self._open.get(path, (now, now))
        self._open[path] = first, now
        return self.state()

    def end(self, path: Path) -> tuple[int, int]:
        """Take up that a file is over, whatever became of it."""
        first, _ = self._open.pop(path, (0.0, 0.0))
        work = self._work.get(path, 0)
        self._over += work * (1 - first)
        self._all -= work * first
        return self.state()

    def state(self) -> tuple[int, int]:
        """Done and total, as for a bar."""
        before = done = 0.0
        for path, (first, now) in self._open.items():
            work = self._work.get(path, 0)
            before += work * first
            done += work * (now - first)
        total = self._all - before
        share = (self._over + done) / total if total > 0 else 1.0
        return round(_PARTS * min(1.0, share)), _PARTS


@dataclass
class Tally:
    """What became of the files."""

    done: list[FileOutcome] = field(default_factory=list)
    failed: list[FileOutcome] = field(default_factory=list)
    left_out: list[FileOutcome] = field(default_factory=list)

    def take(self, outcome: FileOutcome) -> None:
        """Count one."""
        kind = "left_out" if outcome.skipped else "failed" if outcome.error else "done"
        getattr(self, kind).append(outcome)

    def __str__(self) -> str:
        counts = len(self.done), len(self.failed), len(self.left_out)
        return "{} upscaled, {} failed, {} left out".format(*counts)


@dataclass(frozen=True)
class BatchRequest:
    """Everything a run needs, fixed when it starts.

    Parameters
    ----------
    source, target : Path
        Folder or image, and folder of the results.
    order : Order
        What is wanted of every file.
    choice : dict
        ``pattern``, ``recursive``, ``file_format`` of `jobs.plan.plan_folder`.
    resume, overwrite : bool
        As of `jobs.run.run_files`.
    scheduler : str or None
        As of `jobs.run.run_files`.
    scale : float or None
        That results will have, as far as it is known.
    known : dict
        Files that were looked at; see `jobs.outlook.look`.
    """

    source: Path
    target: Path
    order: Order
    choice: dict[str, Any]
    resume: bool
    overwrite: bool
    scheduler: str | None
    scale: float | None
    known: dict[tuple[Path, int, int], Sight]

    @classmethod
    def of(cls, session: BatchSession, known: dict[Any, Sight]) -> BatchRequest:
        """Snapshot of a session."""
        card = session.card()
        scale = session.scale
        if scale is None and card is not None:
            scale = card.scales[0]
        names = ("pattern", "recursive", "file_format")
        return cls(
            source=session.source_path,
            target=session.target_path,
            order=session.order,
            choice={name: getattr(session, name) for name in names},
            resume=session.existing == "keep",
            overwrite=session.existing == "replace",
            scheduler=session.scheduler or None,
            scale=scale,
            known=known,
        )

    def outlook(self) -> Outlook:
        """What would be done now."""
        plan = plan_folder(self.source, self.target, self.order.kinds, **self.choice)
        return look(
            plan,
            self.order,
            scale=self.scale,
            resume=self.resume,
            overwrite=self.overwrite,
            known=self.known,
        )

    def looked_at(self) -> Iterator[Outlook]:
        """Find out, in a worker thread, what would be done."""
        yield self.outlook()

    def events(
        self, report: Callable[[int, int, str], None], cancelled: Callable[[], bool]
    ) -> Iterator[Begun | FileOutcome]:
        """Do it, in a worker thread.

        Parameters
        ----------
        report : callable
            Called with done, total and words, often.
        cancelled : callable
            Asked often.
        """
        outlook = self.outlook()
        self.order.load()
        yield Begun(outlook)
        pace, over, count = Pace(outlook.work), 0, len(outlook.plan)
        unit = "tile" if self.scheduler is None else "part"

        def tell(path: Path, done: int, total: int) -> None:
            said = f"{path.name} (file {over + 1} of {count})"
            part = f", {unit} {done} of {total}" if done else ""
            report(*pace.tell(path, done, total), f"{said}{part}")

        for outcome in run_files(
            outlook.plan,
            self.order,
            scheduler=self.scheduler,
            resume=self.resume,
            overwrite=self.overwrite,
            progress=tell,
            cancelled=cancelled,
        ):
            over += 1
            pace.end(outcome.source)
            yield outcome


# --- in words -----------------------------------------------------------------


def doubts(outcome: FileOutcome) -> str:
    """What is to be known of results that were made, in short; mostly nothing."""
    report = outcome.facts.get("report", {})
    said = filter(None, [disagreement(report), *report.get("notices", ())])
    # The first sentence says what, the others what that means; the files have all.
    return " ".join(f"{text.partition('. ')[0].rstrip('.')}." for text in said)


def in_words(outlook: Outlook) -> str:
    """What will be done."""
    todo, parts = len(outlook.work), []
    if todo:
        planes = f"{_counted(outlook.planes, 'plane')} in {_counted(todo, 'image')}"
        begun = f", {outlook.begun} of them complete already" if outlook.begun else ""
        files = sum(len(outlook.plan[path]) for path in outlook.work)
        size = "" if outlook.size is None else f", up to {human_bytes(outlook.size)}"
        parts.append(
            f"{planes} to upscale{begun}; {_counted(files, 'result')}{size} "
            f"({human_bytes(outlook.free)} free)."
        )
    elif not outlook.bad:
        parts.append("Nothing is missing.")
    if outlook.left_out:
        have = "has its" if len(outlook.left_out) == 1 else "have their"
        done = _counted(len(outlook.left_out), "image")
        parts.append(f"{done} {have} results already.")
    if outlook.bad:
        names = ", ".join(path.name for path in list(outlook.bad)[:3])
        more = ", …" if len(outlook.bad) > 3 else ""
        parts.append(f"{len(outlook.bad)} cannot be read: {names}{more}.")
    return " ".join(parts)


def _counted(count: int, thing: str) -> str:
    return f"{count} {thing}{'' if count == 1 else 's'}"


def command(session: BatchSession) -> str:
    """The command that does the same in a shell."""
    paths = [str(p.absolute()) for p in (session.source_path, session.target_path)]
    given = ["napari-flowsr", "batch", *paths]
    given += ["-m", str(session.model), "-n", str(session.samples)]
    given += ["--outputs", ",".join(session.order.outputs)]
    given += ["--format", session.file_format, "--seed", str(session.seed)]
    given += ["--resume" if session.existing == "keep" else "--overwrite"]
    usual = BatchSession()
    for name, option in _OPTIONS.items():
        value = getattr(session, name)
        if value != getattr(usual, name):
            number = isinstance(value, float)
            given += [option, f"{value:.12g}" if number else str(value)]
    for name in ("recursive", "consistent"):
        given += [f"--{name}"] if getattr(session, name) else []
    if session.prior == "learned":
        given += ["--prior-model", str(session.prior_model)]
    if os.name == "nt":
        return subprocess.list2cmdline(given)
    return shlex.join(given)


_OPTIONS = {
    "pattern": "--pattern",
    "temperature": "--temperature",
    "scale": "--scale",
    "scheduler": "--scheduler",
    "prior": "--prior",
    "noise": "--noise",
    "tile": "--tile",
    "device": "--device",
    "nan": "--nan",
    "precision": "--precision",
    "pixel_size_um": "--pixel-size",
}
