// What a model says of an image: its classes as bars, and where the time went.

import { el } from "../dom.js";

const STAGES = [
  ["admission_ms", "Admission"],
  ["decode_ms", "Decode"],
  ["queue_ms", "Queue"],
  ["infer_ms", "Inference"],
];
const REST = "Network, browser";

/** Return a probability as a reader likes it. */
export function percent(probability) {
  const share = 100 * probability;
  if (share > 0 && share < 0.1) return "< 0.1 %";
  return `${share < 99.95 || share === 100 ? share.toFixed(1) : "> 99.9"} %`;
}

/**
 * Return the part of a card that shows an answer, or why there is none.
 * @param {{choice: import("./choices.js").Choice, result?: any, error?: string, tookMs?: number}} found
 * @param {boolean} isOneOfTwo whether its heading must tell it from another
 */
export function answerOf({ choice, result, error, tookMs }, isOneOfTwo) {
  const head = el("h3", {}, isOneOfTwo ? el("strong", {}, choice.title) : null, choice.detail);
  if (error) return el("section", { class: "answer", "aria-label": choice.title }, head, fault(error));
  return el(
    "section",
    { class: "answer", "aria-label": choice.title },
    head,
    bars(result.classes, choice.multilabel),
    waterfall(result.timing, tookMs),
  );
}

function fault(words) {
  return el("p", { class: "fault" }, el("strong", {}, "Not classified. "), words);
}

function bars(classes, isMultilabel) {
  const rows = classes.map(({ label, probability }) => {
    const bar = el("span", { class: "bar-fill" });
    bar.style.setProperty("--share", probability);
    return el(
      "li",
      {},
      el("span", { class: "bar-label" }, label),
      el("span", { class: "bar-value number" }, percent(probability)),
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
    return el(
      "tr",
      {},
      el("th", { scope: "row" }, name),
      el("td", { class: "spans" }, bar),
      el("td", { class: "number" }, milliseconds(ms)),
    );
  };
  const stages = STAGES.map(([key, name]) => row(name, timing[key], "stage"));
  const rest = row(REST, whole - timing.total_ms, "rest");
  const images = timing.batch_images;
  return el(
    "div",
    { class: "times" },
    el(
      "table",
      { class: "waterfall" },
      el("caption", {}, "Where the time went"),
      el("tbody", {}, ...stages, rest),
      el(
        "tfoot",
        {},
        el(
          "tr",
          {},
          el("th", { scope: "row" }, "Server"),
          el("td", {}),
          el("td", { class: "number" }, milliseconds(timing.total_ms)),
        ),
      ),
    ),
    el("p", { class: "hint" }, images === 1 ? "It ran in a batch of its own." : `It ran in a batch of ${images} images.`),
  );
}

function milliseconds(ms) {
  return `${ms < 10 ? ms.toFixed(2) : ms.toFixed(1)} ms`;
}
