// An arm: one setting of the sampler with its sliders, and the answer that is drawn with it.

import { stream } from "./server.js";

const MOST_SURPRISE = 8; // nats at which a token is as deeply coloured as any
const EXACT = { temperature: 2, top_p: 2, min_p: 2, top_k: 0 };

/** Make an arm after the page's template; `moved` is called when a slider is. */
export function makeArm(name, given, moved) {
  const element = document.getElementById("arm").content.firstElementChild.cloneNode(true);
  element.querySelector("h2").textContent = name;
  for (const slider of element.querySelectorAll("input")) {
    if (slider.name in given) slider.value = given[slider.name];
    const show = () => (slider.previousElementSibling.textContent = shown(slider));
    slider.addEventListener("input", () => (show(), moved()));
    show();
  }
  return { name, element, settings: () => settings(element), draw: (request, signal) => draw(element, request, signal) };
}

function shown(slider) {
  return slider.name === "top_k" && slider.value === "0" ? "all" : Number(slider.value).toFixed(EXACT[slider.name]);
}

function settings(element) {
  return Object.fromEntries([...element.querySelectorAll("input")].map(({ name, value }) => [name, Number(value)]));
}

/** Draw a text and show it token by token, coloured by surprise; returns the seed that drew it. */
async function draw(element, request, signal) {
  const answer = element.querySelector(".answer");
  const facts = element.querySelector(".facts");
  answer.textContent = facts.textContent = "";
  const started = performance.now();
  const surprises = [];
  let [sampling, reason] = [null, null];
  try {
    for await (const event of stream(request.path, { ...request.body, ...settings(element) }, signal)) {
      for (const { text, logprobs, reason: ended } of event.choices.map(request.read)) {
        surprises.push(...logprobs.map((logprob) => -logprob));
        if (text) answer.append(token(text, logprobs));
        reason = ended ?? reason;
      }
      sampling = event.sampling ?? sampling;
    }
  } catch (error) {
    if (error.name !== "AbortError") answer.append(wrong(error.message));
    else reason = "stopped";
  }
  facts.textContent = summary(surprises, sampling, reason, (performance.now() - started) / 1000);
  return sampling?.seed;
}

function token(text, logprobs) {
  const span = document.createElement("span");
  const surprise = -logprobs.reduce((sum, logprob) => sum + logprob, 0);
  span.className = "token";
  span.textContent = text;
  span.title = `probability ${logprobs.map((logprob) => Math.exp(logprob).toPrecision(2)).join(" · ")}`;
  span.style.setProperty("--surprise", `${Math.min(60, (60 * surprise) / MOST_SURPRISE)}%`);
  return span;
}

function summary(surprises, sampling, reason, seconds) {
  if (!surprises.length) return "";
  const mean = surprises.reduce((sum, surprise) => sum + surprise, 0) / surprises.length;
  return [
    `${surprises.length} tokens in ${seconds.toFixed(1)} s`,
    `${mean.toFixed(2)} nats of surprise a token`,
    reason && `ended by ${reason}`,
    sampling && `seed ${sampling.seed}, reproducible: ${sampling.reproducible}`,
  ].filter(Boolean).join(" · ");
}

function wrong(message) {
  const span = document.createElement("span");
  span.className = "wrong";
  span.textContent = message;
  return span;
}
