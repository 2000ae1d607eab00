// Posts a message to a new conversation, and prints it and the answer as it grows. Needs Node 18 or newer, and no package.
//
//     node examples/chat.mjs "Hello"
//
// On a lost connection it reconnects after the time given by the server (`retry:`), with the last number that it received
// in `Last-Event-ID`: it misses no event and gets none twice. Deltas of a running answer have no number. The server sends the
// text so far again, as `output_snapshot`.

import { randomUUID } from "node:crypto";
import { setTimeout as sleep } from "node:timers/promises";

const BASE = process.env.CORTEX_URL ?? "http://127.0.0.1:8000";
const email = process.env.CORTEX_EMAIL ?? "user@example.com";
const password = process.env.CORTEX_PASSWORD ?? "password123";

async function main(content) {
  const token = (await call("/auth/login", "", { email, password })).access_token;
  const chat = (await call("/conversations", token, { title: "Example" })).id;
  let posted = false;
  let text = "";
  for await (const { type, data } of events(`/output/stream?conversation_id=${chat}`, token)) {
    if (type === "connection_established" && !posted) {
      // The stream is open, so it will have the message and everything after it.
      posted = true;
      await call("/input", token, { conversation_id: chat, content });
    }
    if (type === "input") console.log(`${data.sender_name}: ${data.content}`);
    if (type === "output_error") throw new Error(`no answer: ${data.error}`);
    const whole = { output_delta: text + data?.delta, output_snapshot: data?.text, output: data?.content }[type];
    if (whole !== undefined) {
      process.stdout.write(whole.slice(text.length));
      text = whole;
    }
    if (type === "output") {
      console.log();
      if (data.status !== "complete") throw new Error([`the answer was ${data.status}`, data.error].filter(Boolean).join(": "));
      return;
    }
  }
}

// Sends a request until the server responds. The key ensures that a message whose response was lost is stored once.
async function call(path, token, body) {
  const headers = { "Content-Type": "application/json", "Idempotency-Key": randomUUID() };
  if (token) headers.Authorization = `Bearer ${token}`;
  for (;;) {
    const response = await fetch(BASE + path, { method: "POST", headers, body: JSON.stringify(body) }).catch(() => null);
    if (response?.ok) return response.json();
    if (response && response.status < 500) throw new Error(`${path}: ${response.status} ${await response.text()}`);
    await sleep(1000);
  }
}

// The events of a stream, from one connection to the next.
async function* events(path, token) {
  let lastEventId = "";
  let retry = 3000;
  for (;;) {
    const headers = { Authorization: `Bearer ${token}`, ...(lastEventId && { "Last-Event-ID": lastEventId }) };
    try {
      const response = await fetch(BASE + path, { headers });
      if (response.status >= 400 && response.status < 500) {
        throw Object.assign(new Error(`${response.status} ${await response.text()}`), { final: true });
      }
      let rest = "";
      for await (const chunk of response.body.pipeThrough(new TextDecoderStream())) {
        const blocks = (rest + chunk).split("\n\n");
        // The last block is complete when its empty line has arrived.
        rest = blocks.pop();
        for (const block of blocks) {
          const field = (name) => block.match(new RegExp(`^${name}: (.*)$`, "m"))?.[1];
          retry = Number(field("retry") ?? retry);
          if (field("data")) yield JSON.parse(field("data"));
          lastEventId = field("id") ?? lastEventId;
        }
      }
    } catch (error) {
      if (error.final) throw error;
      console.error(`reconnecting: ${error.message}`);
    }
    await sleep(retry);
  }
}

try {
  await main(process.argv.slice(2).join(" ") || "Hello");
  // A stream that is still open would keep the process alive.
  process.exit(0);
} catch (error) {
  console.error(error.message);
  process.exit(1);
}
