// What the export measured: how close each file came, and how often each class is right.

import { el } from "../dom.js";
import { exact } from "./numbers.js";

const WORST = 12;

/** Return a table of the files of a bundle, as its parity.json has them. */
export function parityTable(parity) {
  const { images, files, checkpoint } = parity;
  const columns = ["File", "Precision", "Ran in", "Largest difference", "Allowed", "Same first class", "Top-1"];
  const original = checkpoint && row("the checkpoint", "fp32", "MindSpore", "", "", "", share(checkpoint.top1_correct, images));
  const rows = files.map((file) =>
    row(
      file.path,
      file.precision,
      `${file.runtime}, ${file.device}`,
      exact(file.largest_difference),
      exact(file.tolerance),
      share(file.top1_agreement, images),
      file.scores ? share(file.scores.top1_correct, images) : "",
    ),
  );
  return part(
    "Parity",
    `${images.toLocaleString()} images of ${parity.dataset}, when it was exported`,
    scrolling(
      "Parity",
      el("table", { class: "table compact" }, el("thead", {}, heads(columns)), el("tbody", {}, ...[original, ...rows].filter(Boolean))),
    ),
  );
}

/** Return the accuracy per class of the checkpoint and of the file that runs; null if unknown. */
export function accuracyTable(parity, labels, model) {
  const { checkpoint, class_images: images } = parity;
  if (!checkpoint?.class_correct || !images) return null;
  const running = parity.files.find((file) => file.precision === model.precision && file.scores);
  const rows = labels
    .map((label, at) => ({ label, at, right: checkpoint.class_correct[at] / images[at] }))
    .filter(({ at }) => images[at] > 0)
    .sort((a, b) => a.right - b.right);
  const table = (some) =>
    el(
      "table",
      { class: "table compact" },
      el("thead", {}, heads(["Class", "Right", "", ...(running ? [`As ${running.precision}`] : []), "Images"])),
      el("tbody", {}, ...some.map((one) => accuracyRow(one, images, running))),
    );
  const rest = rows.length > WORST && el("details", { class: "more" }, el("summary", {}, `All ${rows.length} classes`), table(rows));
  const unit = rows.length > WORST ? `the ${WORST} worst first` : "the worst first";
  return part("Accuracy per class", unit, scrolling("Accuracy per class", table(rows.slice(0, WORST)), rest));
}

function accuracyRow({ label, at, right }, images, running) {
  const fill = el("span", { class: "meter-fill" });
  fill.style.setProperty("--share", right);
  return el(
    "tr",
    {},
    el("th", { scope: "row" }, label),
    el("td", { class: "number" }, `${(100 * right).toFixed(1)} %`),
    el("td", { class: "wide", "aria-hidden": "true" }, el("span", { class: "meter" }, fill)),
    running && el("td", { class: "number" }, share(running.scores.class_correct[at], images[at])),
    el("td", { class: "number" }, images[at].toLocaleString()),
  );
}

function part(title, unit, ...content) {
  const caption = el("div", { class: "row" }, el("h4", {}, title), el("span", { class: "hint" }, unit));
  return el("section", { class: "stack part", "aria-label": title }, caption, ...content);
}

/** Return a part that is moved sideways on a phone, with the keyboard too. */
function scrolling(title, ...content) {
  return el("div", { class: "scroll", tabindex: 0, role: "group", "aria-label": title }, ...content);
}

function heads(names) {
  return el("tr", {}, ...names.map((name) => (name ? el("th", { scope: "col" }, name) : el("td"))));
}

function row(name, ...cells) {
  return el("tr", {}, el("th", { scope: "row" }, name), ...cells.map((cell) => el("td", { class: "number" }, cell)));
}

function share(some, all) {
  return `${((100 * some) / all).toFixed(2)} %`;
}
