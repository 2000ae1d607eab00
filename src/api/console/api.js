// Requests with the token, errors as the API sent them, and the event stream.

const READ_ATTEMPTS = 3;
// A connection without a byte for a minute is dead: heartbeats come every 15 seconds.
const SILENCE_MS_MAX = 60000;
const RETRY_MS_MAX = 30000;
const CONTROL = /^(connection_|caught_up|heartbeat|gap|token_|unavailable|server_)/;

export const sleep = (ms) => new Promise((resolve) => setTimeout(resolve, ms));

class ApiError extends Error {
	constructor({ code, message, details = {} }, status = 0, retryAfter = 0) {
		super(message);
		Object.assign(this, { code, details, status, retryAfter });
	}

	toString() {
		const line = ([name, value]) => `${name}: ${typeof value === "string" ? value : JSON.stringify(value)}`;
		return Object.entries({ [this.code]: this.message, ...this.details }).map(line).join("\n");
	}
}

// `fetch`, but it rejects with what the API says is wrong.
async function load(path, options) {
	const response = await fetch(path, options).catch((error) => {
		throw new ApiError({ code: "unreachable", message: error.message ?? error });
	});
	const { ok, status, statusText, headers } = response;
	if (ok) return response;
	const { error } = await response.json().catch(() => ({}));
	throw new ApiError(error ?? { code: status, message: statusText }, status, Number(headers.get("Retry-After")));
}

// A session with a token. `onEnd` gets the error that ends it, `onToken` each token that replaces the first.
export function openSession(token, onEnd, onToken) {
	const authorization = () => token && { Authorization: `Bearer ${token}` };

	// Resolves with `{ data, headers }`.
	async function request(method, path, body, key) {
		const fields = { ...authorization(), ...(body && { "Content-Type": "application/json" }), ...(key && { "Idempotency-Key": key }) };
		if (method !== "GET") api.last = { method, path, body };
		for (let count = method === "GET" ? 1 : READ_ATTEMPTS; ; count += 1) {
			try {
				const response = await load(path, { method, headers: fields, body: body && JSON.stringify(body) });
				const { headers } = response;
				return { headers, data: await (/json/.test(headers.get("Content-Type")) ? response.json() : response.text()) };
			} catch (error) {
				const { status, retryAfter } = error;
				if (status === 401 && api.user) onEnd(error);
				if (count === READ_ATTEMPTS || ![429, 503].includes(status)) throw error;
				await sleep(1000 * (retryAfter || count));
			}
		}
	}

	const send = async (...parts) => (await request(...parts)).data;

	async function renew() {
		token = (await send("POST", "/auth/refresh")).access_token;
		onToken(token);
		await send("POST", `/output/streams/${api.stream.id}/renew`);
	}

	const api = { user: null, last: null, request, send, get: (path) => send("GET", path) };
	api.stream = openStream(authorization, renew, onEnd);
	return api;
}

// The stream of all events, by `fetch`, since `EventSource` cannot send a token in a header. It reconnects by itself.
// Invariant: each event of the journal is passed on once and in order, whatever connections were cut.
function openStream(authorization, renew, onEnd) {
	// They get `{ number, event, raw, at }`. Without `raw`, it is a note about the connection.
	const listeners = [];
	const stream = {
		state: "reconnecting", id: null, lastEventId: 0, reconnects: 0, gaps: 0, start, cut: () => cut("cut by the button"),
		listen: (listener) => listeners.push(listener),
	};
	let connection = null;
	let retryMs = 3000;
	let timer = 0;

	function emit(event, number = null, raw = null) {
		for (const listener of listeners) queueMicrotask(() => listener({ number, event, raw, at: new Date() }));
	}

	async function start(lastEventId) {
		stream.lastEventId = lastEventId;
		for (let failures = 0; ;) {
			const error = await follow().catch((reason) => reason);
			if (error?.status === 401) return onEnd(error);
			failures = stream.state === "connected" ? 0 : failures + 1;
			stream.state = failures > 1 || !navigator.onLine ? "offline" : "reconnecting";
			const waitMs = 1000 * error?.retryAfter || Math.min(RETRY_MS_MAX, retryMs * 2 ** failures) * (0.5 + Math.random() / 2);
			emit({ type: "disconnected", data: { reason: String(error ?? "ended"), last_event_id: stream.lastEventId, retry_in_ms: waitMs } });
			await Promise.race([sleep(waitMs), new Promise((resolve) => addEventListener("online", resolve, { once: true }))]);
		}
	}

	const cut = (reason) => connection?.abort(reason);

	function watch() {
		clearTimeout(timer);
		timer = setTimeout(cut, SILENCE_MS_MAX, "no heartbeat");
	}

	async function follow() {
		const { signal } = connection = new AbortController();
		try {
			watch();
			const { body } = await load("/output/stream", { headers: { ...authorization(), "Last-Event-ID": stream.lastEventId }, signal });
			const reader = body.pipeThrough(new TextDecoderStream()).getReader();
			for (let rest = ""; ;) {
				const { value, done } = await reader.read();
				if (done) return;
				watch();
				// What follows the last empty line is incomplete. If the connection is cut there, it comes again.
				const blocks = (rest + value).split("\n\n");
				rest = blocks.pop();
				blocks.forEach(receive);
				signal.throwIfAborted();
			}
		} finally {
			clearTimeout(timer);
			cut();
		}
	}

	function receive(block) {
		const { data, id, retry } = Object.fromEntries(block.split("\n").map((line) => line.split(/: ?(.*)/, 2)));
		retryMs = Number(retry) || retryMs;
		if (!data) return;
		const event = JSON.parse(data);
		const { type } = event;
		if (id && Number(id) <= stream.lastEventId && !CONTROL.test(type)) return;
		if (id) stream.lastEventId = Number(id);
		if (type === "connection_established") {
			if (stream.id) stream.reconnects += 1;
			Object.assign(stream, { id: event.stream_id, state: "connected" });
		} else if (type === "gap") stream.gaps += 1;
		else if (type === "token_expiring") renew().catch(() => {});
		emit(event, id, data);
	}

	return stream;
}
