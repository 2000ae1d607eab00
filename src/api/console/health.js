// Charts of the server's metrics.

import { alertOf, h, svg } from "./app.js";

const POLL_MS = 2000;
const POINTS_MAX = 150;
const [WIDTH, HEIGHT] = [300, 80];

// Each chart has lines; a line is a function of the metrics now (`m`), and of how much a counter grew (`grew`) in `seconds`.
const mean = (name, scale = 1) => ({ grew }) => (grew(`${name}_count`) ? (scale * grew(`${name}_sum`)) / grew(`${name}_count`) : 0);
const CHARTS = [
  ["Requests", "/s", { requests: ({ grew, seconds }) => grew("conversational_core_requests_total") / seconds }],
  ["Streams", "", { live: ({ m }) => m('cortex_streams{state="live"}'), behind: ({ m }) => m('cortex_streams{state="behind"}') }],
  ["Lag of the slowest stream", " events", { lag: ({ m }) => m("cortex_stream_lag_events") }],
  ["Time of a commit", " ms", { mean: mean("cortex_commit_duration_seconds", 1000) }],
  ["Size of a commit", " commands", { mean: mean("cortex_commit_commands") }],
  ["Answers", "", { running: ({ m }) => m("cortex_answers_running"), waiting: ({ m }) => m("cortex_answers_waiting") }],
  ["Memory", " MB", { resident: ({ m }) => m("process_resident_memory_bytes") / 1e6 }],
  ["Processor", " %", { busy: ({ grew, seconds }) => (100 * grew("process_cpu_seconds_total")) / seconds }],
];

export class HealthView {
  title = "Health";
  #api;
  #before = null;
  #timer = 0;

  constructor(api) {
    this.#api = api;
    this.status = h("div");
    this.charts = CHARTS.map(([name, unit, lines]) => new Chart(name, unit, lines));
    this.element = h("div", { class: "page" }, h("h1", {}, "Health"), this.status, h("div", { class: "charts" }, this.charts.map(({ element }) => element)));
  }

  show() {
    this.#before = null;
    this.#poll();
  }

  hide() {
    clearTimeout(this.#timer);
  }

  async #poll() {
    clearTimeout(this.#timer);
    let wait = POLL_MS;
    if (!document.hidden) {
      try {
        this.#draw(parse((await this.#api.request("GET", "/metrics")).data));
        this.status.replaceChildren();
      } catch (error) {
        this.status.replaceChildren(alertOf(error));
        wait *= 5;
      }
    }
    if (this.element.isConnected) this.#timer = setTimeout(() => this.#poll(), wait);
  }

  #draw(values) {
    const [now, before] = [{ values, at: performance.now() }, this.#before];
    this.#before = now;
    if (!before) return;
    const m = (name) => values.get(name) ?? 0;
    // After a restart of the server, a counter begins anew.
    const grew = (name) => Math.max(0, m(name) - (before.values.get(name) ?? 0));
    for (const chart of this.charts) chart.add({ m, grew, seconds: (now.at - before.at) / 1000 });
  }
}

// Values by name with labels, and sums by the name alone.
function parse(text) {
  const values = new Map();
  for (const line of text.split("\n")) {
    if (line === "" || line.startsWith("#")) continue;
    const space = line.lastIndexOf(" ");
    const [series, value] = [line.slice(0, space), Number(line.slice(space + 1))];
    const name = series.split("{")[0];
    values.set(series, value);
    if (name !== series) values.set(name, (values.get(name) ?? 0) + value);
  }
  return values;
}

class Chart {
  constructor(name, unit, lines) {
    Object.assign(this, { name, unit });
    this.lines = Object.entries(lines).map(([label, value], index) => ({ label, value, points: [], path: svg("path", { class: `line-${index}` }) }));
    this.value = h("output");
    this.top = h("small");
    this.image = svg("svg", { role: "img", viewBox: `0 0 ${WIDTH} ${HEIGHT}`, preserveAspectRatio: "none" }, this.lines.map(({ path }) => path));
    this.element = h("figure", {}, h("figcaption", {}, name, this.value), this.image, this.top);
    this.image.setAttribute("aria-label", name);
    this.value.textContent = "…";
  }

  add(metrics) {
    for (const { value, points } of this.lines) {
      points.push(value(metrics));
      if (points.length > POINTS_MAX) points.shift();
    }
    const top = Math.max(1, ...this.lines.flatMap(({ points }) => points)) * 1.1;
    const number = (value) => value.toLocaleString([], { maximumFractionDigits: value < 10 ? 2 : 0 });
    for (const { points, path } of this.lines) {
      const x = (index) => WIDTH - ((points.length - 1 - index) * WIDTH) / (POINTS_MAX - 1);
      path.setAttribute("d", points.map((value, index) => `${index ? "L" : "M"}${x(index).toFixed(1)} ${(HEIGHT * (1 - value / top)).toFixed(1)}`).join(""));
    }
    const values = this.lines.map(({ label, points }) => `${number(points.at(-1))}${this.unit}${this.lines.length > 1 ? ` ${label}` : ""}`);
    this.value.textContent = values.join(", ");
    this.top.textContent = `at most ${number(top / 1.1)}${this.unit} in 5 minutes`;
    this.image.setAttribute("aria-label", `${this.name}: ${values.join(", ")}`);
  }
}
