// Names and texts full of markup, script and marks of direction are shown as text, and disturb nothing.
import { assert, assertEqual, eventually, get, reached, scenario, setup } from "./harness.mjs";
import { Console } from "./console.mjs";

const { hostile } = setup;
const long = { word: "w".repeat(hostile.long.word), lines: "line\n".repeat(hostile.long.lines) };

await scenario(async () => {
  const ui = await Console.open({ permissions: ["clipboard-read", "clipboard-write"] });
  const { page } = ui;
  await page.evaluate(() => { window.ran = []; window.pwned = (what) => window.ran.push(what); });
  await ui.useToken(setup.token);
  await ui.tree.getByText(hostile.name, { exact: true }).waitFor();
  await openFirst(ui);
  await reached("the conversation is open");

  await ui.log.locator(".fault").filter({ hasText: "failed" }).waitFor();
  await say(ui, long.word);
  await say(ui, long.lines);
  await assertShown(ui, "as events");
  await assertHarmless(ui, "as events");

  await ui.button("Share conversation").click();
  for (const participant of hostile.participants) {
    await ui.dialog.getByRole("button", { name: `Remove ${participant}`, exact: true }).waitFor();
  }
  await assertHarmless(ui, "in the dialog");
  await page.keyboard.press("Escape");

  for (const view of ["Stream", "Health", "Learn"]) {
    await ui.go(view);
    if (view === "Stream") {
      await page.getByRole("log", { name: "Events" }).getByText("pwned").first().waitFor();
      for (const form of ["raw", "pretty"]) {
        await page.getByRole("combobox", { name: "Form", exact: true }).selectOption(form);
        await assertHarmless(ui, `in the stream, ${form}`);
      }
    } else {
      await assertHarmless(ui, `in ${view}`);
    }
  }

  await page.reload();
  await page.evaluate(() => { window.ran = []; window.pwned = (what) => window.ran.push(what); });
  await ui.useToken(setup.token);
  await openFirst(ui);
  await assertShown(ui, "after a reload");
  await assertHarmless(ui, "after a reload");
  await page.setViewportSize({ width: 390, height: 844 });
  await assertHarmless(ui, "on a phone");

  // The other user reads the writer's name.
  const other = await Console.open();
  await other.page.evaluate(() => { window.ran = []; window.pwned = (what) => window.ran.push(what); });
  await other.useToken(setup.other_token);
  await openFirst(other);
  await other.articles.filter({ hasText: hostile.name }).first().waitFor();
  await assertHarmless(other, "to another user");
});

async function openFirst(ui) {
  await ui.go("Chat");
  const link = ui.tree.getByRole("link", { name: hostile.title, exact: true });
  await link.evaluate((link) => link.closest("details")?.setAttribute("open", ""));
  await link.click();
  await ui.page.getByRole("heading", { name: hostile.title, exact: true }).waitFor();
  await ui.composer.waitFor();
}

async function say(ui, text) {
  await ui.composer.fill(text);
  await ui.button("Send").click();
  await eventually("the composer is empty", async () => (await ui.composer.inputValue()) === "");
}

// Each message is there with its whole text. Markdown in answers may lose its own signs, but no tag.
async function assertShown(ui, where) {
  const stored = await get(`/conversations/${setup.conversation}/messages?limit=1000`, setup.token);
  const read = () => ui.articles.evaluateAll((articles) =>
    articles.map((article) => [article.id, article.querySelector(".text")?.textContent ?? ""]));
  await eventually(`all messages are shown ${where}`, async () => {
    const isWhole = (await read()).length >= stored.length;
    // Older messages load while the user scrolls.
    if (!isWhole) await ui.articles.first().scrollIntoViewIfNeeded();
    return isWhole;
  })
    .catch(async () => assertEqual((await read()).map(([id]) => id), stored.map(({ id }) => id), where));
  const shown = new Map(await read());
  for (const { id, role, content } of stored) {
    if (role === "assistant") {
      const tags = content.match(/<\/?[a-z]+/g) ?? [];
      for (const tag of tags) assert(shown.get(id).includes(tag), `${where}: ${tag} of ${content} is shown: ${shown.get(id)}`);
    } else {
      assertEqual(shown.get(id).trimEnd(), content.trimEnd(), where);
    }
  }
}

// Nothing ran, nothing of the texts became an element, and the layout is whole.
async function assertHarmless(ui, where) {
  const { page } = ui;
  const bad = await page.evaluate(() => {
    const found = window.ran.map((what) => `pwned(${what}) ran`);
    const allowed = ["http:", "https:", "mailto:"];
    const ours = (element) => element.closest(".text") === null;
    for (const element of document.querySelectorAll("*")) {
      const shown = element.outerHTML.slice(0, 200);
      const tag = element.localName;
      if (element.matches(".pwned, #pwned, [name=pwned]")) found.push(`made of a text: ${shown}`);
      if (["iframe", "frame", "object", "embed", "img", "video", "audio", "base", "math", "portal"].includes(tag)) found.push(shown);
      if (tag === "script" && !element.src.startsWith(`${location.origin}/console/`)) found.push(shown);
      if (["style", "meta", "link", "title"].includes(tag) && !document.head.contains(element)) found.push(shown);
      if (!ours(element) && ["form", "input", "svg", "style", "script"].includes(tag)) found.push(shown);
      for (const { name, value } of element.attributes) {
        if (name.startsWith("on") || name === "srcdoc" || name === "style" && !ours(element)) found.push(`${name}: ${shown}`);
        if (["href", "src", "action", "formaction", "xlink:href"].includes(name)) {
          const { protocol, host } = new URL(value, location.href);
          const isIcon = tag === "link" && protocol === "data:";
          if (!allowed.includes(protocol) && !isIcon) found.push(`${protocol} ${shown}`);
          if (host !== location.host && tag === "a" && !(element.relList.contains("noopener") || element.relList.contains("noreferrer"))) {
            found.push(`a link that gives its opener away: ${shown}`);
          }
          if (host !== location.host && tag !== "a" && !isIcon) found.push(`another host: ${shown}`);
        }
      }
    }
    // No mark of direction reaches beyond its own text: the digits of each time are from left to right.
    for (const time of document.querySelectorAll("time")) {
      const text = document.createTreeWalker(time, NodeFilter.SHOW_TEXT).nextNode();
      const digits = text ? [...text.data].map((char, at) => ({ char, at })).filter(({ char }) => /\d/.test(char)) : [];
      const lefts = digits.map(({ at }) => {
        const range = document.createRange();
        range.setStart(text, at);
        range.setEnd(text, at + 1);
        return range.getBoundingClientRect().left;
      });
      if (lefts.some((left, at) => at > 0 && left < lefts[at - 1])) found.push(`a time from right to left: ${time.textContent}`);
    }
    return found;
  });
  assert(bad.length === 0, `${where}:\n${bad.join("\n")}`);
  await ui.assertLayout(where);
}
