import ReconnectingEventSource from "reconnecting-eventsource";

export async function follow({ server, token, show }) {
  const headers = { Authorization: `Bearer ${token}` };
  const response = await fetch(`${server}/auth/stream-ticket`, { method: "POST", headers });
  const { ticket } = await response.json();
  const source = new ReconnectingEventSource(`${server}/output/stream?ticket=${ticket}`);

  // Not `onmessage`: with that alone it does not keep the id, and starts without one after a response that was not 200.
  source.addEventListener("message", (event) => {
    if (show(event.lastEventId, JSON.parse(event.data))) source.close();
  });
}
