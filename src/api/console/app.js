// The frame of the page: elements, dialogs, errors, the session, and the router of `#/…`. The views are modules of their own, which
// import the helpers from here.

import { Api, ApiError } from "./api.js";

// Where the token is kept if the user asks for it, until the tab closes. Otherwise it is in memory only.
const STORED = "cortex-core-token";

const ICONS = {
  add: "M12 5v14M5 12h14",
  back: "M15 5l-7 7 7 7",
  close: "M6 6l12 12M18 6L6 18",
  code: "M8 7l-5 5 5 5M16 7l5 5-5 5",
  edit: "M4 20h4L19.5 8.5l-4-4L4 16zM13 7l4 4",
  leave: "M10 4H5v16h5M15 8l4 4-4 4M9 12h10",
  remove: "M5 7h14M10 7V4h4v3M7 7l1 13h8l1-13",
  share: "M9 11a3.5 3.5 0 1 0 0-7 3.5 3.5 0 0 0 0 7M2.5 20a6.5 6.500 0 0 1 13 0M19 8v6M16 11h6",
};

const byId = (id) => document.getElementById(id);

// An element. Properties that begin with `on` are listeners, the others are attributes; children are nodes or texts. This is the only
// way in which the page creates elements, so no text is ever read as HTML.
export function h(tag, properties = {}, ...children) {
  return build(document.createElement(tag), properties, children);
}

// The same, for SVG.
export function svg(tag, properties = {}, ...children) {
  return build(document.createElementNS("http://www.w3.org/2000/svg", tag), properties, children);
}

function build(element, properties, children) {
  for (const [name, value] of Object.entries(properties)) {
    if (name.startsWith("on")) element.addEventListener(name.slice(2), value);
    else if (value !== undefined && value !== null && value !== false) element.setAttribute(name, value === true ? "" : value);
  }
  element.append(...children.flat().filter((child) => child !== null && child !== undefined && child !== false));
  return element;
}

export function button(text, onclick, properties = {}) {
  return h("button", { type: "button", onclick, ...properties }, text);
}

export function iconButton(icon, label, onclick, properties = {}) {
  const image = svg("svg", { viewBox: "0 0 24 24", "aria-hidden": "true" }, svg("path", { d: ICONS[icon] }));
  return h("button", { type: "button", class: "icon", "aria-label": label, title: label, onclick, ...properties }, image);
}

export function field(label, properties = {}, tag = "input") {
  return h("label", { class: "field" }, label, h(tag, { autocomplete: "off", dir: "auto", ...properties }, properties.text));
}

// The date only where it is not today's.
export function time(timestamp) {
  const date = new Date(timestamp);
  const day = date.toDateString() === new Date().toDateString() ? {} : { day: "numeric", month: "short" };
  const text = date.toLocaleString([], { hour: "2-digit", minute: "2-digit", ...day });
  return h("time", { datetime: timestamp, title: date.toLocaleString(), dir: "ltr" }, text);
}

// Makes `nodes` the children of `parent`. Nodes that stay are not touched, so the focus stays, too.
export function arrange(parent, nodes) {
  const focused = document.activeElement;
  let next = parent.firstChild;
  for (const node of nodes) {
    if (node === next) next = next.nextSibling;
    else parent.insertBefore(node, next);
  }
  while (next) {
    const gone = next;
    next = next.nextSibling;
    gone.remove();
  }
  if (focused !== document.activeElement && focused.isConnected) focused.focus({ preventScroll: true });
}

// Says something to a screen reader alone.
export function say(text) {
  byId("said").textContent = text;
}

export async function copy(text) {
  try {
    await navigator.clipboard.writeText(text);
  } catch {
    // Without a secure context there is no clipboard, but the old command.
    const box = h("textarea", { class: "unseen", "aria-label": "Copy" });
    const focused = document.activeElement;
    box.value = text;
    (document.querySelector("dialog[open]") ?? document.body).append(box);
    box.select();
    document.execCommand("copy");
    box.remove();
    focused?.focus();
  }
  say("Copied");
}

export function alertOf(error) {
  return h("p", { role: "alert", class: "alert" }, String(error instanceof Error && !(error instanceof ApiError) ? `error: ${error.message}` : error));
}

// Shows an error until the next one, or until something succeeds. The end of the session is shown by the form to log in.
export function showError(error) {
  if (error.status === 401) return;
  byId("alerts").replaceChildren(alertOf(error), iconButton("close", "Dismiss", clearError));
}

export function clearError() {
  byId("alerts").replaceChildren();
}

// Runs what a user asked for, and shows its error.
export async function attempt(action) {
  try {
    const result = await action();
    clearError();
    return result;
  } catch (error) {
    showError(error);
    return undefined;
  }
}

// A modal dialog with a form. `submit` gets the values of its named fields; if it rejects, the dialog shows the error and stays. It is
// a promise of the dialog's end.
export function openDialog({ title, content = [], action, danger = false, cancel = "Cancel", submit }) {
  const alerts = h("div");
  const confirm = action && h("button", { class: danger ? "primary danger" : "primary" }, action);
  const form = h("form", {}, h("h2", { id: "dialog-title" }, title), content, alerts,
    h("div", { class: "buttons" }, button(cancel, () => dialog.close()), confirm));
  const dialog = h("dialog", { "aria-labelledby": "dialog-title" }, form);
  form.addEventListener("submit", async (event) => {
    event.preventDefault();
    confirm.disabled = true;
    alerts.replaceChildren();
    try {
      if (await submit(Object.fromEntries(new FormData(form))) !== false) dialog.close();
    } catch (error) {
      alerts.replaceChildren(alertOf(error));
    }
    confirm.disabled = false;
  });
  // A click beside the dialog closes it.
  dialog.addEventListener("click", (event) => event.target === dialog && dialog.close());
  document.body.append(dialog);
  dialog.showModal();
  (form.querySelector("input, textarea, select") ?? confirm)?.focus();
  form.querySelector("input")?.select();
  return new Promise((resolve) => {
    dialog.addEventListener("close", () => {
      dialog.remove();
      // What had the focus before may have been deleted.
      if (document.activeElement === document.body) byId("main").focus();
      resolve();
    });
  });
}

const KEYS = [["/ or Ctrl+K", "Search"], ["Enter", "Send the message"], ["Shift+Enter", "New line in the message"],
  ["Escape", "Close the dialog or the search"], ["?", "This list"]];

function showKeys() {
  const rows = KEYS.map(([key, what]) => h("tr", {}, h("th", { scope: "row" }, h("kbd", {}, key)), h("td", {}, what)));
  openDialog({ title: "Keyboard", content: h("table", {}, h("tbody", {}, rows)), cancel: "Close" });
}

// The session.

let api = null;
let views = null;
let shown = null;

function logInForm(error) {
  const alerts = h("div");
  const keep = h("input", { type: "checkbox", name: "keep" });
  const submit = (action) => async (event) => {
    event.preventDefault();
    alerts.replaceChildren();
    try {
      await begin(await action(new FormData(event.target)), keep.checked);
    } catch (error) {
      alerts.replaceChildren(alertOf(error));
    }
  };
  const byPassword = async (values) => {
    const body = { email: values.get("email"), password: values.get("password") };
    return (await new Api().request("POST", "/auth/login", { body })).data.access_token;
  };
  const byToken = (values) => values.get("token").trim().replace(/^Bearer\s+/i, "");
  const form = h("form", { "aria-label": "Log in", onsubmit: submit(byPassword) }, h("h1", {}, "Log in"),
    field("Email", { name: "email", type: "text", inputmode: "email", autocomplete: "username" }),
    field("Password", { name: "password", type: "password", autocomplete: "current-password" }),
    h("label", { class: "check" }, keep, "Stay logged in until this tab closes"),
    alerts, h("button", { class: "primary" }, "Log in"));
  const tokenForm = h("form", { "aria-label": "Use a token", onsubmit: submit(byToken) },
    field("Token", { name: "token", type: "password" }), h("button", {}, "Use token"));
  if (error) alerts.append(alertOf(error));
  return h("div", { class: "log-in" }, form, h("details", {}, h("summary", {}, "Use a token"), tokenForm));
}

function showLogIn(error) {
  api = views = shown = null;
  sessionStorage.removeItem(STORED);
  document.querySelectorAll("dialog[open]").forEach((dialog) => dialog.close());
  clearError();
  document.querySelector(".views").hidden = true;
  document.querySelector(".session").replaceChildren();
  document.body.classList.remove("in-chat");
  document.title = "Log in · Cortex Core";
  byId("main").replaceChildren(logInForm(error));
  document.querySelector("input").focus();
}

// Starts a session with a token: checks it, loads the views, and follows the stream.
async function begin(token, keep) {
  const onToken = (fresh) => keep && sessionStorage.setItem(STORED, fresh);
  const session = new Api({ onEnd: showLogIn, onToken });
  if (/[^\x21-\x7e]/.test(token)) throw new ApiError(401, { code: "unauthorized", message: "A token has no spaces." });
  session.token = token;
  session.user = await session.get("/auth/verify");
  onToken(token);
  api = session;
  const [{ ChatView }, { StreamView }, { HealthView }, { LearnView }] =
    await Promise.all([import("./chat.js"), import("./stream.js"), import("./health.js"), import("./learn.js")]);
  const chat = new ChatView(api);
  views = { chat, stream: new StreamView(api, chat.tree), health: new HealthView(api), learn: new LearnView(api, chat) };
  const state = h("span", { role: "status", class: "state" });
  const showState = () => {
    if (state.dataset.state === api?.stream.state) return;
    state.textContent = state.dataset.state = session.stream.state;
  };
  session.stream.listen(showState);
  showState();
  document.querySelector(".session").replaceChildren(state, button("?", showKeys, { class: "help", "aria-label": "Keyboard", title: "Keyboard" }),
    button("Log out", () => {
      sessionStorage.removeItem(STORED);
      // Nothing of the session outlives the page.
      location.reload();
    }));
  document.querySelector(".views").hidden = false;
  route();
  byId("main").focus();
  await chat.start();
}

// `#/view/part/part`
function route() {
  if (!views) return;
  clearError();
  const [name, ...parts] = location.hash.replace(/^#\/?/, "").split("/");
  const view = views[name] ?? views.chat;
  const isNew = view !== shown;
  if (isNew) {
    shown?.hide?.();
    byId("main").replaceChildren(view.element);
  }
  shown = view;
  for (const link of document.querySelectorAll(".views [data-view]")) {
    if (views[link.dataset.view] === view) link.setAttribute("aria-current", "page");
    else link.removeAttribute("aria-current");
  }
  document.querySelector("[data-view=chat]").href = view === views.chat ? "#/chat" : views.chat.address();
  document.title = `${view.title} · Cortex Core`;
  view.show(parts, isNew);
}

function onKey(event) {
  const isTyping = event.target.closest?.("input, textarea, select, [contenteditable]");
  if (!views || event.defaultPrevented || document.querySelector("dialog[open]")) return;
  const isSearch = event.key === "/" && !isTyping && !event.ctrlKey && !event.metaKey && !event.altKey
    || event.key.toLowerCase() === "k" && (event.ctrlKey || event.metaKey);
  if (isSearch) {
    event.preventDefault();
    if (shown !== views.chat) location.hash = views.chat.address();
    // The view is shown once the address has changed.
    setTimeout(() => views?.chat.focusSearch());
  } else if (event.key === "?" && !isTyping) {
    event.preventDefault();
    showKeys();
  }
}

addEventListener("hashchange", route);
addEventListener("keydown", onKey);
document.querySelector(".skip").addEventListener("click", (event) => {
  event.preventDefault();
  byId("main").focus();
});
// A dropped file or link must not replace the page.
for (const type of ["dragover", "drop"]) addEventListener(type, (event) => event.target.closest?.("input, textarea") || event.preventDefault());

const stored = sessionStorage.getItem(STORED);
if (stored) begin(stored, true).catch(showLogIn);
else showLogIn();
