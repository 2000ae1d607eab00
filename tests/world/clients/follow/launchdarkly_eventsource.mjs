import { EventSource } from "launchdarkly-eventsource";

export function follow({ server, token, show }) {
  const source = new EventSource(`${server}/output/stream`, {
    headers: { Authorization: `Bearer ${token}` },
  });

  source.onmessage = (event) => {
    if (show(event.lastEventId, JSON.parse(event.data))) source.close();
  };

  source.onerror = (event) => console.error(event.message ?? event.status);
}
