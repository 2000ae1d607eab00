"""Follows a stream with httpx-sse, from one connection to the next, and prints each event as one line of JSON.

Arguments: the URL. In the environment: TOKEN, a bearer token. Ends after the message that says "the end".
"""

import json
import os
import sys
import time

import httpx
from httpx_sse import SSEError, connect_sse


def follow(url, token):
    last_event_id, retry_seconds = "", 3.0
    # Nothing of the machine's proxies: the server is on this machine.
    with httpx.Client(trust_env=False, timeout=httpx.Timeout(10, read=60)) as client:
        while True:
            headers = {"Authorization": f"Bearer {token}"}
            if last_event_id:
                headers["Last-Event-ID"] = last_event_id
            try:
                with connect_sse(client, "GET", url, headers=headers) as source:
                    source.response.raise_for_status()
                    for event in source.iter_sse():
                        last_event_id = event.id
                        if event.retry is not None:
                            retry_seconds = event.retry / 1000
                        if event.data and show(event):
                            return
            except (httpx.TransportError, SSEError) as error:
                print(f"follow: {error!r}", file=sys.stderr)
            time.sleep(retry_seconds)


def show(event):
    """Prints an event; whether it is the last."""
    data = json.loads(event.data)
    print(json.dumps({"id": event.id, "data": data}), flush=True)
    return data.get("data", {}).get("content") == "the end"


if __name__ == "__main__":
    follow(sys.argv[1], os.environ["TOKEN"])
