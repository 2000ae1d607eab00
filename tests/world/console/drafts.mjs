// What is typed stays where it was typed: while another conversation is open, while it is being sent, and past the end of a token.
import { assertEqual, eventually, scenario, setup } from "./harness.mjs";
import { Console } from "./console.mjs";

const PASSWORDS = ["password123", "correct horse battery", "battery horse correct"];

await scenario(async () => {
  const ui = await Console.open();
  const { page, watch } = ui;
  await ui.logIn();
  await ui.createWorkspace("Garden");
  for (const title of ["Gate", "Pond"]) await ui.createConversation("Garden", title);
  await ui.openConversation("Gate");
  await ui.composer.fill("for the gate");
  await ui.openConversation("Pond");
  assertEqual(await ui.composer.inputValue(), "", "a draft of its own");
  await ui.openConversation("Gate");
  assertEqual(await ui.composer.inputValue(), "for the gate", "the draft of the first conversation");

  await aMessageUnderWayIsSentOnce(ui);

  await ui.composer.fill("not sent yet");
  const allow = watch.allow(/status of 401/);
  await endTokens(PASSWORDS[0], PASSWORDS[1]);
  await ui.alert.filter({ hasText: "unauthorized: " }).waitFor();
  await ui.logIn("user@example.com", PASSWORDS[1]);
  await eventually("the draft is back", async () => (await ui.composer.inputValue()) === "not sent yet");
  await ui.composer.press("Enter");
  await ui.answer("not sent yet").waitFor();
  await page.reload();
  await ui.logIn("user@example.com", PASSWORDS[1]);
  await ui.answer("not sent yet").waitFor();
  assertEqual(await ui.composer.inputValue(), "", "a draft comes back once");

  // It is not shown to another user who logs in next.
  await ui.openConversation(setup.shared);
  await ui.composer.fill("a secret");
  await endTokens(PASSWORDS[1], PASSWORDS[2]);
  await ui.alert.filter({ hasText: "unauthorized: " }).waitFor();
  await ui.useToken(setup.ben);
  await ui.page.getByRole("heading", { name: setup.shared, exact: true }).waitFor();
  assertEqual(await ui.composer.inputValue(), "", "the draft of another user");
  allow();
});

// The response comes after the user has been in another conversation and back.
async function aMessageUnderWayIsSentOnce(ui) {
  const { page } = ui;
  let requests = 0;
  let proceed;
  const isBack = new Promise((resolve) => { proceed = resolve; });
  await page.route(/\/messages$/, async (route) => {
    requests += 1;
    await isBack;
    await route.continue();
  });
  await ui.composer.press("Enter");
  await eventually("it is under way", () => Promise.resolve(requests === 1));
  await ui.openConversation("Pond");
  await ui.openConversation("Gate");
  await ui.composer.press("Enter");
  proceed();
  await eventually("the composer is empty", async () => (await ui.composer.inputValue()) === "");
  await ui.answer("for the gate").waitFor();
  await page.unroute(/\/messages$/);
  assertEqual(requests, 1, "requests");
  assertEqual(await ui.message("for the gate").count(), 2, "one message and its echo");
}

// Changes the password, which ends the tokens that the user has.
async function endTokens(current_password, new_password) {
  const send = async (path, body, token) => {
    const headers = { "Content-Type": "application/json", ...(token && { Authorization: `Bearer ${token}` }) };
    return (await fetch(setup.server + path, { method: "POST", headers, body: JSON.stringify(body) })).json();
  };
  const { access_token } = await send("/auth/login", { email: "user@example.com", password: current_password });
  const { status } = await send("/auth/password", { current_password, new_password }, access_token);
  assertEqual(status, "password changed", "the password");
}
