"""Follows a stream with httpx-sse. In the environment: SERVER, TOKEN."""

import json
import os
import sys
import time

import httpx
from httpx_sse import SSEError, connect_sse

from show import show


def follow(server, token):
    last_event_id, retry_seconds = "", 3.0
    # Heartbeats come every 15 seconds: after 60 without a byte, the connection is dead.
    with httpx.Client(timeout=httpx.Timeout(10, read=60)) as client:
        while True:
            headers = {"Authorization": f"Bearer {token}", "Last-Event-ID": last_event_id}
            try:
                with connect_sse(client, "GET", f"{server}/output/stream", headers=headers) as source:
                    source.response.raise_for_status()
                    for event in source.iter_sse():
                        if show(event.id, json.loads(event.data)):
                            return
                        last_event_id = event.id or last_event_id
                        if event.retry is not None:
                            retry_seconds = event.retry / 1000
            except (httpx.HTTPError, SSEError) as error:
                print(f"reconnecting after {last_event_id}: {error!r}", file=sys.stderr)
            time.sleep(retry_seconds)


follow(os.environ["SERVER"], os.environ["TOKEN"])
