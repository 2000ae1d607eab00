import { EventSourcePolyfill } from "event-source-polyfill";

export function follow({ server, token, show }) {
  const source = new EventSourcePolyfill(`${server}/output/stream`, {
    headers: { Authorization: `Bearer ${token}` },
  });

  source.onmessage = (event) => {
    if (show(event.lastEventId, JSON.parse(event.data))) source.close();
  };
}
