// The server, as this page asks it: JSON and server-sent events, with a key where one is typed in.

export class Refusal extends Error {
  constructor(status, message) {
    super(message);
    this.status = status;
  }
}

let key = "";

export function useKey(typed) {
  key = typed.trim();
}

async function ask(path, options = {}) {
  const headers = { ...(options.body && { "content-type": "application/json" }), ...(key && { authorization: `Bearer ${key}` }) };
  const response = await fetch(path, { ...options, headers });
  if (response.ok) return response;
  const { error } = await response.json();
  throw new Refusal(response.status, error.message);
}

/** Get what stands at a path. */
export async function get(path) {
  return (await ask(path)).json();
}

/** Send a body and get the answer. */
export async function post(path, body, signal) {
  return (await ask(path, { method: "POST", body: JSON.stringify(body), signal })).json();
}

/** Send a body and yield the events of its answer; one that ends without [DONE] has failed. */
export async function* stream(path, body, signal) {
  const response = await ask(path, { method: "POST", body: JSON.stringify({ ...body, stream: true }), signal });
  let waiting = "";
  for await (const text of texts(response.body)) {
    const events = (waiting + text).split("\n\n");
    waiting = events.pop();
    for (const event of events.filter((event) => event.startsWith("data: "))) {
      const data = event.slice("data: ".length);
      if (data === "[DONE]") return;
      const value = JSON.parse(data);
      if (value.error) throw new Refusal(500, value.error.message);
      yield value;
    }
  }
  throw new Refusal(0, "the connection ended before the answer did");
}

async function* texts(body) {
  const reader = body.pipeThrough(new TextDecoderStream()).getReader();
  for (let part = await reader.read(); !part.done; part = await reader.read()) yield part.value;
}

/** Save a page of the server as a file: a link could not carry the key. */
export async function save(path, name) {
  const link = document.createElement("a");
  link.href = URL.createObjectURL(await (await ask(path)).blob());
  link.download = name;
  link.click();
  URL.revokeObjectURL(link.href);
}
