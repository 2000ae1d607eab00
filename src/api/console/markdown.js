// A small safe subset of Markdown, as DOM nodes: headings, lists, quotes, fenced code, tables as text, emphasis, code, links to http(s).
// Whatever is not understood stays text. Every scan is linear in the text: marks do not nest within their own kind, the depth of
// blocks is bounded, and what is not found once is not searched for again.

import { button, copy, h } from "./app.js";

const DEPTH_MAX = 6;
const FENCE = /^ {0,3}(`{3,}|~{3,})([^`]*)$/;
const HEADING = /^(#{1,6}) (.*)$/;
const ITEM = /^( {0,3})([-*+]|\d{1,9}[.)])( +)/;
const RULE = /^(?:-{3,}|\*{3,}|_{3,})$/;
const LINK_TEXT = /\[([^[\]]+)\]\(/y;
const ADDRESS = /https?:\/\/[^\s[\]<>"'`]+/iy;

export function markdown(text) {
  return blocks(text.split("\n"), 0);
}

// Where the last block begins that may still grow, from `start`, which is such a place, on.
export function lastBlock(text, start) {
  let [place, fence] = [start, ""];
  for (let at = start; ;) {
    const end = text.indexOf("\n", at);
    if (end < 0) return place;
    const line = text.slice(at, end);
    const mark = FENCE.exec(line)?.[1];
    if (fence) fence = closes(line, fence) ? "" : fence;
    else if (mark) fence = mark;
    // Indented lines after an empty one may continue a list.
    else if (line === "" && /^[^\s\d*+-]/.test(text.slice(end + 1, end + 2))) place = end + 1;
    at = end + 1;
  }
}

function closes(line, fence) {
  const mark = line.trim();
  return mark.length >= fence.length && mark === fence[0].repeat(mark.length);
}

function blocks(lines, depth) {
  const nodes = [];
  let paragraph = [];
  const flush = () => {
    if (paragraph.length) nodes.push(h("p", { dir: "auto" }, inline(paragraph.join("\n"))));
    paragraph = [];
  };
  for (let at = 0; at < lines.length;) {
    const line = lines[at];
    const take = (isPart) => {
      const from = at;
      while (at < lines.length && isPart(lines[at], at - from)) at += 1;
      return lines.slice(from, at);
    };
    const fence = FENCE.exec(line);
    const heading = HEADING.exec(line);
    if (fence) {
      flush();
      at += 1;
      nodes.push(code(fence[2].trim(), take((next) => !closes(next, fence[1])).join("\n")));
      at += 1;
    } else if (heading) {
      flush();
      nodes.push(h(`h${Math.min(6, heading[1].length + 2)}`, { dir: "auto" }, inline(heading[2])));
      at += 1;
    } else if (RULE.test(line.replaceAll(" ", ""))) {
      flush();
      nodes.push(h("hr"));
      at += 1;
    } else if (line.startsWith(">") && depth < DEPTH_MAX) {
      flush();
      nodes.push(h("blockquote", {}, blocks(take((next) => next.startsWith(">")).map((next) => next.replace(/^> ?/, "")), depth + 1)));
    } else if (ITEM.test(line) && depth < DEPTH_MAX) {
      flush();
      nodes.push(list(take, depth));
    } else {
      if (line.trim() === "") flush();
      else paragraph.push(line);
      at += 1;
    }
  }
  flush();
  return nodes;
}

// Items of one kind; what is indented, also after an empty line, belongs to the item before it.
function list(take, depth) {
  const items = [];
  let mark = "";
  let indent = 0;
  let isOver = false;
  take((line, index) => {
    const item = ITEM.exec(line);
    if (item && item[1].length < (index ? indent : 4) && (index === 0 || item[2].at(-1) === mark.at(-1))) {
      mark ||= item[2];
      indent = item[0].length;
      items.push([line.slice(indent)]);
      return true;
    }
    const isIndented = line.startsWith(" ".repeat(Math.min(indent, 2)));
    if (line.trim() !== "" && !isIndented && (isOver || item || FENCE.test(line) || HEADING.test(line) || line.startsWith(">"))) return false;
    isOver = line.trim() === "";
    items.at(-1).push(line.slice(Math.min(indent, line.length - line.trimStart().length)));
    return true;
  });
  const isOrdered = /\d/.test(mark);
  return h(isOrdered ? "ol" : "ul", isOrdered ? { start: parseInt(mark, 10) } : {}, items.map((lines) => {
    const nodes = blocks(lines, depth + 1);
    // An item of one paragraph is not a paragraph.
    return h("li", { dir: "auto" }, nodes.length && nodes[0].localName === "p" ? [...nodes[0].childNodes, ...nodes.slice(1)] : nodes);
  }));
}

function code(language, text) {
  return h("pre", { dir: "ltr" }, language && h("span", { class: "language" }, language, "\n"), h("code", {}, text),
    button("", () => copy(text), { class: "copy", "aria-label": "Copy the code" }));
}

// Bold, italic, code, links. An open mark is a frame of nodes; if it is not closed, it becomes text.
function inline(text, isLink = false) {
  const frames = [{ mark: "", nodes: [] }];
  const missing = new Set();
  let plain = "";
  const flush = () => {
    if (plain) frames.at(-1).nodes.push(plain);
    plain = "";
  };
  const unwind = (length) => {
    flush();
    while (frames.length > length) {
      const { mark, nodes } = frames.pop();
      frames.at(-1).nodes.push(mark, ...nodes);
    }
  };
  const match = (pattern, at) => {
    pattern.lastIndex = at;
    return pattern.exec(text);
  };
  for (let at = 0; at < text.length;) {
    const char = text[at];
    if (char === "\\" && /[!-/:-@[-`{-~]/.test(text[at + 1] ?? "")) {
      plain += text[at + 1];
      at += 2;
    } else if (char === "`") {
      const ticks = match(/`+/y, at)[0];
      const end = missing.has(ticks) ? -1 : closing(text, ticks, at + ticks.length);
      if (end < 0) {
        missing.add(ticks);
        plain += ticks;
        at += ticks.length;
      } else {
        flush();
        frames.at(-1).nodes.push(h("code", {}, text.slice(at + ticks.length, end)));
        at = end + ticks.length;
      }
    } else if (char === "*" || char === "_") {
      const mark = text[at + 1] === char ? char + char : char;
      const [before, after] = [text[at - 1] ?? " ", text[at + mark.length] ?? " "];
      const isWord = (other) => char === "_" && /[\p{L}\p{N}]/u.test(other);
      const open = frames.findIndex((frame) => frame.mark === mark);
      if (open > 0 && /\S/.test(before) && !isWord(after)) {
        unwind(open + 1);
        const { nodes } = frames.pop();
        frames.at(-1).nodes.push(h(mark.length === 2 ? "strong" : "em", {}, nodes));
      } else if (open < 0 && /\S/.test(after) && !isWord(before)) {
        flush();
        frames.push({ mark, nodes: [] });
      } else plain += mark;
      at += mark.length;
    } else {
      const link = !isLink && (char === "[" ? bracketed(match, at) : char === "h" && !/\w/.test(text[at - 1] ?? "") && bare(match, at));
      if (link) {
        flush();
        const properties = { href: link.address, rel: "noopener noreferrer", target: "_blank" };
        frames.at(-1).nodes.push(h("a", properties, link.text === undefined ? link.address : inline(link.text, true)));
        at = link.end;
      } else {
        plain += char;
        at += 1;
      }
    }
  }
  unwind(1);
  flush();
  return frames[0].nodes;
}

// Where the run of exactly these ticks begins that ends a code span.
function closing(text, ticks, from) {
  for (let at = text.indexOf(ticks, from); at >= 0;) {
    let end = at;
    while (text[end] === "`") end += 1;
    if (end - at === ticks.length) return at;
    at = text.indexOf(ticks, end);
  }
  return -1;
}

function bracketed(match, at) {
  const text = match(LINK_TEXT, at);
  const found = text && match(ADDRESS, at + text[0].length);
  if (!found) return null;
  // The address ends at the parenthesis that has no partner in it.
  let depth = 0;
  for (let end = 0; end < found[0].length; end += 1) {
    if (found[0][end] === "(") depth += 1;
    if (found[0][end] === ")" && (depth -= 1) < 0) {
      const address = found[0].slice(0, end);
      return URL.canParse(address) ? { address, text: text[1], end: found.index + end + 1 } : null;
    }
  }
  return null;
}

function bare(match, at) {
  const address = match(ADDRESS, at)?.[0].replace(/[.,:;!?)*_]{1,9}$/, "");
  return address && URL.canParse(address) ? { address, end: at + address.length } : null;
}
