// The frame of the page: elements, dialogs, errors, the session, and the router of `#/…`.

import { openSession } from "./api.js";
import { chatView } from "./chat.js";
import { healthView } from "./health.js";
import { learnView } from "./learn.js";
import { streamView } from "./stream.js";

const ICONS = {
	add: "M12 5v14M5 12h14",
	code: "M8 7l-5 5 5 5M16 7l5 5-5 5",
	edit: "M4 20h4L20 8l-4-4L4 16zM13 7l4 4",
	leave: "M10 4H5v16h5M15 8l4 4-4 4M9 12h10",
	remove: "M5 7h14M10 7V4h4v3M7 7l1 13h8l1-13",
	share: "M9 11a3 3 0 1 0 0-7 3 3 0 0 0 0 7M2 20a7 7 0 0 1 14 0M19 8v6M16 11h6",
};

const find = (selector) => document.querySelector(selector);
const main = find("main");

// An element: `h("p.soft", { id: "x" }, "text", node)`. There is no other way, so no text is read as HTML.
export function h(name, ...children) {
	const [tag, ...classes] = name.split(".");
	const namespace = `http://www.w3.org/${/svg|path/.test(tag) ? "2000/svg" : "1999/xhtml"}`;
	const element = document.createElementNS(namespace, tag);
	set(element, { class: classes.join(" ") || false });
	if (children[0]?.constructor === Object) set(element, children.shift());
	for (const child of children.flat(9)) if (child || child === 0) element.append(child);
	return element;
}

export function set(element, attributes) {
	for (const [name, value] of Object.entries(attributes)) {
		if (typeof value === "function") element[name] = value;
		else if (value === undefined || value === false) element.removeAttribute(name);
		else element.setAttribute(name, value === true ? "" : value);
	}
}

export const button = (text, onclick, attributes) => h("button", { type: "button", onclick, ...attributes }, text);

export const iconButton = (icon, label, onclick) =>
	button(h("svg", { viewBox: "0 0 24 24" }, h("path", { d: ICONS[icon] })), onclick, { class: "icon", "aria-label": label, title: label });

export const field = (label, name, attributes) => h("label", label, h("input", { name, autocomplete: "off", ...attributes }));

export function time(timestamp) {
	const date = new Date(timestamp);
	const isToday = date.toDateString() === new Date().toDateString();
	return h("time", date.toLocaleString([], { timeStyle: "short", dateStyle: isToday ? undefined : "medium" }));
}

// Makes nodes the children of `parent`. Those that are there stay, and equal ones if they may.
export function arrange(parent, nodes, mayReuse) {
	const focused = document.activeElement;
	let next = parent.firstChild;
	for (const node of nodes) {
		if (next && (node === next || mayReuse && node.isEqualNode(next))) next = next.nextSibling;
		else parent.insertBefore(node, next);
	}
	while (next) [next] = [next.nextSibling, next.remove()];
	if (focused.isConnected) focused.focus({ preventScroll: true });
}

// `navigator.clipboard` is there in a secure context only.
export function copy(text) {
	const [box, focused] = [h("textarea.unseen", text), document.activeElement];
	main.append(box);
	box.select();
	document.execCommand("copy");
	box.remove();
	focused.focus();
	find("#said").textContent = "Copied";
}

// Shows an error as the API sent it, until something succeeds.
export const showError = (error) => (find("dialog .alerts") ?? find("#alerts")).replaceChildren(h("p.alert", { role: "alert" }, String(error)));

const clearError = () => document.querySelectorAll(".alerts").forEach((alerts) => alerts.replaceChildren());

// Resolves with `undefined` after an error, which is shown.
export async function attempt(action) {
	try {
		const result = await action();
		clearError();
		return result ?? null;
	} catch (error) {
		showError(error);
	}
}

const formOf = (label, action, ...content) => h("form", { "aria-label": label, onsubmit(event) {
	event.preventDefault();
	attempt(() => action(Object.fromEntries(new FormData(event.target))));
} }, content);

// A modal dialog, which closes once `submit` resolves, unless with `false`.
export function openDialog(title, content, action, submit, style = "button.primary") {
	const close = () => dialog.close();
	const dialog = h("dialog", { "aria-label": title }, formOf(title, async (values) => await submit(values) === false || close(),
		h("h2", title), content, h("div.alerts"), h("div.buttons", button(action ? "Cancel" : "Close", close), action && h(style, action))));
	dialog.onclose = () => {
		dialog.remove();
		// What had the focus may be gone.
		if (document.activeElement === document.body) main.focus();
	};
	document.body.append(dialog);
	dialog.showModal();
	dialog.querySelector("input")?.select();
}

const showKeys = () => openDialog("Keyboard", h("p.alert", "/ or Ctrl+K: search\nEnter: send\nShift+Enter: new line\nEscape: close\n?: this list"));

let views = null;
let shown = null;

function end(error) {
	location.reload();
	sessionStorage.clear();
	if (!error) return;
	sessionStorage.error = error;
	for (const key in views?.chat.boxes) sessionStorage[key] = views.chat.boxes[key].value;
}

function showLogIn(error) {
	const keep = h("input", { type: "checkbox" });
	const byPassword = async (values) => begin((await openSession().send("POST", "/auth/login", values)).access_token, keep.checked);
	main.replaceChildren(h("div.log-in",
		formOf("Log in", byPassword, h("h1", "Log in"), field("Email", "email", { autocomplete: "username" }),
			field("Password", "password", { type: "password", autocomplete: "current-password" }),
			h("label.check", keep, "Stay logged in until this tab closes"), h("button.primary", "Log in")),
		h("details", h("summary", "Use a token"), formOf("Use a token", ({ token }) => begin(token.trim(), keep.checked),
			field("Token", "token", { type: "password" }), h("button", "Use token")))));
	find("input").focus();
	if (error) showError(error);
}

async function begin(token, isKept) {
	const keep = (fresh) => isKept && sessionStorage.setItem("token", fresh);
	// Other characters cannot be sent in a header.
	const api = openSession(token.replace(/[^\x21-\x7e]/g, "?"), end, keep);
	api.user = await api.get("/auth/verify");
	const chat = chatView(api);
	sessionStorage.clear();
	keep(token);
	views = { chat, stream: streamView(api, chat), health: healthView(api), learn: learnView(api, chat) };
	const state = h("span.state", { role: "status" });
	api.stream.listen(() => {
		if (state.textContent !== api.stream.state) state.dataset.state = state.textContent = api.stream.state;
	});
	find(".session").append(state, button("?", showKeys, { "aria-label": "Keyboard", class: "help" }), button("Log out", () => end()));
	find(".views").hidden = false;
	main.focus();
	route();
	chat.start();
}

// `#/view/part/part`
function route() {
	if (!views || location.hash === "#main") return;
	clearError();
	const [name, ...parts] = location.hash.slice(2).split("/");
	const view = views[name] ?? views.chat;
	if (view !== shown) main.replaceChildren(view.element);
	shown = view;
	for (const link of document.querySelectorAll("[data-view]")) set(link, { "aria-current": views[link.dataset.view] === view && "page" });
	// From another view, the link leads back to the open conversation.
	find("[data-view=chat]").href = view === views.chat ? "#/chat" : views.chat.address();
	document.body.classList.toggle("in-chat", view === views.chat && Boolean(parts[0]));
	view.show(parts);
}

addEventListener("hashchange", route);
addEventListener("keydown", (event) => {
	if (!views || find("dialog")) return;
	const isModified = event.ctrlKey || event.metaKey;
	const isPlain = !isModified && !event.altKey && !event.target.matches("input, textarea, select");
	if (isPlain && event.key === "/" || isModified && event.key === "k") {
		if (shown !== views.chat) location.hash = views.chat.address();
		setTimeout(views.chat.focusSearch);
	} else if (isPlain && event.key === "?") showKeys();
	else return;
	event.preventDefault();
});

const { token, error } = sessionStorage;
sessionStorage.removeItem("error");
if (token) begin(token, true).catch(showLogIn);
else showLogIn(error);
