// Posts the first event of each stream whose URL it is sent, as a worker and as a shared worker.
function follow(url, post) {
  const source = new EventSource(url);
  source.onmessage = (event) => {
    source.close();
    post(event.data);
  };
  source.onerror = () => post(JSON.stringify({ type: `error, state ${source.readyState}` }));
}

self.onmessage = ({ data }) => follow(data, (text) => self.postMessage(text));
self.onconnect = ({ ports: [port] }) => {
  port.onmessage = ({ data }) => follow(data, (text) => port.postMessage(text));
};
