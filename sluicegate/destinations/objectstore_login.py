"""Who we are to an object store, and which hosts obstore will talk to. Pure but for what it is given."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import msgspec

from sluicegate.destinations.objectstore_settings import Kind, ObjectStoreSettings

METADATA = "169.254.169.254"
"""Where AWS, Google and Azure hand out the credentials of a machine."""
_CONTAINER = "169.254.170.2"
_ENVIRONMENT: Mapping[Kind, tuple[str, ...]] = {
    Kind.S3: ("AWS_ACCESS_KEY_ID", "AWS_WEB_IDENTITY_TOKEN_FILE"),
    Kind.GCS: (
        "GOOGLE_SERVICE_ACCOUNT",
        "GOOGLE_SERVICE_ACCOUNT_PATH",
        "GOOGLE_SERVICE_ACCOUNT_KEY",
        "GOOGLE_APPLICATION_CREDENTIALS",
        "GOOGLE_BEARER_TOKEN",
    ),
    Kind.AZURE: (
        "AZURE_STORAGE_ACCOUNT_KEY",
        "AZURE_STORAGE_ACCESS_KEY",
        "AZURE_STORAGE_MASTER_KEY",
        "AZURE_STORAGE_CLIENT_SECRET",
        "AZURE_CLIENT_SECRET",
        "AZURE_STORAGE_SAS_KEY",
        "AZURE_STORAGE_SAS_TOKEN",
        "AZURE_STORAGE_TOKEN",
        "AZURE_FEDERATED_TOKEN_FILE",
    ),
}
"""Variables that obstore reads credentials from (its documentation of S3Config, GCSConfig and AzureConfig)."""
_GOOGLE_FILE = Path(".config/gcloud/application_default_credentials.json")
_ENDPOINTS: Mapping[Kind, tuple[str, ...]] = {
    Kind.S3: ("AWS_ENDPOINT_URL_S3", "AWS_ENDPOINT_URL", "AWS_ENDPOINT"),
    Kind.GCS: ("GOOGLE_BASE_URL",),
    Kind.AZURE: ("AZURE_STORAGE_ENDPOINT", "AZURE_ENDPOINT"),
}
_PROXIES = ("HTTPS_PROXY", "HTTP_PROXY", "ALL_PROXY")
_REGIONS = ("AWS_REGION", "AWS_DEFAULT_REGION")


def credentials_host(kind: Kind, settings: ObjectStoreSettings, environ: Mapping[str, str], home: Path) -> str | None:
    """The address that credentials are to be asked from, None when they are at hand."""
    if kind is Kind.LOCAL or any((settings.access_key_id, settings.service_account)):
        return None
    if settings.account_key or settings.sas_token or any(environ.get(name) for name in _ENVIRONMENT[kind]):
        return None
    if kind is Kind.S3 and environ.get("AWS_CONTAINER_CREDENTIALS_RELATIVE_URI"):
        return _CONTAINER
    if kind is Kind.S3 and (url := environ.get("AWS_CONTAINER_CREDENTIALS_FULL_URI")):
        return urlsplit(url).hostname or METADATA
    if kind is Kind.GCS and (home / _GOOGLE_FILE).exists():
        return None
    return METADATA


def options_of(kind: Kind, settings: ObjectStoreSettings) -> dict[str, Any]:
    """The options of obstore's store, from the settings."""
    if kind is Kind.S3:
        found = {
            "region": settings.region,
            "endpoint": settings.endpoint,
            "aws_endpoint_url_s3": settings.endpoint,  # or the variable of this name would win
            "credential_provider": _provider(settings),
            "virtual_hosted_style_request": settings.virtual_hosted,
            "sse_kms_key_id": settings.kms_key,
            "server_side_encryption": "aws:kms" if settings.kms_key else None,
        }
    elif kind is Kind.GCS:
        found = {"service_account_key": _revealed(settings.service_account), "base_url": settings.endpoint}
    else:
        found = {
            "account_name": settings.account,
            "account_key": _revealed(settings.account_key),
            "sas_key": _revealed(settings.sas_token),
            "endpoint": settings.endpoint,
        }
    return {name: value for name, value in found.items() if value is not None}


def is_proxied(environ: Mapping[str, str]) -> bool:
    """Whether the environment names a proxy, which then connects for obstore."""
    return any(environ.get(name) or environ.get(name.lower()) for name in _PROXIES)


def hosts_of(kind: Kind, settings: ObjectStoreSettings, environ: Mapping[str, str]) -> list[tuple[str, int]]:
    """Hosts and ports that obstore may connect to for these settings, by what it reads from the environment too."""
    if kind is Kind.LOCAL:
        return []
    addresses = [settings.endpoint] if settings.endpoint else [environ.get(name) for name in _ENDPOINTS[kind]]
    if settings.service_account is not None:
        addresses += _google_addresses(settings.service_account.reveal())
    region = settings.region or next((environ[name] for name in _REGIONS if environ.get(name)), "us-east-1")
    default = {
        Kind.S3: f"https://s3.{region}.amazonaws.com",
        Kind.GCS: "https://storage.googleapis.com",
        Kind.AZURE: f"https://{settings.account}.blob.core.windows.net",
    }
    parts = [urlsplit(address) for address in addresses if address] or [urlsplit(default[kind])]
    return [(one.hostname or "", one.port or (80 if one.scheme == "http" else 443)) for one in parts]


def _google_addresses(text: str) -> list[str]:
    """The addresses in a service account, which obstore follows."""
    try:
        account = msgspec.json.decode(text)
    except msgspec.DecodeError:
        return []
    address = account.get("gcs_base_url") if isinstance(account, dict) else None
    return [address] if isinstance(address, str) and address else []


def _provider(settings: ObjectStoreSettings) -> Callable[[], dict[str, Any]] | None:
    """What gives obstore the keys of the settings: as options a session token of the environment would join them."""
    if settings.access_key_id is None:
        return None
    login = {
        "access_key_id": _revealed(settings.access_key_id),
        "secret_access_key": _revealed(settings.secret_access_key),
        "token": _revealed(settings.session_token),
        "expires_at": None,
    }
    return lambda: login


def _revealed(secret: Any) -> str | None:
    return None if secret is None else secret.reveal()
