// Messages so long that a response of the API ends early: all of them load, and all are found.
import { assert, assertEqual, eventually, scenario, setup } from "./harness.mjs";
import { Console } from "./console.mjs";

await scenario(async () => {
  const ui = await Console.open();
  const { page } = ui;
  await ui.useToken(setup.token);
  await ui.openConversation("Long");
  await ui.articles.last().waitFor();
  assert((await ui.articles.count()) < setup.messages, "a response ends early");
  await eventually("all messages are loaded", async () => {
    await ui.log.evaluate((log) => { log.scrollTop = 0; });
    return (await ui.articles.count()) === setup.messages;
  });

  const box = page.getByRole("searchbox", { name: "Search" });
  await box.fill("needle");
  await page.keyboard.press("Enter");
  const links = page.getByRole("region", { name: "Search results" }).getByRole("link");
  await links.first().waitFor();
  assert((await links.count()) < setup.messages, "a response ends early");
  await ui.button("More results").click();
  await eventually("all are found", async () => (await links.count()) === setup.messages);
  await ui.button("More results").waitFor({ state: "hidden" });

  // Marks without end are not as many nodes, since the browser would need minutes to lay them out.
  await box.fill("");
  await ui.openConversation("Marks");
  await ui.articles.last().waitFor();
  assertEqual(await ui.log.locator("p").evaluate((text) => text.childNodes.length), 1, "the nodes of a long paragraph");
  assertEqual(await ui.log.locator("p").textContent(), setup.marks, "its text");
});
