// The search over all messages that the user may see.

import { attempt, button, clearError, h, iconButton, time } from "./app.js";

const PAGE = 20;

export class Search {
  #api;
  #tree;
  // Counts searches: a response to an earlier one is dropped.
  #turn = 0;

  constructor(api, tree) {
    this.#api = api;
    this.#tree = tree;
    this.box = h("input", { type: "search", "aria-label": "Search", placeholder: "Search", enterkeyhint: "search", dir: "auto", autocomplete: "off",
      onkeydown: (event) => event.key === "Escape" && this.close() });
    this.list = h("ul");
    this.summary = h("p", { class: "soft", "aria-live": "polite" });
    this.more = button("More results", () => this.#load());
    this.results = h("section", { class: "results", "aria-label": "Search results", hidden: true },
      h("div", { class: "head" }, this.summary, iconButton("close", "Close the search", () => this.close())), this.list, this.more);
    this.form = h("form", { role: "search", onsubmit: (event) => {
      event.preventDefault();
      this.#start();
    } }, this.box);
  }

  close() {
    this.#turn += 1;
    this.box.value = "";
    this.results.hidden = true;
    this.#tree.element.hidden = false;
    clearError();
    this.box.focus();
  }

  #start() {
    this.query = this.box.value.trim();
    this.last = null;
    if (this.query === "") return this.close();
    this.list.replaceChildren();
    return this.#load();
  }

  async #load() {
    const turn = this.#turn += 1;
    const query = new URLSearchParams({ q: this.query, limit: PAGE });
    if (this.last) query.set("before", this.last);
    const path = `/search?${query}`;
    const page = await attempt(() => this.#api.get(path));
    if (turn !== this.#turn || !page) return;
    this.#api.last = { method: "GET", path };
    const known = new Set([...this.list.querySelectorAll("a")].map((link) => link.getAttribute("href")));
    const items = page.results.map((result) => this.#item(result)).filter((item) => !known.has(item.firstChild.getAttribute("href")));
    this.list.append(...items);
    this.last = page.results.at(-1)?.message.id ?? this.last;
    const count = this.list.childElementCount;
    const total = Math.max(count, page.total_is_at_least);
    this.more.hidden = page.results.length < PAGE;
    this.summary.textContent = count === 0 ? "No message was found" : `${count} of ${this.more.hidden ? "" : "at least "}${this.more.hidden ? count : total}`;
    this.results.hidden = false;
    this.#tree.element.hidden = true;
  }

  #item({ message, snippet }) {
    const title = this.#tree.conversations.get(message.conversation_id)?.title ?? "";
    return h("li", {}, h("a", { href: `#/chat/${message.conversation_id}/${message.id}` },
      h("span", { class: "from" }, h("b", { dir: "auto" }, message.sender_name || message.sender_id), time(message.timestamp)),
      h("span", { class: "snippet", dir: "auto" }, marked(snippet)),
      h("small", { dir: "auto" }, title)));
  }
}

// The server encloses the words that match in U+E000 and U+E001.
function marked(snippet) {
  return snippet.split("\u{e000}").flatMap((part, index) => {
    const end = index === 0 ? -1 : part.indexOf("\u{e001}");
    const rest = part.slice(end + 1).replaceAll("\u{e001}", "");
    return end < 0 ? [rest] : [h("mark", {}, part.slice(0, end)), rest];
  });
}
