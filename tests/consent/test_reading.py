"""A reader whose ledger cannot be read for a moment says so until it can be read again."""

from __future__ import annotations

import errno
import os
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

import pytest

from sluicegate.consent.reading import LedgerReader
from sluicegate.consent.standing import UNKNOWN_SUBJECT, Rules, SubjectConsent
from sluicegate.consent.store import SCHEMA, open_ledger
from sluicegate.consent.subject import Ids, Subject, load_secret
from sluicegate.consent.view import LedgerView
from sluicegate.errors import ConsentUnreadable, LogUnavailable
from sluicegate.paths import DataDir
from sluicegate.sqlite import connect
from tests.delivery.consenting import record, told

ANNE: Ids = (None, "anne")
LOOKS: dict[str, Callable[[LedgerReader], object]] = {
    "of_many": lambda reader: reader.of_many([ANNE]),
    "are_clear": lambda reader: reader.are_clear([None], ["anne"]),
    "changed_since": lambda reader: reader.changed_since(0),
    "newest_denials": lambda reader: reader.newest_denials(Subject(*ANNE), {"marketing"}, gpc=True),
    "settled_ones": lambda reader: reader.settled_ones,
    "keys": lambda reader: reader.keys,
}


@pytest.fixture
def reader(tmp_path: Path) -> Iterator[LedgerReader]:
    data_dir = DataDir(tmp_path)
    record(data_dir, [told(False, visitor="anne")])
    reader = LedgerReader(data_dir.consent, data_dir.consent_key, Rules())
    reader.refresh()
    yield reader
    reader.close()


def fail_once(reader: LedgerReader) -> None:
    def fail(view: LedgerView, subjects: Sequence[Ids]) -> list[SubjectConsent]:
        raise LogUnavailable("consent.db: disk I/O error")

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(LedgerView, "of_many", fail)
        with pytest.raises(ConsentUnreadable, match="disk I/O error"):
            reader.of_many([ANNE])


@pytest.mark.parametrize("look", LOOKS.values(), ids=LOOKS)
def test_every_look_after_a_failed_one_fails_too_until_the_next_refresh(
    reader: LedgerReader, look: Callable[[LedgerReader], object]
) -> None:
    reader.note_clear([ANNE])
    before = look(reader)
    fail_once(reader)

    with pytest.raises(ConsentUnreadable, match="disk I/O error"):
        look(reader)
    reader.refresh()

    assert type(look(reader)) is type(before)


def test_ledger_that_cannot_be_read_is_not_taken_for_an_empty_one(reader: LedgerReader) -> None:
    generation, version = reader.generation, reader.version
    fail_once(reader)

    assert reader.version == version > 0
    assert not reader.is_empty
    assert reader.generation != generation  # nothing that was looked up before stands for what is asked now


@pytest.mark.parametrize("has_key", [False, True])
def test_ledger_that_is_just_being_begun_is_an_empty_one(tmp_path: Path, has_key: bool) -> None:
    data_dir = DataDir(tmp_path)
    connect(data_dir.consent, SCHEMA).close()
    if has_key:
        load_secret(data_dir.consent_key, create=True)
    reader = LedgerReader(data_dir.consent, data_dir.consent_key, Rules())

    reader.refresh()

    assert reader.is_empty
    assert reader.of_many([ANNE]) == [UNKNOWN_SUBJECT]
    record(data_dir, [told(False, visitor="anne")])
    reader.refresh()
    assert not reader.is_empty
    assert reader.of_many([ANNE]) != [UNKNOWN_SUBJECT]
    reader.close()


def test_ledger_that_could_never_be_read_is_not_taken_for_an_empty_one(tmp_path: Path) -> None:
    data_dir = DataDir(tmp_path)
    record(data_dir, [told(False, visitor="anne")])
    key = data_dir.consent_key.read_bytes()
    data_dir.consent_key.unlink()
    reader = LedgerReader(data_dir.consent, data_dir.consent_key, Rules())
    assert reader.is_empty
    with pytest.raises(ConsentUnreadable):
        reader.refresh()

    assert not reader.is_empty
    with pytest.raises(ConsentUnreadable):
        reader.of_many([ANNE])

    data_dir.consent_key.write_bytes(key)
    reader.refresh()
    assert reader.version == 1
    assert reader.changed_since(0)
    reader.close()


@pytest.mark.parametrize("was_read", [True, False])
def test_ledger_that_the_disk_does_not_tell_of_is_not_taken_for_a_missing_one(tmp_path: Path, was_read: bool) -> None:
    data_dir = DataDir(tmp_path)
    record(data_dir, [told(False, visitor="anne")])
    reader = LedgerReader(data_dir.consent, data_dir.consent_key, Rules())
    if was_read:
        reader.refresh()
        fail_once(reader)

    def broken(path: object, **options: object) -> os.stat_result:
        raise OSError(errno.EIO, os.strerror(errno.EIO))

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(os, "stat", broken)
        with pytest.raises(ConsentUnreadable, match="Input/output error"):
            reader.refresh()
        assert not reader.is_empty

    reader.refresh()
    assert reader.version == 1
    reader.close()


def test_ledger_in_a_folder_that_cannot_be_looked_into_is_unavailable(tmp_path: Path) -> None:
    with pytest.raises(LogUnavailable, match="too long"):
        open_ledger(tmp_path / "consent.db", tmp_path / ("k" * 300))
