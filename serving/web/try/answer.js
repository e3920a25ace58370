// What a model says of an image: its classes as bars, and where the time went.

import { el, named } from "../dom.js";
import { likelihood, milliseconds } from "../numbers.js";

const STAGES = [
  ["admission_ms", "Admission"],
  ["decode_ms", "Decode"],
  ["queue_ms", "Queue"],
  ["infer_ms", "Inference"],
];
const REST = "Network, browser";

/**
 * Return the part of a card that shows an answer, or why there is none.
 * @param {{choice: import("./choices.js").Choice, result?: any, error?: string, tookMs?: number}} found
 * @param {boolean} isOneOfTwo whether its heading must tell it from another
 */
export function answerOf({ choice, result, error, tookMs }, isOneOfTwo) {
  const head = el("h3", {}, isOneOfTwo ? el("strong", {}, choice.title) : null, choice.detail);
  const what = error ? [fault(error)] : [bars(result.classes, choice.multilabel), waterfall(result.timing, tookMs)];
  return el("section", { class: "answer", "aria-label": choice.title }, head, ...what);
}

function fault(words) {
  return el("p", { class: "fault" }, el("strong", {}, "Not classified: "), words);
}

function bars(classes, isMultilabel) {
  const rows = classes.map(({ label, probability }) => {
    const bar = el("span", { class: "bar-fill" });
    bar.style.setProperty("--share", probability);
    return el(
      "li",
      {},
      el("span", { class: "bar-label" }, named(label)),
      el("span", { class: "bar-value number" }, likelihood(probability)),
      el("span", { class: "bar-track" }, bar),
    );
  });
  const about = isMultilabel ? el("p", { class: "hint" }, "Each class is right or wrong by itself.") : null;
  return el("div", { class: "bars" }, el("ol", {}, ...rows), about);
}

function waterfall(timing, tookMs) {
  const whole = Math.max(tookMs, timing.total_ms);
  let from = 0;
  const row = (name, ms, kind) => {
    const bar = el("span", { class: `span ${kind}` });
    bar.style.setProperty("--from", from / whole);
    bar.style.setProperty("--share", ms / whole);
    from += ms;
    return el("tr", {}, el("th", { scope: "row" }, name), el("td", { class: "spans" }, bar), time(ms));
  };
  const stages = STAGES.map(([key, name]) => row(name, timing[key], "stage"));
  const rest = row(REST, whole - timing.total_ms, "rest");
  const server = el("tr", {}, el("th", { scope: "row" }, "Server"), el("td"), time(timing.total_ms));
  const images = timing.batch_images;
  return el(
    "div",
    { class: "times" },
    el(
      "table",
      { class: "waterfall" },
      el("caption", {}, "Where the time went"),
      el("tbody", {}, ...stages, rest),
      el("tfoot", {}, server),
    ),
    el("p", { class: "hint" }, images === 1 ? "It ran in a batch of its own." : `It ran in a batch of ${images} images.`),
  );
}

function time(ms) {
  return el("td", { class: "number" }, milliseconds(ms));
}
