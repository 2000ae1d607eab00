// The chat: the open conversation, its messages and their growing answers, and the composer.

import { sleep } from "./api.js";
import { arrange, attempt, button, h, iconButton, set, showError, time } from "./app.js";
import { markdown } from "./markdown.js";
import { openSearch } from "./search.js";
import { openTree } from "./tree.js";

const PAGE = 50;
// Pixels from an edge within which the view follows the end, or more is loaded.
const [FOLLOW, EDGE] = [80, 200];
const UNDER_WAY = /queued|started|retrying|streaming/;
const FAULT = /failed|cancelled|interrupted/;

export function chatView(api) {
	// Running answers in all conversations, by id.
	const answers = new Map();
	// Composers, each with what is typed and sent, by conversation and user.
	const boxes = {};
	const drafts = { ...sessionStorage };
	const tree = openTree(api, describe);
	const search = openSearch(api, tree);
	const pane = h("div.pane");
	const element = h("div.chat", h("div.side", search.form, search.results, tree.element), pane);
	const heading = h("h1", { tabindex: -1 });
	let log = null;
	api.stream.listen(apply);

	async function start() {
		let position;
		while ((position = await attempt(tree.load)) === undefined) await sleep(3000);
		api.stream.start(position);
	}

	async function show([id, target]) {
		if (!id) return close();
		const mine = log?.id === id && (!target || log.find(target)) ? log : openLog(api, id, answers);
		const isShown = await attempt(async () => {
			if (log !== mine) compose(log = mine, await tree.need(id));
			await mine.show(target);
		});
		if (isShown === undefined && log === mine) close();
	}

	function close() {
		log = null;
		tree.open(null);
		pane.replaceChildren(h("div.empty", h("h1", "Chat"), "Choose or create a conversation."));
	}

	function describe() {
		heading.textContent = tree.conversations.get(log?.id)?.title ?? heading.textContent;
	}

	function apply({ event }) {
		const { type, data, user_id } = event;
		if (type === "gap") {
			answers.clear();
			attempt(() => tree.load().then(() => log?.load()));
		}
		const open = tree.conversations.get(log?.id);
		if (open && /^[cw].*_(deleted|left)$/.test(type) && [open.id, open.workspace_id].includes(data.conversation_id ?? data.workspace_id)) {
			location.hash = "#/chat";
			if (user_id !== api.user.user_id) setTimeout(showError, 0, "The conversation was deleted, or you were removed.");
		}
		if (/_(delta|snapshot)$/.test(type)) grow(type, data);
		tree.apply(event);
		if (data?.conversation_id === log?.id) log?.apply(event);
		if (type === "output") answers.delete(data.message_id);
	}

	// Offsets count bytes of UTF-8.
	function grow(type, { message_id, offset, delta, text }) {
		const answer = answers.get(message_id) ?? { text: "", reasoning: "", bytes: { text: 0, reasoning: 0 } };
		answers.set(message_id, answer);
		const part = type === "output_reasoning_delta" ? "reasoning" : "text";
		const added = new TextEncoder().encode(delta);
		const known = answer.bytes[part] - offset;
		if (type === "output_snapshot") [answer.text, answer.bytes.text] = [text, offset];
		else if (known < added.length) {
			// No snapshot has the reasoning: what is missing is loaded at the end.
			answer.isPartial ||= known < 0;
			answer[part] += new TextDecoder().decode(added.subarray(Math.max(0, known)));
			answer.bytes[part] = offset + added.length;
		}
	}

	function compose(mine, conversation) {
		const { id } = conversation;
		if (log !== mine) return;
		tree.open(id);
		const key = id + api.user.user_id;
		const box = boxes[key] ??= h("textarea", { "aria-label": "Message", placeholder: "Write a message", rows: 1 }, drafts[key]);
		const send = async (event) => {
			event.preventDefault();
			const content = box.value;
			if (box.isSending || !content.trim()) return;
			box.isSending = true;
			// With the same key, a repeated request stores nothing twice.
			if (box.sent !== content) [box.sent, box.key] = [content, crypto.getRandomValues(new Uint32Array(4)).join("-")];
			const message = await attempt(() => api.send("POST", `/conversations/${id}/messages`, { content }, box.key));
			box.isSending = false;
			if (!message) return;
			box.sent = null;
			if (box.value.startsWith(content)) box.value = box.value.slice(content.length);
			mine.put(message);
			await attempt(mine.show);
			mine.follow(true);
		};
		box.onkeydown = (event) => {
			if (event.key === "Enter" && !event.shiftKey && !event.isComposing) send(event);
		};
		const tool = (icon, label, action) => iconButton(icon, `${label} conversation`, () => action(tree.conversations.get(id) ?? conversation));
		pane.replaceChildren(
			h("header", h("a.icon.back", { href: "#/chat", "aria-label": "Back" }, "‹"), heading,
				tool("edit", "Rename", tree.rename), tool("share", "Share", tree.share),
				tree.isOwner(conversation) ? tool("remove", "Delete", tree.remove) : tool("leave", "Leave", tree.leave),
				iconButton("code", "Show the request", () => location.assign("#/learn"))),
			mine.element, h("form.composer", { onsubmit: send }, box, mine.stop, h("button.primary", "Send")));
		describe();
		// On a phone, the focus would open the keyboard.
		(matchMedia("(pointer: fine)").matches ? box : heading).focus();
	}

	return {
		element, tree, start, show, boxes,
		address: () => (log ? `#/chat/${log.id}` : "#/chat"),
		focusSearch: search.focus,
		ids() {
			const message_id = [...pane.querySelectorAll("[data-role=user]")].at(-1)?.id;
			return { message_id, conversation_id: log?.id, workspace_id: tree.conversations.get(log?.id)?.workspace_id };
		},
	};
}

// The loaded messages of a conversation, without holes.
function openLog(api, id, answers) {
	const path = `/conversations/${encodeURIComponent(id)}`;
	// Events that arrive while messages are loaded are applied afterwards.
	let pending = null;
	const more = { before: false, after: true };
	let isFollowing = true;
	let place = 0;
	let timer = 0;
	const list = h("div.messages");
	const element = h("div.log", { role: "log", "aria-label": "Messages", tabindex: 0 }, list);
	const stop = button("Stop", () => attempt(() => api.send("POST", `${path}/cancel`)), { hidden: true });

	const toEnd = () => element.scrollHeight - element.scrollTop - element.clientHeight;
	element.onscroll = () => {
		place = element.scrollTop;
		isFollowing = toEnd() < FOLLOW;
		clearTimeout(timer);
		timer = setTimeout(fill, 200);
	};
	new ResizeObserver(() => follow(isFollowing)).observe(element);

	const read = (rest) => api.get(`${path}/messages${rest}include=reasoning`);

	const find = (key) => list.children.namedItem(key);

	// Shows a message, or what was shown last, or the newest messages.
	async function show(target) {
		if (target ? !find(target) : more.after) await load(target);
		else element.scrollTop = place;
		list.querySelector("[aria-current]")?.removeAttribute("aria-current");
		if (!target) return follow(isFollowing);
		const article = find(target);
		set(article, { "aria-current": "true" });
		article.scrollIntoView({ block: "center" });
		article.focus({ preventScroll: true });
	}

	function load(target) {
		return loading(async () => {
			const center = target ?? (await api.get(path)).messages.at(-1)?.id;
			const message = center && await read(`/${encodeURIComponent(center)}?`);
			list.replaceChildren();
			more.before = more.after = false;
			if (message) {
				list.append(articleOf(message));
				await Promise.all(["before", "after"].map(extend));
			}
			follow(!target);
		});
	}

	async function extend(side) {
		const edge = side === "before" ? list.firstChild : list.lastChild;
		const messages = await read(`?${side}=${edge.id}&limit=${PAGE}&`);
		const { top } = edge.getBoundingClientRect();
		edge[side](...messages.filter((message) => !find(message.id)).map(articleOf));
		more[side] = messages.length;
		element.scrollTop += edge.getBoundingClientRect().top - top;
	}

	function fill() {
		const side = more.before && element.scrollTop < EDGE ? "before" : more.after && toEnd() < EDGE && "after";
		if (side && !pending && element.isConnected) attempt(() => loading(() => extend(side)));
	}

	async function loading(task) {
		const events = pending = [];
		await task().finally(() => {
			pending = null;
			events.forEach(apply);
			settle();
		});
		timer = setTimeout(fill);
	}

	function follow(isWanted) {
		isFollowing = isWanted && !more.after;
		if (isFollowing) element.scrollTop = element.scrollHeight;
	}

	function settle() {
		stop.hidden = ![...list.children].some(({ message }) => UNDER_WAY.test(message.answer?.status));
		follow(isFollowing);
	}

	const articleOf = (message) => createArticle(message, api.user.user_id, again);

	// A new message is placed by its id, which begins with its time: an answer may have begun before what came first.
	function put(message) {
		if (find(message.id)) find(message.id).update(message);
		else if (!more.after) {
			const next = [...list.children].findLast(({ id: other }) => other < message.id)?.nextSibling;
			list.insertBefore(articleOf(message), next === undefined ? list.firstChild : next);
		}
		settle();
	}

	function apply(event) {
		if (pending) return void pending.push(event);
		const { type, data, user_id, metadata, timestamp } = event;
		const { message_id: key, reply_to } = data;
		const known = find(key);
		const message = { sender_id: user_id, status: "complete", ...data, id: key, metadata };
		const answer = (state) => find(reply_to)?.update({ answer: state });
		if (type === "input") put(message);
		else if (type === "message_updated") known?.update(message);
		else if (type === "message_deleted") known?.remove();
		else if (type === "answer_status") answer(data);
		else if (type === "output") {
			answer({ status: data.status, message_id: key });
			put(message);
			if (answers.get(key)?.isPartial) read(`/${key}?`).then(put, showError);
		} else if (type === "output_error") {
			// An answer that only reasoned is not stored.
			[...list.children].find(({ message: one }) => one.reply_to === reply_to && one.status === "streaming")?.remove();
			answer({ status: data.code, error: data.error });
		} else if (answers.has(key)) {
			const { text: content, reasoning } = answers.get(key);
			answer({ status: "streaming", message_id: key });
			put({ role: "assistant", timestamp, ...known?.message, ...message, status: "streaming", content, reasoning });
		}
		settle();
	}

	function again({ id: key, reply_to }) {
		const question = reply_to ?? [...list.children].find(({ message }) => message.answer?.message_id === key)?.id ?? key;
		attempt(() => api.send("POST", `${path}/messages/${question}/answer`));
	}

	return { id, element, stop, find, show, load, follow, put, apply };
}

function createArticle(first, self, again) {
	const head = h("header");
	const text = h("div.text");
	const reasoning = h("p.reasoning");
	const thoughts = h("details", h("summary", "Reasoning"), reasoning);
	const foot = h("footer");
	const article = h("article", { id: first.id, tabindex: -1 }, head, text, foot);
	let shown = null;
	let timer = 0;
	article.update = update;
	update(first);
	return article;

	function update(change) {
		const message = article.message = { ...article.message, ...change };
		const { role, status, sender_id, sender_name, timestamp } = message;
		set(article, { "data-role": role, "data-status": status, "aria-busy": status === "streaming" && "true" });
		article.classList.toggle("mine", sender_id === self);
		arrange(head, [h("b", sender_name || sender_id.replace("responder:", "")), time(timestamp)], true);
		if (message.reasoning && !thoughts.parentNode) head.after(thoughts);
		reasoning.textContent = message.reasoning;
		if (status === "superseded" && text.parentNode === article) foot.before(h("details", h("summary", "Earlier answer"), text));
		showText();
		arrange(foot, states(message).filter(Boolean), true);
	}

	// This takes at most a fifth of the time.
	function showText() {
		const { role, content } = article.message;
		if (timer || shown === content) return;
		const begin = performance.now();
		shown = content;
		if (role === "assistant") arrange(text, markdown(content), true);
		else text.textContent = content;
		timer = setTimeout(() => showText(timer = 0), 4 * (performance.now() - begin));
	}

	// An answer without text has no article of its own: its question shows what became of it.
	function states({ role, status, error, sender_id, answer }) {
		const isQuestion = role === "user" && !answer?.message_id;
		const { status: phase, error: reason, retry_in_ms } = isQuestion ? answer ?? {} : { status, error };
		const isUnderWay = UNDER_WAY.test(phase);
		const isAnswer = sender_id.startsWith("responder:") && status !== "superseded";
		return [
			isQuestion && isUnderWay && h("p.progress", "Answer: ", phase, retry_in_ms && ` in ${Math.ceil(retry_in_ms / 1000)} s`),
			FAULT.test(phase) && h("p.fault", phase, reason && reason !== phase && `: ${reason}`),
			(isQuestion || isAnswer) && !isUnderWay && button("Answer again", () => again(article.message), { class: "again" }),
		];
	}
}
