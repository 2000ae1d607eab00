"""Constraints of requests that a schema cannot express."""

import itertools

import schemathesis

_numbers = itertools.count(1)


@schemathesis.hook
def before_call(ctx, case, kwargs):
    """Uses each valid `Idempotency-Key` for one request only: with another body it would be rejected."""
    key = case.headers.get("Idempotency-Key") if case.headers else None
    if isinstance(key, str) and 1 <= len(key) <= 128 and all("!" <= char <= "~" for char in key):
        case.headers["Idempotency-Key"] = f"{next(_numbers)}-{key}"[:128]
