// What the export measured: how close each file came, and how often each class is right.

import { el, meter, named } from "../dom.js";
import { exact, percent } from "../numbers.js";

const WORST = 12;

/** Return a table of the files of a bundle, as its parity.json has them. */
export function parityTable(parity) {
  const { images, files, checkpoint } = parity;
  const columns = ["File", "Precision", "Ran in", "Largest difference", "Allowed", "Same first class", "Top-1"];
  const top1 = (scores) => (scores ? percent(scores.top1_correct / images) : "not known");
  const original = row("the original", "", "", "", "", "", top1(checkpoint));
  const rows = files.map((file) =>
    row(
      file.path,
      file.precision,
      `${file.runtime}, ${file.device}`,
      exact(file.largest_difference),
      exact(file.tolerance),
      percent(file.top1_agreement / images),
      top1(file.scores),
    ),
  );
  return part(
    "Parity",
    `${images.toLocaleString()} images of ${parity.dataset}, when it was exported`,
    scrolling(
      "Parity",
      el("table", { class: "table compact" }, el("thead", {}, heads(columns)), el("tbody", {}, original, ...rows)),
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
  return el(
    "tr",
    {},
    el("th", { scope: "row" }, named(label)),
    el("td", { class: "number" }, percent(right, 1)),
    el("td", { class: "wide" }, meter(right)),
    running && el("td", { class: "number" }, percent(running.scores.class_correct[at] / images[at], 1)),
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
