// axe-core has no serious finding in any view or dialog, light and dark, wide and narrow.
import { assert, assertAccessible, scenario, setup } from "./harness.mjs";
import { Console } from "./console.mjs";

const WIDE = { width: 1280, height: 800 };
const NARROW = { width: 390, height: 844 };

await scenario(async () => {
  const ui = await Console.open();
  const { page, watch } = ui;
  // Checks what is shown, in each of these looks: a scheme of colours and a size.
  const check = async (where, looks = [["light", WIDE], ["dark", NARROW]]) => {
    for (const [colorScheme, size] of looks) {
      await page.emulateMedia({ colorScheme, reducedMotion: "reduce" });
      await page.setViewportSize(size);
      await assertAccessible(page, `${where}, ${colorScheme}, ${size.width} wide`);
      await assertStill(page, where);
    }
    await page.setViewportSize(WIDE);
  };
  await check("log-in");
  await page.getByText("Use a token", { exact: true }).click();
  const allow = watch.allow(/status of 401/);
  await page.getByLabel("Token", { exact: true }).fill("no token");
  await ui.button("Use token").click();
  await ui.alert.filter({ hasText: "unauthorized" }).waitFor();
  await check("log-in with an error");
  allow();
  await page.getByLabel("Token", { exact: true }).fill(setup.token);
  await ui.button("Use token").click();
  await ui.isConnected();
  await check("chat without a conversation");

  await ui.openConversation("Turtles");
  await ui.log.locator("details").filter({ hasText: "Reasoning" }).locator("summary").first().click();
  await ui.log.locator(".fault").first().waitFor();
  await check("chat", [["light", WIDE], ["dark", WIDE], ["light", NARROW], ["dark", NARROW]]);

  const { dialog } = ui;
  for (const [button, part] of [["New workspace", "textbox"], ["New conversation in Garden", "textbox"], ["Rename Garden", "textbox"],
    ["Delete Garden", "button"], ["Rename conversation", "textbox"], ["Delete conversation", "button"], ["Share conversation", "textbox"]]) {
    await ui.button(button).click();
    await dialog.getByRole(part).first().waitFor();
    // Dialogs differ by what they ask for.
    await check(`the dialog "${button}"`, button === "Share conversation" ? undefined : [["light", WIDE]]);
    await page.keyboard.press("Escape");
    await dialog.waitFor({ state: "hidden" });
  }

  await ui.go("Stream");
  await page.getByRole("log", { name: "Events" }).waitFor();
  await page.getByRole("table", { name: "My streams" }).getByRole("row").nth(1).waitFor();
  await check("stream");
  await ui.go("Health");
  await page.getByRole("figure").first().waitFor();
  await check("health");
  await ui.go("Learn");
  await page.getByRole("button", { name: "Copy" }).or(page.getByRole("tab", { name: "curl" })).first().waitFor();
  await check("learn");
});

// Nothing moves, since the system asks for no motion.
async function assertStill(page, where) {
  const moving = await page.evaluate(() => {
    const isLong = (times) => times.split(",").some((time) => parseFloat(time) > 0.01);
    return [...document.querySelectorAll("*")].filter((element) => {
      const { transitionDuration, animationName, animationDuration, scrollBehavior } = getComputedStyle(element);
      return isLong(transitionDuration) || (animationName !== "none" && isLong(animationDuration)) || scrollBehavior === "smooth";
    }).map((element) => element.outerHTML.slice(0, 120));
  });
  assert(moving.length === 0, `${where}: moves, although the system asks for no motion:\n${moving.join("\n")}`);
}
