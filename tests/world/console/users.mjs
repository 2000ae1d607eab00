// Three users in three browsers: two share a conversation, the third sees nothing of it.
import { assert, assertEqual, eventually, get, scenario, setup } from "./harness.mjs";
import { Console } from "./console.mjs";

await scenario(async () => {
  const [ann, ben, eve] = await Promise.all(["ann", "ben", "eve"].map(async (user) => {
    const ui = await Console.open();
    await ui.useToken(setup[user]);
    return ui;
  }));
  await ann.createWorkspace("Garden");
  await ann.createConversation("Garden", "Gate");
  await ann.openConversation("Gate");
  await ann.say("before ben");

  await namesComeLate(ann);
  await share(ann, "ben");
  const shared = ben.tree.getByText("Shared with me");
  await shared.waitFor();
  await ben.openConversation("Gate");
  await ben.message("before ben").first().waitFor();
  await ben.say("hello from ben");
  await ann.message("hello from ben").filter({ hasText: "Name of ben" }).first().waitFor();
  await ann.say("hello from ann");
  await ben.message("hello from ann").filter({ hasText: "Name of ann" }).first().waitFor();
  const [conversation] = await get("/conversations", setup.ann);
  await ann.showsWhatIsStored(conversation.id, setup.ann);
  await ben.showsWhatIsStored(conversation.id, setup.ben);

  // A mark for new messages stays while the tree changes.
  await ann.createConversation("Garden", "Shed");
  await ben.say("while ann is in the shed");
  const marked = ann.tree.getByRole("link", { name: "Gate", exact: true }).and(ann.page.locator("[aria-description='new messages']"));
  await marked.waitFor();
  await ann.createWorkspace("Yard");
  assertEqual(await marked.count(), 1, "links that are marked");
  await ann.openConversation("Gate");
  await marked.waitFor({ state: "detached" });

  // A participant who is no owner leaves, and cannot delete or remove.
  await ben.button("Leave conversation").waitFor();
  assertEqual(await ben.button("Delete conversation").count(), 0, "only the owner deletes");
  await ben.button("Leave conversation").click();
  const confirm = ben.dialog.getByRole("button", { name: /^Leave/ });
  await ben.tree.getByRole("link", { name: "Gate", exact: true }).waitFor({ state: "detached", timeout: 1000 })
    .catch(() => confirm.click());
  await ben.tree.getByRole("link", { name: "Gate", exact: true }).waitFor({ state: "detached" });

  await share(ann, "ben");
  await ben.openConversation("Gate");
  await ann.button("Share conversation").click();
  await ann.dialog.getByRole("button", { name: "Remove ben", exact: true }).click();
  await ann.dialog.getByRole("button", { name: "Remove ben", exact: true }).waitFor({ state: "detached" });
  await closeDialog(ann);
  await ben.tree.getByRole("link", { name: "Gate", exact: true }).waitFor({ state: "detached" });
  await eventually("the messages are gone", async () => (await ben.articles.count()) === 0);
  await ben.alert.filter({ hasText: "you were removed" }).waitFor({ timeout: 1000 });
  await ann.say("after ben");

  for (const [ui, name] of [[ben, "ben"], [eve, "eve"]]) {
    const text = await ui.page.locator("body").textContent();
    assert(!/after ben|hello from ann/.test(text), `${name} sees nothing: ${text}`);
    assertEqual(await ui.tree.getByRole("link", { name: "Gate", exact: true }).count(), 0, `${name} has no conversation`);
  }
  // The address of a conversation of others shows nothing of it.
  const allow = eve.watch.allow(/status of 404/);
  await eve.page.evaluate((id) => { location.hash = `#/chat/${id}`; }, conversation.id);
  await eve.alert.filter({ hasText: "not_found" }).waitFor();
  assertEqual(await eve.articles.count(), 0, "eve sees no message");
  allow();
});

// The names of the participants arrive while a user's id is typed, which stays.
async function namesComeLate(ui) {
  let proceed;
  const typed = new Promise((resolve) => { proceed = resolve; });
  await ui.page.route(/\/users\?/, async (route) => { await typed; await route.continue(); });
  await ui.button("Share conversation").click();
  const field = ui.dialog.getByLabel("Participant", { exact: true });
  await field.fill("be");
  proceed();
  await ui.dialog.getByRole("listitem").first().waitFor();
  await ui.page.unroute(/\/users\?/);
  assertEqual(await field.inputValue(), "be", "what was typed");
  await closeDialog(ui);
}

async function share(ui, user) {
  await ui.button("Share conversation").click();
  const field = ui.dialog.getByLabel("Participant", { exact: true });
  await field.fill(user);
  await field.press("Enter");
  await ui.dialog.getByRole("button", { name: `Remove ${user}`, exact: true }).waitFor();
  await closeDialog(ui);
}

async function closeDialog(ui) {
  await ui.page.keyboard.press("Escape");
  await ui.dialog.waitFor({ state: "hidden" });
}
