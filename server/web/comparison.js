// A comparison: many samples of both arms for several prompts, and what the server finds of their difference.

import { get, post, save } from "./server.js";

const EVERY_MS = 500;
const METRICS = ["pairwise_distance", "distinct_2", "self_bleu", "vendi", "surprise", "mean_length"];

/** Run a comparison and show its verdict; `progressed` hears how far it is, from 0 to 1. */
export async function compare(element, request, progressed) {
  element.replaceChildren();
  try {
    let comparison = await post("compare", request);
    while (["queued", "running"].includes(comparison.status)) {
      await new Promise((resolve) => setTimeout(resolve, EVERY_MS));
      comparison = await get(`compare/${comparison.id}`);
      progressed(comparison.progress);
    }
    if (comparison.status !== "succeeded") throw new Error(comparison.error?.message ?? `it was ${comparison.status}`);
    show(element, comparison);
  } catch (error) {
    element.append(paragraph(error.message, "wrong"));
  }
}

function show(element, { id, report }) {
  for (const sentence of [report.verdict].flat()) element.append(paragraph(sentence));
  for (const warning of report.warnings) element.append(paragraph(warning, "caption"));
  element.append(table(report.comparisons.filter(({ metric }) => METRICS.includes(metric))));
  const button = document.createElement("button");
  button.type = "button";
  button.textContent = "Save the whole report";
  button.addEventListener("click", () => save(`compare/${id}/report.html`, `${id}.html`));
  element.append(button);
}

function table(comparisons) {
  const made = document.createElement("table");
  const rows = comparisons.map(({ metric, difference, ci_low, ci_high, p_adjusted, verdict }) => [
    metric.replaceAll("_", " "), number(difference), `${number(ci_low)} to ${number(ci_high)}`, number(p_adjusted), claim(verdict),
  ]);
  made.append(row("th", ["of B beside A", "difference", "95 % interval", "p, adjusted", ""]));
  made.append(...rows.map((cells) => row("td", cells)));
  return made;
}

/** What a verdict claims; its figures, after the colon, stand beside it. */
function claim(verdict) {
  return verdict.split(": ", verdict.startsWith("too few") ? 2 : 1).join(": ");
}

function row(kind, cells) {
  const made = document.createElement("tr");
  made.append(...cells.map((text, column) => Object.assign(document.createElement(column ? kind : "th"), { textContent: text })));
  return made;
}

function number(value) {
  return value === null ? "–" : String(Number(value.toPrecision(3)));
}

function paragraph(text, kind = "") {
  return Object.assign(document.createElement("p"), { textContent: text, className: kind });
}
