"""Makes requests with the package `openai`."""

from openai import OpenAI

import script


def ask(request, answer):
    client = OpenAI(
        api_key=script.token(request),
        base_url=script.URL,
        max_retries=request.get("retries", 0),
        timeout=script.TIMEOUT_SECONDS,
    )
    if request.get("do") == "models":
        answer["models"] = [model.to_dict() for model in client.models.list()]
        return
    if request.get("do") == "model":
        answer["models"] = [client.models.retrieve(request["model"]).to_dict()]
        return
    parameters = dict(request.get("parameters", {}))
    for name in ("tools", "metadata"):
        if name in request:
            parameters[name] = request[name]
    response = client.chat.completions.with_raw_response.create(
        model=request["model"],
        messages=request["messages"],
        stream=request.get("stream", False),
        extra_headers=request.get("headers"),
        extra_body=request.get("unknown"),
        **parameters,
    )
    answer["retries"] = response.retries_taken
    script.add_headers(answer, response.headers)
    completion = response.parse()
    script.add_response(request, answer, completion, lambda part: part.to_dict(), lambda: completion.close())


script.run(ask)
