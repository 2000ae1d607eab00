// Older messages load while the user scrolls: each once, in order, and what is read stays in its place.
import { assert, assertEqual, eventually, scenario, setup } from "./harness.mjs";
import { Console } from "./console.mjs";

await scenario(async () => {
  const ui = await Console.open();
  await ui.useToken(setup.token);
  await ui.openConversation("Long");
  const first = () => ui.articles.first();
  await ui.message(`message ${setup.messages}`).waitFor();
  await eventually("the newest message is in view", () => isInView(ui, ui.articles.last()));
  assert((await ui.articles.count()) < setup.messages, "not all are loaded at once");

  for (let loads = 0; (await ui.articles.count()) < setup.messages; loads += 1) {
    assert(loads < setup.messages, "the messages are loaded in pages");
    const count = await ui.articles.count();
    const id = await first().getAttribute("id");
    const anchor = ui.log.locator(`article[id="${id}"]`);
    await wheelUp(ui);
    await eventually("older messages are loaded", async () => (await ui.articles.count()) > count);
    assert(await isInView(ui, anchor), "what was read is still in view");
    // The place is kept to the pixel once it has been corrected.
    const place = (await anchor.boundingBox()).y;
    await ui.page.evaluate(() => new Promise((resolve) => requestAnimationFrame(() => requestAnimationFrame(resolve))));
    assertEqual(Math.round((await anchor.boundingBox()).y - place), 0, "what is read does not move");
  }
  await wheelUp(ui);
  // It is hidden once the server has said that there are no more.
  await ui.button("Older messages").waitFor({ state: "hidden" });
  await ui.showsWhatIsStored(setup.conversation, setup.token);

  // A user who reads old messages is not led away by a new one; who is at the end follows it.
  await wheelUp(ui);
  await eventually("the first message is in view", () => isInView(ui, first()));
  const place = (await first().boundingBox()).y;
  await post("while reading");
  await ui.message("while reading").waitFor({ state: "attached" });
  assertEqual(Math.round((await first().boundingBox()).y - place), 0, "a new message leaves the place alone");
  await ui.page.mouse.wheel(0, 100000);
  await eventually("the newest message is in view", () => isInView(ui, ui.message("while reading")));
  await post("while following");
  await eventually("the new message is in view", async () => isInView(ui, ui.message("while following")));
});

// Turns the wheel up until the first message that is loaded is in view.
async function wheelUp(ui) {
  const box = await ui.log.boundingBox();
  await ui.page.mouse.move(box.x + box.width / 2, box.y + box.height / 2);
  await ui.page.mouse.wheel(0, -100000);
}

async function isInView(ui, locator) {
  const [box, log] = [await locator.boundingBox(), await ui.log.boundingBox()];
  const height = ui.page.viewportSize().height;
  return box.y + box.height > Math.max(0, log.y) && box.y < Math.min(height, log.y + log.height);
}

async function post(content) {
  const headers = { Authorization: `Bearer ${setup.token}`, "Content-Type": "application/json" };
  const body = JSON.stringify({ content });
  const response = await fetch(`${setup.server}/conversations/${setup.conversation}/messages`, { method: "POST", headers, body });
  assert(response.ok, `${response.status}`);
}
