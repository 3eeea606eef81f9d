// The WebSocket to the lab, opened again when it is lost, and the requests beside it.

export class Connection extends EventTarget {
  #socket = null;
  #wait = 400;
  #keys = [];
  #failures = 0;

  constructor() {
    super();
    this.#open();
  }

  follow(keys) {
    if (keys.join() === this.#keys.join()) return;
    this.#keys = keys;
    this.#tell();
  }

  #tell() {
    if (this.#socket?.readyState === WebSocket.OPEN) this.#socket.send(JSON.stringify({ follow: this.#keys }));
  }

  #open() {
    const socket = new WebSocket(`ws://${location.host}/live`);
    this.#socket = socket;
    socket.addEventListener("open", () => {
      this.#wait = 400;
      this.#failures = 0;
      this.dispatchEvent(new Event("open"));
      this.#tell();
    });
    socket.addEventListener("message", (message) => {
      const told = JSON.parse(message.data);
      this.dispatchEvent(new CustomEvent(told.kind, { detail: told }));
    });
    socket.addEventListener("close", () => {
      this.#failures += 1;
      this.dispatchEvent(new CustomEvent("lost", { detail: this.#failures }));
      setTimeout(() => this.#open(), this.#wait);
      this.#wait = Math.min(this.#wait * 2, 8000);
    });
  }
}

async function answered(response) {
  const type = response.headers.get("content-type") ?? "";
  const body = type.startsWith("application/json") ? await response.json() : { error: await response.text() };
  if (!response.ok) throw new Error(body.error || `The lab answered ${response.status}.`);
  return body;
}

export async function ask(path) {
  return answered(await fetch(path));
}

export async function send(path, document = {}) {
  const headers = { "Content-Type": "application/json" };
  return answered(await fetch(path, { method: "POST", headers, body: JSON.stringify(document) }));
}

export async function sendPicture(path, blob) {
  return answered(await fetch(path, { method: "POST", headers: { "Content-Type": blob.type }, body: blob }));
}
