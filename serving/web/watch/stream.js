// The server's samples as they come. Not EventSource: that cannot send a token.

import { call, reading } from "../api.js";

/**
 * Call `took` with each sample, in order, until the server ends the stream.
 * @param {AbortSignal} signal ends it from here, with an AbortError
 * @param {(samples: object[]) => void} took gets those that came together
 * @throws {import("../api.js").ApiError} the server refuses, or cannot be reached
 */
export async function follow(signal, took) {
  const response = await call("v1/watch", { signal });
  const reader = response.body.pipeThrough(new TextDecoderStream()).getReader();
  let rest = "";
  for (;;) {
    const { value, done } = await reading(reader.read());
    if (done) return;
    const events = (rest + value).split("\n\n");
    rest = events.pop();
    if (events.length) took(events.map(sampleOf));
  }
}

function sampleOf(event) {
  return JSON.parse(event.slice("data: ".length));
}
