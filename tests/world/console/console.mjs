// The console, by the roles and names of its parts.
import { assert, assertEqual, eventually, get, open, setup } from "./harness.mjs";

export class Console {
  // Opens the console. The options are those of a browser context.
  static async open(options = {}, path = "/console") {
    const tab = await open(options);
    await tab.page.goto(setup.server + path);
    return new Console(tab);
  }

  constructor(tab) {
    this.tab = tab;
    this.page = tab.page;
    this.watch = tab.watch;
  }

  get log() { return this.page.getByRole("log", { name: "Messages" }); }
  get articles() { return this.log.getByRole("article"); }
  get composer() { return this.page.getByRole("textbox", { name: "Message", exact: true }); }
  get tree() { return this.page.getByRole("navigation", { name: "Conversations" }); }
  get alert() { return this.page.getByRole("alert").filter({ hasText: /\S/ }); }
  get dialog() { return this.page.getByRole("dialog"); }

  button(name) { return this.page.getByRole("button", { name, exact: true }); }
  view(name) { return this.page.getByRole("navigation", { name: "Views" }).getByRole("link", { name, exact: true }); }

  // Messages that contain a text. Each has its text in `.text`.
  message(text) { return this.articles.filter({ has: this.page.locator(".text", { hasText: text }) }); }
  answer(text) { return this.log.locator("article[data-role=assistant]").filter({ has: this.page.locator(".text", { hasText: text }) }); }

  async logIn(email = "user@example.com", password = "password123") {
    await this.page.getByRole("textbox", { name: "Email" }).fill(email);
    await this.page.getByLabel("Password", { exact: true }).fill(password);
    await this.button("Log in").click();
    await this.isConnected();
  }

  async useToken(token) {
    await this.page.getByText("Use a token", { exact: true }).click();
    await this.page.getByLabel("Token", { exact: true }).fill(token);
    await this.button("Use token").click();
    await this.isConnected();
  }

  async isConnected() { await this.hasState("connected"); }
  async hasState(state) {
    await this.page.getByRole("status").filter({ hasText: new RegExp(`^\\s*${state}\\s*$`) }).first().waitFor();
  }

  async go(view) {
    await this.view(view).click();
    await this.page.locator("nav a[aria-current=page]").filter({ hasText: view }).waitFor();
  }

  async createWorkspace(name) {
    await this.button("New workspace").click();
    await this.dialog.getByLabel("Name", { exact: true }).fill(name);
    await this.dialog.getByRole("button", { name: "Create", exact: true }).click();
    await this.dialog.waitFor({ state: "hidden" });
    await this.tree.getByText(name, { exact: true }).waitFor();
  }

  async createConversation(workspace, title) {
    await this.button(`New conversation in ${workspace}`).click();
    await this.dialog.getByLabel("Title", { exact: true }).fill(title);
    await this.dialog.getByRole("button", { name: "Create", exact: true }).click();
    await this.dialog.waitFor({ state: "hidden" });
    await this.tree.getByRole("link", { name: title, exact: true }).waitFor();
  }

  async openConversation(title) {
    await this.tree.getByRole("link", { name: title, exact: true }).click();
    await this.page.getByRole("heading", { name: title, exact: true }).waitFor();
    await this.composer.waitFor();
  }

  async say(text) {
    await this.composer.fill(text);
    await this.composer.press("Enter");
    await this.message(text).first().waitFor();
  }

  // Id, role, status and text of each message that is shown.
  async messages() {
    return this.articles.evaluateAll((articles) => articles.map((article) => ({
      id: article.id,
      role: article.dataset.role,
      status: article.dataset.status,
      text: article.querySelector(".text")?.textContent.trim() ?? "",
    })));
  }

  // Waits until the page shows exactly the stored messages of a conversation, in their order. The texts must be plain.
  async showsWhatIsStored(conversation, token) {
    const stored = async () => (await get(`/conversations/${conversation}/messages?limit=1000`, token))
      .map(({ id, role, status, content }) => ({ id, role, status, text: content }));
    await eventually("the page shows what is stored", async () => {
      const [shown, expected] = [await this.messages(), await stored()];
      // Older messages load while the user scrolls.
      if (shown.length < expected.length) await this.articles.first().scrollIntoViewIfNeeded();
      return JSON.stringify(shown) === JSON.stringify(expected) && shown.length > 0;
    }).catch(async () => assertEqual(await this.messages(), await stored(), "the page shows what is stored"));
    const ids = (await this.messages()).map(({ id }) => id);
    assertEqual(ids.length, new Set(ids).size, "each message is shown once");
  }

  // Nothing is wider than the window, and the composer is in it.
  async assertLayout(where) {
    const wide = await this.page.evaluate(() => {
      const root = document.scrollingElement;
      const isClipped = (element) => {
        for (let parent = element; parent && parent !== document.body; parent = parent.parentElement) {
          if (["auto", "hidden", "scroll", "clip"].includes(getComputedStyle(parent).overflowX)) return true;
        }
        return false;
      };
      const beyond = [...document.body.querySelectorAll("*")].filter((element) => {
        const { right, left, width } = element.getBoundingClientRect();
        return width > 0 && (right > root.clientWidth + 1 || left < -1) && !isClipped(element.parentElement);
      });
      const log = document.querySelector("[role=log]");
      return [
        ...(root.scrollWidth > root.clientWidth ? [`the page scrolls: ${root.scrollWidth} > ${root.clientWidth}`] : []),
        ...(log && log.scrollWidth > log.clientWidth + 1 ? [`the log scrolls: ${log.scrollWidth} > ${log.clientWidth}`] : []),
        ...beyond.map((element) => `beyond the window: ${element.outerHTML.slice(0, 200)}`),
      ];
    });
    assert(wide.length === 0, `${where}: ${wide.join("\n")}`);
    if (await this.composer.isVisible()) {
      const box = await this.composer.boundingBox();
      const { height } = this.page.viewportSize();
      assert(box.y >= 0 && box.y + box.height <= height, `${where}: the composer is in the window: ${JSON.stringify(box)}`);
    }
  }
}
