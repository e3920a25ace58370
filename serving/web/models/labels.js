// A form that gives a version a label.

import { el } from "../dom.js";

const USUAL = ["stable", "canary", "shadow"];
let lists = 0;

/** The form of one version. */
export class LabelEditor {
  #label;
  #share = el("input", { type: "number", min: 0, max: 100, step: "any", value: 10, inputmode: "decimal" });
  #percent = el("label", { class: "field", hidden: true }, "Share of requests, %", this.#share);

  /** @param {(label: string, share: number) => Promise<boolean>} give returns whether it has it now */
  constructor(give) {
    const list = `labels-${(lists += 1)}`;
    this.#label = el("input", { list, required: true, autocomplete: "off", spellcheck: "false" });
    this.#label.addEventListener("input", () => (this.#percent.hidden = this.#label.value.trim() !== "canary"));
    const form = el(
      "form",
      { class: "row label-form" },
      el("label", { class: "field" }, "Label", this.#label),
      el("datalist", { id: list }, ...USUAL.map((value) => el("option", { value }))),
      this.#percent,
      el("button", { type: "submit" }, "Give the label"),
    );
    form.addEventListener("submit", async (event) => {
      event.preventDefault();
      const share = this.#percent.hidden ? 0 : Number(this.#share.value) / 100;
      if (await give(this.#label.value.trim(), share)) this.#label.value = "";
    });
    this.element = el("details", { class: "more", hidden: true }, el("summary", {}, "Give it a label"), form);
  }
}
