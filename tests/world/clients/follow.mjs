// Follows a stream with an EventSource as browsers have it, which comes back by itself, and prints each event as one line
// of JSON. Arguments: the URL, with a ticket, since an EventSource sends no headers. Ends after the message that says
// "the end", and with an error if the EventSource gives up.
import { EventSource } from "eventsource";

const source = new EventSource(process.argv[2]);

source.onmessage = (event) => {
  const data = JSON.parse(event.data);
  console.log(JSON.stringify({ id: event.lastEventId, data }));
  if (data.data?.content === "the end") {
    source.close();
  }
};

source.onerror = (event) => {
  console.error(`follow: ${event.code ?? ""} ${event.message ?? "the stream ended"}`);
  if (source.readyState === EventSource.CLOSED) {
    process.exitCode = 1;
  }
};
