// The two pictures of the README: wide and light, narrow and dark.
import { mkdirSync } from "node:fs";
import { join } from "node:path";
import { eventually, reached, scenario, setup } from "./harness.mjs";
import { Console } from "./console.mjs";

await scenario(async () => {
  mkdirSync(setup.images, { recursive: true });
  const wide = await open({ colorScheme: "light" });
  const narrow = await open({ colorScheme: "dark", viewport: { width: 390, height: 844 }, deviceScaleFactor: 1 });
  for (const ui of [wide, narrow]) await ui.openConversation("Slow import of orders");
  await reached("the conversation is open");
  for (const [ui, name] of [[wide, "console-light.png"], [narrow, "console-narrow-dark.png"]]) {
    await ui.message("Two changes help").waitFor();
    await eventually("the newest text is in view", async () => {
      const [text, box] = [await ui.articles.last().boundingBox(), await ui.composer.boundingBox()];
      return text.y + text.height <= box.y;
    });
    await ui.page.mouse.move(0, 0);
    await ui.page.screenshot({ path: join(setup.images, name) });
  }
  await reached("the pictures are taken");
});

async function open(options) {
  const ui = await Console.open(options);
  await ui.useToken(setup.token);
  return ui;
}
