import EventSource from "eventsource-2";

export function follow({ server, token, show }) {
  const source = new EventSource(`${server}/output/stream`, {
    headers: { Authorization: `Bearer ${token}` },
  });

  source.onmessage = (event) => {
    if (show(event.lastEventId, JSON.parse(event.data))) source.close();
  };

  // Without a listener, an error ends the program. It reconnects by itself.
  source.onerror = (event) => console.error(event.message ?? event.status ?? "the stream ended");
}
