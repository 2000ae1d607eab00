// Workspaces and conversations: what the page knows of them, and the tree that shows it.

import { arrange, attempt, field, h, iconButton, button, openDialog, showError } from "./app.js";

const PAGE = 200;
const SHARED = "shared";

export class Tree {
  // By id. A conversation has `id`, `title`, `workspace_id`, `participant_ids`, `updated_at`.
  workspaces = new Map();
  conversations = new Map();
  // Called when a conversation has changed or gone, with its id.
  onChange = () => {};
  #api;
  #parts = new Map();
  #needed = new Map();
  #openId = null;
  #total = 0;
  #loaded = 0;
  #isScheduled = false;

  constructor(api) {
    this.#api = api;
    this.groups = h("div", { class: "groups" });
    this.more = button("More conversations", () => attempt(() => this.#loadPage()), { hidden: true });
    this.element = h("nav", { class: "tree", "aria-label": "Conversations" },
      h("div", { class: "head" }, h("h2", {}, "Conversations"), iconButton("add", "New workspace", () => this.#createWorkspace())),
      this.groups, this.more);
  }

  // Loads everything anew. Resolves with the number from which the stream misses nothing.
  async load() {
    const { data, headers } = await this.#api.request("GET", "/config/workspace?limit=1000");
    this.workspaces = new Map(data.workspaces.map((workspace) => [workspace.id, workspace]));
    this.conversations.clear();
    this.#loaded = 0;
    await this.#loadPage();
    return Number(headers.get("X-Last-Event-Id"));
  }

  async #loadPage() {
    const { data, headers } = await this.#api.request("GET", `/conversations?limit=${PAGE}&offset=${this.#loaded}`);
    for (const conversation of data) this.conversations.set(conversation.id, conversation);
    this.#loaded += data.length;
    this.#total = data.length === 0 ? 0 : Number(headers.get("X-Total-Count"));
    this.#render();
  }

  // A conversation, which is loaded if it is not known. Rejects if the user may not see it.
  async need(id) {
    if (!this.conversations.has(id)) {
      // Several events may ask at once.
      if (!this.#needed.has(id)) this.#needed.set(id, this.#api.get(`/conversations/${encodeURIComponent(id)}`).finally(() => this.#needed.delete(id)));
      this.#put(await this.#needed.get(id));
    }
    return this.conversations.get(id);
  }

  isOwner(conversation) {
    return this.workspaces.has(conversation.workspace_id);
  }

  // Marks the open conversation.
  open(id) {
    this.#openId = id;
    const conversation = this.conversations.get(id);
    if (conversation) conversation.isUnread = false;
    this.#render();
  }

  apply({ type, data, user_id, timestamp }) {
    switch (type) {
      case "workspace_created":
      case "workspace_updated":
        if (data.workspace.owner_id === this.#api.user.user_id) this.workspaces.set(data.workspace.id, data.workspace);
        break;
      case "workspace_deleted":
        this.workspaces.delete(data.workspace_id);
        for (const { id, workspace_id } of [...this.conversations.values()]) if (workspace_id === data.workspace_id) this.#drop(id);
        break;
      case "conversation_created":
      case "conversation_updated": {
        const { topic, ...conversation } = data.conversation;
        this.#put({ updated_at: timestamp, ...this.conversations.get(conversation.id), ...conversation, title: topic });
        break;
      }
      case "conversation_deleted":
      case "conversation_left":
        this.#drop(data.conversation_id);
        break;
      case "input":
      case "output": {
        const conversation = this.conversations.get(data.conversation_id);
        if (!conversation) return void this.need(data.conversation_id).catch((error) => error.status !== 404 && showError(error));
        conversation.updated_at = timestamp;
        conversation.isUnread = conversation.id !== this.#openId && user_id !== this.#api.user.user_id;
        break;
      }
      default:
        return;
    }
    this.#schedule();
  }

  #put(conversation) {
    delete conversation.messages;
    this.conversations.set(conversation.id, conversation);
    this.#schedule();
    this.onChange(conversation.id);
  }

  #drop(id) {
    this.conversations.delete(id);
    this.#schedule();
    this.onChange(id);
  }

  // Many events cause one rendering.
  #schedule() {
    if (this.#isScheduled) return;
    this.#isScheduled = true;
    setTimeout(() => this.#render());
  }

  #render() {
    this.#isScheduled = false;
    const groups = new Map([...this.workspaces.keys(), SHARED].map((id) => [id, []]));
    for (const conversation of this.conversations.values()) (groups.get(conversation.workspace_id) ?? groups.get(SHARED)).push(conversation);
    if (groups.get(SHARED).length === 0) groups.delete(SHARED);
    const parts = new Map();
    const part = (id, create) => {
      parts.set(id, this.#parts.get(id) ?? create());
      return parts.get(id);
    };
    arrange(this.groups, [...groups].map(([id, conversations]) => {
      const { element, list, update } = part(id, () => this.#group(id));
      update(conversations.length);
      conversations.sort((a, b) => (a.updated_at < b.updated_at ? 1 : -1));
      arrange(list, conversations.map((conversation) => {
        const item = part(conversation.id, () => this.#item(conversation.id));
        item.update(conversation);
        return item.element;
      }));
      return element;
    }));
    this.#parts = parts;
    this.more.hidden = this.#loaded >= this.#total;
  }

  #group(id) {
    const name = h("bdi", {}, id === SHARED ? "Shared with me" : "");
    const list = h("ul");
    const empty = h("p", { class: "soft" }, "No conversation yet");
    const tools = id === SHARED ? [] : [
      iconButton("add", "", () => this.#createConversation(id), { title: "New conversation" }),
      iconButton("edit", "", () => this.#renameWorkspace(id), { title: "Rename" }),
      iconButton("remove", "", () => this.#deleteWorkspace(id), { title: "Delete" }),
    ];
    const element = h("details", { open: true }, h("summary", {}, name), h("div", { class: "tools" }, tools), list, empty);
    const update = (count) => {
      empty.hidden = count > 0;
      if (id === SHARED) return;
      name.textContent = this.workspaces.get(id).name;
      ["New conversation in", "Rename", "Delete"].forEach((label, index) => tools[index].setAttribute("aria-label", `${label} ${name.textContent}`));
    };
    return { element, list, update };
  }

  #item(id) {
    const link = h("a", { href: `#/chat/${id}`, dir: "auto" });
    const update = ({ title, isUnread }) => {
      if (link.textContent !== title) link.textContent = title;
      link.classList.toggle("unread", Boolean(isUnread));
      link.setAttribute("aria-description", isUnread ? "new messages" : "");
      if (id === this.#openId) link.setAttribute("aria-current", "true");
      else link.removeAttribute("aria-current");
    };
    return { element: h("li", {}, link), update };
  }

  #createWorkspace() {
    const content = [field("Name", { name: "name" }), field("Description (optional)", { name: "description" })];
    openDialog({ title: "New workspace", content, action: "Create", submit: async ({ name, description }) => {
      const body = { name, description: description || name.slice(0, 500) || "-" };
      const { data } = await this.#api.request("POST", "/config/workspace", { body });
      this.workspaces.set(data.workspace.id, data.workspace);
      this.#render();
    } });
  }

  #renameWorkspace(id) {
    const content = field("Name", { name: "name", value: this.workspaces.get(id).name });
    openDialog({ title: "Rename the workspace", content, action: "Save", submit: async ({ name }) => {
      const { data } = await this.#api.request("PUT", `/config/workspace/${id}`, { body: { name } });
      this.workspaces.set(id, data.workspace);
      this.#render();
    } });
  }

  #deleteWorkspace(id) {
    const content = h("p", {}, "The workspace ", h("bdi", {}, this.workspaces.get(id).name), " is deleted with all its conversations and messages.");
    openDialog({ title: "Delete the workspace", content, action: "Delete", danger: true, submit: async () => {
      await this.#api.request("DELETE", `/config/workspace/${id}`);
      this.apply({ type: "workspace_deleted", data: { workspace_id: id } });
    } });
  }

  #createConversation(id) {
    openDialog({ title: "New conversation", content: field("Title", { name: "title" }), action: "Create", submit: async ({ title }) => {
      const { data } = await this.#api.request("POST", "/conversations", { body: { title, workspace_id: id } });
      this.#put(data);
      location.hash = `#/chat/${data.id}`;
    } });
  }

  rename({ id, title: value }) {
    openDialog({ title: "Rename the conversation", content: field("Title", { name: "title", value }), action: "Save", submit: async ({ title }) => {
      this.#put((await this.#api.request("PUT", `/conversations/${id}`, { body: { title } })).data);
    } });
  }

  delete({ id, title }) {
    const content = h("p", {}, "The conversation ", h("bdi", {}, title), " is deleted with all its messages.");
    openDialog({ title: "Delete the conversation", content, action: "Delete", danger: true, submit: async () => {
      await this.#api.request("DELETE", `/conversations/${id}`);
      this.#drop(id);
    } });
  }

  leave({ id, title }) {
    const content = h("p", {}, "You no longer see the conversation ", h("bdi", {}, title), ".");
    openDialog({ title: "Leave the conversation", content, action: "Leave", danger: true, submit: async () => {
      await this.#api.request("POST", `/config/conversation/${id}/leave`);
      this.#drop(id);
    } });
  }

  share({ id }) {
    const list = h("ul", { class: "participants" });
    const setParticipants = async (participant_ids) => {
      const { data } = await this.#api.request("PUT", `/config/conversation/${id}`, { body: { participant_ids } });
      this.apply({ type: "conversation_updated", data });
      await show();
    };
    const show = async () => {
      const { participant_ids: ids, workspace_id } = this.conversations.get(id);
      const query = ids.filter((user) => !user.includes(",")).map(encodeURIComponent).join(",");
      const { users } = await this.#api.get(`/users?ids=${query}`).catch(() => ({ users: [] }));
      const names = new Map(users.map(({ user_id, name }) => [user_id, name]));
      const isOwner = this.workspaces.has(workspace_id);
      list.replaceChildren(...ids.map((user) => {
        const isSelf = user === this.#api.user.user_id;
        const remove = () => setParticipants(ids.filter((other) => other !== user)).catch((error) => status.replaceChildren(alert(error)));
        return h("li", {}, h("bdi", {}, names.get(user) || user), isSelf && h("small", {}, " (you)"),
          names.get(user) ? h("small", {}, h("bdi", {}, user)) : null,
          isOwner && !isSelf && iconButton("remove", `Remove ${user}`, remove, { title: "Remove" }));
      }));
    };
    const status = h("div");
    const alert = (error) => h("p", { role: "alert", class: "alert" }, String(error));
    const content = [list, field("Participant", { name: "participant", placeholder: "A user's id" }), status];
    const done = openDialog({ title: "Share the conversation", content, action: "Add", cancel: "Close", submit: async ({ participant }, form) => {
      status.replaceChildren();
      await setParticipants([...this.conversations.get(id).participant_ids, participant.trim()]);
      const input = list.parentElement.querySelector("input");
      input.value = "";
      input.focus();
      return false;
    } });
    show().catch(showError);
    return done;
  }
}
