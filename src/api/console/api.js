// The API as the page uses it: requests with the token, errors as the API sent them, and the event stream.

// A read is repeated when the server asks for a moment of patience; a write never is.
const READ_ATTEMPTS = 3;
const PATIENCE_SECONDS = 20;
// Heartbeats come every 15 seconds by default. Their interval is measured; a stream that is silent for three of them is dead.
const SILENCE_MS_MAX = 60_000;
const SILENCE_MS_MIN = 5_000;
const RETRY_MS_MAX = 30_000;
const CONTROL = new Set(["connection_established", "caught_up", "heartbeat", "gap", "token_expiring", "token_expired", "unavailable",
  "server_shutdown"]);

const sleep = (ms) => new Promise((resolve) => setTimeout(resolve, ms));

// An error of the API, or of the way to it.
export class ApiError extends Error {
  constructor(status, { code, message, details }, retryAfter = 0) {
    super(message);
    Object.assign(this, { status, code, details, retryAfter });
  }

  static async of(response) {
    const { error } = await response.json().catch(() => ({}));
    const retryAfter = Number(response.headers.get("Retry-After")) || 0;
    return new ApiError(response.status, error?.code ? error : { code: String(response.status), message: response.statusText }, retryAfter);
  }

  // `<code>: <message>`, and a line for each of the details.
  toString() {
    const line = ([name, value]) => `${name}: ${typeof value === "string" ? value : JSON.stringify(value)}`;
    return [`${this.code}: ${this.message}`, ...Object.entries(this.details ?? {}).map(line)].join("\n");
  }
}

// A key that makes a write safe to repeat. (`randomUUID` exists in secure contexts only.)
export function newKey() {
  return Array.from(crypto.getRandomValues(new Uint8Array(16)), (byte) => byte.toString(16).padStart(2, "0")).join("");
}

// One session: a token, its user, and one event stream.
export class Api {
  // `onEnd` gets the error that ended the session; `onToken` gets each token that replaces the first.
  constructor({ onEnd = () => {}, onToken = () => {} } = {}) {
    this.onEnd = onEnd;
    this.onToken = onToken;
    this.token = null;
    this.user = null;
    // The last request that changed something, and the last search: the view "Learn" shows them.
    this.last = null;
    this.stream = new EventStream(this);
  }

  // Resolves with `{ data, headers }`; rejects with an `ApiError`.
  async request(method, path, { body, key } = {}) {
    if (method !== "GET" && !path.startsWith("/auth/") && !path.startsWith("/output/")) this.last = { method, path, body };
    for (let attempt = 1; ; attempt += 1) {
      try {
        return await this.#send(method, path, body, key);
      } catch (error) {
        const isWorthIt = method === "GET" && attempt < READ_ATTEMPTS && [429, 503].includes(error.status);
        if (!isWorthIt || error.retryAfter > PATIENCE_SECONDS) throw error;
        await sleep(1000 * (error.retryAfter || attempt));
      }
    }
  }

  async get(path) {
    return (await this.request("GET", path)).data;
  }

  authorization() {
    return this.token === null ? {} : { Authorization: `Bearer ${this.token}` };
  }

  // Ends the session, once.
  end(error) {
    if (this.isEnded) return;
    this.isEnded = true;
    this.stream.stop();
    this.onEnd(error);
  }

  async #send(method, path, body, key) {
    const headers = this.authorization();
    if (body !== undefined) headers["Content-Type"] = "application/json";
    if (key) headers["Idempotency-Key"] = key;
    let response;
    try {
      response = await fetch(path, { method, headers, body: body === undefined ? undefined : JSON.stringify(body), cache: "no-store" });
    } catch (error) {
      throw new ApiError(0, { code: "unreachable", message: `The server cannot be reached (${error.message}).` });
    }
    if (response.ok) {
      const isJson = response.headers.get("Content-Type")?.includes("json");
      const data = response.status === 204 ? null : await (isJson ? response.json() : response.text()).catch((error) => {
        throw new ApiError(0, { code: "unreachable", message: `The response was cut (${error.message}).` });
      });
      return { data, headers: response.headers };
    }
    const error = await ApiError.of(response);
    if (error.status === 401 && this.user) this.end(error);
    throw error;
  }
}

// The stream of all events of the user, over `fetch`, since `EventSource` cannot send the token in a header. It reconnects by itself
// from the last event that was received whole.
//
// Invariant: each event of the journal is passed on once, in order, whatever connections were cut.
export class EventStream {
  state = "reconnecting";
  // The number through which everything was received, and the one that the present connection was opened with.
  lastEventId = null;
  sentEventId = null;
  caughtUpAt = null;
  streamId = null;
  reconnects = 0;
  gaps = 0;
  duplicates = 0;
  #api;
  #listeners = new Set();
  #retryMs = 3000;
  #silenceMs = SILENCE_MS_MAX;
  #heardAt = null;
  #isStopped = true;
  #connection = null;
  #watchdog = 0;
  #wake = () => {};

  constructor(api) {
    this.#api = api;
    this.onOnline = () => this.#wake();
    this.onOffline = () => this.#connection?.abort(new Error("the network is gone"));
  }

  // A listener is called with each entry: `{ number, event, raw, at }`. An entry without `raw` is a note about the connection.
  listen(listener) {
    this.#listeners.add(listener);
  }

  start(lastEventId) {
    this.lastEventId = lastEventId;
    this.#isStopped = false;
    addEventListener("online", this.onOnline);
    addEventListener("offline", this.onOffline);
    document.addEventListener("visibilitychange", this.onOnline);
    this.#run();
  }

  stop() {
    this.#isStopped = true;
    this.#listeners.clear();
    removeEventListener("online", this.onOnline);
    removeEventListener("offline", this.onOffline);
    document.removeEventListener("visibilitychange", this.onOnline);
    this.#connection?.abort();
    this.#wake();
  }

  // Cuts the connection, as a broken network would. It comes back by itself.
  cut() {
    this.#connection?.abort(new Error("cut by the button"));
  }

  async #run() {
    for (let failures = 0; !this.#isStopped;) {
      this.#heardAt = null;
      let reason = "the server ended it";
      let waitMs = 0;
      try {
        await this.#follow();
      } catch (error) {
        if (error.status === 401) return this.#api.end(error);
        reason = error instanceof ApiError ? String(error) : error.message;
        waitMs = 1000 * (error.retryAfter ?? 0);
      }
      if (this.#isStopped) return;
      failures = this.state === "connected" ? 0 : failures + 1;
      waitMs ||= Math.min(RETRY_MS_MAX, this.#retryMs * 2 ** Math.max(0, failures - 1)) * (0.5 + Math.random() / 2);
      this.state = failures > 2 || !navigator.onLine ? "offline" : "reconnecting";
      this.#note("disconnected", { reason, last_event_id: this.lastEventId, retry_in_ms: Math.round(waitMs) });
      await new Promise((resolve) => {
        this.#wake = resolve;
        setTimeout(resolve, waitMs);
      });
    }
  }

  // Opens the stream and reads it to its end.
  async #follow() {
    const connection = new AbortController();
    this.#connection = connection;
    const headers = { ...this.#api.authorization(), Accept: "text/event-stream" };
    if (this.lastEventId !== null) headers["Last-Event-ID"] = String(this.lastEventId);
    this.sentEventId = this.lastEventId;
    this.caughtUpAt = null;
    try {
      this.#watch();
      const response = await fetch("/output/stream", { headers, signal: connection.signal, cache: "no-store" });
      if (!response.ok) throw await ApiError.of(response);
      const reader = response.body.pipeThrough(new TextDecoderStream()).getReader();
      let rest = "";
      for (;;) {
        const { value, done } = await reader.read();
        if (done) return;
        this.#watch();
        // What follows the last empty line is incomplete. If the connection is cut there, it is sent again.
        const blocks = (rest + value).split("\n\n");
        rest = blocks.pop();
        for (const block of blocks) this.#receive(block);
        if (connection.signal.aborted) throw connection.signal.reason;
      }
    } finally {
      clearTimeout(this.#watchdog);
      connection.abort();
    }
  }

  #watch() {
    clearTimeout(this.#watchdog);
    const connection = this.#connection;
    this.#watchdog = setTimeout(() => connection.abort(new Error("no heartbeat")), this.#silenceMs);
  }

  #receive(block) {
    const fields = {};
    for (const line of block.split("\n")) {
      const colon = line.indexOf(":");
      if (colon > 0) fields[line.slice(0, colon)] = line.slice(colon + 1).replace(/^ /, "");
    }
    if (fields.retry) this.#retryMs = Number(fields.retry) || this.#retryMs;
    if (fields.data === undefined) return;
    const event = JSON.parse(fields.data);
    const number = fields.id === undefined ? null : Number(fields.id);
    if (number !== null) {
      if (!CONTROL.has(event.type) && this.lastEventId !== null && number <= this.lastEventId) {
        this.duplicates += 1;
        return;
      }
      this.lastEventId = number;
    }
    this.#control(event);
    this.#emit({ number, event, raw: fields.data, at: new Date() });
  }

  #control(event) {
    switch (event.type) {
      case "connection_established":
        if (this.streamId !== null) this.reconnects += 1;
        this.streamId = event.stream_id;
        this.state = "connected";
        break;
      case "caught_up":
        this.caughtUpAt = event.last_event_id;
        break;
      case "gap":
        this.gaps += 1;
        break;
      case "unavailable":
        this.#retryMs = event.retry_ms ?? this.#retryMs;
        break;
      case "heartbeat": {
        const now = performance.now();
        if (this.#heardAt !== null) this.#silenceMs = Math.max(SILENCE_MS_MIN, Math.min(SILENCE_MS_MAX, 3 * (now - this.#heardAt)));
        this.#heardAt = now;
        break;
      }
      case "token_expiring":
        this.#renew();
        break;
      case "token_expired":
        this.#api.end(new ApiError(401, { code: "unauthorized", message: "The token has expired." }));
        break;
    }
  }

  // Extends the stream with a fresh token, without a reconnect.
  async #renew() {
    try {
      const { data } = await this.#api.request("POST", "/auth/refresh");
      this.#api.token = data.access_token;
      this.#api.onToken(data.access_token);
      await this.#api.request("POST", `/output/streams/${this.streamId}/renew`);
    } catch (error) {
      this.#note("not_renewed", { reason: String(error) });
    }
  }

  #note(type, data) {
    this.#emit({ number: null, event: { type, data }, raw: null, at: new Date() });
  }

  #emit(entry) {
    for (const listener of this.#listeners) {
      try {
        listener(entry);
      } catch (error) {
        reportError(error);
      }
    }
  }
}
