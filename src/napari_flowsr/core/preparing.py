"""What decoding needs of the LR image alone: computed once, kept with its condition."""

from __future__ import annotations

from typing import TYPE_CHECKING, ClassVar

import torch
from torch import nn

from napari_flowsr.core.folding import folded_once

if TYPE_CHECKING:
    from collections.abc import Sequence

    from torch import Tensor

    from napari_flowsr.core.condition import Condition
    from napari_flowsr.core.folding import Prepared, Program, Seen
    from napari_flowsr.core.latents import LatentSpec

__all__ = ["Preparing"]

_READY = "ready"


class Preparing(nn.Module):
    """The part of `core.flow.ConditionalFlow` that makes decoding of samples cheap.

    A family whose inverse can be taken apart says so by `programs` and `seen`; another
    one may keep something else with the condition, in `prepare`.
    """

    prepared_bytes: ClassVar[int] = 4 << 30
    """What `prepare` may keep of one condition."""

    def programs(self) -> tuple[Program, ...]:
        """Decoding alone, taken apart; none if a family has no such form."""
        return ()

    def seen(self, cond: Condition) -> Sequence[Seen]:
        """What each of the first `programs` sees of the LR image.

        Fewer than there are programs, if the last ones see the sample besides.
        """
        return cond.features

    def prepare(self, cond: Condition, spec: LatentSpec) -> Condition:
        """Compute now what every decode with ``spec`` needs besides the latents.

        It is kept with ``cond``, whose ``nbytes`` does not grow any more afterwards,
        and makes decoding several times faster. Not while gradients are recorded, nor
        beyond `prepared_bytes`: then every decode does the whole work, which is shared
        by the samples of a batch. Returns ``cond``.
        """
        if torch.is_grad_enabled() or self.training or _READY in cond.memo:
            return cond
        programs = folded_once(self, self.programs)
        seen = self.seen(cond) if programs else ()
        pairs = list(zip(programs, seen, strict=False))
        if sum(program.bytes_for(u) for program, u in pairs) <= self.prepared_bytes:
            ready = [t for program, u in pairs for t in program.ready(u)]
            cond.memo[_READY] = tuple(ready)
        return cond

    def prepared(self, cond: Condition) -> Prepared | None:
        """`programs` with what `prepare` computed for them; ``None`` if it did not.

        What sees the sample has nothing yet.
        """
        if _READY not in cond.memo or torch.is_grad_enabled():
            return None
        found: list[tuple[Program, tuple[Tensor, ...] | None]] = []
        left = cond.memo[_READY]
        programs = folded_once(self, self.programs)
        for program in programs:
            has_own = len(left) >= program.tensors
            found.append((program, left[: program.tensors] if has_own else None))
            left = left[program.tensors :] if has_own else left
        return found
