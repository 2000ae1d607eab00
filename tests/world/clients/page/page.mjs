// Runs several clients at once in a browser, each on a stream of its own, and posts what they print to `/lines`, as lines of
// JSON, in order.
let clients = null;
const waiting = [];
let isPosting = false;

async function print(line) {
  waiting.push(JSON.stringify(line));
  if (isPosting) return;
  isPosting = true;
  while (waiting.length > 0) {
    await fetch("/lines", { method: "POST", body: waiting.splice(0).map((text) => text + "\n").join("") });
  }
  isPosting = false;
}

// Uncaught errors name no client.
window.onerror = (message) => print({ client: null, error: String(message) });
window.onunhandledrejection = (event) => print({ client: null, error: String(event.reason) });

// The native EventSource reports when it gives up for good.
window.EventSource = class extends EventSource {
  constructor(url, options) {
    super(url, options);
    this.addEventListener("error", () => {
      if (this.readyState === EventSource.CLOSED) print({ client: clientAt(url), gave_up: true });
    });
  }
};
const clientAt = (url) => clients.find(({ server }) => url.startsWith(server)).client;

// Tracing libraries (Sentry, OpenTelemetry) replace `fetch` by one that adds their headers.
const plainFetch = window.fetch;
window.fetch = (url, options = {}) => {
  const isTraced = clients?.some(({ server, isTraced }) => isTraced && url.startsWith(server));
  if (!isTraced) return plainFetch(url, options);
  const tracing = {
    baggage: "sentry-environment=production,sentry-trace_id=d49d9bf66f13450b81f65bc51cf49c03",
    "sentry-trace": "d49d9bf66f13450b81f65bc51cf49c03-1cc4b26ab9094ef0-1",
    traceparent: "00-d49d9bf66f13450b81f65bc51cf49c03-1cc4b26ab9094ef0-01",
  };
  return plainFetch(url, { ...options, headers: { ...options.headers, ...tracing } });
};

// The test serves this list: for each client its name, its module, the server and a token.
clients = await (await fetch("/clients.json")).json();
for (const { client, module, server, token } of clients) {
  const failed = (error) => print({ client, error: String(error) });
  const show = (id, data) => {
    const isEnd = data.data?.content === "the end";
    print({ client, id, data });
    if (isEnd) print({ client, end: true });
    return isEnd;
  };
  const { follow } = await import(`/${module}.mjs`);
  Promise.resolve(follow({ server, token, show })).catch(failed);
}
