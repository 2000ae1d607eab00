// Everything that a user does is done with the keys alone, and what has the focus is always seen.
import { assert, assertEqual, eventually, scenario } from "./harness.mjs";
import { Console } from "./console.mjs";

await scenario(async () => {
  const ui = await Console.open();
  const { page } = ui;

  await tabTo(page, page.getByRole("textbox", { name: "Email" }));
  await page.keyboard.type("user@example.com");
  await tabTo(page, page.getByLabel("Password", { exact: true }));
  await page.keyboard.type("password123");
  await page.keyboard.press("Enter");
  await ui.isConnected();

  await tabTo(page, ui.button("New workspace"));
  await page.keyboard.press("Enter");
  await eventually("the field of the dialog has the focus", () => hasFocus(ui.dialog.getByLabel("Name", { exact: true })));
  await page.keyboard.press("Escape");
  await ui.dialog.waitFor({ state: "hidden" });
  await eventually("the focus is back", () => hasFocus(ui.button("New workspace")));
  await page.keyboard.press("Enter");
  await eventually("the field of the dialog has the focus", () => hasFocus(ui.dialog.getByLabel("Name", { exact: true })));
  await page.keyboard.type("Garden");
  await page.keyboard.press("Enter");
  await ui.dialog.waitFor({ state: "hidden" });
  await keepsFocus(page, "after a workspace is created");

  await tabTo(page, ui.button("New conversation in Garden"));
  await page.keyboard.press("Space");
  await eventually("the field of the dialog has the focus", () => hasFocus(ui.dialog.getByLabel("Title", { exact: true })));
  await page.keyboard.type("Turtles");
  await page.keyboard.press("Enter");
  await ui.dialog.waitFor({ state: "hidden" });
  await keepsFocus(page, "after a conversation is created");

  const link = ui.tree.getByRole("link", { name: "Turtles", exact: true });
  await link.waitFor();
  await tabTo(page, link);
  await page.keyboard.press("Enter");
  await ui.composer.waitFor();
  await tabTo(page, ui.composer);
  await page.keyboard.type("Hello, turtle");
  await page.keyboard.press("Enter");
  await ui.answer("Hello, turtle").waitFor();
  assert(await hasFocus(ui.composer), "the composer keeps the focus");

  // The dialog of a deletion gives the focus back, too, and what is deleted cannot have it.
  await tabTo(page, ui.button("Rename conversation"));
  await page.keyboard.press("Enter");
  await ui.dialog.getByLabel("Title", { exact: true }).waitFor();
  await page.keyboard.press("Escape");
  await ui.dialog.waitFor({ state: "hidden" });
  await eventually("the focus is back", () => hasFocus(ui.button("Rename conversation")));

  // The search is one key away, but a key in a text is a letter.
  const search = page.getByRole("searchbox", { name: "Search" });
  await page.keyboard.press("/");
  await eventually("the search has the focus", () => hasFocus(search));
  await tabTo(page, ui.composer);
  await page.keyboard.type("a/b");
  assertEqual(await ui.composer.inputValue(), "a/b", "a slash is a letter");
  await page.keyboard.press("Control+k");
  await eventually("the search has the focus", () => hasFocus(search));

  for (const view of ["Stream", "Health", "Learn", "Chat"]) {
    await tabTo(page, ui.view(view));
    await page.keyboard.press("Enter");
    await ui.view(view).and(page.locator("[aria-current=page]")).waitFor();
    await keepsFocus(page, `in ${view}`);
  }
  await tabTo(page, ui.view("Stream"));
  await page.keyboard.press("Enter");
  const cut = ui.button("Cut the connection");
  await cut.waitFor();
  await tabTo(page, cut);
  await page.keyboard.press("Enter");
  await ui.isConnected();
  await keepsFocus(page, "after the cut");
  const copy = page.getByRole("log", { name: "Events" }).getByRole("button", { name: "Copy" }).last();
  await tabTo(page, copy);
  await page.keyboard.press("Enter");
  await page.getByText("Copied", { exact: true }).waitFor({ state: "attached" });
  assert(await hasFocus(copy), "the button keeps the focus when it has copied");

  await tabTo(page, ui.button("Log out"));
  await page.keyboard.press("Enter");
  await ui.button("Log in").waitFor();
  await tabTo(page, page.getByRole("textbox", { name: "Email" }));
});

function hasFocus(locator) {
  return locator.evaluate((element) => element === document.activeElement, null, { timeout: 1000 });
}

async function keepsFocus(page, when) {
  await eventually(`something has the focus ${when}`, () =>
    page.evaluate(() => document.activeElement !== null && document.activeElement !== document.body));
}

// Presses Tab until an element has the focus. Each element on the way must show that it has it.
async function tabTo(page, locator) {
  const isThere = () => locator.evaluate((element) => element === document.activeElement);
  if (await isThere()) return;
  const way = [];
  for (let count = 0; count < 150; count += 1) {
    await page.keyboard.press("Tab");
    const at = await page.evaluate(() => {
      const element = document.activeElement;
      if (element === null || element === document.body) return null;
      const { outlineStyle, outlineWidth, boxShadow } = getComputedStyle(element);
      const box = element.getBoundingClientRect();
      return {
        name: element.outerHTML.slice(0, 120),
        isMarked: element.matches(":focus-visible") && (outlineStyle !== "none" && parseFloat(outlineWidth) > 0 || boxShadow !== "none"),
        isInView: box.width > 0 && box.bottom > 0 && box.right > 0 && box.top < innerHeight && box.left < innerWidth,
      };
    });
    if (at) {
      way.push(at.name);
      assert(at.isMarked, `the focus is seen on ${at.name}`);
      assert(at.isInView, `what has the focus is in view: ${at.name}`);
    }
    if (await isThere()) return;
  }
  throw new Error(`Tab does not lead to ${locator}, but to:\n${[...new Set(way)].join("\n")}`);
}
