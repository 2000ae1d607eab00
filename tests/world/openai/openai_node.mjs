// Makes requests with the package `openai`. The arguments, what is printed and the environment are those of script.py.
import OpenAI from "openai";

const { SERVER, TOKEN } = process.env;
const TIMEOUT_MILLISECONDS = 25_000;

function addText(answer, text) {
  if (!text) return;
  answer.text += text;
  answer.pieces += 1;
}

function addUsage(answer, usage) {
  if (usage) answer.usage = [usage.prompt_tokens, usage.completion_tokens, usage.total_tokens];
}

function toolCalls(calls) {
  return (calls ?? []).map((call) => ({
    id: call.id,
    name: call.function.name,
    arguments: JSON.parse(call.function.arguments),
  }));
}

function addCompletion(answer, completion) {
  const [choice] = completion.choices;
  addText(answer, choice.message.content);
  answer.tool_calls = toolCalls(choice.message.tool_calls);
  Object.assign(answer, { id: completion.id, model: completion.model, finish_reason: choice.finish_reason });
  addUsage(answer, completion.usage);
}

async function addStream(answer, stream, abortAfter) {
  const calls = [];
  for await (const chunk of stream) {
    Object.assign(answer, { id: chunk.id, model: chunk.model });
    addUsage(answer, chunk.usage);
    for (const { delta, finish_reason } of chunk.choices) {
      addText(answer, delta.content);
      answer.finish_reason = finish_reason ?? answer.finish_reason;
      for (const call of delta.tool_calls ?? []) {
        const whole = (calls[call.index] ??= { id: call.id, function: { name: "", arguments: "" } });
        whole.function.name += call.function.name ?? "";
        whole.function.arguments += call.function.arguments ?? "";
      }
    }
    if (answer.pieces === abortAfter) {
      stream.controller.abort();
      return;
    }
  }
  answer.tool_calls = toolCalls(calls);
}

async function ask(request, answer) {
  const client = new OpenAI({
    apiKey: request.token ?? TOKEN,
    baseURL: `${SERVER}/v1`,
    maxRetries: request.retries ?? 0,
    timeout: TIMEOUT_MILLISECONDS,
  });
  if (request.do === "models") {
    answer.models = (await client.models.list()).data;
    return;
  }
  if (request.do === "model") {
    answer.models = [await client.models.retrieve(request.model)];
    return;
  }
  const { model, messages, stream, tools, metadata, parameters, unknown, headers } = request;
  const body = { model, messages, stream, tools, metadata, ...parameters, ...unknown };
  const { data, response } = await client.chat.completions.create(body, { headers }).withResponse();
  answer.conversation_id = response.headers.get("x-conversation-id");
  answer.message_id = response.headers.get("x-message-id");
  if (stream) await addStream(answer, data, request.abort_after);
  else addCompletion(answer, data);
}

function classes(error) {
  const names = [];
  for (let at = Object.getPrototypeOf(error); at; at = Object.getPrototypeOf(at)) names.push(at.constructor.name);
  return names;
}

for (const argument of process.argv.slice(2)) {
  const answer = { text: "", pieces: 0, finish_reason: null, tool_calls: [], usage: null, error: null };
  try {
    await ask(JSON.parse(argument), answer);
  } catch (error) {
    const { status = null, code = null, message } = error;
    answer.error = { classes: classes(error), status, code, message };
  }
  console.log(JSON.stringify(answer));
}
