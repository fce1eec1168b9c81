"""The ledger as one thread that decides reads it: opened when it is there, and opened again after trouble."""

from __future__ import annotations

from collections.abc import Callable, Collection, Sequence
from pathlib import Path
from typing import TypeVar

from sluicegate.consent.settled import SettledOnes
from sluicegate.consent.standing import UNKNOWN_SUBJECT, Rules, SubjectConsent
from sluicegate.consent.store import NotBegun, open_ledger
from sluicegate.consent.subject import Ids, Subject, SubjectKeys
from sluicegate.consent.view import LedgerView
from sluicegate.errors import ConsentUnreadable, LogError
from sluicegate.sqlite import errors_of

T = TypeVar("T")

MAX_LOOKS = 8
"""While the ledger moves on; it does so once more only when one of the same subjects is written about again."""


class LedgerReader:
    """Reads the ledger at `path`, which need not exist: then nobody has decided anything.

    All methods raise `ConsentUnreadable` when it is there and cannot be read, and go on to do so until a `refresh`
    succeeds: whoever decides in between must not take it for an empty ledger.
    """

    def __init__(self, path: Path, key_path: Path, rules: Rules) -> None:
        self._path = path
        self._key_path = key_path
        self._rules = rules
        self._view: LedgerView | None = None
        self._failure: str | None = None
        """Why it could not be read the last time; the view is closed then, and tells only what it was last as of."""
        self.generation = 0
        """Changes whenever the ledger may have changed."""

    @property
    def version(self) -> int:
        """The ledger's version as of which everything is told; 0 when it has never held anything."""
        return 0 if self._view is None else self._view.version

    @property
    def is_empty(self) -> bool:
        """Whether nobody has decided anything, so that nobody need be looked up; not while it cannot be read."""
        return self._failure is None and not self.version

    @property
    def has_regulated(self) -> bool:
        """Whether anybody was erased or suppressed, as of the last `refresh`."""
        return self._view is not None and self._view.has_regulated

    @property
    def has_suppressed(self) -> bool:
        """Whether anybody is suppressed, as of the last `refresh`."""
        return self._view is not None and self._view.has_suppressed

    def refresh(self) -> None:
        """Take note of what others have written; some microseconds when they have not."""
        try:
            if self._view is not None and self._failure is None:
                self.generation += self._view.refresh() is not None
            else:
                self._view = self._opened() if self._is_there() else None
                self.generation += self._view is not None
            self._failure = None
        except LogError as error:
            raise self._failed(error) from error

    def _opened(self) -> LedgerView | None:
        try:
            return LedgerView(self._path, self._key_path, self._rules)
        except NotBegun:
            return None

    def _is_there(self) -> bool:
        """Whether there is a ledger or its key; a disk that does not tell is no sign that there is none."""
        with errors_of(self._path):
            return self._path.exists() or self._key_path.exists()

    def of_many(self, subjects: Sequence[Ids]) -> Sequence[SubjectConsent]:
        """What is known of each of these subjects, as (user id, anonymous id)."""
        view = self._readable()
        if view is None or not view.version:
            return [UNKNOWN_SUBJECT] * len(subjects)
        return self._looked(view, lambda view: view.of_many(subjects))

    def note_clear(self, subjects: Sequence[Ids]) -> None:
        """As `LedgerView.note_clear`."""
        if self._view is not None and self._view.version:  # an empty ledger is not looked at for anybody
            self._view.note_clear(subjects)

    def are_clear(self, user_ids: Sequence[str | None], anonymous_ids: Sequence[str | None]) -> bool:
        """As `LedgerView.are_clear`."""
        view = self._readable()
        return view is not None and view.are_clear(user_ids, anonymous_ids)

    @property
    def settled_ones(self) -> SettledOnes | None:
        """As `LedgerView.settled_ones`; None while there is no ledger."""
        view = self._readable()
        return None if view is None else view.settled_ones

    def changed_since(self, version: int) -> frozenset[bytes] | None:
        """As `LedgerView.changed_since`."""
        view = self._readable()
        return frozenset() if view is None else self._looked(view, lambda view: view.changed_since(version))

    def newest_denials(
        self, subject: Subject, purposes: Collection[str], *, gpc: bool, since_ms: int = 0
    ) -> dict[str, int]:
        """As `LedgerView.newest_denials`."""
        view = self._readable()
        if view is None:
            return {}
        return self._looked(view, lambda view: view.newest_denials(subject, purposes, gpc=gpc, since_ms=since_ms))

    @property
    def keys(self) -> SubjectKeys:
        """What turns ids into keys; a ledger is begun when there is none, since its key is for good."""
        view = self._readable()
        try:
            if view is None:
                open_ledger(self._path, self._key_path)[0].close()
                self.refresh()
            assert self._view is not None
            return self._view.keys
        except LogError as error:
            raise self._failed(error) from error

    def close(self) -> None:
        """Release the file."""
        if self._view is not None:
            self._view.close()
            self._view = None

    def _readable(self) -> LedgerView | None:
        """The view to look into, None when there is no ledger."""
        if self._failure is not None:
            raise ConsentUnreadable(self._failure)
        return self._view

    def _looked(self, view: LedgerView, look: Callable[[LedgerView], T]) -> T:
        """What a look found, which may have moved the ledger on."""
        try:
            version = view.version
            found = look(view)
            self.generation += view.version != version
            return found
        except LogError as error:
            raise self._failed(error) from error

    def _failed(self, error: LogError) -> ConsentUnreadable:
        if self._view is not None:
            self._view.close()
        self._failure = f"the consent ledger cannot be read: {error}"
        self.generation += 1  # what was found before must not stand for what nobody can look up now
        return ConsentUnreadable(self._failure)


def of_one_version(ledger: LedgerReader, look: Callable[[], T]) -> T:
    """What several look-ups found together, made again if the ledger moved on meanwhile: all is as of its `version`."""
    for _ in range(MAX_LOOKS):
        version = ledger.version
        found = look()
        if ledger.version == version:
            break
    return found
