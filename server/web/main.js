// The page: what is typed and moved, and who is told of it.

import { makeArm } from "./arm.js";
import { compare } from "./comparison.js";
import { drawDistribution } from "./distribution.js";
import { Refusal, get, post, useKey } from "./server.js";

const TYPING_MS = 500; // after the last key, the distribution is asked for
const of = (id) => document.getElementById(id);
const PROMPTS = [
  "My grandmother always said that", "In the year 2300, people will", "The recipe begins with", "What I learned at school was",
  "The door opened, and", "Scientists were surprised to find", "Dear neighbours, please",
];
const arms = [makeArm("A", {}, redraw), makeArm("B", { temperature: 0.5 }, redraw)];
let [distribution, asking, running, typing] = [null, null, null, null];

function shownArms() {
  return of("two").checked ? arms : arms.slice(0, 1);
}

async function begin() {
  try {
    const { data } = await get("v1/models");
    const served = data.filter(({ task }) => task === undefined);
    of("model").replaceChildren(...served.map(({ id }) => new Option(id)));
    const { framework, device, dtype } = served[0];
    say(`ready: ${framework}, ${device}, ${dtype}`);
    of("key-field").hidden = of("key").value === "";
    ask();
  } catch (error) {
    of("key-field").hidden &&= !(error instanceof Refusal && error.status === 401);
    say(error.message, true);
  }
}

function say(text, wrong = false) {
  of("status").textContent = text;
  of("status").classList.toggle("wrong", wrong);
}

/** Ask for the distribution after the prompt; a newer question takes an older one's place. */
async function ask() {
  asking?.abort();
  asking = new AbortController();
  of("next").hidden = of("mode").value === "chat" || of("prompt").value === "";
  if (of("next").hidden) return;
  try {
    distribution = await post("distribution", { prompt: of("prompt").value, model: of("model").value }, asking.signal);
    redraw();
  } catch (error) {
    if (error.name !== "AbortError") of("figure-facts").textContent = error.message;
  }
}

function redraw() {
  if (distribution) of("figure-facts").textContent = drawDistribution(of("figure"), distribution, shownArms());
}

function request() {
  const body = { model: of("model").value, max_tokens: Number(of("max-tokens").value) };
  const prompt = of("prompt").value;
  if (of("mode").value === "chat")
    return {
      path: "v1/chat/completions",
      body: { ...body, messages: [{ role: "user", content: prompt }], logprobs: true },
      read: ({ delta, logprobs, finish_reason }) => ({
        text: delta.content ?? "", logprobs: (logprobs?.content ?? []).map(({ logprob }) => logprob), reason: finish_reason,
      }),
    };
  return {
    path: "generate",
    body: { ...body, prompt, logprobs: 0 },
    read: ({ text, logprobs, finish_reason }) => ({ text, logprobs: logprobs.token_logprobs, reason: finish_reason }),
  };
}

/** Draw from every arm at once, with the same seed: they differ by their settings alone. */
async function sample(event) {
  event.preventDefault();
  running = new AbortController();
  of("go").disabled = true;
  of("stop").hidden = false;
  const made = request();
  // As JSON would round a seed above 2^53, one that is drawn here stays below.
  made.body.seed = of("seed").value ? Number(of("seed").value) : Math.floor(Math.random() * 2 ** 32);
  await Promise.all(shownArms().map((arm) => arm.draw(made, running.signal)));
  of("go").disabled = false;
  of("stop").hidden = true;
}

async function runComparison() {
  const named = arms.map(({ name, settings }) => ({ name, ...settings() }));
  const prompts = of("prompts").value.split("\n").filter((line) => line.trim());
  of("compare").disabled = true;
  of("progress").hidden = false;
  of("progress").value = 0;
  const body = { prompts: prompts.length ? prompts : [of("prompt").value], arms: named, baseline: "A",
    samples_per_prompt: Number(of("samples").value), max_tokens: Number(of("max-tokens").value) };
  await compare(of("verdict"), { ...body, arms: named.map((arm) => ({ ...arm, model: of("model").value })) },
    (progress) => (of("progress").value = progress));
  of("compare").disabled = false;
  of("progress").hidden = true;
}

function showArms() {
  of("arms").replaceChildren(...shownArms().map(({ element }) => element));
  of("comparison").hidden = !of("two").checked;
  redraw();
}

of("prompts").value = [of("prompt").value, ...PROMPTS].join("\n");
of("request").addEventListener("submit", sample);
of("stop").addEventListener("click", () => running.abort());
of("compare").addEventListener("click", runComparison);
of("two").addEventListener("change", showArms);
for (const id of ["mode", "model"]) of(id).addEventListener("change", ask);
of("key").addEventListener("change", () => (useKey(of("key").value), begin()));
of("prompt").addEventListener("input", () => (clearTimeout(typing), (typing = setTimeout(ask, TYPING_MS))));
matchMedia("(prefers-color-scheme: dark)").addEventListener("change", redraw);
showArms();
window.addEventListener("load", begin); // Plotly is there by then
