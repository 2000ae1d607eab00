"""What the scripts of the Python clients share.

Each argument of a script is a request, as JSON. For each, the script prints what its client returned, as one line of JSON.
In the environment: SERVER, the address of the server; TOKEN, a bearer token.

A request has these fields, all of them optional but the first two:

  model, messages   as OpenAI's API defines them
  stream            whether the answer is streamed
  tools             as OpenAI's API defines them
  parameters        named parameters that the client knows
  unknown           parameters that it does not know
  metadata          the request's metadata
  headers           fields that the request has in addition
  token             another token
  retries           how often the client may repeat the request; 0 if absent
  abort_after       closes the stream after so many pieces of text
  do                "models" or "model": lists the models, or retrieves one, instead of asking
"""

import json
import os
import sys

SERVER = os.environ["SERVER"]
URL = f"{SERVER}/v1"
# A request that hangs fails before the test does.
TIMEOUT_SECONDS = 25


def token(request):
    return request.get("token", os.environ["TOKEN"])


def is_enough(request, answer):
    return answer["pieces"] == request.get("abort_after")


def add_text(answer, text):
    if text:
        answer["text"] += text
        answer["pieces"] += 1


def add_headers(answer, headers):
    answer["conversation_id"] = headers.get("x-conversation-id")
    answer["message_id"] = headers.get("x-message-id")


def add_completion(answer, completion):
    """Adds a whole answer: a dictionary in the form of OpenAI's API."""
    choice = completion["choices"][0]
    add_text(answer, choice["message"]["content"])
    answer["tool_calls"] = [
        {"id": call["id"], "name": call["function"]["name"], "arguments": json.loads(call["function"]["arguments"])}
        for call in choice["message"].get("tool_calls") or []
    ]
    answer["id"], answer["model"] = completion["id"], completion["model"]
    answer["finish_reason"] = choice["finish_reason"]
    add_usage(answer, completion.get("usage"))


def add_usage(answer, usage):
    if usage:
        answer["usage"] = [usage[name] for name in ("prompt_tokens", "completion_tokens", "total_tokens")]


class Chunks:
    """Adds the chunks of a streamed answer, which are dictionaries in the form of OpenAI's API."""

    def __init__(self, answer):
        self.answer = answer
        self.calls = {}

    def add(self, chunk):
        self.answer["id"], self.answer["model"] = chunk["id"], chunk["model"]
        add_usage(self.answer, chunk.get("usage"))
        for choice in chunk["choices"]:
            add_text(self.answer, choice["delta"].get("content"))
            self.answer["finish_reason"] = choice["finish_reason"] or self.answer["finish_reason"]
            for call in choice["delta"].get("tool_calls") or []:
                whole = self.calls.setdefault(call["index"], {"id": None, "name": "", "arguments": ""})
                whole["id"] = call.get("id") or whole["id"]
                whole["name"] += call["function"].get("name") or ""
                whole["arguments"] += call["function"].get("arguments") or ""

    def end(self):
        calls = [self.calls[index] for index in sorted(self.calls)]
        self.answer["tool_calls"] = [{**call, "arguments": json.loads(call["arguments"])} for call in calls]


def add_response(request, answer, response, as_dictionary, close):
    """Adds a response of a client: a whole answer, or an iterable of chunks, which `close` closes early."""
    if not request.get("stream"):
        add_completion(answer, as_dictionary(response))
        return
    chunks = Chunks(answer)
    for chunk in response:
        chunks.add(as_dictionary(chunk))
        if is_enough(request, answer):
            close()
            return
    chunks.end()


def run(ask):
    """Makes every request by `ask`, which fills in an answer and raises the error of its client."""
    for argument in sys.argv[1:]:
        answer = {"text": "", "pieces": 0, "finish_reason": None, "tool_calls": [], "usage": None, "error": None}
        try:
            ask(json.loads(argument), answer)
        except Exception as error:
            answer["error"] = {
                "classes": [base.__name__ for base in type(error).__mro__],
                "status": getattr(error, "status_code", None),
                "code": getattr(error, "code", None),
                "message": str(error),
            }
        print(json.dumps(answer), flush=True)
