// What the tests `eventsource` of web-platform-tests expect of a server, by the EventSource of the browser. Each check has a
// name and throws if it fails.
const UNKNOWN_ID = "0190c42e-8d3f-7123-9abc-0123456789ab";

// Texts that would end lines, events or fields if the server did not escape them, and beginnings that parsers cut off.
const HOSTILE = [
  "\ufeffbyte order mark",
  " leading space",
  "\tleading tab",
  "a\r\nb\rc\nd\n\ne",
  ": comment\n:\n",
  "data: x\n\nid: 999999\n\nevent: other\n\nretry: 1\n\n",
  "\u0000 and \u0000",
  "é…😀\u0085\u2028\u2029",
  "x".repeat(70_000),
];

function equal(is, expected, what) {
  if (is !== expected) throw new Error(`${what}: ${is}, not ${expected}`);
}

// The next event of a type. Any error before it fails.
function next(source, type) {
  return new Promise((resolve, reject) => {
    source.addEventListener(type, resolve, { once: true });
    if (type === "error") return;
    source.addEventListener("error", () => reject(new Error(`no ${type}: state ${source.readyState}`)), { once: true });
  });
}

// The next message, whatever other events precede it.
async function nextMessage(source, type = "message") {
  for (;;) {
    const event = await next(source, type);
    if (JSON.parse(event.data).type === "input") return event;
  }
}

// The first response of a worker.
function first(port) {
  return new Promise((resolve) => (port.onmessage = (event) => resolve(event.data)));
}

export async function follow({ server, token, show }) {
  async function call(path, body) {
    const headers = { Authorization: `Bearer ${token}`, "Content-Type": "application/json" };
    const response = await fetch(server + path, { method: "POST", headers, body: JSON.stringify(body) });
    if (!response.ok) throw new Error(`${path}: ${response.status}`);
    return response.json();
  }

  const { ticket } = await call("/auth/stream-ticket", {});
  const stream = (query = "") => `${server}/output/stream?ticket=${ticket}${query}`;
  const contentOf = (event) => JSON.parse(event.data).data?.content;

  // An open source; its first event tells that it misses nothing from now on.
  async function open(url, options) {
    const source = new EventSource(url, options);
    await next(source, "message");
    return source;
  }

  const quick = {
    async "it opens, and closes for good"() {
      const source = new EventSource(stream());
      equal(source.readyState, EventSource.CONNECTING, "state at first");
      const event = await next(source, "open");
      equal(event.isTrusted, true, "trusted");
      equal(source.readyState, EventSource.OPEN, "state");
      source.close();
      equal(source.readyState, EventSource.CLOSED, "state at last");
    },

    async "messages have an origin and a number"() {
      const source = await open(stream());
      let last = 0;
      for (const content of ["one", "two", "three"]) {
        const message = nextMessage(source);
        await call("/input", { content });
        const event = await message;
        equal(contentOf(event), content, "content");
        equal(event.origin, server, "origin");
        equal(event.type, "message", "type");
        equal(/^\d+$/.test(event.lastEventId) && Number(event.lastEventId) > last, true, `id ${event.lastEventId}`);
        last = Number(event.lastEventId);
      }
      source.close();
    },

    async "named events reach their listeners alone"() {
      const source = new EventSource(stream("&named=true"));
      let unnamed = 0;
      source.onmessage = () => (unnamed += 1);
      await next(source, "connection_established");
      const named = nextMessage(source, "input");
      await call("/input", { content: "named" });
      const event = await named;
      equal(contentOf(event), "named", "content");
      equal(JSON.parse(event.data).type, "input", "type in the data");
      equal(unnamed, 0, "events without a name");
      source.close();
    },

    async "content cannot leave its event"() {
      const source = await open(stream());
      source.addEventListener("other", () => source.close());
      for (const content of HOSTILE) {
        const message = nextMessage(source);
        await call("/input", { content });
        const event = await message;
        equal(contentOf(event), content, "content");
        equal(event.data.includes("\n"), false, "line ends in the data");
        equal(event.lastEventId === "999999", false, "an id from the content");
      }
      equal(source.readyState, EventSource.OPEN, "state");
      source.close();
    },

    async "pages of other origins may use it, with and without credentials"() {
      for (const withCredentials of [false, true]) {
        const source = await open(stream(), { withCredentials });
        equal(source.withCredentials, withCredentials, "credentials");
        source.close();
      }
    },

    async "pages of origins that are not allowed may not"() {
      const frame = document.createElement("iframe");
      // Its origin is opaque.
      frame.sandbox = "allow-scripts";
      frame.srcdoc = `<script>
        const source = new EventSource(${JSON.stringify(stream())});
        source.onopen = () => parent.postMessage("open", "*");
        source.onerror = () => parent.postMessage(source.readyState, "*");
      </script>`;
      const answer = new Promise((resolve) => window.addEventListener("message", resolve, { once: true }));
      document.body.append(frame);
      equal((await answer).data, EventSource.CLOSED, "state in the frame");
      frame.remove();
    },

    async "errors end it for good"() {
      const urls = [
        `${server}/output/stream?ticket=none`,
        stream(`&conversation_id=${UNKNOWN_ID}`),
        stream("&types=none"),
        `${server}/nowhere`,
        `${server}/`,
      ];
      for (const url of urls) {
        const source = new EventSource(url);
        // A stream that opens is not closed.
        source.onopen = () => source.dispatchEvent(new Event("error"));
        await next(source, "error");
        equal(source.readyState, EventSource.CLOSED, url);
      }
    },

    async "workers may use it"() {
      const worker = new Worker("/event_source_worker.mjs");
      worker.postMessage(stream());
      equal(JSON.parse(await first(worker)).type, "connection_established", "in a worker");
      worker.terminate();
      const { port } = new SharedWorker("/event_source_worker.mjs");
      port.postMessage(stream());
      equal(JSON.parse(await first(port)).type, "connection_established", "in a shared worker");
    },
  };

  const slow = {
    async "it returns after a cut and gets each message once"() {
      const source = await open(stream("&conversation_id=default"));
      const received = [];
      source.onmessage = (event) => received.push(contentOf(event));
      const sent = [];
      let isCut = false;
      const cut = next(source, "error").then(() => (isCut = true));
      show("", { cut: true });
      while (!isCut) {
        const content = `message ${sent.length}`;
        await call("/input", { content });
        sent.push(content);
      }
      await cut;
      equal(source.readyState, EventSource.CONNECTING, "state after the cut");
      await next(source, "open");
      sent.push("last");
      await call("/input", { content: "last" });
      while (!received.includes("last")) await next(source, "message");
      // Between the replayed and the live ones stands an event without content.
      equal(received.filter((content) => content !== undefined).join(), sent.join(), "messages");
      source.close();
    },

    async "an answer that is over ends it for good"() {
      const { id } = await call("/conversations", { title: "answers", metadata: { responder: "echo" } });
      const message = await call(`/conversations/${id}/messages`, { content: "to be echoed" });
      const source = new EventSource(`${server}/conversations/${id}/messages/${message.id}/stream?ticket=${ticket}`);
      const types = [];
      source.onmessage = (event) => types.push(JSON.parse(event.data).type);
      // The end of the response, then `204`.
      await next(source, "error");
      equal(source.readyState, EventSource.CONNECTING, "state after the answer");
      await next(source, "error");
      equal(source.readyState, EventSource.CLOSED, "state after 204");
      equal(types.filter((type) => type === "output").length, 1, "answers");
    },
  };

  async function run([check, body]) {
    try {
      await body();
      show("", { check });
    } catch (error) {
      show("", { check, failed: String(error) });
    }
  }

  // A browser opens few connections to one server.
  for (const entry of Object.entries(quick)) await run(entry);
  await Promise.all(Object.entries(slow).map(run));
  show("", { data: { content: "the end" } });
}
