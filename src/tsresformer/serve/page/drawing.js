// Pictures of a song: waveform with genres, log-mel with attention. Both share the axis of time.

import { fillWith, LOUDNESS_BYTES, paintOf } from "./colours.js";
import { clock, genresOf } from "./words.js";

const AXIS = 24; // pixels of the axis of time
const BAND = 26; // of the strip with the genres' names
const CURVE = 40; // of the curve of attention along time
const TICKS_S = [1, 2, 5, 10, 15, 30, 60, 120, 300, 600, 1800, 3600];
const TICKS_HZ = [50, 100, 200, 500, 1000, 2000, 5000, 10000, 20000];

// A canvas cleared for drawing in CSS pixels.
export function prepare(canvas) {
  const { clientWidth: width, clientHeight: height } = canvas;
  const density = window.devicePixelRatio || 1;
  canvas.width = Math.round(width * density);
  canvas.height = Math.round(height * density);
  const context = canvas.getContext("2d");
  context.scale(density, density);
  const style = getComputedStyle(canvas);
  context.font = `12px ${style.fontFamily}`;
  const colour = (name) => style.getPropertyValue(`--${name}`).trim();
  return { context, width, height, colour };
}

function drawTime({ context, colour }, seconds, left, width, y) {
  const step = TICKS_S.find((tick) => (tick / seconds) * width >= 56) ?? TICKS_S.at(-1);
  context.fillStyle = colour("soft");
  context.strokeStyle = colour("edge");
  context.textBaseline = "top";
  context.beginPath();
  for (let at = 0; at <= seconds; at += step) {
    const x = left + (at / seconds) * width;
    context.moveTo(x, y);
    context.lineTo(x, y + 4);
    const atEnd = x > left + width - 14;
    context.textAlign = at === 0 ? "left" : atEnd ? "right" : "center";
    context.fillText(clock(at), x, y + 8);
  }
  context.stroke();
}

export function drawWave(canvas, { waveform, seconds }, stretches, labels) {
  const sheet = prepare(canvas);
  const { context, width, height, colour } = sheet;
  const bottom = height - AXIS;
  for (const { label, start, end } of stretches) {
    const paint = paintOf(label, labels);
    const x = (start / seconds) * width;
    const wide = ((end - start) / seconds) * width - (end < seconds ? 1 : 0);
    context.globalAlpha = 0.22;
    fillWith(context, paint, x, BAND, wide, bottom - BAND);
    context.globalAlpha = 1;
    fillWith(context, paint, x, 0, wide, BAND);
    context.fillStyle = paint.ink;
    context.textAlign = "left";
    context.textBaseline = "middle";
    const name = genresOf(label);
    if (context.measureText(name).width < wide - 12) context.fillText(name, x + 7, BAND / 2 + 0.5);
  }
  drawSamples(sheet, waveform, seconds, (BAND + bottom) / 2, (bottom - BAND) / 2 - 6);
  drawTime(sheet, seconds, 0, width, bottom);
}

// Bars from the least to the greatest sample of what they stand for.
function drawSamples({ context, width, colour }, { low, high, seconds_per_point: each }, seconds, middle, reach) {
  const n = Math.max(1, Math.floor(width / 5));
  const loudest = Math.max(0.05, ...high, ...low.map((value) => -value));
  context.fillStyle = colour("ink");
  context.beginPath();
  for (let i = 0; i < n; i += 1) {
    const from = Math.min(low.length - 1, Math.floor(((i / n) * seconds) / each));
    const to = Math.max(from + 1, Math.min(low.length, Math.ceil((((i + 1) / n) * seconds) / each)));
    const top = (Math.max(...high.slice(from, to)) / loudest) * reach;
    const base = (Math.min(...low.slice(from, to)) / loudest) * reach;
    context.roundRect((i / n) * width + 1, middle - Math.max(top, 1), 3, Math.max(top, 1) - Math.min(base, -1), 1.5);
  }
  context.fill();
}

// The log-mel at one pixel a value, highest band on top; what attention dims, if there is any, is darker.
export function paintMel({ log_mel: mel, attention }, withAttention) {
  const picture = new OffscreenCanvas(mel.n_columns, mel.n_mels);
  const context = picture.getContext("2d");
  const image = context.createImageData(mel.n_columns, mel.n_mels);
  const bytes = Uint8Array.from(atob(mel.data), (letter) => letter.charCodeAt(0));
  const overTime = withAttention && attention.time ? stretched(attention.time) : null;
  const overBands = withAttention && attention.frequency ? stretched(attention.frequency) : null;
  for (let column = 0; column < mel.n_columns; column += 1) {
    for (let band = 0; band < mel.n_mels; band += 1) {
      const light = 0.4 + 0.6 * weight(overTime?.[column], overBands?.[band]);
      const from = 3 * bytes[column * mel.n_mels + band];
      const to = 4 * ((mel.n_mels - 1 - band) * mel.n_columns + column);
      for (let channel = 0; channel < 3; channel += 1) image.data[to + channel] = light * LOUDNESS_BYTES[from + channel];
      image.data[to + 3] = 255;
    }
  }
  context.putImageData(image, 0, 0);
  return picture;
}

// Brightness from attention along time and along frequency, each null where there is none.
function weight(time, band) {
  if (time === null) return 0;
  return ((time ?? 1) + (band ?? 1)) / 2;
}

// Values between 0 and 1 from the least to the greatest; null stays null.
function stretched(values) {
  const known = values.filter((value) => value !== null);
  const least = Math.min(...known);
  const span = Math.max(...known) - least || 1;
  return values.map((value) => (value === null ? null : (value - least) / span));
}

// Where the log-mel lies on its canvas.
export function melFrame(canvas) {
  const style = getComputedStyle(canvas);
  const rem = parseFloat(getComputedStyle(document.documentElement).fontSize);
  const left = parseFloat(style.getPropertyValue("--gutter")) * rem;
  const right = parseFloat(style.getPropertyValue("--side")) * rem;
  const { clientWidth: width, clientHeight: height } = canvas;
  return { left, right, top: CURVE, width: width - left - right, height: height - CURVE - AXIS };
}

export function drawMel(canvas, picture, analysis, withAttention) {
  const sheet = prepare(canvas);
  const { context, colour } = sheet;
  const frame = melFrame(canvas);
  const { left, top, width, height } = frame;
  const { log_mel: mel, attention, seconds } = analysis;
  const shown = ((mel.n_columns * mel.seconds_per_column) / seconds) * width;
  context.save();
  context.beginPath();
  context.rect(left, top, width, height);
  context.clip();
  context.imageSmoothingEnabled = false;
  context.drawImage(picture, left, top, shown, height);
  context.restore();
  drawTime(sheet, seconds, left, width, top + height);
  drawHertz(sheet, mel.mel_hz, frame);
  if (!withAttention) return;
  context.strokeStyle = colour("accent");
  context.lineWidth = 1.75;
  context.lineJoin = "round";
  if (attention.time) {
    const n = attention.time.length;
    const x = (i) => left + Math.min(width, ((i + 0.5) / n) * shown);
    drawCurve(context, stretched(attention.time).map((value, i) => value === null ? null : [x(i), top - 6 - value * (CURVE - 12)]));
  }
  if (attention.frequency) {
    const n = attention.frequency.length;
    const from = left + width + 6;
    const y = (band) => top + height - ((band + 0.5) / n) * height;
    drawCurve(context, stretched(attention.frequency).map((value, band) => [from + value * (frame.right - 10), y(band)]));
  }
}

function drawCurve(context, points) {
  context.beginPath();
  let open = false;
  for (const point of points) {
    if (point) open ? context.lineTo(...point) : context.moveTo(...point);
    open = point !== null;
  }
  context.stroke();
}

function drawHertz({ context, colour }, centres, { left, top, height }) {
  context.fillStyle = colour("soft");
  context.strokeStyle = colour("edge");
  context.textAlign = "right";
  context.textBaseline = "middle";
  let lowest = Infinity;
  context.beginPath();
  for (const hz of TICKS_HZ) {
    const above = centres.findIndex((centre) => centre >= hz);
    if (above < 1) continue;
    const place = above - (centres[above] - hz) / (centres[above] - centres[above - 1]);
    const y = top + height - ((place + 0.5) / centres.length) * height;
    if (lowest - y < 18) continue;
    lowest = y;
    context.moveTo(left - 4, y);
    context.lineTo(left, y);
    context.fillText(hz < 1000 ? `${hz}` : `${hz / 1000} k`, left - 8, y);
  }
  context.stroke();
  context.fillText("Hz", left - 8, top - 8);
}
