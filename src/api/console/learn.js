// Each operation of the API as a request, with the ids of the open conversation.

import { attempt, button, copy, h, set } from "./app.js";

const LANGUAGES = { curl, Python: python, JavaScript: javascript };

export function learnView(api, chat) {
	let paths = {};
	let language = "curl";
	const languages = Object.keys(LANGUAGES).map((name) => button(name, () => render(language = name)));
	const sections = h("div.sections");
	const element = h("div.page", { tabindex: 0 }, h("h1", "Learn"),
		h("p", "The requests of this page, with the ids of the open conversation. ", h("code", "$TOKEN"), " is your token."),
		h("div.bar", { role: "group", "aria-label": "Language" }, languages), sections);

	function render() {
		for (const one of languages) set(one, { "aria-pressed": String(one.textContent === language) });
		sections.replaceChildren();
		for (const [path, methods] of Object.entries(paths)) {
			for (const [method, operation] of Object.entries(methods)) if (operation.summary && !/operations|openai/.test(operation.tags)) sections.append(section(path, method, operation));
		}
	}

	function section(path, method, { summary, requestBody, parameters }) {
		const { last, stream } = api;
		const ids = { ...chat.ids(), stream_id: stream.id };
		const needed = parameters?.find(({ required }) => required)?.name;
		const pattern = new RegExp(`^${path.replace(/\{\w+\}/g, "[^/]+")}(\\?|$)`);
		const isLast = last?.method.toLowerCase() === method && pattern.test(last.path);
		const example = requestBody?.content["application/json"].example;
		const request = isLast ? last : {
			method: method.toUpperCase(),
			path: (needed ? `${path}?${needed}={${needed}}` : path).replace(/\{(\w+)\}/g, (_, name) => ids[name] ?? name.toUpperCase()),
			body: example && JSON.parse(JSON.stringify(example, (name, value) => ids[name] ?? value)),
		};
		const text = LANGUAGES[language]({ ...request, url: location.origin + request.path, isStream: path.endsWith("/stream") });
		return h(isLast ? "section.last" : "section", { tabindex: -1, "aria-label": summary },
			h("div.head", h("h2", summary), isLast && h("small", "your last request"), button("Copy", () => copy(text))), h("pre", h("code", text)));
	}

	async function show() {
		await attempt(async () => ({ paths } = await api.get("/openapi.json")));
		render();
		const last = sections.querySelector(".last");
		last?.scrollIntoView();
		last?.focus({ preventScroll: true });
	}

	return { element, show };
}

const quoted = (text) => `'${text.replaceAll("'", "'\\''")}'`;

function curl({ method, url, body, isStream }) {
	const lines = [`curl -sS ${method === "GET" ? "" : `-X ${method} `}${quoted(url)}`, '-H "Authorization: Bearer $TOKEN"'];
	if (isStream) lines.push('--no-buffer -H "Last-Event-ID: ${LAST_EVENT_ID:-}"');
	if (body) lines.push("-H 'Content-Type: application/json'", `-d ${quoted(JSON.stringify(body))}`);
	return lines.join(" \\\n  ");
}

// The bodies have strings only, which are the same in JSON and Python.
function python({ method, url, body, isStream }) {
	const headers = 'headers = {"Authorization": f"Bearer {token}"';
	if (!isStream) {
		return `${headers}}
response = httpx.request("${method}", ${JSON.stringify(url)}, headers=headers${body ? `, json=${JSON.stringify(body)}` : ""})
print(response.raise_for_status().json())`;
	}
	return `${headers}, "Last-Event-ID": last_event_id}
with httpx.Client(timeout=httpx.Timeout(10, read=60)) as client:
    with connect_sse(client, "GET", "${url}", headers=headers) as source:
        for event in source.iter_sse():
            print(event.id, json.loads(event.data))`;
}

function javascript({ method, url, body, isStream }) {
	const headers = "headers: { Authorization: `Bearer ${token}`";
	if (!isStream) {
		return `const response = await fetch(${JSON.stringify(url)}, {
  method: "${method}",
  ${headers}${body ? `, "Content-Type": "application/json" },\n  body: JSON.stringify(${JSON.stringify(body)})` : " }"},
});
console.log(await response.json());`;
	}
	return `const response = await fetch("${location.origin}/auth/stream-ticket", { method: "POST", ${headers} } });
const { ticket } = await response.json();
const source = new EventSource(\`${url}?ticket=\${ticket}\`);
source.onmessage = (event) => console.log(event.lastEventId, JSON.parse(event.data));`;
}
