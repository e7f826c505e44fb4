// The result of one song on the page.

import { fillWith, paintOf } from "./colours.js";
import { drawMel, drawWave, melFrame, paintMel, prepare } from "./drawing.js";
import { Player } from "./player.js";
import { sharesOf, stretchAt, stretchesOf } from "./timeline.js";
import { certainty, clock, describeMel, describeWave, genresOf, percent, sentence } from "./words.js";

const FIRST_GENRES = 5;
const STEP_S = 5;
const LEAP_S = 30;

const at = (id) => document.getElementById(id);

export class Result {
  constructor() {
    this.player = new Player(at("audio"));
    this.player.addEventListener("change", () => this.follow());
    this.analysis = null;
    at("play").addEventListener("click", () => this.player.toggle());
    at("more").addEventListener("click", () => this.showGenres(at("more").ariaExpanded !== "true"));
    at("attention").addEventListener("change", () => this.drawMel());
    at("stage").addEventListener("keydown", (event) => this.onKey(event));
    this.seekByPointer(at("stage"), () => ({ left: 0, width: at("wave").clientWidth }));
    this.seekByPointer(at("mel-stage"), () => melFrame(at("mel")));
    new ResizeObserver(() => this.draw()).observe(at("result"));
    matchMedia("(prefers-color-scheme: dark)").addEventListener("change", () => this.draw());
  }

  // Takes a result; it is drawn once it has a size, which the observer tells.
  fill(song, analysis, labels) {
    const { track, seconds } = analysis;
    Object.assign(this, { analysis, labels, stretches: stretchesOf(track.timeline, seconds) });
    at("song").textContent = `${song.name} · ${clock(seconds)}`;
    at("verdict").textContent = genresOf(track.label) + (track.unsure ? "?" : "");
    at("certainty").textContent = certainty(analysis);
    at("warning").textContent = analysis.warning && sentence(analysis.warning);
    at("warning").hidden = !analysis.warning;
    at("chances").hidden = track.status === "silent";
    this.showGenres(false);
    this.showStretches();
    at("wave-text").textContent = describeWave(analysis);
    at("attention-choice").hidden = !analysis.attention.time && !analysis.attention.frequency;
    at("stage").ariaValueMax = Math.round(seconds);
    this.player.load(song, seconds);
  }

  clear() {
    this.player.unload();
    this.analysis = null;
  }

  showGenres(all) {
    const genres = Object.entries(this.analysis.track.probabilities);
    at("genres").replaceChildren(...genres.slice(0, all ? genres.length : FIRST_GENRES).map(([genre, share]) => {
      const fill = element("div", { className: "fill" });
      fill.style.width = `${100 * share}%`;
      const rail = element("div", { className: "rail", ariaHidden: "true" }, fill);
      return element("li", {}, element("span", { className: "name" }, genre), rail, element("span", { className: "share" }, percent(share)));
    }));
    at("more").hidden = genres.length <= FIRST_GENRES;
    at("more").ariaExpanded = String(all);
    at("more").textContent = all ? "Fewer genres" : `All ${genres.length} genres`;
  }

  showStretches() {
    at("legend").replaceChildren(...sharesOf(this.stretches, this.analysis.seconds).map(({ label, share }, i) => {
      const swatch = element("canvas", { ariaHidden: "true" });
      swatch.dataset.genre = label ?? "";
      return element("li", {}, swatch, genresOf(label), element("span", {}, percent(share) + (i ? "" : " of the song")));
    }));
    at("stretches").replaceChildren(...this.stretches.map(({ label, start, end, share }) => {
      const from = element("button", { type: "button", ariaLabel: `Go to ${clock(start)}` }, clock(start));
      from.addEventListener("click", () => { this.player.position = start; });
      const cells = [from, clock(end), genresOf(label), share === null ? "" : percent(share)];
      return element("tr", {}, ...cells.map((cell) => element("td", {}, cell)));
    }));
  }

  draw() {
    if (!this.analysis || at("result").hidden) return;
    drawWave(at("wave"), this.analysis, this.stretches, this.labels);
    for (const swatch of at("legend").querySelectorAll("canvas")) {
      const { context, width, height } = prepare(swatch);
      fillWith(context, paintOf(swatch.dataset.genre || null, this.labels), 0, 0, width, height);
    }
    this.drawMel();
    this.follow();
  }

  drawMel() {
    const withAttention = at("attention").checked;
    at("mel-text").textContent = describeMel(this.analysis, withAttention);
    drawMel(at("mel"), paintMel(this.analysis, withAttention), this.analysis, withAttention);
  }

  // Brings playhead, button and words to where the player is, and keeps them there while it plays.
  follow() {
    if (!this.analysis) return;
    const { player } = this;
    const { position, seconds } = player;
    const { label } = stretchAt(this.stretches, position);
    const genre = genresOf(label);
    for (const [stage, { left, width }] of [["stage", { left: 0, width: at("wave").clientWidth }], ["mel-stage", melFrame(at("mel"))]]) {
      at(stage).querySelector(".playhead").style.transform = `translateX(${(position / seconds) * width}px)`;
    }
    at("now-time").textContent = `${clock(position)} of ${clock(seconds)}`;
    if (at("now-genre").textContent !== genre) at("now-genre").textContent = genre;
    at("stage").ariaValueNow = Math.round(position);
    at("stage").ariaValueText = `${clock(position)} of ${clock(seconds)}, ${genre}`;
    at("play").classList.toggle("playing", player.playing);
    at("play").ariaLabel = player.playing ? "Pause" : "Play";
    at("play").disabled = !player.playable;
    at("mute").hidden = player.playable !== false;
    if (player.playing) this.followSoon();
  }

  followSoon() {
    this.frame ??= requestAnimationFrame(() => {
      this.frame = undefined;
      this.follow();
    });
  }

  onKey(event) {
    const { player } = this;
    const moves = { ArrowRight: STEP_S, ArrowUp: STEP_S, ArrowLeft: -STEP_S, ArrowDown: -STEP_S, PageUp: LEAP_S, PageDown: -LEAP_S };
    if (event.ctrlKey || event.altKey || event.metaKey) return;
    if (event.key in moves) player.position += moves[event.key];
    else if (event.key === "Home") player.position = 0;
    else if (event.key === "End") player.position = player.seconds;
    else if (event.key === " ") player.toggle();
    else return;
    event.preventDefault();
  }

  seekByPointer(stage, frame) {
    const seek = (event) => {
      const { left, width } = frame();
      const x = event.clientX - stage.getBoundingClientRect().left - left;
      this.player.position = (x / width) * this.player.seconds;
    };
    stage.addEventListener("pointerdown", (event) => {
      if (event.button !== 0) return;
      stage.setPointerCapture(event.pointerId);
      seek(event);
    });
    stage.addEventListener("pointermove", (event) => stage.hasPointerCapture(event.pointerId) && seek(event));
  }
}

export function element(tag, properties, ...children) {
  const made = Object.assign(document.createElement(tag), properties);
  made.append(...children);
  return made;
}
