// Log in, create, chat, rename, delete; where the token is kept; errors; a response that is lost.
import { assert, assertEqual, eventually, scenario, setup } from "./harness.mjs";
import { Console } from "./console.mjs";

await scenario(async () => {
  const ui = await Console.open({}, "/");
  const { page, watch } = ui;
  const stored = () => page.evaluate(() => JSON.stringify({ ...sessionStorage, ...localStorage }) + document.cookie);

  const allow401 = watch.allow(/status of 401/);
  await page.getByRole("textbox", { name: "Email" }).fill("user@example.com");
  await page.getByLabel("Password", { exact: true }).fill("wrong");
  await ui.button("Log in").click();
  await ui.alert.filter({ hasText: "unauthorized: Invalid credentials" }).waitFor();
  allow401();
  await ui.logIn();
  await ui.view("Chat").and(page.locator("[aria-current=page]")).waitFor();

  await ui.createWorkspace("Garden");
  await ui.createConversation("Garden", "Turtles");
  await ui.openConversation("Turtles");
  await ui.say("Hello, turtle");
  await ui.answer("Hello, turtle").waitFor();
  assertEqual(await ui.articles.count(), 2, "a message and its echo");

  await ui.composer.focus();
  await page.keyboard.type("one");
  await page.keyboard.press("Shift+Enter");
  await page.keyboard.type("two");
  assertEqual(await ui.composer.inputValue(), "one\ntwo", "Shift+Enter is a new line");
  await ui.button("Send").click();
  await eventually("a message of two lines", async () =>
    (await ui.log.locator("article[data-role=user] .text").allTextContents()).includes("one\ntwo"));
  await ui.answer("two").waitFor();
  assertEqual(await ui.composer.inputValue(), "", "the composer is empty");

  await aLostResponseSendsNothingTwice(ui);
  await anErrorIsShownAsItWasSent(ui);
  await namesChange(ui);

  assertEqual(await stored(), "{}", "nothing is stored");
  await page.reload();
  await ui.button("Log in").waitFor();
  await page.getByLabel("Stay logged in until this tab closes").check();
  await ui.logIn();
  const token = await page.evaluate(() => Object.values(sessionStorage).join(" "));
  assert(/eyJ/.test(token), "the token is in the session's storage");
  assertEqual(await page.evaluate(() => localStorage.length), 0, "nothing is stored for longer");
  await page.reload();
  await ui.isConnected();
  await ui.tree.getByRole("link", { name: "Tortoises", exact: true }).waitFor();
  // A token that cannot be checked at the moment is kept.
  const allow = watch.allow(/net::ERR_FAILED/);
  await page.route(/\/auth\/verify$/, (route) => route.abort());
  await page.reload();
  await ui.alert.filter({ hasText: "unreachable: " }).waitFor();
  await page.unroute(/\/auth\/verify$/);
  allow();
  await page.reload();
  await ui.isConnected();
  await ui.button("Log out").click();
  await ui.button("Log in").waitFor();
  assertEqual(await stored(), "{}", "nothing is stored after the log-out");
  assertEqual(await ui.articles.count(), 0, "no message is shown after the log-out");
  await page.reload();
  await ui.button("Log in").waitFor();
});

// The response is lost after the server has stored the message: the text stays, and the retry is the same request.
async function aLostResponseSendsNothingTwice(ui) {
  const { page, watch } = ui;
  const keys = [];
  let isLost = true;
  await page.route(/\/messages$|\/input$/, async (route) => {
    if (route.request().method() !== "POST") return route.continue();
    keys.push(route.request().headers()["idempotency-key"]);
    if (!isLost) return route.continue();
    isLost = false;
    await route.fetch();
    return route.abort("connectionreset");
  });
  const allow = watch.allow(/ERR_CONNECTION_RESET/);
  await ui.composer.fill("only once");
  await ui.button("Send").click();
  await ui.alert.waitFor();
  await eventually("the text is back", async () => (await ui.composer.inputValue()) === "only once");
  await ui.button("Send").click();
  await eventually("the composer is empty", async () => (await ui.composer.inputValue()) === "");
  allow();
  await page.unroute(/\/messages$|\/input$/);
  assert(keys.length === 2 && keys[0] && keys[0] === keys[1], `both requests have one key: ${keys}`);
  await ui.answer("only once").waitFor();
  assertEqual(await ui.message("only once").count(), 2, "one message and one echo");
}

async function anErrorIsShownAsItWasSent(ui) {
  const { page, watch } = ui;
  const allow = watch.allow(/status of 422/);
  await ui.button("Rename conversation").click();
  const field = ui.dialog.getByLabel("Title", { exact: true });
  // The limit of the field, if it has one, is not the server's.
  await field.evaluate((input) => input.removeAttribute("maxlength"));
  await field.fill("x".repeat(201));
  await ui.dialog.getByRole("button", { name: "Save", exact: true }).click();
  await ui.alert.filter({ hasText: /validation_error: / }).waitFor();
  const shown = await ui.alert.allTextContents();
  const answer = await page.evaluate(async () => {
    const body = new URLSearchParams({ username: "user@example.com", password: "password123" });
    const { access_token } = await (await fetch("/auth/login", { method: "POST", body })).json();
    const headers = { Authorization: `Bearer ${access_token}`, "Content-Type": "application/json" };
    const id = location.hash.split("/")[2];
    const response = await fetch(`/conversations/${id}`, { method: "PUT", headers, body: JSON.stringify({ title: "x".repeat(201) }) });
    return (await response.json()).error;
  });
  const details = Object.entries(answer.details).flat();
  for (const part of [`${answer.code}: ${answer.message}`, ...details.slice(1)]) {
    assert(shown.some((text) => text.includes(part)), `the error has ${part}: ${shown}`);
  }
  await ui.dialog.getByRole("button", { name: "Cancel", exact: true }).click();
  await ui.dialog.waitFor({ state: "hidden" });
  allow();
}

async function namesChange(ui) {
  const { page, tree, dialog } = ui;
  await ui.button("Rename conversation").click();
  assertEqual(await dialog.getByLabel("Title", { exact: true }).inputValue(), "Turtles", "the present title is offered");
  await dialog.getByLabel("Title", { exact: true }).fill("Tortoises");
  await dialog.getByRole("button", { name: "Save", exact: true }).click();
  await tree.getByRole("link", { name: "Tortoises", exact: true }).waitFor();
  await page.getByRole("heading", { name: "Tortoises", exact: true }).waitFor();

  await ui.createWorkspace("Shed");
  await ui.createConversation("Shed", "Rakes");
  await ui.button("Rename Shed").click();
  await dialog.getByLabel("Name", { exact: true }).fill("Barn");
  await dialog.getByRole("button", { name: "Save", exact: true }).click();
  await ui.button("New conversation in Barn").waitFor();

  await ui.openConversation("Rakes");
  await ui.button("Delete conversation").click();
  await dialog.getByRole("button", { name: "Cancel", exact: true }).click();
  await dialog.waitFor({ state: "hidden" });
  assert(await tree.getByRole("link", { name: "Rakes", exact: true }).isVisible(), "a cancelled deletion deletes nothing");
  await ui.button("Delete conversation").click();
  await dialog.getByRole("button", { name: "Delete", exact: true }).click();
  await tree.getByRole("link", { name: "Rakes", exact: true }).waitFor({ state: "detached" });
  await ui.button("Delete Barn").click();
  await dialog.getByRole("button", { name: "Delete", exact: true }).click();
  await ui.button("New conversation in Barn").waitFor({ state: "detached" });
}
