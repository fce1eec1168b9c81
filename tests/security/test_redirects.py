"""No type of destination follows a redirect: nothing arrives there, and the destination is paused with the reason."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from importlib.util import find_spec

import pytest
from urllib3 import PoolManager

from sluicegate.destinations.pools import Redirected, guarded_pool, refusal_behind
from sluicegate.network import Network
from tests.doubles.redirecting import Redirecting
from tests.end_to_end.harness import System, track

LOOPBACK = Network(("127.0.0.1",))
WEBHOOK = 'type = "webhook"\nurl = "{url}/hook"'
CLICKHOUSE = 'type = "clickhouse"\nurl = "{url}"\npassword = "secret-word"'
OBJECTSTORE = """
type = "objectstore"
url = "s3://events"
endpoint = "{url}"
access_key_id = "key"
secret_access_key = "secret-word"
batch_age = "0s"
"""
BIGQUERY = 'type = "bigquery"\nproject = "project-1"\nendpoint = "{url}"\ncredentials = \'{key}\''
LIBRARIES = {"clickhouse": "clickhouse_connect", "objectstore": "obstore", "bigquery": "google.cloud.bigquery"}


@pytest.fixture
def redirecting() -> Iterator[Redirecting]:
    one = Redirecting()
    yield one
    one.close()


@pytest.fixture
def pool() -> Iterator[PoolManager]:
    manager = guarded_pool(LOOPBACK)
    yield manager
    manager.clear()


def needs(type: str) -> None:
    library = LIBRARIES.get(type)
    if library is not None and not _is_installed(library):
        pytest.skip(f"{library} is not installed; pip install sluicegate[peers]")


def _is_installed(library: str) -> bool:
    try:
        return find_spec(library) is not None
    except ModuleNotFoundError:
        return False


def paused(running: System, redirecting: Redirecting) -> str:
    """Why the destination is paused; it has the events still, and they went nowhere."""
    running.post([track()])
    status = running.until("moved", "paused", lambda one: one.state == "paused")
    assert (status.pending, status.dead) == (1, 0)
    assert redirecting.n_requests > 0
    assert redirecting.n_arrived == 0
    return status.reason or ""


@pytest.mark.parametrize("text", [WEBHOOK, CLICKHOUSE, OBJECTSTORE], ids=["webhook", "clickhouse", "objectstore"])
def test_redirect_pauses_the_destination_and_nothing_arrives(
    system: Callable[..., System], redirecting: Redirecting, text: str, request: pytest.FixtureRequest
) -> None:
    needs(request.node.callspec.id)
    settings = text.format(url=redirecting.url)

    reason = paused(system(f'[destinations.moved]\nrequires = ["necessary"]\n{settings}').start(), redirecting)

    assert "307" in reason
    assert "not followed; write the final address" in reason
    assert "secret-word" not in reason


@pytest.mark.parametrize("signs_in", [True, False], ids=["service", "sign-in"])
def test_bigquery_follows_no_redirect_of_its_service_or_of_the_sign_in(
    system: Callable[..., System], redirecting: Redirecting, signs_in: bool
) -> None:
    needs("bigquery")
    from tests.doubles.bigquery_server import BigQueryServer

    vendor = BigQueryServer()
    key = vendor.key if signs_in else json.dumps(json.loads(vendor.key) | {"token_uri": f"{redirecting.url}/token"})
    settings = BIGQUERY.format(url=redirecting.url if signs_in else vendor.url, key=key)
    running = system(f'[destinations.moved]\nrequires = ["necessary"]\n{settings}').start()
    reason = paused(running, redirecting)
    vendor.close()

    assert "answered 307, which is not followed; write the final address" in reason


@pytest.mark.parametrize("status", [300, 301, 302, 303, 307, 308])
@pytest.mark.parametrize("retries", [None, 3])
def test_guarded_pool_sends_no_body_on_whatever_a_library_asks_for(
    redirecting: Redirecting, pool: PoolManager, status: int, retries: int | None
) -> None:
    redirecting.status = status

    with pytest.raises(Redirected, match=f"answered {status}, which is not followed"):
        pool.request("POST", redirecting.url, body=b"an event", redirect=True, retries=retries)

    assert (redirecting.n_requests, redirecting.n_arrived) == (1, 0)


def test_redirect_is_found_behind_the_errors_of_a_library() -> None:
    moved = Redirected("moved")
    wrapped = ValueError("library", RuntimeError(moved))

    assert refusal_behind(wrapped) is moved
    assert refusal_behind(ValueError("another")) is None
