"""What the clients in Python share: each prints its events, up to the message that says "the end"."""

import json


def show(event_id, data):
    """Prints an event as one line of JSON. Returns whether it is the last."""
    print(json.dumps({"id": event_id, "data": data}), flush=True)
    return data.get("data", {}).get("content") == "the end"
