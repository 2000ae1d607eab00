// Every event as it arrives, the state of the connection, and the user's other streams.

import { sleep } from "./api.js";
import { arrange, button, copy, h, time } from "./app.js";

const ENTRIES_MAX = 1000;
const SHOWN_MAX = 4000;
const POLL_MS = 3000;

export function streamView({ stream, get }, { tree }) {
	// Newest first.
	let entries = [];
	let isPaused = false;
	let turn = 0;
	const option = (value, text = value) => h("option", { value }, text);
	const select = (...options) => h("select", { onchange: render }, options);
	const [type, conversation, form] = [select(option("", "all")), select(option("", "all")), select(option("pretty"), option("raw"))];
	const facts = h("dl");
	const rows = h("tbody");
	const note = h("p.soft");
	const list = h("div", { role: "log", "aria-label": "Events", "aria-live": "off", tabindex: 0 });
	const pause = button("Pause", () => {
		isPaused = !isPaused;
		pause.textContent = isPaused ? "Resume" : "Pause";
		render();
	});
	const clear = button("Clear", () => render(entries = []));
	const element = h("div.page", { tabindex: 0 }, h("h1", "Stream"),
		h("div.bar", facts, button("Cut the connection", stream.cut, { class: "danger" })),
		h("table", h("caption", "My streams"), h("thead", h("tr", ["Stream", "Since", "State", "Events behind", "Bytes behind"].map((name) => h("th", name)))), rows),
		h("div.bar", h("label", "Type", type), h("label", "Conversation", conversation), h("label", "Form", form), pause, clear), note, list);

	stream.listen((entry) => {
		if (entries.unshift(entry) > ENTRIES_MAX) entries.pop();
		if (!element.isConnected) return;
		describe();
		if (!isPaused) insert(entry);
	});

	function render() {
		list.replaceChildren();
		entries.toReversed().forEach(insert);
		describe();
	}

	const title = (id) => tree.conversations.get(id)?.title ?? id;

	function insert(entry) {
		const { event } = entry;
		const id = event.data?.conversation_id;
		const isWanted = [[type, event.type], [conversation, id, title(id)]].every(([filter, value, text]) => {
			if (value && ![...filter.options].some((one) => one.value === value)) filter.append(option(value, text));
			return !filter.value || filter.value === value;
		});
		if (isWanted) list.prepend(row(entry));
		if (list.childElementCount > ENTRIES_MAX) list.lastElementChild.remove();
	}

	function describe() {
		const { state, lastEventId, reconnects, gaps } = stream;
		const values = Object.entries({ State: state, "Last-Event-ID": lastEventId, Reconnects: reconnects, Gaps: gaps });
		arrange(facts, values.map(([name, value]) => h("div", h("dt", name), h("dd", value))), true);
		note.textContent = `The newest ${entries.length} events`;
	}

	function row({ number, event, raw, at }) {
		const { content, delta, text, error, reason, status, conversation_id } = event.data ?? {};
		const gist = content ?? delta ?? text ?? error ?? reason ?? status ?? "details";
		const whole = raw ?? JSON.stringify(event);
		const pre = (long) => h("pre", long.length > SHOWN_MAX ? `${long.slice(0, SHOWN_MAX)}… (${long.length} characters)` : long);
		const details = h("details", h("summary", String(gist).slice(0, 300)));
		details.ontoggle = () => details.children[1] ?? details.append(pre(JSON.stringify(event, null, 2)));
		return h("div.event", number ?? "–", h(raw ? "span.type" : "span.type.note", event.type), time(at),
			h("small", title(conversation_id)), button("Copy", () => copy(whole)),
			form.value === "raw" ? pre(`data: ${whole}${number ? `\nid: ${number}` : ""}`) : details);
	}

	async function poll() {
		if (stream.state !== "connected" || document.hidden) return;
		const { streams } = await get("/output/streams").catch(() => ({ streams: [] }));
		rows.replaceChildren(...streams.map((one) => h("tr",
			[one.stream_id.slice(0, 8) + (one.stream_id === stream.id ? " (this page)" : ""), time(one.since), one.state, one.events_behind, one.bytes_behind].map((cell) => h("td", cell)))));
	}

	async function show() {
		render();
		for (const mine = turn += 1; mine === turn && element.isConnected; await sleep(POLL_MS)) await poll();
	}

	return { element, show };
}
