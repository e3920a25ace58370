// Calls of the server. Paths are relative, so that the page works below a prefix, too.

import { askToken, authorization } from "./token.js";

/** What the server refused, in its words. */
export class ApiError extends Error {
  constructor(status, message) {
    super(message);
    this.status = status;
  }
}

/**
 * Return the answer to a call, asking for a token if need be. A body that never ends, such as a
 * stream of events, is read from it like any other.
 * @param {string} path such as `v1/models`
 * @param {RequestInit} options as for `fetch`
 * @returns {Promise<Response & {tookMs: number}>} with the time until its head had come
 * @throws {ApiError} with status 0 if the server cannot be reached
 */
export async function call(path, options = {}) {
  for (;;) {
    const sent = authorization();
    const response = await reach(path, { ...options, headers: { ...options.headers, ...sent } });
    if (response.ok) return response;
    const error = new ApiError(response.status, await words(response));
    // Another call may have got a token meanwhile.
    const isStale = sent.authorization !== authorization().authorization;
    if (error.status !== 401 || !(isStale || (await askToken(error.message)))) throw error;
  }
}

/** Return the JSON of an answer; see `call`. */
export async function json(path, options) {
  return (await call(path, options)).json();
}

async function reach(path, options) {
  const began = performance.now();
  try {
    const response = await fetch(path, options);
    response.tookMs = performance.now() - began;
    return response;
  } catch (error) {
    if (error.name === "AbortError") throw error;
    throw new ApiError(0, "the server cannot be reached; it may have been stopped, or be restarting");
  }
}

async function words(response) {
  const text = await response.text();
  try {
    return JSON.parse(text).error ?? text;
  } catch {
    return text || `the server answered ${response.status}`;
  }
}
