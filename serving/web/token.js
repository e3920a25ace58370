// The token of a server that asks who calls. It is kept as long as the tab is.

const KEY = "token";
/** @type {Promise<boolean>|null} */
let asking = null;

const find = (id) => document.getElementById(id);

/** Return the headers that say who calls. */
export function authorization() {
  const token = sessionStorage.getItem(KEY);
  return token ? { authorization: `Bearer ${token}` } : {};
}

/** Forget the token whenever the user wants that. */
export function startTokens() {
  find("forget-token").addEventListener("click", () => {
    sessionStorage.removeItem(KEY);
    location.reload();
  });
  show();
}

function show() {
  find("forget-token").hidden = !sessionStorage.getItem(KEY);
}

/**
 * Ask for a token; return whether there is one now. Several calls that are refused at once ask once.
 * @param {string} why the server's words
 */
export function askToken(why) {
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
    const end = (token) => {
      done.abort();
      if (token) sessionStorage.setItem(KEY, token);
      show();
      dialog.close();
      resolve(Boolean(token));
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
