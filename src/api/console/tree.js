// Workspaces and conversations, and the tree that shows them.

import { arrange, attempt, field, h, iconButton, openDialog, set, showError } from "./app.js";

export function openTree({ get, send, request, user: self }, onChange) {
	const workspaces = new Map();
	const conversations = new Map();
	const groups = new Map();
	let openId = null;
	let timer = 0;
	const list = h("div.groups");
	const create = () => ask("New workspace", "Name", "", "Create", (name) => send("POST", "/config/workspace", { name, description: name }));
	const element = h("nav.tree", { "aria-label": "Conversations" }, h("div.head", h("h2", "Conversations"), iconButton("add", "New workspace", create)), list);

	// Resolves with the number from which the stream misses nothing.
	async function load() {
		const { data, headers } = await request("GET", "/config/workspace?limit=1000");
		const newest = await get("/conversations?limit=1000");
		for (const [map, items] of [[workspaces, data.workspaces], [conversations, newest]]) {
			const old = new Map(map);
			map.clear();
			for (const item of items) map.set(item.id, { ...old.get(item.id), ...item });
		}
		render();
		onChange();
		return Number(headers.get("X-Last-Event-Id"));
	}

	async function need(id) {
		if (!conversations.has(id)) conversations.set(id, await get(`/conversations/${encodeURIComponent(id)}`));
		return conversations.get(id);
	}

	function apply({ type, data, user_id, timestamp }) {
		const conversation = conversations.get(data?.conversation_id);
		const isMessage = /^(in|out)put$/.test(type);
		if (isMessage && conversation) {
			Object.assign(conversation, { updated_at: timestamp, isUnread: conversation.id !== openId && user_id !== self.user_id });
			render();
		} else if (isMessage || /^(workspace|conversation)_/.test(type)) {
			clearTimeout(timer);
			timer = setTimeout(() => load().catch(showError), 50);
		}
	}

	function render() {
		const members = Map.groupBy(conversations.values(), ({ workspace_id: id }) => (workspaces.has(id) ? id : "shared"));
		arrange(list, [...new Set([...workspaces.keys(), ...members.keys()])].map((id) => {
			if (!groups.has(id)) groups.set(id, createGroup(id));
			const { group, items, setName } = groups.get(id);
			setName(workspaces.get(id)?.name ?? "Shared with me");
			arrange(items, (members.get(id) ?? []).sort((a, b) => (a.updated_at < b.updated_at ? 1 : -1)).map(itemOf), true);
			return group;
		}));
	}

	const itemOf = ({ id, title, isUnread }) => h(isUnread ? "li.unread" : "li",
		h("a", { href: `#/chat/${id}`, "aria-description": isUnread && "new messages", "aria-current": id === openId && "true" }, title));

	function createGroup(id) {
		const name = h("b");
		const items = h("ul");
		const path = `/config/workspace/${id}`;
		const tools = id === "shared" ? [] : [
			["New conversation in", "add", () => ask("New conversation", "Title", "", "Create", async (title) => {
				location.hash = `#/chat/${(await send("POST", "/conversations", { title, workspace_id: id })).id}`;
			})],
			["Rename", "edit", () => ask("Rename the workspace", "Name", name.textContent, "Save", (value) => send("PUT", path, { name: value }))],
			["Delete", "remove", () => confirm("Delete the workspace and its conversations", "Delete", "DELETE", path)],
		].map(([label, icon, action]) => iconButton(icon, label, action));
		const setName = (text) => {
			name.textContent = text;
			for (const tool of tools) set(tool, { "aria-label": `${tool.title} ${text}` });
		};
		return { group: h("details", { open: true }, h("summary", name), h("div.tools", tools), items), items, setName };
	}

	const ask = (title, label, value, action, submit) => openDialog(title, field(label, "value", { value }), action, (values) => submit(values.value));
	const confirm = (title, action, method, path) => openDialog(title, null, action, () => send(method, path), "button.primary.danger");
	const rename = ({ id, title: now }) => ask("Rename the conversation", "Title", now, "Save", (title) => send("PUT", `/conversations/${id}`, { title }));
	const remove = ({ id }) => confirm("Delete the conversation and its messages", "Delete", "DELETE", `/conversations/${id}`);
	const leave = ({ id }) => confirm("Leave the conversation", "Leave", "POST", `/config/conversation/${id}/leave`);

	function share({ id, workspace_id, participant_ids }) {
		const participants = h("ul.participants");
		const input = field("Participant", "user", { placeholder: "A user's id" });
		let ids;
		const show = async (present) => {
			ids = present;
			const { users } = await get(`/users?ids=${ids.filter((user) => !user.includes(",")).map(encodeURIComponent)}`);
			participants.replaceChildren(...ids.map((user) => {
				const isSelf = user === self.user_id;
				const name = users.find(({ user_id }) => user_id === user)?.name;
				const leaveOut = () => attempt(() => change(ids.filter((other) => other !== user)));
				return h("li", h("b", name || user), h("small", isSelf ? "you" : name && user),
					!isSelf && workspaces.has(workspace_id) && iconButton("remove", `Remove ${user}`, leaveOut));
			}));
			if (present !== participant_ids) input.control.value = "";
			input.control.focus();
			return false;
		};
		const change = async (wanted) => show((await send("PUT", `/config/conversation/${id}`, { participant_ids: wanted })).conversation.participant_ids);
		openDialog("Share the conversation", [participants, input], "Add", ({ user }) => change([...ids, user.trim()]));
		attempt(() => show(participant_ids));
	}

	function open(id) {
		openId = id;
		if (conversations.has(id)) conversations.get(id).isUnread = false;
		render();
	}

	return { element, conversations, load, need, apply, open, rename, remove, leave, share, isOwner: ({ workspace_id }) => workspaces.has(workspace_id) };
}
