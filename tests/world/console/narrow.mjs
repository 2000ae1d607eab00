// On a phone: the list, then a conversation, and back. Everything is in view and large enough to touch.
import { assert, assertEqual, eventually, scenario, setup } from "./harness.mjs";
import { Console } from "./console.mjs";

await scenario(async () => {
  const ui = await Console.open({ viewport: { width: 390, height: 844 }, hasTouch: true, isMobile: true });
  const { page } = ui;
  await check(ui, "log-in");
  await ui.useToken(setup.token);
  const link = ui.tree.getByRole("link", { name: "Turtles", exact: true });
  await link.waitFor();
  assert(!(await ui.composer.isVisible()), "the list is shown alone");
  await check(ui, "the list");

  await link.tap();
  await ui.composer.waitFor();
  assert(!(await link.isVisible()), "the conversation is shown alone");
  await eventually("the last message is in view", async () => {
    const box = await ui.articles.last().boundingBox();
    return box.y + box.height <= 844;
  });
  await check(ui, "the conversation");
  await ui.composer.fill(Array(12).fill("a long message of many words").join("\n"));
  await check(ui, "a long message");
  await ui.composer.fill("");

  await page.getByRole("link", { name: /back|conversations/i }).or(page.getByRole("button", { name: /back|conversations/i })).first().tap();
  await link.waitFor();
  assert(!(await ui.composer.isVisible()), "the list is shown alone again");
  await link.tap();
  await ui.composer.waitFor();
  await page.goBack();
  await link.waitFor();
  assertEqual(await ui.composer.isVisible(), false, "the browser's own way back leads to the list, too");

  for (const view of ["Stream", "Health", "Learn"]) {
    await ui.go(view);
    await page.getByRole("main").waitFor();
    await check(ui, view);
    if (view === "Stream") assertEqual(await page.getByRole("columnheader").count(), 5, "the columns of a stream have names");
  }

  // On the smallest phone, no name of a view is broken.
  await page.setViewportSize({ width: 320, height: 568 });
  await check(ui, "320 pixels");
  const links = page.getByRole("navigation", { name: "Views" }).getByRole("link");
  const lines = await links.evaluateAll((all) => all.map((link) => {
    const range = document.createRange();
    range.selectNodeContents(link);
    return range.getClientRects().length;
  }));
  assertEqual(lines, [1, 1, 1, 1, 1], "the lines of each name");
});

// No part is beyond the window, and none that is touched is smaller than 24 pixels, apart from links within a text.
async function check(ui, where) {
  await ui.assertLayout(where);
  const small = await ui.page.evaluate(() => {
    const parts = document.querySelectorAll("button, input, select, textarea, summary, a[href], [role=button], [role=tab]");
    const target = (part) => part.matches("input[type=checkbox], input[type=radio]") && part.closest("label") || part;
    return [...parts].filter((part) => part.checkVisibility({ visibilityProperty: true, opacityProperty: true }))
      .filter((part) => !(part.matches("a") && part.closest(".text, p, li, dd, td, label")?.textContent.trim() !== part.textContent.trim() && getComputedStyle(part).display === "inline"))
      .map((part) => [part, target(part).getBoundingClientRect()])
      .filter(([, { width, height }]) => width > 0 && (width < 24 || height < 24))
      .map(([part, { width, height }]) => `${width.toFixed(1)}×${height.toFixed(1)} ${part.outerHTML.slice(0, 120)}`);
  });
  assert(small.length === 0, `${where}: too small to touch:\n${small.join("\n")}`);
}
