// `/docs` sends the requests that it describes, and shows the responses as text.
import { assert, assertAccessible, assertEqual, eventually, open, scenario, setup } from "./harness.mjs";

await scenario(async () => {
  const { page, watch } = await open();
  await page.goto(`${setup.server}/docs`);

  const login = await tryIt(page, "login", { body: JSON.stringify({ email: "user@example.com", password: "password123" }) });
  await hasResponse(login, "200", '"access_token": "');
  const token = JSON.parse(await body(login).textContent()).access_token;
  assert(token, "the log-in returns a token");

  // The token is filled in from then on, and the response is text.
  const title = "<img class=pwned src=x onerror=pwned()>";
  const create = await tryIt(page, "createConversation", { body: JSON.stringify({ title }) });
  await hasResponse(create, "200", title);
  assertEqual(await page.locator(".pwned").count(), 0, "the response is text");
  const { id } = JSON.parse(await body(create).textContent());

  const get = await tryIt(page, "getConversation", { conversation_id: id });
  await hasResponse(get, "200", `"id": "${id}"`);
  const allow = watch.allow(/status of 404/);
  await get.getByLabel("conversation_id").fill("no/such id");
  await get.getByRole("button", { name: "Send" }).click();
  await hasResponse(get, "404", '"code": "not_found"');
  allow();

  const stream = await tryIt(page, "openStream", { conversation_id: id });
  await hasResponse(stream, "200", "connection_established");
  await fetch(`${setup.server}/conversations/${id}/messages`, {
    method: "POST", headers: { Authorization: `Bearer ${token}`, "Content-Type": "application/json" }, body: JSON.stringify({ content: "arrives" }),
  });
  await hasResponse(stream, "200", "arrives");
  await stream.getByRole("button", { name: "Stop" }).click();
  await stream.getByRole("button", { name: "Send" }).waitFor();

  for (const colorScheme of ["light", "dark"]) {
    await page.emulateMedia({ colorScheme });
    // The whole page has too many elements to be judged in a few seconds.
    await assertAccessible(page, `docs, ${colorScheme}`, ["header", "#login", "#createConversation", "#openStream", "#schema-Error"]);
  }
  await page.setViewportSize({ width: 390, height: 844 });
  const wide = await page.evaluate(() => document.scrollingElement.scrollWidth - document.scrollingElement.clientWidth);
  assertEqual(wide, 0, "the page does not scroll sideways");
});

// Opens the form of an operation, fills it in and sends it.
async function tryIt(page, operation, values) {
  const article = page.locator(`article#${operation}`);
  await article.getByText("Try it", { exact: true }).click();
  const form = article.getByRole("form");
  for (const [name, value] of Object.entries(values)) await form.getByLabel(name).fill(value);
  await form.getByRole("button", { name: "Send" }).click();
  return form;
}

async function hasResponse(form, status, text) {
  await form.getByRole("status").filter({ hasText: status }).waitFor();
  await eventually(`the response has ${text}`, async () => (await body(form).textContent()).includes(text));
}

function body(form) {
  return form.getByRole("group", { name: "Body" });
}
