// The search finds what was said, with the keys alone, and nothing that belongs to others.
import { assert, assertAccessible, assertEqual, eventually, scenario, setup } from "./harness.mjs";
import { Console } from "./console.mjs";

await scenario(async () => {
  const ui = await Console.open();
  const { page, watch } = ui;
  await ui.useToken(setup.token);
  const box = page.getByRole("searchbox", { name: "Search" });
  const results = page.getByRole("region", { name: "Search results" });
  const links = results.getByRole("link");
  const search = async (query) => {
    await box.fill(query);
    await box.press("Enter");
  };

  // By the keys: a slash, words, a result.
  await ui.tree.getByRole("link", { name: "Pond", exact: true }).waitFor();
  await page.keyboard.press("/");
  await eventually("the search has the focus", () => box.evaluate((element) => element === document.activeElement));
  await page.keyboard.type("needle");
  await page.keyboard.press("Enter");
  await results.getByRole("link", { name: /needle in message 7\b/ }).waitFor();
  for (let presses = 0; !(await links.first().evaluate((element) => element === document.activeElement)); presses += 1) {
    assert(presses < 60, "Tab leads to the first result");
    await page.keyboard.press("Tab");
  }
  await page.keyboard.press("Enter");
  await isMarked(ui, setup.needle);

  // The message is found among those around it, and the newest ones are still to be had.
  const texts = (await ui.messages()).map(({ text }) => text);
  assert(texts.includes("common message 6") && texts.includes("common message 8"), `what was said around it is shown: ${texts}`);

  // Accents are folded; a phrase, a prefix and an exclusion work.
  for (const [query, expected] of [["creme BRULEE", ["Crème brûlée"]], ["\"quick turtle\"", ["the quick turtle"]], ["turt*", ["the quick turtle", "turtle quick"]],
    ["quick -the", ["turtle quick"]]]) {
    await search(query);
    await eventually(`${query} is found`, async () => (await links.count()) === expected.length
      && (await Promise.all(expected.map((text) => links.filter({ hasText: text }).count()))).every((count) => count === 1));
  }

  await search("secret");
  await results.getByText(/no message|nothing|no result/i).waitFor();
  assertEqual(await links.count(), 0, "nothing of others is found");

  await search("quick -the");
  await links.filter({ hasText: "turtle quick" }).waitFor();
  const allow = watch.allow(/status of 422/);
  await search("\"unbalanced");
  await ui.alert.filter({ hasText: "validation_error" }).waitFor();
  allow();
  // What was found before is still listed, and counted.
  await results.getByText("1 message").waitFor();
  assertEqual(await links.count(), 1, "what was found before the error");

  // An emptied field shows the conversations again.
  await box.fill("");
  await ui.tree.waitFor();

  // Markup and the marks of a snippet are text.
  await page.evaluate(() => { window.pwned = () => { window.ran = true; }; });
  await search("markup");
  await links.filter({ hasText: "<img class=pwned" }).waitFor();
  assertEqual(await page.locator(".pwned").count(), 0, "a snippet is text");
  assert(!(await page.evaluate(() => window.ran)), "nothing ran");

  await search("common");
  await eventually("results are shown", async () => (await links.count()) > 1);
  for (const colorScheme of ["light", "dark"]) {
    await page.emulateMedia({ colorScheme });
    await assertAccessible(page, `search results, ${colorScheme}`);
  }
  while (await ui.button("More results").isVisible()) {
    const count = await links.count();
    await ui.button("More results").click();
    await eventually("more results", async () => (await links.count()) > count || !(await ui.button("More results").isVisible()));
  }
  const ids = await links.evaluateAll((all) => all.map((link) => link.getAttribute("href")));
  assertEqual(ids.length, setup.common, "all are found");
  assertEqual(new Set(ids).size, ids.length, "each is found once");

  await aResultIsChosenWhileAnotherIsLoaded(ui, links);

  await page.setViewportSize({ width: 390, height: 844 });
  await page.getByRole("link", { name: /^Back/ }).click();
  await links.last().waitFor();
  await ui.assertLayout("search results on a phone");
  await links.last().click();
  await isMarked(ui, ids.at(-1).split("/").at(-1));
});

// The first and the last result, which are too far from each other to be loaded at once.
async function aResultIsChosenWhileAnotherIsLoaded(ui, links) {
  const { page } = ui;
  let proceed;
  const areChosen = new Promise((resolve) => { proceed = resolve; });
  await page.route(/\/messages/, async (route) => { await areChosen; await route.continue(); });
  const last = await links.last().getAttribute("href");
  await links.first().click();
  await links.last().click();
  proceed();
  await isMarked(ui, last.split("/").at(-1));
  await page.unroute(/\/messages/);
  await eventually("nothing is loading", async () => (await ui.articles.count()) > 1);
  await isMarked(ui, last.split("/").at(-1));
  assertEqual(await ui.alert.count(), 0, "errors");
}

// A message is loaded, in view, and told apart from the others.
async function isMarked(ui, id) {
  const article = ui.log.locator(`article[id="${id}"]`);
  await article.waitFor();
  await eventually("the message is in view", async () => {
    const [box, log] = [await article.boundingBox(), await ui.log.boundingBox()];
    return box.y + box.height > log.y && box.y < log.y + log.height;
  });
  await eventually("the message is marked", () => article.evaluate((element) =>
    element.matches(":target, [aria-current], .marked, .found") || element.contains(document.activeElement)));
}
