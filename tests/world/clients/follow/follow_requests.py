"""Follows a stream with requests and nothing else. In the environment: SERVER, TOKEN."""

import json
import os
import sys
import time

import requests

from show import show


def events(response):
    """The events of a response. One that was cut is not among them."""
    fields = {}
    for line in response.iter_lines(decode_unicode=True):
        if line:
            name, _, value = line.partition(": ")
            fields[name] = value
        elif fields:
            yield fields
            fields = {}


def follow(server, token):
    last_event_id, retry_seconds = "", 3.0
    while True:
        headers = {"Authorization": f"Bearer {token}", "Last-Event-ID": last_event_id}
        try:
            with requests.get(f"{server}/output/stream", headers=headers, stream=True, timeout=(10, 60)) as response:
                response.raise_for_status()
                for event in events(response):
                    if show(event.get("id", ""), json.loads(event["data"])):
                        return
                    last_event_id = event.get("id", last_event_id)
                    retry_seconds = int(event["retry"]) / 1000 if "retry" in event else retry_seconds
        except requests.RequestException as error:
            print(f"reconnecting after {last_event_id}: {error!r}", file=sys.stderr)
        time.sleep(retry_seconds)


follow(os.environ["SERVER"], os.environ["TOKEN"])
