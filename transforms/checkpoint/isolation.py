"""Who works in this process at the same time: many together, or one that may kill the process, alone."""

from __future__ import annotations

import threading
from collections.abc import Callable
from typing import Any
from weakref import WeakSet

_PATIENCE_S = 0.2  # how long an interrupt may go unheard


class Room:
    """Many may be in it, or one that is alone; whoever wants to be alone goes before who comes later.

    Who waits must not work on anything, and is not in the room: so nobody waits for ever. Who is forgotten
    without having left is in it no more.
    """

    def __init__(self) -> None:
        self._changed = threading.Condition()
        self._members: WeakSet[Any] = WeakSet()
        self._has_one_alone = False
        self._n_waiting = 0  # to be alone

    @property
    def wanted(self) -> bool:
        """Whether somebody waits to be alone: those inside should end what they work on, and leave."""
        with self._changed:
            return self._n_waiting > 0

    def enter(self, member: object, *, alone: bool, check: Callable[[], None]) -> None:
        """Waits until there is room, and is in it; at once for who is in it already, together with others.

        Args:
            member: whoever can be referred to weakly; not in the room, if it is to be alone.
            alone: with nobody else.
            check: is called now and then meanwhile; may raise, and then nothing is entered.
        """
        with self._changed:
            self._n_waiting += alone
            try:
                while not self._has_room(member, alone):
                    check()
                    self._changed.wait(_PATIENCE_S)
            finally:
                self._n_waiting -= alone
                self._changed.notify_all()
            self._members.add(member)
            self._has_one_alone = alone

    def leave(self, member: object) -> None:
        """Is in it no more, if it was."""
        with self._changed:
            self._members.discard(member)
            self._changed.notify_all()

    def _has_room(self, member: object, alone: bool) -> bool:
        if alone:
            return not self._members
        is_taken = self._has_one_alone and len(self._members) > 0
        return member in self._members or not (is_taken or self._n_waiting)
