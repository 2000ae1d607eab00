// The chat: the open conversation, its messages and their answers as they grow, and the composer.

import { ApiError, newKey } from "./api.js";
import { arrange, attempt, button, clearError, copy, field, h, iconButton, openDialog, showError, time } from "./app.js";
import { lastBlock, markdown } from "./markdown.js";
import { Search } from "./search.js";
import { Tree } from "./tree.js";

const PAGE = 50;
// Distances in pixels: from the end, within which the view follows it; from an edge, within which more messages are loaded.
const FOLLOW = 80;
const EDGE = 200;
const UNDER_WAY = ["queued", "started", "retrying", "streaming"];

const bytesOf = (text) => new TextEncoder().encode(text);

export class ChatView {
  title = "Chat";
  #api;
  #log = null;
  // The texts of running answers of all conversations, by the id of the answer. The stream sends each from its beginning.
  answers = new Map();
  #drafts = new Map();

  constructor(api) {
    this.#api = api;
    this.tree = new Tree(api);
    this.search = new Search(api, this.tree);
    this.pane = h("div", { class: "pane" });
    this.element = h("div", { class: "chat" }, h("div", { class: "side" }, this.search.form, this.search.results, this.tree.element), this.pane);
    this.tree.onChange = (id) => this.#conversationChanged(id);
    api.stream.listen(({ event }) => this.#apply(event));
  }

  // Loads the conversations, and follows the stream from there on.
  async start() {
    for (;;) {
      try {
        this.#api.stream.start(await this.tree.load());
        return;
      } catch (error) {
        if (this.#api.isEnded) return;
        showError(error);
        await new Promise((resolve) => setTimeout(resolve, 3000));
      }
    }
  }

  address() {
    return this.#log ? `#/chat/${this.#log.id}` : "#/chat";
  }

  focusSearch() {
    this.search.box.focus();
    this.search.box.select();
  }

  async show([id, messageId]) {
    document.body.classList.toggle("in-chat", Boolean(id));
    if (!id) return this.#close();
    if (this.#log?.id === id) return messageId ? attempt(() => this.#log.seek(messageId)) : this.#log.resume();
    this.#close();
    const log = this.#log = new Log(this, this.#api, id);
    const conversation = await attempt(() => this.tree.need(id));
    if (log !== this.#log) return;
    if (!conversation) return this.#close();
    this.tree.open(id);
    this.#compose(log);
    if (await attempt(() => log.load(messageId).then(() => true)) || log !== this.#log) return;
    this.#close();
  }

  hide() {
    document.body.classList.remove("in-chat");
  }

  // The ids that the view "Learn" fills in.
  ids() {
    const last = this.#log?.lastOf("user");
    return { conversation: this.#log?.id, message: last?.id, workspace: this.tree.conversations.get(this.#log?.id)?.workspace_id };
  }

  #close() {
    this.#log = null;
    this.tree.open(null);
    this.pane.replaceChildren(h("div", { class: "empty" }, h("h1", {}, "Chat"), h("p", {}, "Choose a conversation, or create one.")));
  }

  #conversationChanged(id) {
    if (id !== this.#log?.id) return;
    const conversation = this.tree.conversations.get(id);
    if (conversation) return this.#describe(conversation);
    location.hash = "#/chat";
    setTimeout(() => showError("This conversation was deleted, or you no longer take part in it."));
  }

  #apply(event) {
    const { type, data } = event;
    if (type === "gap") {
      // Something is missing, so everything is loaded again.
      this.answers.clear();
      this.tree.load().then(() => this.#log?.load()).catch(showError);
      return;
    }
    if (type === "output_delta" || type === "output_reasoning_delta" || type === "output_snapshot") this.#grow(type, data);
    this.tree.apply(event);
    if (data?.conversation_id === this.#log?.id) this.#log?.apply(event);
    if (type === "output" || type === "message_deleted") this.answers.delete(data.message_id);
  }

  #grow(type, { message_id, offset, delta, text }) {
    if (!this.answers.has(message_id)) this.answers.set(message_id, { text: "", bytes: 0, reasoning: "", reasoningBytes: 0 });
    const answer = this.answers.get(message_id);
    if (type === "output_snapshot") return Object.assign(answer, { text, bytes: offset });
    const [part, count] = type === "output_delta" ? ["text", "bytes"] : ["reasoning", "reasoningBytes"];
    const added = bytesOf(delta);
    const known = answer[count] - offset;
    // The beginning of the reasoning may be missing: it is in no snapshot.
    if (known >= added.length || known < 0 && part === "text") return answer;
    answer[part] += known > 0 ? new TextDecoder().decode(added.subarray(known)) : delta;
    answer[count] = offset + added.length;
    if (known < 0) answer.isPartial = true;
    return answer;
  }

  #describe(conversation) {
    const isOwner = this.tree.isOwner(conversation);
    const act = (name) => () => this.tree[name](this.tree.conversations.get(conversation.id));
    const people = conversation.participant_ids.length;
    this.heading.textContent = conversation.title;
    this.about.textContent = people > 1 ? `${people} participants` : "";
    this.tools[0].onclick = act("rename");
    this.tools[1].onclick = act("share");
    const last = isOwner ? ["remove", "Delete conversation", act("delete")] : ["leave", "Leave conversation", act("leave")];
    if (this.tools[2]?.getAttribute("aria-label") !== last[1]) {
      this.tools[2]?.remove();
      this.tools[2] = iconButton(...last);
      this.tools[1].after(this.tools[2]);
    }
  }

  #compose(log) {
    this.heading = h("h1", { dir: "auto", tabindex: -1 });
    this.about = h("small");
    this.tools = [iconButton("edit", "Rename conversation"), iconButton("share", "Share conversation")];
    const box = h("textarea", { "aria-label": "Message", placeholder: "Write a message", rows: 1, dir: "auto", enterkeyhint: "send" });
    const stop = button("Stop", () => attempt(() => this.#api.request("POST", `/conversations/${log.id}/cancel`)), { hidden: true });
    log.onBusy = (isBusy) => { stop.hidden = !isBusy; };
    let sent = null;
    let isSending = false;
    const grow = () => {
      box.style.height = "auto";
      box.style.height = `${box.scrollHeight + 2}px`;
      this.#drafts.set(log.id, box.value);
    };
    const send = async () => {
      const content = box.value;
      if (isSending || content.trim() === "") return;
      isSending = true;
      // The same text has the same key, so that a repeated request stores nothing twice.
      if (sent?.content !== content) sent = { content, key: newKey() };
      const response = await attempt(() => this.#api.request("POST", `/conversations/${log.id}/messages`, { body: { content }, key: sent.key }));
      isSending = false;
      if (!response) return;
      sent = null;
      log.put(response.data);
      log.follow();
      // What was typed meanwhile stays.
      if (box.value.startsWith(content)) box.value = box.value.slice(content.length);
      grow();
    };
    box.addEventListener("input", grow);
    box.addEventListener("keydown", (event) => {
      if (event.key !== "Enter" || event.shiftKey || event.isComposing) return;
      event.preventDefault();
      send();
    });
    const form = h("form", { class: "composer", onsubmit: (event) => {
      event.preventDefault();
      send();
    } }, box, stop, h("button", { class: "primary" }, "Send"));
    const learn = iconButton("code", "Show the request", () => { location.hash = "#/learn"; });
    this.pane.replaceChildren(
      h("header", {}, h("a", { class: "back icon", href: "#/chat", "aria-label": "Back to the conversations" }, "‹"),
        h("div", { class: "titles" }, this.heading, this.about), this.tools, learn),
      log.element, form);
    this.#describe(this.tree.conversations.get(log.id));
    box.value = this.#drafts.get(log.id) ?? "";
    grow();
    // On a phone, the focus would open the keyboard.
    (matchMedia("(pointer: fine)").matches ? box : this.heading).focus();
  }
}

// The messages of one conversation that are loaded: a part of the history without holes.
class Log {
  #chat;
  #api;
  #messages = new Map();
  #gone = new Set();
  // Events that arrive while messages are loaded are applied afterwards, in order: the last one of each message counts.
  #pending = null;
  #hasOlder = false;
  #hasNewer = false;
  #isFollowing = true;
  #place = 0;
  onBusy = () => {};

  constructor(chat, api, id) {
    this.#chat = chat;
    this.#api = api;
    this.id = id;
    this.path = `/conversations/${id}/messages`;
    this.older = button("Older messages", () => this.#extend("before"), { class: "edge", hidden: true });
    this.newer = button("Newer messages", () => this.#extend("after"), { class: "edge", hidden: true });
    this.list = h("div", { class: "messages" });
    this.element = h("div", { role: "log", class: "log", "aria-label": "Messages", tabindex: 0 }, this.older, this.list, this.newer);
    let timer = 0;
    this.element.addEventListener("scroll", () => {
      const { scrollTop, scrollHeight, clientHeight } = this.element;
      this.#place = scrollTop;
      this.#isFollowing = scrollHeight - scrollTop - clientHeight < FOLLOW;
      // Once the scrolling rests, so that the place can be kept.
      clearTimeout(timer);
      timer = setTimeout(() => this.#fill(), 100);
    }, { passive: true });
    const observer = new ResizeObserver(() => this.follow(this.#isFollowing));
    observer.observe(this.element);
    observer.observe(this.list);
  }

  // Loads the newest messages, or those around one.
  load(target) {
    return this.#loading(async () => {
      const around = (side) => this.#api.get(`${this.path}?${side}=${target}&limit=${PAGE}&include=reasoning`);
      const id = target && encodeURIComponent(target);
      const [before, at, after] = target
        ? [await around("before"), await this.#api.get(`${this.path}/${id}?include=reasoning`), await around("after")]
        : [(await this.#api.get(`/conversations/${this.id}`)).messages, [], []];
      const messages = before.concat(at, after);
      this.#hasOlder = before.length >= PAGE;
      this.#hasNewer = after.length >= PAGE;
      this.#messages.clear();
      this.list.replaceChildren();
      for (const message of messages) this.put(message, true);
      if (!target) this.#addReasoning(messages);
      this.follow(!target);
      if (target) this.#mark(target);
    });
  }

  // Shows a message: that is loaded, or else with those around it.
  async seek(id) {
    if (!this.#messages.has(id)) return this.load(id);
    return this.#mark(id);
  }

  resume() {
    this.element.scrollTop = this.#place;
    this.follow(this.#isFollowing);
  }

  // Scrolls to the end.
  follow(isFollowing = true) {
    this.#isFollowing = isFollowing && !this.#hasNewer;
    if (this.#isFollowing) this.element.scrollTop = this.element.scrollHeight;
  }

  lastOf(role) {
    return [...this.#messages.values()].findLast(({ message }) => message.role === role)?.message;
  }

  apply(event) {
    if (this.#pending) this.#pending.push(event);
    else this.#apply(event);
  }

  // Adds or replaces a message. A new one is placed by its id, which has its time: an answer may have begun before a message that
  // came earlier.
  put(message, isNewest = false) {
    if (this.#gone.has(message.id)) return;
    const known = this.#messages.get(message.id);
    if (known) return known.update({ ...known.message, ...message });
    if (this.#hasNewer && !isNewest) return;
    const view = new MessageView(this.#chat, this.#api, this, message);
    this.#messages.set(message.id, view);
    let next = null;
    if (!isNewest) while ((next ?? { previousElementSibling: this.list.lastElementChild }).previousElementSibling?.dataset.messageId > message.id) next = next?.previousElementSibling ?? this.list.lastElementChild;
    this.list.insertBefore(view.element, next);
    this.#update();
  }

  // The message that an answer answers.
  questionOf(answer) {
    if (answer.reply_to) return this.#messages.get(answer.reply_to)?.message;
    return [...this.#messages.values()].find(({ message }) => message.answer?.message_id === answer.id)?.message;
  }

  async #loading(load) {
    this.#pending = [];
    try {
      await load();
    } finally {
      const events = this.#pending;
      this.#pending = null;
      for (const event of events) this.#apply(event);
      this.#update();
    }
    this.#fill();
  }

  #apply({ type, data, user_id, metadata }) {
    switch (type) {
      case "input":
      case "output":
      case "message_updated": {
        const { message_id, ...rest } = data;
        const message = { sender_id: user_id, status: "complete", ...rest, id: message_id, metadata };
        if (type === "message_updated" && !this.#messages.has(message_id)) return;
        if (type === "output") this.#answer(data.reply_to, { status: data.status, message_id, error: data.error });
        this.put(message);
        if (this.#chat.answers.get(message_id)?.isPartial) this.#reload(message_id);
        break;
      }
      case "message_deleted":
        this.#gone.add(data.message_id);
        this.#remove(data.message_id);
        break;
      case "answer_status":
        this.#answer(data.reply_to, data);
        break;
      case "output_error":
        // An answer that only reasoned is not stored.
        for (const { message } of [...this.#messages.values()]) if (message.reply_to === data.reply_to && message.status === "streaming") this.#remove(message.id);
        this.#answer(data.reply_to, { status: data.code, error: data.error });
        break;
      case "output_delta":
      case "output_reasoning_delta":
      case "output_snapshot": {
        const { text, reasoning } = this.#chat.answers.get(data.message_id);
        const message = { id: data.message_id, conversation_id: this.id, reply_to: data.reply_to, role: "assistant", status: "streaming", content: text };
        this.#answer(data.reply_to, { status: "streaming", message_id: data.message_id });
        if (!this.#messages.has(message.id)) Object.assign(message, { sender_id: user_id, timestamp: new Date().toISOString() });
        this.put(reasoning ? { ...message, reasoning } : message);
      }
    }
    this.#update();
  }

  #answer(id, answer) {
    const view = this.#messages.get(id);
    if (view) view.update({ ...view.message, answer });
  }

  #remove(id) {
    this.#messages.get(id)?.element.remove();
    this.#messages.delete(id);
  }

  #update() {
    this.older.hidden = !this.#hasOlder;
    this.newer.hidden = !this.#hasNewer;
    this.onBusy([...this.#messages.values()].some(({ message }) => UNDER_WAY.includes(message.answer?.status)));
    this.follow(this.#isFollowing);
  }

  // Loads more where the view is at an edge.
  #fill() {
    const { scrollTop, scrollHeight, clientHeight } = this.element;
    if (this.#pending || !this.element.isConnected) return;
    if (this.#hasOlder && scrollTop < EDGE) this.#extend("before");
    else if (this.#hasNewer && scrollHeight - scrollTop - clientHeight < EDGE) this.#extend("after");
  }

  #extend(side) {
    if (this.#pending) return undefined;
    const isBefore = side === "before";
    const edge = isBefore ? this.list.firstElementChild : this.list.lastElementChild;
    return attempt(() => this.#loading(async () => {
      const messages = await this.#api.get(`${this.path}?${side}=${edge.dataset.messageId}&limit=${PAGE}&include=reasoning`);
      const top = edge.getBoundingClientRect().top;
      if (isBefore) this.#hasOlder = messages.length >= PAGE;
      else this.#hasNewer = messages.length >= PAGE;
      const views = messages.filter(({ id }) => !this.#messages.has(id)).map((message) => new MessageView(this.#chat, this.#api, this, message));
      const entries = views.map((view) => [view.message.id, view]);
      this.#messages = new Map(isBefore ? [...entries, ...this.#messages] : [...this.#messages, ...entries]);
      (isBefore ? edge.before.bind(edge) : edge.after.bind(edge))(...views.map(({ element }) => element));
      for (const view of views) view.update(view.message);
      this.older.hidden = !this.#hasOlder;
      // What the user reads stays in its place.
      this.element.scrollTop += edge.getBoundingClientRect().top - top;
    }));
  }

  // A conversation comes without the reasoning of its answers.
  async #addReasoning(messages) {
    if (!messages.some(({ role, metadata }) => role === "assistant" && metadata.responder !== "echo")) return;
    const path = `${this.path}?after=${messages[0].id}&limit=${messages.length}&include=reasoning`;
    for (const { id, reasoning } of await this.#api.get(path).catch(() => [])) {
      const view = this.#messages.get(id);
      if (view && reasoning) view.update({ ...view.message, reasoning });
    }
  }

  async #reload(id) {
    this.put(await this.#api.get(`${this.path}/${id}?include=reasoning`).catch(() => ({ id })));
  }

  #mark(id) {
    this.list.querySelector(".found")?.classList.remove("found");
    const { element } = this.#messages.get(id);
    element.classList.add("found");
    element.scrollIntoView({ block: "center" });
    element.focus({ preventScroll: true });
  }
}

class MessageView {
  #chat;
  #api;
  #log;
  #shownText = null;
  #stableEnd = 0;
  #tail = [];
  #timer = 0;
  #isLate = false;

  constructor(chat, api, log, message) {
    this.#chat = chat;
    this.#api = api;
    this.#log = log;
    this.head = h("header");
    this.text = h("div", { class: "text", dir: "auto" });
    this.after = h("footer");
    this.element = h("article", { tabindex: -1, "data-message-id": message.id }, this.head, this.text, this.after);
    this.update(message);
  }

  update(message) {
    this.message = message;
    const { role, status, sender_id, sender_name, timestamp, updated_at, reasoning } = message;
    const isMine = sender_id === this.#api.user.user_id;
    this.element.className = `${isMine ? "mine" : ""} ${this.element.classList.contains("found") ? "found" : ""}`;
    Object.assign(this.element.dataset, { role, status });
    if (status === "streaming") this.element.setAttribute("aria-busy", "true");
    else this.element.removeAttribute("aria-busy");
    const isEdited = role === "user" && updated_at && updated_at !== timestamp;
    arrange(this.head, [h("b", { dir: "auto" }, sender_name || sender_id), time(timestamp), isEdited && h("small", {}, "edited"),
      status === "superseded" && h("small", {}, "superseded")].filter(Boolean));
    if (reasoning) this.#showReasoning(reasoning);
    this.#fold(status === "superseded");
    this.#showText();
    this.#showEnd();
  }

  #showReasoning(reasoning) {
    if (!this.reasoning) {
      this.reasoning = h("p", { class: "reasoning", dir: "auto" });
      this.head.after(h("details", {}, h("summary", {}, "Reasoning"), this.reasoning));
    }
    this.reasoning.textContent = reasoning;
  }

  // A superseded answer stays readable.
  #fold(isSuperseded) {
    if (!isSuperseded || this.folded) return;
    this.folded = h("details", {}, h("summary", {}, "Superseded answer"));
    this.text.before(this.folded);
    this.folded.append(this.text);
  }

  // Answers are Markdown, everything else is text. While an answer grows, only its last block is rendered anew, and at most a fifth of
  // the time is spent on that.
  #showText() {
    const { role, status, content } = this.message;
    if (role !== "assistant") {
      if (this.#shownText !== content) this.text.textContent = this.#shownText = content;
      return;
    }
    if (status === "streaming") {
      this.#isLate = true;
      if (!this.#timer) this.#renderTail();
      return;
    }
    clearTimeout(this.#timer);
    this.#timer = 0;
    this.#isLate = false;
    if (this.#shownText === content) return;
    this.#shownText = content;
    this.text.replaceChildren(...markdown(content));
  }

  #renderTail() {
    this.#timer = 0;
    if (!this.#isLate) return;
    this.#isLate = false;
    const begin = performance.now();
    const { content } = this.message;
    if (content.length < this.#stableEnd) {
      this.#stableEnd = 0;
      this.text.replaceChildren();
    }
    for (const node of this.#tail) node.remove();
    const end = lastBlock(content, this.#stableEnd);
    if (end > this.#stableEnd) this.text.append(...markdown(content.slice(this.#stableEnd, end)));
    this.#stableEnd = end;
    this.#tail = markdown(content.slice(end));
    this.text.append(...this.#tail);
    this.#timer = setTimeout(() => this.#renderTail(), Math.max(16, 4 * (performance.now() - begin)));
  }

  // What went wrong, what is under way, and what can be done.
  #showEnd() {
    const { role, status, answer, error } = this.message;
    // The answer has its own article once it has text.
    const state = role === "user" && !answer?.message_id ? answer : role === "assistant" ? { status, error } : null;
    const lines = [];
    if (["failed", "cancelled", "interrupted"].includes(state?.status)) {
      lines.push(h("p", { class: "fault", dir: "auto" }, [state.status, textOf(state.error)].filter((part, at, all) => part && part !== all[at - 1]).join(": ")));
    } else if (["queued", "started", "retrying"].includes(state?.status)) {
      const text = { queued: "waiting for the answer", started: "answering", retrying: `trying again in ${Math.ceil((state.retry_in_ms ?? 0) / 1000)} s` };
      lines.push(h("p", { class: "progress" }, text[state.status]));
    }
    if (status !== "streaming" && status !== "superseded") lines.push(h("div", { class: "actions" }, this.#actions(state)));
    arrange(this.after, lines);
  }

  #actions(state) {
    const { id, role, sender_id, content } = this.message;
    const path = `${this.#log.path}/${id}`;
    const conversation = this.#chat.tree.conversations.get(this.#log.id);
    const question = role === "assistant" ? () => this.#log.questionOf(this.message) : () => this.message;
    const again = () => attempt(async () => {
      const asked = question();
      if (!asked) throw new ApiError(0, { code: "not_loaded", message: "The message that was answered is not loaded yet. Scroll up." });
      await this.#api.request("POST", `${this.#log.path}/${asked.id}/answer`);
    });
    const canAnswer = role === "assistant" && sender_id?.startsWith("responder:") || role === "user" && !UNDER_WAY.includes(state?.status) && !this.message.answer?.message_id;
    const canChange = sender_id === this.#api.user.user_id || conversation && this.#chat.tree.isOwner(conversation);
    return [
      canAnswer && button("Answer again", again),
      button("Copy", () => copy(content)),
      canChange && role === "user" && button("Edit", () => openDialog({
        title: "Edit the message", action: "Save", content: field("Text", { name: "text", rows: 6, text: content }, "textarea"),
        submit: async ({ text }) => this.#log.put((await this.#api.request("PUT", path, { body: { content: text } })).data),
      })),
      canChange && button("Delete", () => openDialog({
        title: "Delete the message", action: "Delete", danger: true, content: h("p", {}, "The message is deleted for everyone."),
        submit: () => this.#api.request("DELETE", path),
      })),
    ].filter(Boolean);
  }
}

function textOf(error) {
  return typeof error === "string" ? error : error ? JSON.stringify(error) : "";
}
