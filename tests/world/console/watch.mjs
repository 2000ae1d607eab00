// Each mistake that the other scripts rule out is made once, and noticed.
import { accessibilityProblems, assert, assertEqual, closeBroken, eventually, scenario, setup } from "./harness.mjs";
import { Console } from "./console.mjs";

const MISTAKES = [
  [/CSP violation: script-src/, () => {
    const script = document.createElement("script");
    script.textContent = "window.ran = true";
    document.body.append(script);
  }],
  [/CSP violation: script-src-attr/, () => document.body.insertAdjacentHTML("beforeend", "<button onclick='1'></button>")],
  [/CSP violation: style-src/, () => document.body.insertAdjacentHTML("beforeend", "<p style='color: red'></p>")],
  [/CSP violation: img-src/, () => { new Image().src = "http://other.example/"; }],
  [/CSP violation: connect-src/, () => fetch("http://other.example/").catch(() => {})],
  [/console error: oh/, () => console.error("oh")],
  [/console warning: well/, () => console.warn("well")],
  [/page error: .*no turtle/, () => { setTimeout(() => { throw new Error("no turtle"); }); }],
  [/page error: .*no promise/, () => { Promise.reject(new Error("no promise")); }],
  [/dialog of the browser: hi/, () => { setTimeout(() => alert("hi")); }],
  [/console error: .*404/, () => fetch("/no/such/path")],
  [/token in a URL: .*ticket=/, async (token) => { await fetch(`/health?ticket=${token}`); }],
  [/token in a URL: .*access_token=/, async () => { await fetch("/health?access_token=abc"); }],
  [/token in a URL: .*#\/chat/, (token) => { location.hash = `#/chat/${token}`; }],
];

await scenario(async () => {
  const ui = await Console.open();
  await ui.page.getByRole("main").waitFor();
  const noticed = () => ui.watch.problems();
  assertEqual(noticed(), [], "nothing is noticed before");
  for (const [pattern, mistake] of MISTAKES) {
    const before = noticed();
    await ui.page.evaluate(mistake, setup.token);
    await eventually(`${pattern} is noticed`, () =>
      noticed().some((problem) => pattern.test(problem) && !before.includes(problem)))
      .catch((error) => { throw new Error(`${error.message}; noticed: ${noticed().join("\n")}`); });
  }
  assert(!(await ui.page.evaluate(() => window.ran)), "the policy is enforced");
  await closeBroken(ui.tab);

  // A page without a policy can ask another host; the watch notices the request itself.
  const bare = await Console.open({}, "/health");
  await bare.page.evaluate(() => fetch("http://other.example/").catch(() => {}));
  await eventually("another host is noticed", () => bare.watch.problems().some((problem) => /another host/.test(problem)));
  await closeBroken(bare.tab);

  const unlabelled = await Console.open();
  await unlabelled.page.evaluate(() => {
    document.body.append(document.createElement("button"), document.createElement("input"));
  });
  const found = (await accessibilityProblems(unlabelled.page)).join("\n");
  assert(/button-name/.test(found) && /label/.test(found), `axe-core finds parts without a name: ${found}`);
  await closeBroken(unlabelled.tab);
});
