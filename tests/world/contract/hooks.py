"""Constraints of requests that a schema cannot express."""

import datetime
import itertools
import re

import schemathesis

_numbers = itertools.count(1)


@schemathesis.hook
def before_call(ctx, case, kwargs):
    """Replaces values that are valid by the schema alone.

    A valid `Idempotency-Key` is used for one request only: with another body it would be rejected. A conversation's model is
    the one of the server. A range of days begins at its end. The query of a search has nothing but words. A ticket that the server
    made is left out, since it opens a stream beside any invalid token.
    """
    if case.query and str(case.query.get("ticket")).startswith("eyJ"):
        del case.query["ticket"]
    query = case.query if case.operation.path == "/usage" else None
    if query and _is_day(query.get("from")) and ("to" not in query or _is_day(query["to"])):
        query["to"] = query["from"]
    if case.operation.path == "/search" and case.query and _has_length(case.query.get("q"), 1, 500):
        words = re.findall(r"[^\W_]+", case.query["q"])[:16]
        case.query["q"] = " ".join(words) or "word"
    metadata = case.body.get("metadata") if isinstance(case.body, dict) else None
    if isinstance(metadata, dict) and isinstance(metadata.get("model"), str):
        metadata["model"] = "none"
    key = case.headers.get("Idempotency-Key") if case.headers else None
    if isinstance(key, str) and 1 <= len(key) <= 128 and all("!" <= char <= "~" for char in key):
        case.headers["Idempotency-Key"] = f"{next(_numbers)}-{key}"[:128]


def _has_length(value, least, most):
    """Whether a value is a string of such a length."""
    return isinstance(value, str) and least <= len(value) <= most


def _is_day(value):
    """Whether a value is a date in the form of the API."""
    try:
        return isinstance(value, str) and datetime.date.fromisoformat(value).isoformat() == value
    except ValueError:
        return False
