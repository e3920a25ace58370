// The view Watch: what the server does, once a second, for as long as this is in sight.

import { ApiError } from "../api.js";
import { el, Fault, say } from "../dom.js";
import { Chart } from "./chart.js";
import { chartsOf } from "./charts.js";
import { History, keyOf } from "./history.js";
import { follow } from "./stream.js";
import { BatchSizes, Devices, Tiles } from "./tables.js";

const RETRY_MS = 2000;
const BATCHES_S = 60;

/** Show the view in its section; see main.js. */
export function mount(section) {
  const history = new History();
  const [tiles, sizes, devices] = [new Tiles(), new BatchSizes(), new Devices()];
  const models = el("select", { id: "watched" });
  const choice = el("label", { class: "field", hidden: true }, "Model", models);
  const state = el("p", { class: "live hint" }, "Connecting …");
  const fault = new Fault();
  const pause = el("button", { type: "button", onclick: toggle }, "Pause");
  const plots = el("div", { class: "charts" });
  const head = el("div", { class: "row" }, el("h1", {}, "Watch"), state, el("div", { class: "row watch-end" }, choice, pause));
  section.append(el("div", { class: "stack watch" }, head, fault.element, tiles.element, plots));
  let charts = [];
  let drawn = "";
  let [isShown, isPaused] = [false, false];
  let following = null;

  models.addEventListener("change", draw);
  document.addEventListener("visibilitychange", settle);
  document.addEventListener("themechange", () => charts.forEach((chart) => chart.recolour()));

  /** Follow the server if somebody looks, and else not. */
  function settle() {
    const isWanted = isShown && !isPaused && !document.hidden;
    if (isWanted && !following) run();
    if (!isWanted && following) {
      following.abort();
      following = null;
    }
  }

  async function run() {
    const mine = (following = new AbortController());
    while (following === mine) {
      const began = performance.now();
      try {
        await follow(mine.signal, took);
        if (performance.now() - began > RETRY_MS) continue; // the server ends each stream after some minutes
        refuse("Nothing comes: the server has ended the stream.");
      } catch (error) {
        if (mine.signal.aborted) return;
        if (!(error instanceof ApiError)) throw error;
        refuse(`Nothing comes: ${error.message}.`);
        if ([401, 403].includes(error.status)) {
          following = null;
          pauseNow(true);
          return;
        }
      }
      await new Promise((resolve) => setTimeout(resolve, RETRY_MS));
    }
  }

  function took(samples) {
    if (!fault.element.hidden) say("Live again");
    fault.tell("");
    history.add(samples);
    offer();
    draw();
  }

  function offer() {
    const keys = history.latest.models.map(keyOf);
    const offered = [...models.options].map((option) => option.value);
    if (`${keys}` === `${offered}`) return;
    const before = models.value;
    models.replaceChildren(...keys.map((key) => el("option", { value: key }, key)));
    models.value = keys.includes(before) ? before : (keys[0] ?? "");
    choice.hidden = keys.length < 2;
  }

  function draw() {
    const key = models.value;
    const model = history.of(key);
    tiles.show(model);
    if (!model) {
      plots.replaceChildren(el("p", { class: "note" }, "No model is loaded; the server may be loading one."));
      drawn = "";
    } else {
      rebuild(key, model);
      const column = history.column(key);
      charts.forEach((chart) => chart.show(...column));
      sizes.show(history.batchSizes(key, BATCHES_S));
      devices.show(model);
    }
    const { viewers } = history.latest;
    const others = viewers === 1 ? "You are the only viewer." : `${viewers} viewers look.`;
    state.textContent = `Live, once a second. Watched since ${history.since.toLocaleTimeString()}. ${others}`;
    state.classList.toggle("on", !isPaused);
  }

  /** Make the charts of a model, unless they are there. */
  function rebuild(key, model) {
    const wanted = `${key} ${model.devices.map(({ name }) => name)}`;
    if (drawn === wanted) return;
    drawn = wanted;
    charts.forEach((chart) => chart.close());
    charts = chartsOf(model).map((spec) => new Chart(spec));
    plots.replaceChildren(...charts.map((chart) => chart.element), sizes.element, devices.element);
  }

  function toggle() {
    pauseNow(!isPaused);
    settle();
  }

  function pauseNow(paused) {
    isPaused = paused;
    pause.textContent = paused ? "Go on" : "Pause";
    state.classList.toggle("on", !paused);
    if (paused) state.textContent = "Paused: nothing is asked of the server.";
  }

  function refuse(why) {
    fault.tell(why);
    state.textContent = `Asked again every ${RETRY_MS / 1000} seconds.`;
    state.classList.remove("on");
  }

  return {
    show() {
      isShown = true;
      settle();
    },
    hide() {
      isShown = false;
      settle();
    },
  };
}
