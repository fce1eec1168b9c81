"""A session that signs in with a service account's key, and connects to allowed addresses only."""

from __future__ import annotations

import json
from typing import Any

from google.auth.transport.requests import AuthorizedSession, Request
from google.oauth2.service_account import Credentials
from requests import Session
from requests.adapters import HTTPAdapter

from sluicegate.destinations.pools import guarded_pool
from sluicegate.network import Network

SCOPES = ("https://www.googleapis.com/auth/bigquery", "https://www.googleapis.com/auth/bigquery.insertdata")


def authorized_session(key: str, network: Network) -> AuthorizedSession:
    """A session for the service, guarded while signing in too; raises `ValueError` when the key is none."""
    credentials = Credentials.from_service_account_info(json.loads(key), scopes=SCOPES)  # type: ignore[no-untyped-call]
    signing_in = _guarded(Session(), network)
    request = Request(signing_in)
    session = AuthorizedSession(credentials, auth_request=request, max_refresh_attempts=1)  # type: ignore[no-untyped-call]
    _guarded(session, network)
    return session


def _guarded(session: Session, network: Network) -> Session:
    """The session with connections to allowed addresses only, no proxies and no redirects."""
    session.trust_env = False
    session.max_redirects = 0
    for scheme in ("http://", "https://"):
        session.mount(scheme, _Adapter(network))
    return session


class _Adapter(HTTPAdapter):
    def __init__(self, network: Network) -> None:
        self._network = network
        super().__init__(max_retries=0)

    def init_poolmanager(self, connections: int, maxsize: int, block: bool = False, **options: Any) -> None:
        self.poolmanager = guarded_pool(self._network, num_pools=connections, maxsize=maxsize, block=block, **options)
