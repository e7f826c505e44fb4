// Numbers and findings in words.

export function clock(seconds) {
  const whole = Math.max(0, Math.floor(seconds));
  const hours = Math.floor(whole / 3600);
  const minutes = Math.floor(whole / 60) % 60;
  const rest = String(whole % 60).padStart(2, "0");
  return hours ? `${hours}:${String(minutes).padStart(2, "0")}:${rest}` : `${minutes}:${rest}`;
}

export const percent = (share) => `${Math.round(100 * share)}\u00a0%`;

export function hertz(value) {
  return value < 1000 ? `${Math.round(value)}\u00a0Hz` : `${(value / 1000).toFixed(value < 9950 ? 1 : 0)}\u00a0kHz`;
}

export function sentence(text) {
  const whole = /[.!?]$/.test(text) ? text : `${text}.`;
  return whole.charAt(0).toUpperCase() + whole.slice(1);
}

export const genresOf = (label) => (label ?? "Silence").split("|").join(" + ");

// What the page says below the genre.
export function certainty({ track, unsure_below: threshold }) {
  if (track.status === "silent") return "There is nothing to hear in it, so it has no genre.";
  const [[, best], ...others] = Object.entries(track.probabilities);
  if (!track.unsure) return `The model is ${percent(best)} sure of it.`;
  const close = others.slice(0, 2).filter(([, share]) => share >= best / 2).map(([genre, share]) => `${genre} (${percent(share)})`);
  const rivals = close.length ? ` It could as well be ${close.join(" or ")}.` : "";
  return `The model is not sure. This is its best guess, at ${percent(best)}; below ${percent(threshold)} it is often wrong.${rivals}`;
}

export function describeWave({ waveform, seconds }) {
  const loudest = indexOfMaximum(waveform.high.map((high, i) => high - waveform.low[i]));
  return `Waveform of ${clock(seconds)}, loudest at ${clock(loudest * waveform.seconds_per_point)}.`;
}

export function describeMel({ log_mel: mel, attention, seconds }, withAttention) {
  const range = `${hertz(mel.mel_hz[0])} to ${hertz(mel.mel_hz.at(-1))}`;
  const picture = `Loudness (brightness) of ${range}, low to high, over ${clock(seconds)}.`;
  if (!attention.time && !attention.frequency) return `${picture} This model has no attention that could be drawn.`;
  if (!withAttention) return picture;
  const places = [];
  if (attention.time) places.push(`at ${clock(indexOfMaximum(attention.time) * mel.seconds_per_column)}`);
  if (attention.frequency) places.push(`around ${hertz(mel.mel_hz[indexOfMaximum(attention.frequency)])}`);
  return `${picture} The model paid most attention ${places.join(" and ")}; what it paid least to is dimmed. `
    + "The curves are stretched between their least and greatest value, which are close to each other.";
}

function indexOfMaximum(values) {
  return values.reduce((best, value, i) => (value ?? -Infinity) > (values[best] ?? -Infinity) ? i : best, 0);
}
