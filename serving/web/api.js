// Calls of the server. Paths are relative, so that the page works below a prefix, too.

import { askToken, authorization } from "./token.js";

const UNREACHABLE = "the server cannot be reached; it may have been stopped, or be restarting";
const UNREADABLE = "the file cannot be read: it is a folder, or has been changed or removed since it was chosen";

/** What the server refused, in its words. */
export class ApiError extends Error {
  constructor(status, message) {
    super(message);
    this.status = status;
  }
}

/**
 * Return the answer to a call, asking for a token if need be. A body that never ends, such as a
 * stream of events, is read from it by `reading`.
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

/** Return the path of what belongs to a version, such as its proof. */
export function pathOf(model, version) {
  return `v1/models/${encodeURIComponent(model)}/versions/${encodeURIComponent(version)}`;
}

/** Return the JSON of an answer; see `call`. */
export async function json(path, options) {
  return jsonOf(await call(path, options));
}

/** Return the JSON in an answer. @throws {ApiError} there is none: the server has ended, or is none of ours */
export async function jsonOf(response) {
  const text = await reading(response.text());
  try {
    return JSON.parse(text);
  } catch {
    throw new ApiError(0, `what answers at ${response.url} is not this server`);
  }
}

/** Return what is read of an answer. @throws {ApiError} the rest does not come */
export async function reading(read) {
  try {
    return await read;
  } catch (error) {
    if (error.name === "AbortError") throw error;
    throw new ApiError(0, UNREACHABLE);
  }
}

async function reach(path, options) {
  const began = performance.now();
  try {
    const response = await fetch(path, options);
    response.tookMs = performance.now() - began;
    return response;
  } catch (error) {
    if (error.name === "AbortError") throw error;
    throw new ApiError(0, (await isReadable(options.body)) ? UNREACHABLE : UNREADABLE);
  }
}

async function isReadable(body) {
  if (!(body instanceof Blob)) return true;
  return body.slice(0, 1).arrayBuffer().then(
    () => true,
    () => false,
  );
}

/** Return what an answer says is wrong; what stands between us and the server speaks no JSON. */
async function words(response) {
  const text = await reading(response.text());
  try {
    const { error } = JSON.parse(text);
    if (typeof error === "string") return error;
  } catch {
    // a proxy's page
  }
  return `the server, or what stands before it, answers with ${response.status} ${response.statusText}`.trim();
}
