"""Follows a stream with launchdarkly-eventsource. In the environment: SERVER, TOKEN."""

import json
import os

from ld_eventsource import SSEClient
from ld_eventsource.config import ConnectStrategy, ErrorStrategy, RetryDelayStrategy

from show import show


def follow(server, token):
    client = SSEClient(
        ConnectStrategy.http(f"{server}/output/stream", headers={"Authorization": f"Bearer {token}"}),
        # Otherwise the first error ends it.
        error_strategy=ErrorStrategy.always_continue(),
        retry_delay_strategy=RetryDelayStrategy.default(max_delay=5),
    )
    for event in client.events:
        if show(event.id, json.loads(event.data)):
            client.close()
            return


follow(os.environ["SERVER"], os.environ["TOKEN"])
