// Colours of genres and of loudness.

// Okabe & Ito: eight hues that people with any colour vision can tell apart.
const HUES = ["#e69f00", "#56b4e9", "#009e73", "#f0e442", "#0072b2", "#d55e00", "#cc79a7", "#9a9a9a"];
const SILENCE = "#d8d8d8";

// Paints of the genres of a model: the hue, ink that can be read on it, and stripes from the ninth genre on.
export function paintOf(label, labels) {
  const index = label === null ? -1 : labels.indexOf(label.split("|")[0]);
  const hue = index < 0 ? SILENCE : HUES[index % HUES.length];
  return { hue, ink: luminance(hue) > 0.18 ? "#14101a" : "#ffffff", striped: index >= HUES.length };
}

export function fillWith(context, { hue, ink, striped }, x, y, width, height) {
  context.save();
  context.beginPath();
  context.rect(x, y, width, height);
  context.clip();
  context.fillStyle = hue;
  context.fillRect(x, y, width, height);
  if (striped) {
    context.strokeStyle = ink;
    context.globalAlpha = 0.35;
    context.lineWidth = 2;
    context.beginPath();
    for (let offset = -height; offset < width; offset += 7) {
      context.moveTo(x + offset, y + height);
      context.lineTo(x + offset + height, y);
    }
    context.stroke();
  }
  context.restore();
}

function luminance(hue) {
  const [r, g, b] = rgb(hue).map((value) => {
    const v = value / 255;
    return v <= 0.04045 ? v / 12.92 : ((v + 0.055) / 1.055) ** 2.4;
  });
  return 0.2126 * r + 0.7152 * g + 0.0722 * b;
}

const rgb = (hue) => [1, 3, 5].map((at) => parseInt(hue.slice(at, at + 2), 16));

// Loudness: from nearly black over plum and coral to cream, always lighter.
const LOUDNESS = ["#120a1c", "#341a5c", "#77307f", "#c24b70", "#f08a5d", "#fdeacb"].map(rgb);

export const LOUDNESS_BYTES = Uint8ClampedArray.from({ length: 256 * 3 }, (_, i) => {
  const place = (Math.floor(i / 3) / 255) * (LOUDNESS.length - 1);
  const stop = Math.min(Math.floor(place), LOUDNESS.length - 2);
  const channel = i % 3;
  return LOUDNESS[stop][channel] + (place - stop) * (LOUDNESS[stop + 1][channel] - LOUDNESS[stop][channel]);
});
