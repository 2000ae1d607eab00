// Stream, Health and Learn show the system at work.
import { assert, assertEqual, eventually, reached, scenario, setup } from "./harness.mjs";
import { Console } from "./console.mjs";

const authorization = { Authorization: `Bearer ${setup.token}` };

await scenario(async () => {
  const ui = await Console.open({ permissions: ["clipboard-read", "clipboard-write"] });
  await ui.useToken(setup.token);
  await ui.tree.getByRole("link", { name: "Other", exact: true }).waitFor();
  await showsTheStream(ui);
  await showsHealth(ui);
  await showsRequests(ui);
});

async function showsTheStream(ui) {
  const { page } = ui;
  const events = page.getByRole("log", { name: "Events" });
  const copies = events.getByRole("button", { name: "Copy" });
  const ofType = (type) => events.getByText(type, { exact: true });
  const choose = (name, label) => page.getByRole("combobox", { name, exact: true }).selectOption({ label });
  await ui.go("Stream");
  await post(setup.conversation, "first");
  await post(setup.other, "second");
  for (const type of ["input", "output"]) await eventually(`two events ${type}`, async () => (await ofType(type).count()) === 2);

  await choose("Type", "output");
  await eventually("one type is shown", async () => (await ofType("input").count()) === 0 && (await ofType("output").count()) === 2);
  await choose("Conversation", "Other");
  await eventually("one conversation is shown", async () => (await ofType("output").count()) === 1);
  await choose("Form", "raw");
  await events.getByText(/data: \{"type":"output".*"content":"second"/).waitFor();
  await copies.first().click();
  const copied = JSON.parse(await page.evaluate(() => navigator.clipboard.readText()));
  assertEqual([copied.type, copied.data.content], ["output", "second"], "the event is copied");
  await choose("Form", "pretty");
  await choose("Type", "all");
  await choose("Conversation", "all");
  await eventually("all are shown again", async () => (await ofType("input").count()) === 2);

  await ui.button("Pause").click();
  const number = await post(setup.conversation, "while paused");
  await eventually("the number is shown", async () => Number(await fact(page, "Last-Event-ID")) >= number);
  assertEqual(await ofType("input").count(), 2, "a paused list does not move");
  await ui.button("Resume").click();
  await eventually("it goes on", async () => (await ofType("input").count()) === 3);
  await ui.button("Clear").click();
  await eventually("it is empty", async () => (await copies.count()) === 0);
  assertEqual([await fact(page, "State"), await fact(page, "Gaps")], ["connected", "0"], "the state of the connection");

  // Another stream of the same user is listed.
  const rows = page.getByRole("table", { name: "My streams" }).locator("tbody tr");
  await eventually("this page's stream is listed", async () => (await rows.count()) === 1);
  const other = new AbortController();
  await fetch(`${setup.server}/output/stream`, { headers: authorization, signal: other.signal });
  await eventually("both streams are listed", async () => (await rows.count()) === 2);
  for (const cells of await rows.evaluateAll((all) => all.map((row) => [...row.cells].slice(2).map((cell) => cell.textContent)))) {
    assertEqual(cells, ["live", "0", "0"], "a stream that is not behind");
  }
  other.abort();
  await eventually("the other stream is gone", async () => (await rows.count()) === 1);
}

async function showsHealth(ui) {
  const { page } = ui;
  await ui.go("Health");
  const figures = page.getByRole("figure");
  await figures.first().waitFor();
  const captions = () => figures.locator("figcaption").allTextContents();
  await eventually("each chart has a value", async () => (await captions()).every((caption) => /\d/.test(caption)));
  for (const name of ["Requests", "Streams", "Lag", "commit", "Answers", "Memory"]) {
    assert((await captions()).some((caption) => caption.includes(name)), `a chart of ${name}: ${await captions()}`);
  }
  const images = figures.getByRole("img");
  assertEqual(await images.count(), await figures.count(), "each chart is an image with a name");
  const memory = figures.filter({ hasText: "Memory" }).getByRole("img");
  assert(/ [1-9]\d* ?MB/.test(await memory.getAttribute("aria-label")), "the name of a chart has its value");
  const [path, before] = [memory.locator("path").first(), await memory.locator("path").first().getAttribute("d")];
  await eventually("the chart moves", async () => (await path.getAttribute("d")) !== before);
}

async function showsRequests(ui) {
  const { page } = ui;
  await ui.go("Chat");
  await ui.openConversation("Views");
  await ui.say("learned from the page");
  await ui.answer("learned from the page").waitFor();
  await ui.button("Show the request").click();
  const main = page.getByRole("main");
  await main.getByText("your last request").waitFor();
  const sent = main.getByRole("region").filter({ hasText: "your last request" });

  const texts = {};
  for (const language of ["curl", "Python", "JavaScript"]) {
    await ui.button(language).click();
    await ui.button(language).and(page.locator("[aria-pressed=true], [aria-selected=true]")).waitFor();
    const last = await sent.locator("code").textContent();
    assert(last.includes("learned from the page"), `the last request is shown with its body: ${last}`);
    await sent.getByRole("button", { name: "Copy" }).click();
    assertEqual(await page.evaluate(() => navigator.clipboard.readText()), last, `${language} is copied`);
    texts[language] = await main.locator("section pre code").allTextContents();
  }
  assert(!(await page.content()).includes(setup.token), "no token is shown");
  await reached("the requests are shown", texts);
}

// Posts a message. Returns the number of its event.
async function post(conversation, content) {
  const headers = { ...authorization, "Content-Type": "application/json" };
  const url = `${setup.server}/conversations/${conversation}/messages`;
  const response = await fetch(url, { method: "POST", headers, body: JSON.stringify({ content }) });
  assert(response.ok, `${response.status}`);
  return Number(response.headers.get("X-Event-Id"));
}

// A value of the stream's description list.
async function fact(page, name) {
  return page.locator("dl").evaluate((list, name) => {
    const term = [...list.querySelectorAll("dt")].find((term) => term.textContent.trim() === name);
    return term?.nextElementSibling?.textContent.trim();
  }, name);
}
