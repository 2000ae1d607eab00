// Below each operation, a form that sends its request. What the server returns is shown as text, never as HTML.
const CHARACTERS_MAX = 200_000;
// The values of parameters, and the token, which is kept nowhere else. Fields of one name share their value.
const values = {};
let description;

for (const article of document.querySelectorAll('main article:not([id^="schema-"])')) {
  const details = make("details", {}, make("summary", {}, "Try it"));
  details.addEventListener("toggle", async () => {
    if (details.children.length > 1) return;
    const body = make("div");
    details.append(body);
    body.append(await build(article.id).catch((error) => error.message));
  });
  article.append(details);
}

function make(name, properties, ...children) {
  const element = Object.assign(document.createElement(name), properties);
  element.append(...children);
  return element;
}

// The form of an operation, from the OpenAPI document.
async function build(id) {
  description ??= await (await fetch("/openapi.json")).json();
  const resolve = (value) =>
    value.$ref ? value.$ref.slice(2).split("/").reduce((inner, key) => inner[key], description) : value;
  const [path, method, item] = Object.entries(description.paths)
    .flatMap(([path, item]) => Object.keys(item).map((method) => [path, method, item]))
    .find(([, method, item]) => item[method].operationId === id);
  const operation = item[method];
  const fields = [...(item.parameters ?? []), ...(operation.parameters ?? [])].map(resolve)
    .filter(({ name }) => name !== "X-Request-Id")
    .map((field) => ({ ...field, example: field.example ?? resolve(field.schema).examples?.[0] }));
  if (operation.security?.length !== 0) fields.unshift({ name: "token", in: "Authorization", required: true });
  const form = make("form", { ariaLabel: `Try ${id}` }, ...fields.map(input));
  const json = operation.requestBody?.content["application/json"];
  if (json) {
    const value = JSON.stringify(json.example ?? {}, null, 2);
    form.append(label("body", "JSON", make("textarea", { name: "body", value, rows: value.split("\n").length })));
  }
  const button = make("button", {}, "Send");
  const status = make("p", { role: "status" });
  const response = make("div");
  form.append(button, status, response);
  let running;
  form.addEventListener("submit", async (event) => {
    event.preventDefault();
    if (running) return running.abort();
    running = new AbortController();
    button.textContent = "Stop";
    try {
      await send(request(method, path, fields, form.elements), running.signal, status, response);
    } catch (error) {
      status.append(running.signal.aborted ? " (stopped)" : ` (${error.message})`);
    }
    button.textContent = "Send";
    running = undefined;
  });
  return form;
}

function label(name, note, field) {
  return make("label", {}, make("span", {}, name, " ", make("small", {}, note)), field);
}

function input({ name, in: place, required = false, example = "" }) {
  const field = make("input", { name, required, placeholder: example, value: values[name] ?? "", autocomplete: "off" });
  if (name === "token") field.type = "password";
  field.addEventListener("input", () => share(name, field.value));
  return label(name, required ? `${place}, required` : place, field);
}

function share(name, value) {
  values[name] = value;
  for (const field of document.getElementsByName(name)) {
    if (field.value !== value) field.value = value;
  }
}

function request(method, path, fields, elements) {
  const query = new URLSearchParams();
  const headers = elements.body ? { "Content-Type": "application/json" } : {};
  for (const { name, in: place } of fields) {
    const value = elements[name].value.trim();
    if (place === "path") path = path.replace(`{${name}}`, encodeURIComponent(value));
    else if (value && place === "query") query.set(name, value);
    else if (value) headers[name === "token" ? place : name] = name === "token" ? `Bearer ${value}` : value;
  }
  return new Request(query.size ? `${path}?${query}` : path, { method, headers, body: elements.body?.value });
}

// Shows the response as it arrives.
async function send(request, signal, status, shown) {
  status.textContent = "…";
  shown.replaceChildren();
  const response = await fetch(request, { signal, cache: "no-store" });
  status.textContent = `${response.status} ${response.statusText}`;
  const headers = [...response.headers].map(([name, value]) => `${name}: ${value}\n`);
  const body = make("pre", { tabIndex: 0, role: "group", ariaLabel: "Body" });
  shown.append(make("details", {}, make("summary", {}, "Headers"), make("pre", {}, ...headers)), body);
  if (!response.body) return;
  const reader = response.body.pipeThrough(new TextDecoderStream()).getReader();
  const type = response.headers.get("Content-Type") ?? "";
  const isStream = type.startsWith("text/event-stream");
  let length = 0;
  for (let piece; !(piece = await reader.read()).done; ) {
    const isAtEnd = body.scrollTop + body.clientHeight > body.scrollHeight - 20;
    body.append(piece.value);
    length += piece.value.length;
    // The oldest events go first.
    for (; isStream && length > CHARACTERS_MAX && body.childNodes.length > 1; body.firstChild.remove()) {
      length -= body.firstChild.length;
    }
    if (isStream && isAtEnd) body.scrollTop = body.scrollHeight;
  }
  if (!type.startsWith("application/json")) return;
  const token = JSON.parse(body.textContent)?.access_token;
  if (token) share("token", token);
  body.textContent = indent(body.textContent);
}

// JSON with line breaks. Numbers and strings stay as they were sent.
function indent(json) {
  let depth = 0;
  const line = (by) => "\n" + "  ".repeat(Math.max(0, (depth += by)));
  return json.replace(/"(?:\\.|[^"\\])*"|\{\}|\[\]|[{}[\],:]|\s+/g, (part) => {
    if (part === ",") return part + line(0);
    if (part === ":") return ": ";
    if (part === "{" || part === "[") return part + line(1);
    if (part === "}" || part === "]") return line(-1) + part;
    return part.trim();
  });
}
