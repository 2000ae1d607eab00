// An answer in pieces, with reasoning; it is stopped, asked for again, fails, is cut and is interrupted.
import { assert, assertEqual, eventually, reached, scenario, setup } from "./harness.mjs";
import { Console } from "./console.mjs";

await scenario(async () => {
  const ui = await Console.open();
  const { page, watch } = ui;
  await ui.useToken(setup.token);
  await ui.openConversation("Answers");
  const last = () => ui.articles.last();
  const hasText = (text) => eventually(`the answer is ${text}`, async () =>
    (await last().locator(".text").textContent()).trim() === text);
  const hasStatus = (status) => eventually(`the answer is ${status}`, async () =>
    (await last().getAttribute("data-status")) === status);

  await ui.say("What are turtles?");
  await reached("a question is asked");
  await hasText("Turtles are");
  await hasStatus("streaming");
  const name = await last().locator("header").textContent();
  assert(name.includes("openai") && !name.includes("responder:"), `the responder is named as later: ${name}`);
  const reasoning = last().locator("details").filter({ hasText: "Reasoning" });
  await reasoning.waitFor();
  assertEqual(await reasoning.evaluate((details) => details.open), false, "the reasoning is folded away");
  assert(!(await reasoning.getByText("The user asks about turtles.").isVisible()), "the reasoning is not visible");
  await reasoning.locator("summary").click();
  await reasoning.getByText("The user asks about turtles.").waitFor();
  await reached("the first piece is shown");
  await hasText("Turtles are slow");
  assertEqual(await reasoning.evaluate((details) => details.open), true, "the reasoning stays open");
  await reached("the second piece is shown");

  await ui.button("Stop").click();
  await hasStatus("cancelled");
  await hasText("Turtles are slow");
  await last().locator(".fault").filter({ hasText: "cancelled" }).waitFor();
  await ui.button("Stop").waitFor({ state: "hidden" });
  await reached("the answer is stopped");

  await last().getByRole("button", { name: "Answer again" }).click();
  await reached("it is asked for again");
  await hasText("Turtles are patient.");
  await reached("the new answer is shown");
  await hasStatus("complete");

  await ui.say("Fail, please.");
  await reached("a question fails");
  const fault = ui.log.locator(".fault").filter({ hasText: "out of turtles" });
  await fault.filter({ hasText: "failed" }).waitFor();
  await reached("the failure is shown");
  await ui.log.getByRole("article").filter({ hasText: "Fail, please." }).getByRole("button", { name: "Answer again" })
    .or(ui.log.getByRole("article").filter({ has: fault }).getByRole("button", { name: "Answer again" })).first().click();
  await reached("the failed one is asked for again");
  await ui.answer("There are turtles again.").waitFor();
  await fault.waitFor({ state: "hidden" });

  await ui.say("Count.");
  await reached("a question is asked before a cut");
  await hasText("One,");
  await reached("the answer is under way");
  await ui.go("Stream");
  await ui.button("Cut the connection").click();
  await reached("the connection is cut");
  await ui.isConnected();
  await ui.go("Chat");
  await ui.openConversation("Answers");
  await hasText("One, two,");
  await reached("the stream is back");
  await hasText("One, two, three.");
  await hasStatus("complete");

  await ui.say("Half?");
  await reached("a question is asked before a kill");
  await hasText("Half of");
  watch.allow(/net::ERR_/);
  await reached("half of an answer is shown");
  await hasStatus("interrupted");
  await hasText("Half of");
  await last().locator(".fault").filter({ hasText: "interrupted" }).waitFor();
  await ui.isConnected();
  await reached("the interruption is shown");

  // What the page loads anew is what arrived piece by piece.
  const before = await shown(ui);
  await page.reload();
  await ui.useToken(setup.token);
  await ui.openConversation("Answers");
  await eventually("the same messages", async () => JSON.stringify(await shown(ui)) === JSON.stringify(before))
    .catch(async () => assertEqual(await shown(ui), before, "the reloaded page shows the same"));
});

async function shown(ui) {
  return (await ui.messages()).filter(({ status }) => status !== "superseded").map(({ id, text, status }) => [id, text, status]);
}
