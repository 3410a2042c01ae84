"""Tasks run here one after the other, or on the workers of dask.distributed."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from importlib.util import find_spec
from typing import Any

from napari_flowsr.core.interrupt import interruptible
from napari_flowsr.errors import Cancelled, FlowSRError, OptionError

__all__ = ["ATTEMPTS", "Outcome", "Task", "check_scheduler", "run_tasks"]

ATTEMPTS = 3
"""How often a task is tried before it counts as failed."""
_PATIENCE = "10s"
"""With a scheduler that does not answer."""
_STOPPED = "The batch was stopped. Started again, it goes on."
_ASK = 0.5  # seconds between two looks at whether to stop


@dataclass(frozen=True)
class Task:
    """Something to do, on any machine: function and arguments can be pickled.

    Done twice, it must leave what it leaves when done once: workers die.
    """

    name: str
    function: Callable[..., Any]
    arguments: tuple[Any, ...] = ()


@dataclass(frozen=True)
class Outcome:
    """What became of a task: a value, or an error in words."""

    task: Task
    value: Any = None
    error: str = ""


def run_tasks(
    tasks: Sequence[Task],
    scheduler: str | None = None,
    *,
    cancelled: Callable[[], bool] = lambda: False,
) -> Iterator[Outcome]:
    """Run tasks and tell of each when it is over; one that fails does not stop others.

    Parameters
    ----------
    tasks : sequence of Task
        In the order in which they are begun.
    scheduler : str, optional
        Address of a dask.distributed scheduler, such as ``"tcp://node1:8786"``. Its
        workers need this package, and to see the files under the same paths. Without,
        tasks run in this process, one after the other.
    cancelled : callable
        Asked often; once it is true, what has not begun is not begun any more.

    Raises
    ------
    OptionError
        The scheduler does not answer, or the package ``distributed`` is missing.
    Cancelled
        ``cancelled()`` was true.
    """
    if scheduler is None:
        return _here(tasks, cancelled)
    return _there(tasks, scheduler, cancelled)


def _here(tasks: Sequence[Task], cancelled: Callable[[], bool]) -> Iterator[Outcome]:
    for task in tasks:
        for attempt in range(1, ATTEMPTS + 1):
            if cancelled():
                raise Cancelled(_STOPPED)
            try:
                with interruptible(cancelled):
                    value = task.function(*task.arguments)
            except Cancelled as stopped:
                raise Cancelled(_STOPPED) from stopped
            # Whatever goes wrong in one file must not cost the night's other files.
            except Exception as error:  # noqa: BLE001
                if attempt == ATTEMPTS or isinstance(error, FlowSRError):
                    yield Outcome(task, error=_in_words(error))
                    break
            else:
                yield Outcome(task, value)
                break


def _there(
    tasks: Sequence[Task], scheduler: str, cancelled: Callable[[], bool]
) -> Iterator[Outcome]:
    distributed = _distributed()
    try:
        client = distributed.Client(scheduler, timeout=_PATIENCE, set_as_default=False)
    except (OSError, ValueError) as error:
        raise OptionError(
            f"The scheduler '{scheduler}' does not answer: {error}. Check the address "
            "(that of `dask scheduler`), or leave it out to compute here."
        ) from error
    with client:
        futures = {
            client.submit(
                task.function,
                *task.arguments,
                retries=ATTEMPTS - 1,
                # Two runs may do the same; each wants it done.
                pure=False,
            ): task
            for task in tasks
        }
        left = set(futures)
        try:
            while left:
                if cancelled():
                    raise Cancelled(_STOPPED)
                try:
                    with client.as_current():
                        done = distributed.wait(
                            left, timeout=_ASK, return_when="FIRST_COMPLETED"
                        ).done
                except TimeoutError:
                    continue
                for future in done:
                    left.discard(future)
                    yield _outcome(futures[future], future)
        finally:
            client.cancel(list(left))


def _outcome(task: Task, future: Any) -> Outcome:
    if future.status == "finished":
        return Outcome(task, future.result())
    error = future.exception() if future.status == "error" else None
    return Outcome(task, error=_in_words(error or RuntimeError("it was cancelled")))


def _in_words(error: BaseException) -> str:
    if isinstance(error, FlowSRError | OSError):
        return str(error)
    return f"{type(error).__name__}: {error}"


def check_scheduler() -> None:
    """Raise `OptionError` where no scheduler can be used; fast, nothing is imported."""
    if find_spec("distributed") is None:
        raise OptionError(
            "A scheduler needs the package distributed; install it with "
            "`pip install napari-flowsr[distributed]`, or leave the scheduler out."
        )


def _distributed() -> Any:
    check_scheduler()
    import distributed

    return distributed
