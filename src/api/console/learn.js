// For every action, the request that does the same from a shell, Python and JavaScript, with the ids of the open conversation.

import { button, copy, h } from "./app.js";

// Name, method, path and body. `{…}` is replaced by the id that is open, or by the last request of this kind that the page sent.
const ACTIONS = [
  ["Log in", "POST", "/auth/login"],
  ["Create a workspace", "POST", "/config/workspace", { name: "Garden", description: "Plants and animals" }],
  ["Rename a workspace", "PUT", "/config/workspace/{workspace}", { name: "Garden" }],
  ["Delete a workspace", "DELETE", "/config/workspace/{workspace}"],
  ["Create a conversation", "POST", "/conversations", { title: "Turtles", workspace_id: "{workspace}" }],
  ["List conversations", "GET", "/conversations?limit=20"],
  ["Rename a conversation", "PUT", "/conversations/{conversation}", { title: "Tortoises" }],
  ["Share a conversation", "PUT", "/config/conversation/{conversation}", { participant_ids: ["{user}", "another user's id"] }],
  ["Leave a conversation", "POST", "/config/conversation/{conversation}/leave"],
  ["Delete a conversation", "DELETE", "/conversations/{conversation}"],
  ["Send a message", "POST", "/conversations/{conversation}/messages", { content: "Hello" }],
  ["List messages", "GET", "/conversations/{conversation}/messages?limit=50"],
  ["Follow the stream", "GET", "/output/stream"],
  ["Search", "GET", "/search?q=hello&limit=20"],
  ["Stop the answer", "POST", "/conversations/{conversation}/cancel"],
  ["Answer again", "POST", "/conversations/{conversation}/messages/{message}/answer"],
  ["Edit a message", "PUT", "/conversations/{conversation}/messages/{message}", { content: "Hello!" }],
  ["Delete a message", "DELETE", "/conversations/{conversation}/messages/{message}"],
  ["List my streams", "GET", "/output/streams"],
];
const LANGUAGES = { curl, Python: python, JavaScript: javascript };

export class LearnView {
  title = "Learn";
  #api;
  #chat;
  #language = "curl";

  constructor(api, chat) {
    this.#api = api;
    this.#chat = chat;
    this.languages = Object.keys(LANGUAGES).map((name) => button(name, () => {
      this.#language = name;
      this.#render();
    }));
    this.sections = h("div");
    this.element = h("div", { class: "page learn" }, h("h1", {}, "Learn"),
      h("p", {}, "What this page does, you can do, too. ", h("code", {}, "$TOKEN"), " stands for your token; the ids are those of the open conversation."),
      h("div", { class: "bar languages", role: "group", "aria-label": "Language" }, this.languages), this.sections);
  }

  show() {
    this.#render();
    const last = this.sections.querySelector(".last");
    if (last) {
      last.scrollIntoView({ block: "start" });
      last.focus({ preventScroll: true });
    }
  }

  #render() {
    for (const one of this.languages) one.setAttribute("aria-pressed", String(one.textContent === this.#language));
    const { last } = this.#api;
    this.sections.replaceChildren(...ACTIONS.map(([title, method, path, body], index) => {
      const isLast = last?.method === method && pattern(path).test(last.path.split("?")[0]);
      const request = isLast ? { ...last } : JSON.parse(this.#fill(JSON.stringify({ method, path, body })));
      const text = LANGUAGES[this.#language]({ ...request, url: location.origin + request.path }, this.#api.user);
      return h("section", { class: isLast ? "last" : "", tabindex: -1, "aria-labelledby": `action-${index}` },
        h("div", { class: "head" }, h("h2", { id: `action-${index}` }, title), isLast && h("small", {}, "your last request"), button("Copy", () => copy(text))),
        h("pre", { dir: "ltr" }, h("code", {}, text)));
    }));
  }

  #fill(text) {
    const ids = { ...this.#chat.ids(), user: this.#api.user.user_id };
    return text.replace(/\{([a-z]+)\}/g, (_, name) => JSON.stringify(ids[name] ?? `${name.toUpperCase()}_ID`).slice(1, -1));
  }
}

function pattern(path) {
  return new RegExp(`^${path.split("?")[0].replace(/\{[a-z]+\}/g, "[^/]+")}$`);
}

const isLogIn = ({ path }) => path === "/auth/login";
const isStream = ({ path }) => path === "/output/stream";
const quoted = (text) => `'${text.replaceAll("'", "'\\''")}'`;
// The text of a JSON value as Python reads it. Strings have the same form.
const pythonOf = (value) => (value === null ? "None" : typeof value === "boolean" ? (value ? "True" : "False")
  : Array.isArray(value) ? `[${value.map(pythonOf).join(", ")}]`
    : typeof value === "object" ? `{${Object.entries(value).map(([key, item]) => `${JSON.stringify(key)}: ${pythonOf(item)}`).join(", ")}}`
      : JSON.stringify(value));

function curl(request, user) {
  const { method, url, body } = request;
  if (isLogIn(request)) return `curl -sS ${quoted(url)} --data-urlencode username=${quoted(user.email ?? "")} --data-urlencode "password=$PASSWORD"`;
  const parts = [`curl -sS${isStream(request) ? "N" : ""}${method === "GET" ? "" : ` -X ${method}`} ${quoted(url)}`, '-H "Authorization: Bearer $TOKEN"'];
  if (isStream(request)) parts.push('-H "Last-Event-ID: ${LAST_EVENT_ID:-}"');
  if (body) parts.push("-H 'Content-Type: application/json'", `-d ${quoted(JSON.stringify(body))}`);
  return parts.join(" \\\n  ");
}

function python(request, user) {
  const { method, url, body } = request;
  const address = JSON.stringify(url);
  const token = 'token = os.environ["TOKEN"]';
  if (isLogIn(request)) {
    return `import os, httpx

form = {"username": ${JSON.stringify(user.email ?? "")}, "password": os.environ["PASSWORD"]}
response = httpx.post(${address}, data=form)
print(response.raise_for_status().json()["access_token"])`;
  }
  if (isStream(request)) {
    return `import json, os, sys, time, httpx
from httpx_sse import SSEError, connect_sse

${token}
last_event_id, retry_seconds = "", 3.0
# Heartbeats come every 15 seconds: after 60 without a byte, the connection is dead.
with httpx.Client(timeout=httpx.Timeout(10, read=60)) as client:
    while True:
        headers = {"Authorization": f"Bearer {token}", "Last-Event-ID": last_event_id}
        try:
            with connect_sse(client, "GET", ${address}, headers=headers) as source:
                source.response.raise_for_status()
                for event in source.iter_sse():
                    print(json.loads(event.data))
                    last_event_id = event.id or last_event_id
                    if event.retry is not None:
                        retry_seconds = event.retry / 1000
        except (httpx.HTTPError, SSEError) as error:
            print(f"reconnecting after {last_event_id}: {error!r}", file=sys.stderr)
        time.sleep(retry_seconds)`;
  }
  return `import os, httpx

${token}
headers = {"Authorization": f"Bearer {token}"}
response = httpx.request("${method}", ${address}, headers=headers${body ? `, json=${pythonOf(body)}` : ""})
print(response.raise_for_status().json())`;
}

function javascript(request, user) {
  const { method, url, body } = request;
  const address = JSON.stringify(url);
  if (isLogIn(request)) {
    return `const body = new URLSearchParams({ username: ${JSON.stringify(user.email ?? "")}, password });
const response = await fetch(${address}, { method: "POST", body });
const { access_token: token } = await response.json();`;
  }
  if (isStream(request)) {
    return `let lastEventId = "";

async function connect() {
  const headers = { Authorization: \`Bearer \${token}\` };
  const response = await fetch(${JSON.stringify(`${location.origin}/auth/stream-ticket`)}, { method: "POST", headers });
  const { ticket } = await response.json();
  const query = new URLSearchParams({ ticket });
  if (lastEventId) query.set("last_event_id", lastEventId);
  const source = new EventSource(\`${url}?\${query}\`);

  source.onmessage = (event) => {
    lastEventId = event.lastEventId || lastEventId;
    console.log(JSON.parse(event.data));
  };

  // It reconnects by itself, unless the response was not 200.
  source.onerror = () => {
    if (source.readyState === EventSource.CLOSED) connectLater();
  };
}

const connectLater = () => setTimeout(() => connect().catch(connectLater), 3000);
connect().catch(connectLater);`;
  }
  const headers = `{ Authorization: \`Bearer \${token}\`${body ? ', "Content-Type": "application/json"' : ""} }`;
  return `const response = await fetch(${address}, {
  method: "${method}",
  headers: ${headers},${body ? `\n  body: JSON.stringify(${JSON.stringify(body)}),` : ""}
});
if (!response.ok) throw new Error(await response.text());
console.log(await response.json());`;
}
