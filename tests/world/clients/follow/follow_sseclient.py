"""Follows a stream with sseclient. In the environment: SERVER, TOKEN."""

import json
import os
import sys
import time

import requests
from sseclient import SSEClient

from show import show


def follow(server, token):
    last_event_id = None
    while True:
        headers = {"Authorization": f"Bearer {token}"}
        try:
            # It reconnects by itself after an end, but not after an error.
            for event in SSEClient(f"{server}/output/stream", last_id=last_event_id, headers=headers, timeout=(10, 60)):
                # The last chunk of a response is an event without data to it.
                if event.data and show(event.id, json.loads(event.data)):
                    return
                last_event_id = event.id or last_event_id
        except OSError as error:
            print(f"reconnecting after {last_event_id}: {error!r}", file=sys.stderr)
        time.sleep(3)


follow(os.environ["SERVER"], os.environ["TOKEN"])
