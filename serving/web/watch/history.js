// What came in the last 15 minutes.

const KEPT_S = 900;
// A longer time between two samples is one in which nobody looked.
const GAP_S = 2.5;

/** The samples of all models, oldest first. */
export class History {
  #samples = [];

  /** Add samples, but for those that are here already: a new stream begins with what was kept. */
  add(samples) {
    const newest = this.latest?.time_s ?? 0;
    this.#samples.push(...samples.filter((sample) => sample.time_s > newest));
    const oldest = (this.latest?.time_s ?? 0) - KEPT_S;
    this.#samples = this.#samples.filter((sample) => sample.time_s >= oldest);
  }

  /** The newest sample, if there is any. */
  get latest() {
    return this.#samples.at(-1);
  }

  /** When the oldest was taken. @returns {Date|null} */
  get since() {
    return this.#samples.length ? new Date(this.#samples[0].time_s * 1000) : null;
  }

  /** Return the newest of a model; undefined if it is not loaded now. */
  of(key) {
    return this.latest?.models.find((model) => keyOf(model) === key);
  }

  /**
   * Return the times, in seconds, and for each of them the model; null where there is none.
   * @returns {[number[], (object|null)[]]}
   */
  column(key) {
    // A lone time would be shown as a day: there is always one before the first.
    const times = this.#samples.slice(0, 1).map((sample) => sample.time_s - 1);
    const models = times.map(() => null);
    let before = Infinity;
    for (const sample of this.#samples) {
      if (sample.time_s - before > GAP_S) {
        times.push(before + 1);
        models.push(null);
      }
      before = sample.time_s;
      times.push(sample.time_s);
      models.push(sample.models.find((model) => keyOf(model) === key) ?? null);
    }
    return [times, models];
  }

  /** Return how many batches of each size a model ran in the last so many seconds. */
  batchSizes(key, seconds) {
    const counts = new Map();
    const oldest = (this.latest?.time_s ?? 0) - seconds;
    for (const sample of this.#samples) {
      const model = sample.time_s > oldest && sample.models.find((one) => keyOf(one) === key);
      for (const [size, count] of Object.entries(model ? model.batch_sizes : {})) {
        counts.set(Number(size), (counts.get(Number(size)) ?? 0) + count);
      }
    }
    return counts;
  }
}

/** Return what tells a model from all others. */
export function keyOf(model) {
  return `${model.name} ${model.version}`;
}
