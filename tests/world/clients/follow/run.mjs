// Follows a stream with a module of this directory, and prints each event as one line of JSON. Arguments: the module; the
// package that has the EventSource which the module takes for a global. In the environment: SERVER, its address; TOKEN, a
// bearer token. The module ends after the message that says "the end".
const [module, eventSource] = process.argv.slice(2);
const print = (line) => console.log(JSON.stringify(line));
if (eventSource) {
  const { EventSource } = await import(eventSource);
  globalThis.EventSource = class extends EventSource {
    constructor(url) {
      super(url);
      this.addEventListener("error", () => {
        if (this.readyState === EventSource.CLOSED) print({ gave_up: true });
      });
    }
  };
}
const show = (id, data) => {
  print({ id, data });
  return data.data?.content === "the end";
};
const { follow } = await import(`./${module}`);
await follow({ server: process.env.SERVER, token: process.env.TOKEN, show });
