// How images come in: dropped anywhere, pasted, chosen, or from the camera.

import { el } from "../dom.js";
import { photograph } from "./camera.js";

const KINDS = "image/jpeg,image/png,image/webp,image/bmp";

/** The drop zone, and what the whole page takes while the view is shown. */
export class Intake {
  #add;
  #fault;
  #stop = new AbortController();
  #choose;

  /**
   * @param {(files: File[]) => void} add takes what comes
   * @param {() => void} sample adds an image for those who have none
   * @param {import("../dom.js").Fault} fault is told what is no file
   */
  constructor(add, sample, fault) {
    [this.#add, this.#fault] = [add, fault];
    const input = el("input", { type: "file", accept: KINDS, multiple: true, hidden: true, id: "files" });
    input.addEventListener("change", () => {
      this.#take(input.files, "");
      input.value = ""; // the same file may be chosen again
    });
    this.#choose = el(
      "button",
      { type: "button", class: "primary", onclick: () => input.click() },
      "Choose images",
    );
    // Browsers offer the camera to this machine's own pages, and over TLS.
    const camera = navigator.mediaDevices?.getUserMedia
      ? el("button", { type: "button", onclick: () => this.#photograph() }, "Camera")
      : null;
    this.element = el(
      "div",
      { class: "intake" },
      el("h1", {}, "Drop an image"),
      el("p", { class: "muted" }, "JPEG, PNG, WebP or BMP, several at once. Or paste one."),
      el("div", { class: "row" }, this.#choose, camera, input),
      el("div", { class: "row hint" }, "No image at hand?", el("button", { type: "button", class: "small", onclick: sample }, "Use a sample")),
      el("p", { class: "hint" }, "Images go to this server only, and it keeps none."),
    );
  }

  /** Put the keyboard on the button that chooses. */
  focus() {
    this.#choose.focus();
  }

  /** Take what is dropped on the page, or pasted, from now on. */
  listen() {
    this.ignore();
    this.#stop = new AbortController();
    const { signal } = this.#stop;
    let depth = 0; // of elements that the pointer is over
    const mark = (change) => {
      depth = change ? Math.max(0, depth + change) : 0;
      this.element.classList.toggle("over", depth > 0);
    };
    addEventListener("dragenter", () => mark(1), { signal });
    addEventListener("dragleave", () => mark(-1), { signal });
    addEventListener(
      "drop",
      ({ dataTransfer }) => {
        mark(0);
        this.#take(dataTransfer.files, "What was dropped is no file; save the image first, and drop that.");
      },
      { signal },
    );
    addEventListener(
      "paste",
      ({ clipboardData, target }) => {
        if (target.closest?.("input")) return; // a token
        this.#take(clipboardData.files, "What was pasted is no image; copy the image itself, not its address.");
      },
      { signal },
    );
  }

  /** Take nothing any more. */
  ignore() {
    this.#stop.abort();
  }

  #take(files, otherwise) {
    this.#fault.tell(files.length ? "" : otherwise);
    if (files.length) this.#add([...files]);
  }

  async #photograph() {
    const photo = await photograph();
    if (photo) this.#take([photo], "");
  }
}
