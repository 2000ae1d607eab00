import { fetchEventSource } from "@microsoft/fetch-event-source";

export async function follow({ server, token, show }) {
  const stop = new AbortController();
  await fetchEventSource(`${server}/output/stream`, {
    headers: { Authorization: `Bearer ${token}` },
    signal: stop.signal,
    // Otherwise it closes the stream whenever the page is hidden.
    openWhenHidden: true,
    onmessage(event) {
      if (show(event.id, JSON.parse(event.data))) stop.abort();
    },
    // It reconnects after an error alone. The end of a stream is one.
    onclose() {
      throw new Error("the stream ended");
    },
    // It reconnects after what `onmessage` throws, too, unless that is thrown again.
    onerror(error) {
      if (error instanceof SyntaxError) throw error;
    },
  });
}
