"""Constraints of requests that a schema cannot express."""

import itertools

import schemathesis

_numbers = itertools.count(1)


@schemathesis.hook
def before_call(ctx, case, kwargs):
    """Replaces values that are valid by the schema alone.

    A valid `Idempotency-Key` is used for one request only: with another body it would be rejected. A conversation's model is
    the one of the server.
    """
    metadata = case.body.get("metadata") if isinstance(case.body, dict) else None
    if isinstance(metadata, dict) and isinstance(metadata.get("model"), str):
        metadata["model"] = "none"
    key = case.headers.get("Idempotency-Key") if case.headers else None
    if isinstance(key, str) and 1 <= len(key) <= 128 and all("!" <= char <= "~" for char in key):
        case.headers["Idempotency-Key"] = f"{next(_numbers)}-{key}"[:128]
