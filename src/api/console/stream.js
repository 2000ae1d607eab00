// Every event as it arrives, the state of the connection, and the user's other streams.

import { button, copy, h, time } from "./app.js";

// What is kept: the newest entries, and no more characters than this.
const ENTRIES_MAX = 1000;
const CHARACTERS_MAX = 8_000_000;
const SHOWN_CHARACTERS_MAX = 4000;
const POLL_MS = 3000;

export class StreamView {
  title = "Stream";
  #api;
  #tree;
  // Newest first; each has `number`, `event`, `raw`, `at`.
  #entries = [];
  #characters = 0;
  #dropped = 0;
  #isPaused = false;
  #isScheduled = false;
  #timer = 0;

  constructor(api, tree) {
    this.#api = api;
    this.#tree = tree;
    this.facts = h("dl");
    this.type = h("select", { onchange: () => this.#renderAll() }, h("option", { value: "" }, "all"));
    this.conversation = h("select", { onchange: () => this.#renderAll() }, h("option", { value: "" }, "all"));
    this.form = h("select", { onchange: () => this.#renderAll() }, h("option", { value: "pretty" }, "pretty"), h("option", { value: "raw" }, "raw"));
    this.list = h("div", { role: "log", class: "events", "aria-label": "Events", "aria-live": "off", tabindex: 0 });
    this.note = h("p", { class: "soft" });
    this.rows = h("tbody");
    const pause = button("Pause", () => {
      this.#isPaused = !this.#isPaused;
      pause.textContent = this.#isPaused ? "Resume" : "Pause";
      this.#renderAll();
    });
    const clear = button("Clear", () => {
      [this.#entries, this.#characters, this.#dropped] = [[], 0, 0];
      this.#renderAll();
    });
    const labelled = (name, control) => h("label", {}, name, control);
    this.element = h("div", { class: "page" }, h("h1", {}, "Stream"),
      h("div", { class: "bar" }, this.facts, button("Cut the connection", () => api.stream.cut(), { class: "danger" })),
      h("table", { class: "streams" }, h("caption", {}, "My streams"),
        h("thead", {}, h("tr", {}, ["Stream", "Since", "State", "Events behind", "Bytes behind"].map((name) => h("th", { scope: "col" }, name)))), this.rows),
      h("div", { class: "bar" }, labelled("Type", this.type), labelled("Conversation", this.conversation), labelled("Form", this.form), pause, clear),
      this.note, this.list);
    api.stream.listen((entry) => this.#add(entry));
  }

  show() {
    this.#renderAll();
    this.#poll();
  }

  hide() {
    clearTimeout(this.#timer);
  }

  #add(entry) {
    this.#entries.unshift(entry);
    this.#characters += entry.raw?.length ?? 0;
    while (this.#entries.length > ENTRIES_MAX || this.#characters > CHARACTERS_MAX && this.#entries.length > 1) {
      this.#characters -= this.#entries.pop().raw?.length ?? 0;
      this.#dropped += 1;
    }
    if (this.#isScheduled || !this.element.isConnected) return;
    this.#isScheduled = true;
    setTimeout(() => {
      this.#isScheduled = false;
      this.#render();
    }, 50);
  }

  #renderAll() {
    this.list.replaceChildren();
    this.newest = null;
    this.#render(true);
  }

  // Adds what is new since the last time.
  #render(isWhole = false) {
    this.#renderFacts();
    if (this.#isPaused && !isWhole) return;
    const until = this.newest ? this.#entries.indexOf(this.newest) : -1;
    const fresh = until < 0 ? this.#entries : this.#entries.slice(0, until);
    this.newest = this.#entries[0] ?? null;
    this.#offer(this.type, this.#entries.map(({ event }) => [event.type, event.type]));
    this.#offer(this.conversation, fresh.map(({ event }) => event.data?.conversation_id).filter(Boolean).map((id) => [id, this.#title(id)]));
    this.list.prepend(...fresh.filter((entry) => this.#isWanted(entry)).map((entry) => this.#row(entry)));
    while (this.list.childElementCount > ENTRIES_MAX) this.list.lastElementChild.remove();
    const dropped = this.#dropped ? ` ${this.#dropped} older ones were dropped.` : "";
    this.note.textContent = `${this.#entries.length} events, the newest first.${dropped}${this.#isPaused ? " Paused." : ""}`;
  }

  #renderFacts() {
    const { state, lastEventId, sentEventId, caughtUpAt, reconnects, gaps, duplicates } = this.#api.stream;
    const facts = { State: state, "Last-Event-ID": lastEventId, Reconnects: reconnects, Gaps: gaps, "Sent at the last connect": sentEventId, "Caught up at": caughtUpAt,
      "Dropped duplicates": duplicates };
    this.facts.replaceChildren(...Object.entries(facts).map(([name, value]) => h("div", {}, h("dt", {}, name), h("dd", {}, String(value ?? "–")))));
  }

  #title(id) {
    return this.#tree.conversations.get(id)?.title ?? id;
  }

  // Adds options to a filter.
  #offer(select, options) {
    const known = new Set([...select.options].map(({ value }) => value));
    for (const [value, text] of new Map(options)) if (!known.has(value)) select.append(h("option", { value }, text));
  }

  #isWanted({ event }) {
    return (!this.type.value || event.type === this.type.value)
      && (!this.conversation.value || event.data?.conversation_id === this.conversation.value);
  }

  #row({ number, event, raw, at }) {
    const text = raw ?? JSON.stringify(event);
    const { data } = event;
    const gist = data?.content ?? data?.delta ?? data?.text ?? data?.error ?? data?.conversation?.topic ?? data?.workspace?.name ?? data?.reason ?? data?.status ?? "";
    const cut = (long) => (long.length > SHOWN_CHARACTERS_MAX ? `${long.slice(0, SHOWN_CHARACTERS_MAX)}… (${long.length} characters)` : long);
    const head = [h("span", { class: "number" }, number ?? "–"), h("span", { class: raw ? "type" : "type note" }, event.type), time(at.toISOString())];
    const body = this.form.value === "raw"
      ? h("pre", { dir: "ltr" }, cut(raw ? `data: ${raw}${number === null ? "" : `\nid: ${number}`}` : text))
      : h("details", { ontoggle: ({ target }) => target.childElementCount > 1 || target.append(h("pre", { dir: "ltr" }, cut(JSON.stringify(event, null, 2)))) },
        h("summary", { dir: "auto" }, cut(String(gist)).slice(0, 300) || event.type));
    return h("div", { class: "event" }, head, data?.conversation_id && h("small", { dir: "auto" }, this.#title(data.conversation_id)),
      button("Copy", () => copy(text)), body);
  }

  async #poll() {
    clearTimeout(this.#timer);
    const { stream } = this.#api;
    if (stream.state === "connected" && !document.hidden) {
      const { streams } = await this.#api.get("/output/streams").catch(() => ({ streams: [] }));
      this.rows.replaceChildren(...streams.map(({ stream_id, since, state, events_behind, bytes_behind }) => h("tr", {},
        h("td", {}, h("code", {}, stream_id.slice(0, 8)), stream_id === stream.streamId ? " (this page)" : ""),
        h("td", {}, time(since)), h("td", {}, state), h("td", {}, String(events_behind)), h("td", {}, String(bytes_behind)))));
    }
    if (!this.element.isConnected) return;
    this.#renderFacts();
    this.#timer = setTimeout(() => this.#poll(), POLL_MS);
  }
}
