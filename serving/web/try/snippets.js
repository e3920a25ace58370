// The lines that do the same elsewhere.

import { copyButton, el } from "../dom.js";
import { authorization } from "../token.js";

/**
 * Return what shows them for a file.
 * @param {File & {source?: string}} file `source`: where on this server it is, if nobody has it yet
 * @param {import("./choices.js").Choice} choice
 */
export function snippets({ name, source }, choice, topK) {
  const query = new URLSearchParams({ model: choice.model, version: choice.version, top_k: topK });
  const url = new URL(`v1/classify?${query}`, document.baseURI).href;
  const asks = "authorization" in authorization();
  return el(
    "details",
    { class: "same" },
    el("summary", {}, "Do the same in a terminal"),
    source && block("curl line of the sample", fetching(name, source, asks)),
    block("curl line", curl(name, url, asks)),
    block("Python lines", python(name, url, asks)),
  );
}

function block(what, text) {
  return el(
    "div",
    { class: "snippet" },
    el("pre", { tabindex: "0", "aria-label": what }, el("code", {}, text)),
    copyButton(() => text, what),
  );
}

function curl(name, url, asks) {
  // Brackets in the name of a file are patterns for curl, unless it is told otherwise.
  const plain = /[[\]{}]/.test(name) ? "-g " : "";
  return `curl ${plain}-T ${quoted(name)}${token(asks)} ${quoted(url)}`;
}

function fetching(name, source, asks) {
  return `curl -o ${quoted(name)}${token(asks)} ${quoted(new URL(source, document.baseURI).href)}`;
}

function token(asks) {
  return asks ? ' -H "Authorization: Bearer $TOKEN"' : "";
}

function python(name, url, asks) {
  const headers = asks ? ', {"Authorization": "Bearer " + os.environ["TOKEN"]}' : "";
  return [
    `import json${asks ? ", os" : ""}, urllib.request`,
    "",
    `with open(${JSON.stringify(name)}, "rb") as image:`,
    `    request = urllib.request.Request(${JSON.stringify(url)}, image.read()${headers})`,
    "with urllib.request.urlopen(request) as response:",
    '    [result] = json.load(response)["results"]',
    'for found in result["classes"]:',
    '    print(f"{found[\'probability\']:.3f}  {found[\'label\']}")',
  ].join("\n");
}

/** Return a word for a shell. */
function quoted(text) {
  return /^[\w./:=@%+-]+$/.test(text) && !text.startsWith("-") ? text : `'${text.replaceAll("'", "'\\''")}'`;
}
