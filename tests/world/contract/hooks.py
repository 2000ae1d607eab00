"""What no schema can say of a request."""

import itertools

import schemathesis

_numbers = itertools.count(1)


@schemathesis.hook
def before_call(ctx, case, kwargs):
    """Gives each good `Idempotency-Key` to one request alone: with another body it would be refused, as it should be."""
    key = case.headers.get("Idempotency-Key") if case.headers else None
    if isinstance(key, str) and 1 <= len(key) <= 128 and all("!" <= char <= "~" for char in key):
        case.headers["Idempotency-Key"] = f"{next(_numbers)}-{key}"[:128]
