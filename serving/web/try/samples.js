// Images for those who have none at hand: the golden images of the model that is asked.

import { call, json, pathOf, reading } from "../api.js";

/** Gives one after the other. */
export class Samples {
  #next = 0;

  /**
   * Return the next one of a model, which says where it comes from.
   * @param {import("./choices.js").Choice} choice
   * @returns {Promise<File & {source: string}>}
   */
  async take({ model, version }) {
    const path = pathOf(model, version);
    const { images } = await json(`${path}/proof`);
    const at = this.#next++ % images.length;
    const source = `${path}/golden/${at}`;
    const blob = await reading((await call(source)).blob());
    return Object.assign(new File([blob], images[at].path.split("/").at(-1), { type: blob.type }), { source });
  }
}
