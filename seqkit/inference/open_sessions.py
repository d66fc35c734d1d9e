"""The open sessions of a stream: how many there may be, which was used last, and which were idle too long."""

from __future__ import annotations

import time
from collections import OrderedDict
from collections.abc import Callable, Sequence
from typing import Final

from seqkit.errors import UsageError
from seqkit.inference.session import Session

_REMEMBERED: Final = 1000
"""Evicted sessions whose ids are remembered."""


class OpenSessions:
    """Sessions by id.

    Args:
        most: how many may be open at a time.
        idle: seconds without a piece after which a session is evicted; None: never.
        on_evict: called with the id of a session before it is evicted.

    Raises:
        UsageError: `most` is less than 1.
    """

    def __init__(self, most: int, idle: float | None, on_evict: Callable[[str], None]) -> None:
        if most < 1:
            raise UsageError(f"a stream has at least one session, not {most}")
        self.most, self.idle, self.on_evict = most, idle, on_evict
        self._sessions: OrderedDict[str, Session] = OrderedDict()  # the one that was used last is the last
        self._used: dict[str, float] = {}
        self._evicted: OrderedDict[str, None] = OrderedDict()

    def __contains__(self, id: str) -> bool:
        return id in self._sessions

    @property
    def ids(self) -> list[str]:
        """The one that was used last is at the end."""
        return list(self._sessions)

    def find(self, id: str) -> Session:
        """Raises UsageError if there is none."""
        if id not in self._sessions:
            raise UsageError(f"there is no session {id!r}{self._why_gone(id)}")
        return self._sessions[id]

    def find_or_begin(self, ids: Sequence[str]) -> list[Session]:
        """The sessions with these ids, new ones among them.

        Raises:
            UsageError: one was evicted since its last piece, or there would be too many.
        """
        for id in ids:
            if id in self._evicted:
                why = self._why_gone(id)
                del self._evicted[id]
                raise UsageError(f"there is no session {id!r} any more{why}; push again to begin a new one")
        self.make_room(ids)
        return [self._sessions.get(id, Session()) for id in ids]

    def keep(self, id: str, session: Session) -> None:
        """A session after its newest piece."""
        self._sessions[id] = session
        self._sessions.move_to_end(id)
        self._used[id] = time.monotonic()
        self._evicted.pop(id, None)

    def forget(self, id: str) -> None:
        del self._sessions[id], self._used[id]

    def make_room(self, ids: Sequence[str]) -> None:
        """Evict sessions that have been idle too long, and raise UsageError if with `ids` there would be too many."""
        new = [id for id in ids if id not in self._sessions]
        if self.idle is not None:
            oldest = time.monotonic() - self.idle
            for id in [id for id, used in self._used.items() if used < oldest and id not in ids]:
                self._evict(id)
        if len(self._sessions) + len(new) > self.most:
            raise UsageError(
                f"{len(self._sessions):,} sessions are open, and at most {self.most:,} can be: close one, or open the "
                "stream with more `sessions`, or with an `idle` time after which a session is ended"
            )

    def _why_gone(self, id: str) -> str:
        return f": it was ended after {self.idle:g} seconds without input" if id in self._evicted else ""

    def _evict(self, id: str) -> None:
        self.on_evict(id)
        self.forget(id)
        self._evicted[id] = None
        while len(self._evicted) > _REMEMBERED:
            self._evicted.popitem(last=False)
