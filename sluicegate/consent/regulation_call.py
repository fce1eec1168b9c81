"""The body of `POST /v1/regulations`: whom to erase or to suppress, in the form of Segment's API."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import msgspec

from sluicegate.consent.call import MAX_ID_LENGTH
from sluicegate.consent.regulation import Kind, SubjectKind
from sluicegate.errors import BodyRefused

MAX_SUBJECTS = 5_000
"""Of one request; Segment's limit (segment.com/docs/privacy/user-deletion-and-suppression)."""
_OTHER_NAMES = {"SUPPRESS_AND_DELETE": Kind.SUPPRESS_WITH_DELETE}


@dataclass(frozen=True, slots=True)
class RegulationCall:
    """What is asked for, and for whom."""

    kind: Kind
    subject_kind: SubjectKind
    ids: tuple[str, ...]


def read_regulation_call(body: bytes) -> RegulationCall:
    """The regulation in a body `{regulationType, subjectType, subjectIds}`; `BodyRefused` for anything else."""
    try:
        members = msgspec.json.decode(body)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
        raise BodyRefused("not_json", "the body is not valid JSON") from None
    if not isinstance(members, dict):
        raise BodyRefused("not_object", "the body is not a JSON object")
    kind = members.get("regulationType")
    kinds = {**_OTHER_NAMES, **{one.value: one for one in Kind}}
    if not isinstance(kind, str) or kind not in kinds:
        raise BodyRefused("bad_regulation_type", f"regulationType must be one of: {', '.join(Kind)}")
    subject_kind = members.get("subjectType")
    if not isinstance(subject_kind, str) or subject_kind not in SubjectKind.__members__:
        raise BodyRefused("bad_subject_type", f"subjectType must be one of: {', '.join(SubjectKind)}")
    return RegulationCall(kinds[kind], SubjectKind[subject_kind], checked_ids(members.get("subjectIds")))


def checked_ids(ids: Any) -> tuple[str, ...]:
    """The ids of subjects, each once; `BodyRefused` when they are too many, too long, or none."""
    if not isinstance(ids, list | tuple) or not ids:
        raise BodyRefused("bad_subjects", "subjectIds must be a list of ids")
    if len(ids) > MAX_SUBJECTS:
        raise BodyRefused("too_many_subjects", f"send at most {MAX_SUBJECTS:,} subjectIds in one request", status=413)
    if not all(isinstance(one, str) and 0 < len(one) <= MAX_ID_LENGTH for one in ids):
        raise BodyRefused("bad_subjects", f"every one of subjectIds must be a text of 1 to {MAX_ID_LENGTH} characters")
    return tuple(dict.fromkeys(ids))
