// What all scripts share: a headless Chromium, tabs that are watched, steps that the test answers, and checks.
import { mkdirSync } from "node:fs";
import { join } from "node:path";
import { createInterface } from "node:readline";
import axe from "axe-core";
import { chromium } from "playwright-core";

const [executablePath, text] = process.argv.slice(2);
// The values that the test passes: `server`, and those of the scenario.
export const setup = JSON.parse(text);
// Time for one wait. It only bounds the duration of a failure.
export const DEADLINE = 30000;
// Maximum length of what a failed script prints of a page.
const SHOWN_CHARACTERS_MAX = 6000;
const FLAGS = ["--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run", "--disable-background-networking",
  "--disable-component-update", "--disable-sync", "--disable-dev-shm-usage", "--no-proxy-server",
  "--host-resolver-rules=MAP * ~NOTFOUND, EXCLUDE 127.0.0.1"];

const input = createInterface({ input: process.stdin });
const replies = input[Symbol.asyncIterator]();
const tabs = [];
let browser;

// Runs a scenario. Afterwards, no tab may have noticed a problem.
export async function scenario(play) {
  browser = await chromium.launch({ executablePath, args: FLAGS });
  input.on("close", () => browser.close().finally(() => process.exit(1)));
  try {
    await play();
    for (const tab of tabs) tab.watch.assertQuiet();
  } catch (error) {
    console.error(`${process.argv[1]}: ${error.stack ?? error}`);
    await saveEvidence();
    await browser.close();
    process.exit(1);
  }
  await browser.close();
  process.exit(0);
}

// Reports a step, and waits until the test lets the script continue. Returns the test's value.
export async function reached(step, value = null) {
  console.log(JSON.stringify({ step, value }));
  const { value: line, done } = await replies.next();
  if (done) throw new Error(`the test ended at ${step}`);
  return JSON.parse(line);
}

// A new tab with the storage of its own user.
export async function open(options = {}) {
  const context = await browser.newContext({ viewport: { width: 1280, height: 800 }, reducedMotion: "reduce", ...options });
  const watch = new Watch();
  await watch.attach(context);
  const page = await context.newPage();
  page.setDefaultTimeout(DEADLINE);
  const tab = { context, page, watch };
  tabs.push(tab);
  return tab;
}

// Closes a tab that was broken on purpose, and returns what it noticed.
export async function closeBroken(tab) {
  tabs.splice(tabs.indexOf(tab), 1);
  await tab.context.close();
  return tab.watch.problems();
}

// Waits until a condition holds.
export async function eventually(what, holds) {
  const end = Date.now() + DEADLINE;
  let last;
  while (!(await Promise.resolve(holds()).catch((error) => { last = error; return false; }))) {
    if (Date.now() > end) throw new Error(`not in time: ${what}${last ? ` (${last.message})` : ""}`);
    await new Promise((resolve) => setTimeout(resolve, 50));
  }
}

export function assert(condition, what) {
  if (!condition) throw new Error(what);
}

export function assertEqual(actual, expected, what) {
  const [a, b] = [actual, expected].map((value) => JSON.stringify(value));
  assert(a === b, `${what}:\n  is       ${a}\n  must be  ${b}`);
}

// A GET request to the server from outside the browser.
export async function get(path, token) {
  const response = await fetch(setup.server + path, { headers: { Authorization: `Bearer ${token}` } });
  assert(response.ok, `${path}: ${response.status}`);
  return response.json();
}

// Asserts that axe-core has no serious or critical finding on a page, or in some parts of it.
export async function assertAccessible(page, where, selectors) {
  const found = await accessibilityProblems(page, selectors);
  assert(found.length === 0, `${where}:\n${found.join("\n")}`);
}

export async function accessibilityProblems(page, selectors = ["html"]) {
  await page.evaluate(`window.axe || (() => { ${axe.source} })()`);
  const violations = await page.evaluate(async (include) => {
    const result = await window.axe.run({ include }, { resultTypes: ["violations"], preload: false });
    return result.violations;
  }, selectors);
  const isBad = ({ impact }) => impact === "serious" || impact === "critical";
  return violations.filter(isBad).flatMap(({ id, impact, help, nodes }) =>
    nodes.map((node) => `${impact} ${id}: ${help}\n    ${node.html.slice(0, 300)}\n    ${node.failureSummary.replace(/\s+/g, " ")}`));
}

// What a tab must never do: break its content security policy, log an error, throw, open a dialog of the browser or a second tab, ask
// another host, or name a token in a URL.
class Watch {
  #found = [];
  #tokens = new Set();
  #urls = new Set();
  #allowed = [];
  #pages = 0;

  async attach(context) {
    await context.exposeBinding("reportViolation", (_, what) => this.#add(`CSP violation: ${what}`));
    await context.addInitScript(() => {
      document.addEventListener("securitypolicyviolation", (event) =>
        window.reportViolation(`${event.effectiveDirective} ${event.blockedURI} ${event.sourceFile}:${event.lineNumber} ${event.sample}`));
    });
    context.on("console", (message) => {
      if (["error", "warning"].includes(message.type())) {
        this.#add(`console ${message.type()}: ${message.text()} (${message.location().url})`);
      }
    });
    context.on("weberror", (error) => this.#add(`page error: ${error.error()?.stack ?? error.error()}`));
    context.on("dialog", (dialog) => {
      this.#add(`dialog of the browser: ${dialog.message()}`);
      dialog.dismiss().catch(() => {});
    });
    context.on("page", (page) => {
      this.#pages += 1;
      if (this.#pages > 1) this.#add(`another tab: ${page.url()}`);
      page.on("framenavigated", (frame) => this.#visit(frame.url()));
    });
    context.on("request", (request) => {
      this.#visit(request.url());
      const token = request.headers().authorization?.match(/^Bearer (.+)$/)?.[1];
      if (token) this.#tokens.add(token);
    });
  }

  // Allows what matches a pattern from now on, until the returned function is called.
  allow(pattern) {
    this.#allowed.push(pattern);
    return () => this.#allowed.splice(this.#allowed.indexOf(pattern), 1);
  }

  problems() {
    const tokens = [...this.#tokens, setup.token].filter(Boolean);
    const isNamed = (url) => tokens.some((token) => decodeURIComponent(url).includes(token)) || /[?&#](access_)?token=/.test(url);
    return [...this.#found, ...[...this.#urls].filter(isNamed).map((url) => `token in a URL: ${url}`)];
  }

  assertQuiet() {
    const problems = this.problems();
    assert(problems.length === 0, problems.join("\n"));
    assert(this.#urls.size > 0, "nothing was watched");
  }

  #visit(url) {
    this.#urls.add(url);
    const { protocol, host } = new URL(url);
    if (["http:", "https:", "ws:", "wss:"].includes(protocol) && host !== new URL(setup.server).host) {
      this.#add(`another host: ${url}`);
    }
  }

  #add(problem) {
    if (!this.#allowed.some((pattern) => pattern.test(problem))) this.#found.push(problem);
  }
}

// Saves a picture of each tab, and prints what it shows.
async function saveEvidence() {
  mkdirSync(setup.evidence, { recursive: true });
  for (const [index, { page, watch }] of tabs.entries()) {
    const file = join(setup.evidence, `${index}.png`);
    await page.screenshot({ path: file, timeout: 5000 }).catch(() => {});
    const shown = await page.locator("body").ariaSnapshot({ timeout: 5000 }).catch((error) => error.message);
    console.error(`--- ${page.url()}, ${file}\n${shown.slice(0, SHOWN_CHARACTERS_MAX)}\n${watch.problems().join("\n")}\n---`);
  }
}
