"""Every type of destination with its secrets, a vendor that repeats what it is sent, and every output there is."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from datetime import UTC, datetime
from importlib.util import find_spec

import pytest

from sluicegate.testing.http_receiver import HttpReceiver, Reply, Request
from tests.end_to_end.harness import System, track
from tests.security.canaries import Artefact, Canaries, endpoints, files, letters, outputs, processes, top

if not all(map(find_spec, ("psycopg", "clickhouse_connect", "obstore", "confluent_kafka", "google"))):
    pytest.skip("libraries of vendors are not installed; pip install sluicegate[peers]", allow_module_level=True)

HEAD = """
[gateway.regulation_keys]
privacy = "{regulation-key}"
[supervisor]
retry_delay = "20s"
max_retries = 0
[logs]
level = "debug"
"""
DESTINATIONS = {
    "segment": """
type = "segment"
write_key = "{segment-key}"
url = "{url}"
""",
    "ga4": """
type = "ga4"
api_secret = "{ga4-secret}"
measurement_id = "G-ABC123DEF4"
url = "{url}"
""",
    "posthog": """
type = "posthog"
api_key = "{posthog-key}"
url = "{url}"
""",
    "amplitude": """
type = "amplitude"
api_key = "{amplitude-key}"
url = "{url}"
""",
    "mixpanel": """
type = "mixpanel"
token = "{mixpanel-token}"
api_secret = "{mixpanel-secret}"
url = "{url}"
""",
    "mixpanel-service": """
type = "mixpanel"
token = "{mixpanel-token}"
service_account = "robot:{mixpanel-account}"
project_id = "1"
url = "{url}"
""",
    "meta": """
type = "meta"
pixel_id = "123456"
access_token = "{meta-token}"
url = "{url}"
""",
    "webhook": """
type = "webhook"
url = "{url}/{url-path}?token={url-query}"
secret = "{hook-secret}"
headers = {{ Authorization = "Bearer {hook-header}", X-Basic = "${{HOOK_PASSWORD}}" }}
""",
    "postgres": """
type = "postgres"
dsn = "postgresql://user:{dsn-password}@127.0.0.1:{closed}/db"
""",
    "postgres-parts": """
type = "postgres"
host = "127.0.0.1"
port = {closed}
dbname = "db"
user = "user"
password = "{postgres-password}"
""",
    "clickhouse": """
type = "clickhouse"
url = "{url}"
user = "user"
password = "{clickhouse-password}"
""",
    "bigquery": """
type = "bigquery"
project = "project-1"
endpoint = "{url}"
credentials = '''
{{"type": "service_account", "client_email": "a@b", "token_uri": "{url}", "private_key": "{bigquery-key}"}}
'''
""",
    "objectstore": """
type = "objectstore"
url = "s3://events"
endpoint = "{url}"
access_key_id = "{s3-id}"
secret_access_key = "{s3-key}"
session_token = "{s3-session}"
batch_age = "0s"
""",
    "google": """
type = "objectstore"
url = "gs://events"
endpoint = "{url}"
service_account = '{{"client_email": "a@b", "private_key_id": "1", "private_key": "{gs-key}", "gcs_base_url": "{url}"}}'
batch_age = "0s"
""",
    "azure": """
type = "objectstore"
url = "az://events"
endpoint = "{url}"
account = "sluicegate"
sas_token = "sv=2024&sig={sas-token}"
batch_age = "0s"
""",
    "azure-key": """
type = "objectstore"
url = "az://events"
endpoint = "{url}"
account = "sluicegate"
account_key = "{azure-key}"
batch_age = "0s"
""",
    "kafka": """
type = "kafka"
brokers = "127.0.0.1:{closed}"
topic = "events"
timeout = "2s"
security = "sasl_plaintext"
username = "user"
password = "{kafka-password}"
""",
    "kafka-tls": """
type = "kafka"
brokers = "127.0.0.1:{closed}"
topic = "events"
timeout = "2s"
security = "ssl"
certificate = "-----BEGIN CERTIFICATE-----"
private_key = "-----BEGIN PRIVATE KEY-----\\n{kafka-key}"
private_key_password = "{kafka-key-password}"
""",
}
SECRETS = Canaries(
    [
        *("segment-key", "ga4-secret", "posthog-key", "amplitude-key", "mixpanel-token", "mixpanel-secret"),
        *("mixpanel-account", "meta-token", "url-path", "url-query", "hook-secret", "hook-header", "hook-password"),
        *("dsn-password", "postgres-password", "clickhouse-password", "bigquery-key", "s3-id", "s3-key", "s3-session"),
        *("gs-key", "sas-token", "azure-key", "kafka-password", "kafka-key", "kafka-key-password", "regulation-key"),
    ],
    signing=("hook-secret",),
)
REJECTING = ("segment", "ga4", "posthog", "amplitude", "mixpanel", "mixpanel-service", "webhook")
"""Types that take a 400 for the refusal of an event, which is then a dead letter with the answer."""


@pytest.fixture
def echo() -> Iterator[HttpReceiver]:
    """A vendor that refuses everything and repeats what it was sent, secrets included, as a store would have it."""

    def answer(request: Request) -> Reply:
        text = f"{request.path} {dict(sorted(request.headers.items()))} {request.body!r}"
        return Reply(400, body=f"{text} <?xml version='1.0'?><Error><Code>Odd</Code>{text}</Error>".encode())

    one = HttpReceiver(answer)
    yield one
    one.close()


@pytest.fixture
def running(system: Callable[..., System], echo: HttpReceiver) -> System:
    blocks = [f'[destinations.{id}]\nrequires = ["necessary"]{text}' for id, text in DESTINATIONS.items()]
    text = "".join([HEAD, *blocks]).format(url=echo.url.removesuffix("/hook"), closed=1, **SECRETS.values)
    return system(text, environ={"HOOK_PASSWORD": SECRETS.values["hook-password"]}).start()


def regulate(system: System) -> list[int]:
    """Ways to use the key of regulations, right and wrong; the statuses of the answers."""
    key = SECRETS.values["regulation-key"]
    body = b'{"regulationType": "SUPPRESS_ONLY", "subjectType": "USER_ID", "subjectIds": ["u-1"]}'
    return [
        system.request("POST", "/v1/regulations", body, {"Authorization": f"Bearer {key}"})[0],
        system.request("POST", "/v1/regulations", body, {"Authorization": f"Bearer {key}x"})[0],
        system.request("POST", f"/v1/regulations?writeKey={key}", b"{", {"Authorization": f"Bearer {key}"})[0],
        system.request("GET", f"/v1/regulations/{key}", headers={"Authorization": f"Bearer {key}"})[0],
    ]


def test_no_vendor_secret_is_seen_in_any_output_or_file(running: System) -> None:
    consent = {"measurement": True, "marketing": True, "functionality": True}
    event = track(consent=consent) | {"userId": "u-2", "timestamp": datetime.now(UTC).isoformat()}
    (running.folder / "event.json").write_text(json.dumps(event))

    running.post([event])
    for id in DESTINATIONS:
        running.until(id, "refused", lambda one: bool(one.dead or one.error or one.reason))
    statuses = regulate(running)
    seen = SECRETS.seen_anywhere(everything(running, event["messageId"]))
    dead = {id for id, one in running.statuses().items() if one.dead}
    running.stop()
    seen |= SECRETS.seen_anywhere(files(running))

    assert seen == {}
    assert statuses[:2] == [200, 401]
    assert dead >= set(REJECTING)


def everything(system: System, message_id: str) -> Iterator[Artefact]:
    """All that the running system shows."""
    yield from endpoints(system)
    yield from processes(system)
    yield from letters(system)
    yield top(system)
    simulated = [["simulate", id, "event.json", "--json"] for id in DESTINATIONS]
    simulated += [["simulate", id, "event.json"] for id in ("ga4", "mixpanel", "webhook")]
    commands = [
        *(["status"], ["status", "--json"], ["stats", "--json"], ["validate"], ["destinations"]),
        *(["status", id] for id in ("clickhouse", "ga4", "objectstore")),
        *(["explain", message_id], ["explain", message_id, "--json"], ["regulations"], ["regulations", "--json"]),
        *(["audit", "verify"], ["audit", "verify", "--json"], ["audit", "export"]),
        ["load", *DESTINATIONS, "--json"],
    ]
    yield from outputs(system, [*commands, *simulated])
