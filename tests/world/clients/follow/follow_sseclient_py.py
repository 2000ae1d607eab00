"""Follows a stream with sseclient-py over requests. In the environment: SERVER, TOKEN."""

import json
import os
import sys
import time

import requests
import sseclient

from show import show


def follow(server, token):
    last_event_id, retry_seconds = "", 3.0
    while True:
        headers = {"Authorization": f"Bearer {token}", "Last-Event-ID": last_event_id}
        try:
            with requests.get(f"{server}/output/stream", headers=headers, stream=True, timeout=(10, 60)) as response:
                response.raise_for_status()
                for event in sseclient.SSEClient(response).events():
                    if show(event.id, json.loads(event.data)):
                        return
                    last_event_id = event.id or last_event_id
                    retry_seconds = int(event.retry) / 1000 if event.retry else retry_seconds
        except requests.RequestException as error:
            print(f"reconnecting after {last_event_id}: {error!r}", file=sys.stderr)
        time.sleep(retry_seconds)


follow(os.environ["SERVER"], os.environ["TOKEN"])
