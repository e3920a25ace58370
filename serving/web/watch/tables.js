// What is no line over time: the numbers of this second, the sizes of batches, and the devices.

import { el, meter } from "../dom.js";
import { brief, percent } from "../numbers.js";
import { failures } from "./charts.js";

const TILES = [
  ["Answered", "images/s", ({ images }) => images.ok],
  ["In time", "images/s", ({ goodput }) => goodput],
  ["Refused", "images/s", ({ images }) => images.rejected],
  ["Failed otherwise", "images/s", failures],
  ["In flight", "images", ({ inflight }) => inflight],
  ["Median", "ms", ({ stages }) => stages.total.p50_ms],
  ["99th percentile", "ms", ({ stages }) => stages.total.p99_ms],
];
const MOST_ROWS = 9;

/** The numbers of this second. */
export class Tiles {
  #values = TILES.map(() => el("span", { class: "number" }, "–"));
  element = el(
    "dl",
    { class: "tiles" },
    ...TILES.map(([name, unit], at) =>
      el("div", { class: "tile" }, el("dt", {}, name), el("dd", {}, this.#values[at], el("small", {}, unit))),
    ),
  );

  show(model) {
    TILES.forEach(([, , of], at) => (this.#values[at].textContent = model ? brief(of(model)) : "–"));
  }
}

/** How many images batches had. */
export class BatchSizes {
  #rows = el("tbody");
  #none = el("p", { class: "hint" }, "No batch ran in the last minute.");
  #table = el(
    "table",
    { class: "table compact" },
    el("thead", {}, heads("Images", "Share of the batches", "Batches")),
    this.#rows,
  );
  element = part("Batch sizes", "in the last minute", this.#none, this.#table);

  /** @param {Map<number, number>} counts batches by their images */
  show(counts) {
    const total = [...counts.values()].reduce((sum, count) => sum + count, 0);
    const most = Math.max(...counts.values());
    this.#none.hidden = total > 0;
    this.#table.hidden = !total;
    const rows = grouped(counts).map(([name, count]) =>
      el(
        "tr",
        {},
        el("th", { scope: "row", class: "number" }, name),
        el("td", { class: "wide" }, meter(count / most)),
        el("td", { class: "number" }, brief(count)),
      ),
    );
    this.#rows.replaceChildren(...rows);
  }
}

/** What each instance does. */
export class Devices {
  #rows = el("tbody");
  element = part(
    "Devices",
    "this second",
    el(
      "table",
      { class: "table compact" },
      el("thead", {}, heads("Instance", "State", "At work", "Images/s")),
      this.#rows,
    ),
  );

  show(model) {
    const rows = (model?.devices ?? []).map((device) =>
      el(
        "tr",
        {},
        el("th", { scope: "row" }, device.name),
        el("td", { class: device.ready ? null : "bad" }, device.ready ? "answers" : "does not answer"),
        el("td", {}, el("div", { class: "metered" }, meter(device.busy), el("span", { class: "number" }, percent(device.busy, 0)))),
        el("td", { class: "number" }, brief(device.images)),
      ),
    );
    this.#rows.replaceChildren(...rows);
  }
}

function part(title, unit, ...content) {
  const caption = el("div", { class: "caption" }, el("h2", {}, title), el("span", { class: "hint" }, unit));
  return el("section", { class: "card chart", "aria-label": title }, caption, ...content);
}

function heads(...names) {
  return el("tr", {}, ...names.map((name) => el("th", { scope: "col" }, name)));
}

/** Return rows of sizes: each by itself if they are few, else 1, 2, 3–4, 5–8, and so on. */
function grouped(counts) {
  const sizes = [...counts.keys()].sort((a, b) => a - b);
  if (sizes.length <= MOST_ROWS) return sizes.map((size) => [`${size}`, counts.get(size)]);
  const groups = new Map();
  for (const size of sizes) {
    const most = 2 ** Math.ceil(Math.log2(size));
    groups.set(most, (groups.get(most) ?? 0) + counts.get(size));
  }
  return [...groups].map(([most, count]) => [most < 3 ? `${most}` : `${most / 2 + 1}–${most}`, count]);
}
