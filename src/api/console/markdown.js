// A small safe subset of Markdown as DOM nodes. The work is linear in the text: the depth is bounded, and a mark does not nest
// within its kind.

import { button, copy, h } from "./app.js";

const DEPTH_MAX = 5;
// The layout of a paragraph takes quadratic time in its nodes.
const PARAGRAPH_MAX = 20000;
const FENCE = /^ {0,3}(`{3,}|~{3,})([^`]*)$/;
const HEADING = /^(#{1,6}) (.*)$/;
const ITEM = /^ {0,3}([-*+]|\d{1,9}[.)]) +/;
const TOKEN = /\\([!-/:-@[-`{-~])|(`+)|(\*\*|__|\*|_)|\[([^[\]]+)\]\((https?:\/\/[^\s()[\]<>"'`]+)\)|\b(https?:\/\/[^\s()[\]<>"'`]*[\w/])/gi;

export function markdown(text, depth = 0) {
	const lines = text.split("\n");
	const nodes = [];
	let at = 0;
	const take = (belongs) => {
		const from = at;
		while (at < lines.length && belongs(lines[at], at - from)) at += 1;
		return lines.slice(from, at).join("\n");
	};
	const begins = (line) => FENCE.test(line) || HEADING.test(line) || depth < DEPTH_MAX && (line.startsWith(">") || ITEM.test(line));
	while (at < lines.length) {
		const line = lines[at];
		const [, fence, language] = FENCE.exec(line) ?? [];
		const [, signs, title] = HEADING.exec(line) ?? [];
		if (!begins(line)) {
			const paragraph = take((next, index) => next.trim() && !(index && begins(next)));
			if (paragraph) nodes.push(h("p", inline(paragraph)));
			else at += 1;
		} else if (fence) {
			const end = new RegExp(`^ *${fence}${fence[0]}* *$`);
			const code = take((next, index) => index === 0 || !end.test(next)).slice(line.length + 1);
			nodes.push(h("pre", language && h("span.language", language.trim(), "\n"), h("code", code),
				button("", () => copy(code), { class: "copy", "aria-label": "Copy the code" })));
			at += 1;
		} else if (signs) {
			nodes.push(h(`h${Math.min(6, signs.length + 2)}`, inline(title)));
			at += 1;
		} else if (line.startsWith(">")) nodes.push(h("blockquote", markdown(take((next) => next.startsWith(">")).replace(/^> ?/gm, ""), depth + 1)));
		else nodes.push(list(take((next) => !next.trim() || next.startsWith(" ") || ITEM.test(next) && /^\d/.test(next) === /^\d/.test(line)), depth));
	}
	return nodes;
}

// Lines that are indented belong to the item before them.
function list(text, depth) {
	const isOrdered = /^ *\d/.test(text);
	return h(isOrdered ? "ol" : "ul", { start: isOrdered && parseInt(text, 10) }, text.split(/\n(?= ?(?:[-*+]|\d{1,9}[.)]) )/).map((item) => {
		const { length } = ITEM.exec(item)[0];
		const [first, ...rest] = markdown(item.slice(length).replace(new RegExp(`^ {1,${length}}`, "gm"), ""), depth + 1);
		return h("li", first?.localName === "p" ? [...first.childNodes] : first, rest);
	}));
}

// An open mark is a frame of nodes. If nothing closes it, it becomes text.
function inline(text) {
	if (text.length > PARAGRAPH_MAX) return text;
	const frames = [{ mark: "", nodes: [] }];
	const lastRun = new Map([...text.matchAll(/`+/g)].map(({ 0: run, index }) => [run, index]));
	const add = (node) => frames.at(-1).nodes.push(node);
	const unwind = (depth) => {
		while (frames.length > depth) {
			const { mark, nodes } = frames.pop();
			frames.at(-1).nodes = frames.at(-1).nodes.concat(mark, nodes);
		}
	};
	const token = new RegExp(TOKEN);
	let at = 0;
	for (let match; (match = token.exec(text)); at = token.lastIndex) {
		const [all, escaped, ticks, mark, label, target, address] = match;
		const end = token.lastIndex;
		add(text.slice(at, match.index));
		if (ticks) {
			const closing = new RegExp(`(?<!\`)${ticks}(?!\`)`, "g");
			closing.lastIndex = end;
			const found = lastRun.get(ticks) >= end && closing.exec(text);
			if (found) token.lastIndex = closing.lastIndex;
			add(found ? h("code", text.slice(end, found.index)) : ticks);
		} else if (mark) {
			const isWord = (char) => mark[0] === "_" && /[\p{L}\p{N}]/u.test(char);
			const [before, after] = [text[match.index - 1] ?? " ", text[end] ?? " "];
			const open = frames.findIndex((frame) => frame.mark === mark);
			if (open > 0 && before.trim() && !isWord(after)) {
				unwind(open + 1);
				add(h(mark[1] ? "strong" : "em", frames.pop().nodes));
			} else if (open < 0 && after.trim() && !isWord(before)) frames.push({ mark, nodes: [] });
			else add(mark);
		} else if (URL.canParse(target ?? address)) {
			add(h("a", { href: target ?? address, rel: "noopener noreferrer", target: "_blank" }, label ?? address));
		} else add(escaped ?? all);
	}
	add(text.slice(at));
	unwind(1);
	return frames[0].nodes;
}
