// The search over all messages that the user may see.

import { attempt, button, h, time } from "./app.js";

const PAGE = 20;

export function openSearch(api, tree) {
	// Counts requests: a response to an earlier one is dropped.
	let turn = 0;
	let query = "";
	let last = null;
	const box = h("input", { type: "search", "aria-label": "Search", placeholder: "Search", autocomplete: "off" });
	const list = h("ul");
	const summary = h("p", { "aria-live": "polite" });
	const more = button("More results", load);
	const results = h("div.results", { role: "region", "aria-label": "Search results", hidden: true }, summary, list, more);
	const form = h("form", { role: "search", onsubmit: start }, box);
	box.oninput = () => box.value || close();
	box.onkeydown = (event) => {
		if (event.key === "Escape") close();
	};

	function close() {
		turn += 1;
		box.value = "";
		results.hidden = true;
		tree.element.hidden = false;
	}

	function start(event) {
		event.preventDefault();
		[query, last] = [box.value.trim(), null];
		return query ? load() : close();
	}

	async function load() {
		const mine = turn += 1;
		const path = `/search?${new URLSearchParams({ q: query, limit: PAGE, ...(last && { before: last }) })}`;
		const page = await attempt(() => api.get(path));
		if (mine !== turn || !page) return;
		api.last = { method: "GET", path };
		if (!last) list.replaceChildren();
		list.append(...page.results.map(item));
		last = page.results.at(-1)?.message.id ?? last;
		more.hidden = page.total_is_at_least <= page.results.length;
		summary.textContent = `${list.childElementCount || "No"} messages`;
		results.hidden = false;
		tree.element.hidden = true;
	}

	function item({ message, snippet }) {
		return h("li", h("a", { href: `#/chat/${message.conversation_id}/${message.id}` },
			h("span.head", h("b", message.sender_name || message.sender_id), time(message.timestamp)),
			h("span.snippet", marked(snippet)),
			h("small", tree.conversations.get(message.conversation_id)?.title)));
	}

	return { form, results, focus: () => box.select() };
}

// The server encloses what matches in U+E000 and U+E001.
function marked(snippet) {
	return snippet.split(/([\u{e000}\u{e001}])/u).map((part, index, all) => (index % 2 ? "" : all[index - 1] === "\u{e000}" ? h("mark", part) : part));
}
