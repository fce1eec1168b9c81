"""Acceptance: from the bytes of a request to events that can be stored, each judged alone.

`Acceptor` has one method for every way in. It splits a body without parsing the events, decodes of each only what
routing and consent look at, and adds to its bytes only what is missing.
"""

from sluicegate.acceptance.acceptor import Acceptor
from sluicegate.acceptance.body import write_key_of
from sluicegate.acceptance.verdict import Acceptance, Reason, Rejection

__all__ = ["Acceptance", "Acceptor", "Reason", "Rejection", "write_key_of"]
