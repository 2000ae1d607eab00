"""Loads the server with llmeter, and prints its statistics as JSON: streamed requests, then plain ones.

Arguments: the model; the number of clients; the number of requests of each. In the environment: SERVER, TOKEN.
"""

import asyncio
import json
import os
import sys

from llmeter.endpoints.openai import OpenAICompletionEndpoint, OpenAICompletionStreamEndpoint
from llmeter.runner import Runner


async def main(model, clients, requests):
    for kind in (OpenAICompletionStreamEndpoint, OpenAICompletionEndpoint):
        url = f"{os.environ['SERVER']}/v1"
        endpoint = kind(model, api_key=os.environ["TOKEN"], base_url=url, max_retries=0, timeout=25)
        payloads = [kind.create_payload(f"message {number} of the load") for number in range(int(requests))]
        runner = Runner(endpoint=endpoint, payload=payloads, clients=int(clients), n_requests=int(requests))
        result = await runner.run()
        unequal = [one.response_text for one in result.responses if one.response_text != one.input_prompt]
        print(json.dumps({**result.stats, "unequal": unequal}, default=str), flush=True)


asyncio.run(main(*sys.argv[1:]))
