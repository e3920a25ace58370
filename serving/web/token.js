// The token of a server that asks who calls. It is kept as long as the tab is; in a browser that
// keeps nothing for this site, as long as the page is.

const KEY = "token";
let token = kept(() => sessionStorage.getItem(KEY)) ?? "";
/** @type {Promise<boolean>|null} */
let asking = null;
let isDeclined = false;

const find = (id) => document.getElementById(id);

/** Return the headers that say who calls. */
export function authorization() {
  return token ? { authorization: `Bearer ${token}` } : {};
}

/** Begin anew, without a token, whenever the user wants that. */
export function startTokens() {
  find("another-token").addEventListener("click", () => {
    keep("");
    location.reload();
  });
  show();
}

function show() {
  find("another-token").hidden = !token && !isDeclined;
  find("another-token").textContent = token ? "Forget token" : "Give a token";
}

function keep(given) {
  token = given;
  kept(() => sessionStorage.setItem(KEY, given));
}

function kept(work) {
  try {
    return work();
  } catch (error) {
    if (!(error instanceof DOMException)) throw error;
    return null;
  }
}

/**
 * Ask for a token; return whether there is one now. Several calls that are refused at once ask once, and
 * who has declined is asked no more.
 * @param {string} why the server's words
 * @returns {Promise<boolean>}
 */
export async function askToken(why) {
  if (isDeclined) return false;
  asking ??= ask(why).finally(() => (asking = null));
  return asking;
}

function ask(why) {
  const dialog = find("token-dialog");
  const input = find("token");
  find("token-why").textContent = why;
  input.value = "";
  dialog.showModal();
  return new Promise((resolve) => {
    const done = new AbortController();
    const { signal } = done;
    const end = (given) => {
      done.abort();
      if (given) keep(given);
      isDeclined = !given;
      show();
      dialog.close();
      resolve(Boolean(given));
    };
    const submit = (event) => {
      event.preventDefault();
      end(input.value.trim());
    };
    dialog.querySelector("form").addEventListener("submit", submit, { signal });
    find("token-cancel").addEventListener("click", () => end(""), { signal });
    dialog.addEventListener("cancel", () => end(""), { signal });
  });
}
