// EventSource as browsers have it, or the `eventsource` package (version 3 and later) as a global in Node.
export function follow({ server, token, show }) {
  let lastEventId = "";

  async function connect() {
    const headers = { Authorization: `Bearer ${token}` };
    const response = await fetch(`${server}/auth/stream-ticket`, { method: "POST", headers });
    const { ticket } = await response.json();
    const query = new URLSearchParams({ ticket });
    if (lastEventId) query.set("last_event_id", lastEventId);
    const source = new EventSource(`${server}/output/stream?${query}`);

    source.onmessage = (event) => {
      lastEventId = event.lastEventId || lastEventId;
      if (show(lastEventId, JSON.parse(event.data))) source.close();
    };

    // It reconnects by itself, unless the response was not 200: the ticket has ended, or a proxy has no server.
    source.onerror = () => {
      if (source.readyState === EventSource.CLOSED) connectLater();
    };
  }

  const connectLater = () => setTimeout(() => connect().catch(connectLater), 3000);
  connect().catch(connectLater);
}
