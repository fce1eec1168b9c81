from __future__ import annotations

import json
from contextlib import closing
from pathlib import Path
from typing import Any

import apsw
import pytest
from click.testing import CliRunner, Result

from sluicegate.config import embedded_config
from sluicegate.delivery.letters import DeadLetter
from sluicegate.delivery.store import DestinationStore
from sluicegate.event import Combo, EventBatch
from sluicegate.eventlog.erasing import LogEraser
from sluicegate.paths import DataDir
from sluicegate.registry import open_data
from sluicegate.scripts.admin import main
from sluicegate.testing.batches import add_event


@pytest.fixture(autouse=True)
def elsewhere(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A folder without a configuration file."""
    folder = tmp_path / "elsewhere"
    folder.mkdir()
    monkeypatch.chdir(folder)
    monkeypatch.delenv("SLUICEGATE_CONFIG", raising=False)
    monkeypatch.delenv("SLUICEGATE_DATA_DIR", raising=False)


@pytest.fixture
def where(tmp_path: Path) -> DataDir:
    return DataDir(tmp_path / "data")


def explain(where: DataDir, *arguments: str) -> Result:
    return CliRunner().invoke(main, ["explain", *arguments, "--data-dir", str(where.root)])


def everything(where: DataDir) -> list[Path]:
    return sorted(where.root.rglob("*"))


def test_data_directory_that_does_not_exist_is_refused_and_not_made(where: DataDir) -> None:
    answer = explain(where, "m1")

    assert answer.exit_code == 1
    assert f"{where.root} has no event log; name the data directory with --data-dir" in answer.stderr
    assert not where.root.exists()


def test_system_with_a_configuration_file_is_not_explained_by_other_rules(where: DataDir) -> None:
    where.create()
    where.event_log.touch()
    before = everything(where)

    answer = explain(where, "m1")

    assert answer.exit_code == 2
    assert "name the configuration with --config" in answer.stderr
    assert everything(where) == before


def test_system_without_a_configuration_file_is_explained_by_the_built_in_one(where: DataDir) -> None:
    embedded_config(where.root)
    where.event_log.touch()
    where.logs.rmdir()
    before = everything(where)

    answer = explain(where, "m1", "crm")

    assert answer.exit_code == 1
    assert "there is no destination 'crm'" in answer.stderr and "archive" in answer.stderr
    assert everything(where) == before


CONFIG = """
[gateway.write_keys]
web = "0123456789abcdef"
[destinations.crm]
type = "null"
requires = ["marketing"]
[destinations.pages]
type = "null"
requires = ["necessary"]
"""


@pytest.fixture
def options(where: DataDir, tmp_path: Path) -> tuple[str, ...]:
    """A stopped system with one event, `m-1`, that both destinations have delivered, and its configuration."""
    where.create()
    registry, log = open_data(where)
    registry.register(["crm", "pages"], head=0)
    registry.close()
    batch = EventBatch()
    combo = Combo("track", "web", (("marketing", True),))
    add_event(batch, b'{"messageId": "m-1"}', combo=combo, message_id="m-1", user_id="anne")
    log.append([batch], received_at_ms=1_700_000_000_000)
    log.close()
    for name in ("crm", "pages"):
        with closing(DestinationStore.open(where.store(name), start=0)) as store:
            store.claim(1)
            store.commit(1, cursor=1, delivered=1)
    config = tmp_path / "sluicegate.toml"
    config.write_text(CONFIG)
    return ("--config", str(config))


def told(where: DataDir, *arguments: str) -> dict[str, Any]:
    answer = explain(where, *arguments, "--json")
    assert answer.exit_code == 0, answer
    (event,) = json.loads(answer.stdout)["events"]
    return {one["destination"]: one for one in event["destinations"]}


def test_event_that_was_delivered_before_its_destination_was_disabled_is_delivered(
    where: DataDir, options: tuple[str, ...]
) -> None:
    config = Path(options[1])
    config.write_text(CONFIG.replace('["marketing"]', '["marketing"]\nenabled = false'))

    fate = told(where, "m-1", *options)["crm"]

    assert (fate["outcome"], fate["decision"]) == ("delivered", "delivered")


def test_destination_that_was_registered_again_keeps_what_it_has_delivered_before(
    where: DataDir, options: tuple[str, ...]
) -> None:
    with closing(apsw.Connection(str(where.control))) as db:  # as when an older one was restored from a backup
        db.execute("UPDATE destinations SET start = 1 WHERE id = 'crm'")

    assert told(where, "m-1", *options)["crm"]["outcome"] == "delivered"


def remove_crm(options: tuple[str, ...]) -> None:
    Path(options[1]).write_text(CONFIG.replace('[destinations.crm]\ntype = "null"\nrequires = ["marketing"]\n', ""))


@pytest.mark.parametrize("is_registered", [True, False])
def test_destination_that_is_no_longer_configured_tells_what_it_has_got(
    where: DataDir, options: tuple[str, ...], is_registered: bool
) -> None:
    remove_crm(options)
    if not is_registered:
        with closing(apsw.Connection(str(where.control))) as db:
            db.execute("DELETE FROM destinations WHERE id = 'crm'")

    of_all = told(where, "m-1", *options)
    of_one = told(where, "m-1", "crm", *options)
    shown = explain(where, "m-1", "crm", *options).stdout

    fate = of_all["crm"]
    assert (fate["outcome"], fate["decision"], fate["configured"]) == ("delivered", "delivered", False)
    assert (of_all["pages"]["outcome"], of_all["pages"]["configured"]) == ("delivered", True)
    assert fate["why"].startswith("no longer configured; ")
    assert fate["requires"] is None
    assert of_one == {"crm": fate}
    assert "  crm is no longer configured.\n" in shown
    assert "  Delivered: the destination has confirmed it" in shown


def test_dead_letter_of_a_destination_that_is_no_longer_configured_is_found_when_the_log_has_let_go_of_it(
    where: DataDir, options: tuple[str, ...]
) -> None:
    remove_crm(options)
    dead = DeadLetter(2, "m-2", Combo("track", "web"), b"{}", "refused", 1, 1, 1, 1)
    with closing(DestinationStore.open(where.store("crm"), start=0)) as store:
        store.commit(1, cursor=2, dead_letters=[dead])

    fates = told(where, "m-2", *options)

    assert (fates["crm"]["outcome"], fates["crm"]["configured"]) == ("dead", False)
    assert fates["crm"]["why"] == "no longer configured; refused (after 1 attempts; dead letter 1)"


def test_destination_that_was_removed_before_the_event_is_left_out_unless_it_is_named(
    where: DataDir, options: tuple[str, ...]
) -> None:
    remove_crm(options)
    with closing(apsw.Connection(str(where.store("crm")))) as db:
        db.execute("UPDATE state SET cursor = 0, delivered = 0; DELETE FROM decisions")

    of_all = told(where, "m-1", *options)
    of_one = told(where, "m-1", "crm", *options)

    assert set(of_all) == {"pages"}
    assert (of_one["crm"]["outcome"], of_one["crm"]["configured"]) == ("not routed", False)
    assert "no longer configured; it had not come to this event" in of_one["crm"]["why"]


@pytest.mark.parametrize("damage", [b"damaged" * 1000, None])
def test_store_of_a_destination_that_is_no_longer_configured_and_that_cannot_be_read_hides_no_other(
    where: DataDir, options: tuple[str, ...], damage: bytes | None
) -> None:
    remove_crm(options)
    where.store("crm").unlink()
    if damage is None:
        where.store("crm").mkdir()
    else:
        where.store("crm").write_bytes(damage)

    fates = told(where, "m-1", *options)

    assert fates["pages"]["outcome"] == "delivered"
    assert (fates["crm"]["outcome"], fates["crm"]["configured"]) == ("unknown", False)


def test_decisions_that_cannot_be_read_hide_no_other_destination(where: DataDir, options: tuple[str, ...]) -> None:
    with closing(apsw.Connection(str(where.store("crm")))) as db:
        db.execute("UPDATE decisions SET story = x'00'")

    fates = told(where, "m-1", *options)

    assert fates["pages"]["outcome"] == "delivered"
    assert fates["crm"]["outcome"] == "unknown"
    assert "see `sluicegate audit verify`" in fates["crm"]["why"]


@pytest.mark.parametrize("event", [("m-1",), ("--offset", "1")])
def test_store_that_cannot_be_read_hides_no_other_destination(
    where: DataDir, options: tuple[str, ...], event: tuple[str, ...]
) -> None:
    where.store("crm").write_bytes(b"damaged" * 1000)

    fates = told(where, *event, *options)

    assert fates["pages"]["outcome"] == "delivered"
    assert fates["crm"]["outcome"] == "unknown"
    assert "its store cannot be read" in fates["crm"]["why"]


def test_event_that_was_erased_after_its_delivery_does_not_say_nothing(
    where: DataDir, options: tuple[str, ...]
) -> None:
    with closing(LogEraser(where.event_log)) as eraser:
        eraser.erase(1, [0])

    fate = told(where, "--offset", "1", *options)["crm"]

    assert fate["outcome"] == "delivered"
    assert "the event says nothing" not in fate["why"]
    assert "silence means" not in " ".join(fate["story"])
    assert "the event was erased from the log, and with it what it said and whose it was" in fate["story"]


def test_empty_message_id_is_wrong_usage(where: DataDir, options: tuple[str, ...]) -> None:
    with closing(LogEraser(where.event_log)) as eraser:
        eraser.erase(1, [0])

    answer = explain(where, "", *options)

    assert answer.exit_code == 2
    assert "name the event by its message id" in answer.stderr
