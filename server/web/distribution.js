// The next token's distribution at any setting, from raw logits: no question to the server but the first.

const SHOWN = 24;

/** Give the probabilities of the listed tokens and of the tail at a setting, as the server's default order draws them. */
export function temper({ tokens, tail }, { temperature, top_k, top_p, min_p }) {
  const logits = tokens.map(({ logit }) => logit);
  if (temperature === 0) return { listed: logits.map((_, rank) => Number(rank === 0)), kept: 1, entropy: 0 };
  const weights = logits.map((logit) => Math.exp((logit - logits[0]) / temperature));
  const middles = tail.histogram.counts.map((_, bin) => (tail.histogram.edges[bin] + tail.histogram.edges[bin + 1]) / 2);
  const tailWeights = middles.map((middle) => Math.exp((middle - logits[0]) / temperature));
  const counts = tail.histogram.counts;
  const total = sum(weights) + sum(tailWeights.map((weight, bin) => counts[bin] * weight));
  const listed = weights.map((weight) => weight / total);
  const entropy =
    sum(listed.map(surprise)) + sum(tailWeights.map((weight, bin) => counts[bin] * surprise(weight / total)));
  return { listed, entropy, kept: keep(listed, tail.count, { top_k, top_p, min_p }) };
}

/** Count the tokens that truncations keep, each on what the one before it left; more than are listed is all we know. */
function keep(listed, more, { top_k, top_p, min_p }) {
  let kept = top_k ? Math.min(top_k, listed.length + more) : listed.length + more;
  if (top_p < 1) {
    const mass = kept >= listed.length ? 1 : sum(listed.slice(0, kept));
    let [count, held] = [0, 0];
    while (count < Math.min(kept, listed.length) && held < top_p * mass) held += listed[count++];
    if (held >= top_p * mass) kept = count;
  }
  const probable = listed.filter((probability) => probability >= min_p * listed[0]).length;
  return probable < listed.length ? Math.min(kept, probable) : kept;
}

function surprise(probability) {
  return probability > 0 ? -probability * Math.log(probability) : 0;
}

function sum(values) {
  return values.reduce((total, value) => total + value, 0);
}

/** Draw a bar a token and arm; returns a line on each arm. */
export function drawDistribution(element, distribution, arms) {
  const style = getComputedStyle(document.documentElement);
  const [ink, cold, hot] = ["--ink", "--cold", "--hot"].map((name) => style.getPropertyValue(name).trim());
  const tokens = distribution.tokens.slice(0, SHOWN);
  const tempered = arms.map(({ settings }) => temper(distribution, settings()));
  const traces = arms.map(({ name }, arm) => ({
    type: "bar",
    name,
    x: tokens.map((_, rank) => rank),
    y: tempered[arm].listed.slice(0, SHOWN),
    marker: { color: [cold, hot][arm], opacity: tokens.map((_, rank) => (rank < tempered[arm].kept ? 1 : 0.25)) },
    customdata: tokens.map(({ text }) => escaped(text)),
    hovertemplate: "%{customdata}: %{y:.4f}<extra>%{fullData.name}</extra>",
  }));
  const layout = {
    template: "none", height: 320, margin: { l: 50, r: 10, t: 10, b: 90 }, barmode: "group", bargap: 0.25,
    paper_bgcolor: "transparent", plot_bgcolor: "transparent", showlegend: arms.length > 1,
    legend: { x: 1, y: 1, xanchor: "right" }, font: { family: "system-ui, sans-serif", size: 13, color: ink },
    xaxis: { tickvals: tokens.map((_, rank) => rank), ticktext: tokens.map(({ text }) => escaped(text)), tickangle: -50 },
    yaxis: { rangemode: "tozero", gridcolor: "rgba(128,128,128,0.22)", title: { text: "probability" } },
  };
  Plotly.react(element, traces, layout, { displayModeBar: false, responsive: true });
  const whole = distribution.tokens.length + distribution.tail.count;
  return arms.map(({ name }, arm) => line(arms.length > 1 ? `${name}: ` : "", tempered[arm], distribution, whole)).join(" · ");
}

function line(name, { entropy, kept }, { tokens }, whole) {
  const known = kept <= tokens.length || kept === whole;
  return `${name}entropy ${entropy.toFixed(2)} nats, ${known ? kept : `more than ${tokens.length}`} of ${whole} tokens kept`;
}

function escaped(text) {
  const shown = text.replaceAll("\n", "⏎").replaceAll("&", "&amp;").replaceAll("<", "&lt;");
  return shown.replaceAll(" ", "␣"); // a space before a word is part of its token
}
