// The stream is cut by its button, and by a kill of the server, while another client posts.
import { assert, assertEqual, eventually, reached, scenario, setup } from "./harness.mjs";
import { Console } from "./console.mjs";

await scenario(async () => {
  const ui = await Console.open();
  const { page, watch } = ui;
  const reconnects = () => value(page, "Reconnects").then(Number);
  await ui.useToken(setup.token);
  await ui.openConversation("Gate");
  await reached("the conversation is open");

  await ui.answer("ben 10").first().waitFor();
  await ui.go("Stream");
  const before = await reconnects();
  await ui.button("Cut the connection").click();
  await eventually("it is cut", async () => (await value(page, "State")) !== "connected");
  await reached("the connection is cut");
  await eventually("it reconnects", async () => (await reconnects()) > before && (await value(page, "State")) === "connected");
  await ui.go("Chat");
  await ui.openConversation("Gate");
  await ui.showsWhatIsStored(setup.conversation, setup.token);
  await reached("the connection comes back");

  await ui.answer("ben 50").first().waitFor();
  const allow = watch.allow(/net::ERR_|status of 503/);
  await reached("the server may go");
  await eventually("the page says so", async () =>
    /reconnecting|offline/.test((await page.getByRole("status").allTextContents()).join(" ")));
  await ui.composer.fill("said in vain");
  await ui.composer.press("Enter");
  await ui.alert.first().waitFor();
  await eventually("the text is back", async () => (await ui.composer.inputValue()) === "said in vain");
  await reached("a message cannot be sent");
  await ui.isConnected();
  allow();
  await ui.button("Send").click();
  await ui.answer("said in vain").waitFor();
  await reached("the stream is back");

  await ui.answer(setup.last).waitFor();
  await ui.showsWhatIsStored(setup.conversation, setup.token);
  assertEqual(await ui.message("said in vain").count(), 2, "one message and its echo");
  await ui.go("Stream");
  assert((await reconnects()) > before + 1, "the second reconnect is counted");
  assertEqual(await value(page, "Gaps"), "0", "no gap");
  await reached("everything is shown");
});

// A value of the stream's description list.
async function value(page, name) {
  return page.locator("dl").evaluate((list, name) => {
    const term = [...list.querySelectorAll("dt")].find((term) => term.textContent.trim() === name);
    return term?.nextElementSibling?.textContent.trim();
  }, name);
}
