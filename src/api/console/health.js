// Charts of the server's metrics.

import { sleep } from "./api.js";
import { attempt, h, set } from "./app.js";

const POLL_MS = 2000;
const POINTS_MAX = 90;

// Name, unit and lines, which are functions of the metrics `now`, and of how much they have `grown` in `seconds`.
const mean = (name, scale) => ({ grown }) => (scale * grown(`${name}_sum`)) / (grown(`${name}_count`) || 1);
const now = (name, scale = 1) => (metrics) => scale * metrics.now(name);
const CHARTS = [
	["Requests", "/s", { requests: ({ grown, seconds }) => grown("conversational_core_requests_total") / seconds }],
	["Streams", "", { live: now('cortex_streams{state="live"}'), behind: now('cortex_streams{state="behind"}') }],
	["Lag", " events", { lag: now("cortex_stream_lag_events") }],
	["Latency of commits", " ms", { mean: mean("cortex_commit_duration_seconds", 1000) }],
	["Size of commits", " commands", { mean: mean("cortex_commit_commands", 1) }],
	["Answers", "", { running: now("cortex_answers_running"), waiting: now("cortex_answers_waiting") }],
	["Memory", " MB", { resident: now("process_resident_memory_bytes", 1e-6) }],
];

export function healthView({ get }) {
	const charts = CHARTS.map(chart);
	const element = h("div.page", { tabindex: 0 }, h("h1", "Health"), h("div.charts", charts.map((one) => one.element)));
	let last = null;
	let turn = 0;

	async function poll() {
		const text = !document.hidden && await attempt(() => get("/metrics"));
		if (!text) return;
		const [values, at, before] = [parse(text), performance.now(), last];
		last = { values, at };
		if (!before) return;
		const value = (name) => values.get(name) ?? 0;
		// After a restart, a counter begins anew.
		const grown = (name) => Math.max(0, value(name) - (before.values.get(name) ?? 0));
		for (const one of charts) one.add({ now: value, grown, seconds: (at - before.at) / 1000 });
	}

	async function show() {
		for (const mine = turn += 1; mine === turn && element.isConnected; await sleep(POLL_MS)) await poll();
	}

	return { element, show };
}

// Values by name and labels, and sums by name.
function parse(text) {
	const values = new Map();
	for (const [, name, labels, value] of text.matchAll(/^(\w+)(\{.*\})? (\S+)$/gm)) {
		for (const key of labels ? [name + labels, name] : [name]) values.set(key, (values.get(key) ?? 0) + Number(value));
	}
	return values;
}

function chart([name, unit, definitions]) {
	const lines = Object.entries(definitions).map(([label, read], index) => ({ label, read, points: [], path: h(`path.line-${index}`) }));
	const value = h("b", "…");
	const image = h("svg", { role: "img", "aria-label": name, viewBox: `0 0 ${POINTS_MAX} 1`, preserveAspectRatio: "none" }, lines.map(({ path }) => path));
	const range = h("small");
	const number = (amount) => amount.toLocaleString([], { maximumFractionDigits: amount < 10 ? 2 : 0 }) + unit;

	function add(metrics) {
		for (const { read, points } of lines) points.splice(0, points.push(read(metrics)) - POINTS_MAX);
		const top = Math.max(...lines.flatMap(({ points }) => points));
		for (const { points, path } of lines) {
			const place = (amount, index) => `${POINTS_MAX - points.length + index} ${1 - amount / (1.1 * top || 1)}`;
			set(path, { d: `M${points.map(place).join("L")}` });
		}
		value.textContent = lines.map(({ label, points }) => number(points.at(-1)) + (lines.length > 1 ? ` ${label}` : "")).join(", ");
		range.textContent = `up to ${number(top)}`;
		set(image, { "aria-label": `${name}: ${value.textContent}` });
	}

	return { element: h("figure", h("figcaption", name, value), image, range), add };
}
