// Drives examples/chat.html in a headless Chromium. Arguments: the browser, the page, the server, a message. Prints a line for each thing
// that the page shows, and goes on when it reads a line.
import { createInterface } from "node:readline";
import { chromium } from "playwright-core";

const [executablePath, page_url, server, message] = process.argv.slice(2);
const args = ["--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run", "--disable-background-networking",
  "--disable-component-update", "--disable-sync", "--no-proxy-server"];
const lines = createInterface({ input: process.stdin })[Symbol.asyncIterator]();
const browser = await chromium.launch({ executablePath, args });
try {
  const page = await browser.newPage();
  page.on("pageerror", (error) => { throw error; });
  await page.goto(page_url);
  await page.fill("[name=server]", server);
  await page.click("text=Log in");
  await page.locator("#state").getByText("connected", { exact: true }).waitFor();

  await say(message);
  await shows("input", `Test User: ${message}`, "a piece", "output", "Not ");
  await shows("output", "Not much.", "the answer");
  await say("fail");
  await shows("error", /^no answer: /, "an error");
  await say("be interrupted");
  await shows("error", "the answer was interrupted", "an interruption");
  await say("go on");
  await shows("output", "Back again.", "another answer");
  const texts = await page.locator("#log li").allTextContents();
  if (texts.filter((text) => text === "Not much.").length !== 1) throw new Error(`shown twice: ${texts}`);

  async function say(content) {
    await page.fill("[name=content]", content);
    await page.click("text=Send");
  }

  // Waits until the last item of a kind has a text, and then of another.
  async function shows(kind, text, what, nextKind, nextText) {
    await item(kind, text);
    if (nextKind) await item(nextKind, nextText);
    console.log(what);
    await lines.next();
  }

  async function item(kind, text) {
    const wanted = text instanceof RegExp ? text : new RegExp(`^${text.replace(/[.*+?^${}()|[\]\\]/g, "\\$&")}$`);
    await page.locator(`#log li.${kind}`).filter({ hasText: wanted }).first().waitFor({ timeout: 30000 });
  }
} finally {
  await browser.close();
}
process.exit(0);
