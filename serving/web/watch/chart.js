// A chart of the last minutes, with the latest values as text beside it.

import { el, svg } from "../dom.js";
import { brief } from "../numbers.js";
import uPlot from "../vendor/uPlot.esm.js";

const HEIGHT = 176;
const LEAST_S = 60;
// Of a label of the time axis, in pixels.
const HALF_LABEL = 28;
// Lines differ by more than their colour.
const DASHES = [[], [7, 3], [2, 3], [10, 3, 2, 3], [4, 4], [1, 2]];
const together = uPlot.sync("watch");

/**
 * What a chart shows.
 * @typedef {{name: string, of: (model: object) => number|null}} Line
 * @typedef {{title: string, unit: string, lines: Line[], most?: number}} Spec `most`: of its scale
 */

/** A chart. */
export class Chart {
  #spec;
  #plot = null;
  #place = el("div", { class: "plot", "aria-hidden": "true" });
  #values;
  #data = [[]];
  #resized = new ResizeObserver(() => this.#fit());

  /** @param {Spec} spec */
  constructor(spec) {
    this.#spec = spec;
    this.#values = spec.lines.map(() => el("span", { class: "number value" }, "–"));
    const legend = spec.lines.map((line, at) =>
      el("li", {}, swatch(at), el("span", {}, line.name), this.#values[at]),
    );
    this.element = el(
      "figure",
      { class: "card chart", "aria-label": spec.title },
      el("figcaption", {}, el("h2", {}, spec.title), el("span", { class: "hint" }, spec.unit)),
      el("ul", { class: "legend" }, ...legend),
      this.#place,
    );
    this.#resized.observe(this.#place);
  }

  /**
   * Show a model's history.
   * @param {number[]} times in seconds
   * @param {(object|null)[]} models
   */
  show(times, models) {
    const lines = this.#spec.lines.map((line) => models.map((model) => model && line.of(model)));
    this.#data = [times, ...lines];
    if (this.#plot) this.#plot.setData(this.#data);
    else this.#fit();
    this.#tell();
  }

  /** Draw again in the colours of the theme. */
  recolour() {
    this.#plot?.destroy();
    this.#plot = null;
    this.#fit();
  }

  /** Leave the page. */
  close() {
    this.#resized.disconnect();
    this.#plot?.destroy();
    this.element.remove();
  }

  #fit() {
    const width = this.#place.clientWidth;
    if (!width) return; // it is out of sight
    if (this.#plot) this.#plot.setSize({ width, height: HEIGHT });
    else this.#plot = new uPlot(this.#options(width), this.#data, this.#place);
  }

  /** Say the values under the cursor, or the latest. */
  #tell() {
    const at = this.#plot?.cursor.idx ?? this.#data[0].length - 1;
    this.#values.forEach((value, line) => (value.textContent = brief(this.#data[line + 1]?.[at])));
  }

  #options(width) {
    const colour = (name) => colourOf(this.#place, name);
    const axis = {
      stroke: colour("--muted"),
      grid: { stroke: colour("--line"), width: 1 },
      ticks: { show: false },
      font: `12px ${getComputedStyle(this.#place).fontFamily}`,
    };
    return {
      width,
      height: HEIGHT,
      padding: [8, 8, 0, 0],
      legend: { show: false },
      cursor: { y: false, drag: { x: false, y: false }, points: { size: 7 }, sync: { key: together.key } },
      scales: { x: { range: spanOf }, y: { range: (_, __, most) => [0, this.#spec.most ?? roomy(most)] } },
      axes: [
        { ...axis, size: 26, space: 72, values: (plot, times, _, __, step) => times.map((time) => (fits(plot, time) ? clock(time, step) : "")) },
        { ...axis, size: 48, values: (_, values) => values.map(brief) },
      ],
      series: [
        {},
        ...this.#spec.lines.map((line, at) => ({
          label: line.name,
          stroke: colour(`--series-${at + 1}`),
          width: 1.75,
          dash: DASHES[at],
          points: { show: false },
        })),
      ],
      hooks: { setCursor: [() => this.#tell()] },
    };
  }
}

function swatch(at) {
  const line = svg("line", { x1: 0, y1: 4, x2: 22, y2: 4, class: `series-${at + 1}`, "stroke-dasharray": DASHES[at].join(" ") });
  return svg("svg", { class: "swatch", viewBox: "0 0 22 8", "aria-hidden": "true" }, line);
}

/** Return whether the label of a time has room: at the right edge it would be cut off. */
function fits(plot, time) {
  return plot.valToPos(time, "x") < plot.bbox.width / devicePixelRatio - HALF_LABEL;
}

/** Return the span of the time axis: a minute, and more as more is there. */
function spanOf(_, oldest, newest) {
  return [Math.min(oldest ?? 0, newest - LEAST_S), newest];
}

function roomy(most) {
  return most > 0 ? most * 1.1 : 1;
}

/** Return a time of day, with seconds on an axis that has marks between the minutes. */
function clock(time, step) {
  const parts = { hour: "2-digit", minute: "2-digit", second: step % 60 ? "2-digit" : undefined };
  return new Date(time * 1000).toLocaleTimeString([], parts);
}

/** Return a colour of the theme: a canvas knows no variables. */
function colourOf(place, name) {
  place.style.color = `var(${name})`;
  const colour = getComputedStyle(place).color;
  place.style.color = "";
  return colour;
}
