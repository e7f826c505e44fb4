// The page: its states, and what leads from one to the next.

import { prepare } from "./drawing.js";
import { Recorder } from "./recorder.js";
import { element, Result } from "./result.js";
import { analyse, Failure, getBlob, getJson, getText, useKey } from "./service.js";
import { clock, genresOf } from "./words.js";

const SECTIONS = ["start", "recording", "busy", "problem", "result"];

const at = (id) => document.getElementById(id);
const result = new Result();

let models = [];
let opening = null; // promise that the models and examples are known
let song = null; // the file that is sent or shown
let work = null; // AbortController of what runs
let recorder = null;
let again = start; // what "Try again" does

function show(section) {
  for (const each of SECTIONS) at(each).hidden = each !== section;
  at("status").textContent = "";
  at(section === "result" ? "verdict" : `${section}-title`).focus({ preventScroll: true });
  window.scrollTo(0, 0);
}

const model = () => models.find(({ name }) => name === at("model").value);

// Runs what may fail with a Failure, which is then shown; `retry` is how to try again.
async function attempt(action, retry) {
  try {
    return await action();
  } catch (error) {
    if (error.name !== "AbortError") complain(error, retry);
    return undefined;
  }
}

function complain(error, retry) {
  const failure = error instanceof Failure ? error
    : new Failure("page", "Something went wrong on this page", String(error), "Load the page again.");
  again = retry;
  at("problem-song").textContent = song?.name ?? "";
  at("problem-title").textContent = failure.headline;
  at("problem-detail").textContent = failure.detail;
  at("problem-remedy").textContent = failure.remedy;
  at("problem-id").textContent = failure.id ? `Request ${failure.id}` : "";
  at("key-form").hidden = failure.kind !== "unauthorised";
  at("retry").hidden = failure.final || failure.kind === "unauthorised";
  show("problem");
}

// Start

async function start() {
  await attempt(async () => {
    await opened();
    if (!at("problem").hidden) show("start");
  }, start);
}

// Asks the service once what it has, and again after a failure.
function opened() {
  opening ??= askForModels().catch((error) => {
    opening = null;
    throw error;
  });
  return opening;
}

async function askForModels() {
  const [served, music] = await Promise.all([getJson("/v1/models"), getJson("/v1/examples")]);
  ({ models } = served);
  at("model").replaceChildren(...models.map(({ name }) => new Option(name, name, false, name === served.default)));
  at("model").disabled = models.length < 2;
  describeModel();
  listExamples(music.examples);
}

function describeModel() {
  const { name, protocol } = model();
  at("protocol").textContent = protocol ? `${name}, split protocol “${protocol}”` : name;
  at("card-link").href = `/v1/models/${encodeURIComponent(name)}/card`;
}

function listExamples(examples) {
  at("examples").hidden = !examples.length;
  at("example-list").replaceChildren(...examples.map(({ name, title, seconds, url }) => {
    const button = element("button", { type: "button" }, title, element("span", {}, clock(seconds)));
    button.addEventListener("click", () => takeExample(name, url));
    return element("li", {}, button);
  }));
}

function takeExample(name, url) {
  const signal = begin("Fetching", name);
  return attempt(async () => {
    const audio = await getBlob(url, signal);
    take(new File([audio], name, { type: audio.type }));
  }, () => takeExample(name, url));
}

// Sending

function take(file) {
  song = file;
  return classify();
}

// Ends what runs, shows that something else does, and returns the signal that ends that.
function begin(title, name) {
  work?.abort();
  work = new AbortController();
  result.clear();
  at("busy-title").textContent = title;
  at("busy-name").textContent = name;
  at("progress").removeAttribute("value");
  show("busy");
  return work.signal;
}

async function classify() {
  const signal = begin("Sending", song.name);
  await attempt(async () => {
    await opened().finally(() => signal.throwIfAborted()); // a file may be given before them
    const analysis = await analyse(song, at("model").value, { onSent, signal });
    result.fill(song, analysis, model().labels);
    show("result");
    at("status").textContent = `${genresOf(analysis.track.label)}. ${at("certainty").textContent}`;
  }, classify);
}

function onSent(share) {
  if (share < 1) {
    at("progress").value = share;
    return;
  }
  at("progress").removeAttribute("value");
  at("busy-title").textContent = "Listening";
  at("status").textContent = "Listening";
}

function another() {
  work?.abort();
  result.clear();
  song = null;
  at("file").value = "";
  show("start");
}

// Recording

async function record() {
  await attempt(async () => {
    recorder = await Recorder.open();
    show("recording");
    meter();
  }, record);
}

function meter() {
  if (!recorder) return;
  at("recorded").textContent = clock(recorder.seconds);
  const { context, width, height, colour } = prepare(at("level"));
  const loud = Math.max(0.02, Math.sqrt(recorder.level()));
  for (let i = 0; i < 21; i += 1) {
    const far = Math.abs(i - 10) / 10;
    const bar = Math.max(4, height * loud * (1 - far ** 2));
    context.fillStyle = colour(far < loud ? "accent" : "line");
    context.fillRect((i + 0.3) * (width / 21), (height - bar) / 2, width / 50, bar);
  }
  if (recorder.full) stop();
  else requestAnimationFrame(meter);
}

async function stop() {
  const done = recorder;
  recorder = null;
  const file = await done.close();
  return file.size ? take(file)
    : complain(new Failure("empty", "Nothing was recorded", "The recording ended before it began.", "Record for longer."), record);
}

async function discard() {
  const done = recorder;
  recorder = null;
  show("start");
  await done.close();
}

// Card and download

async function showCard(event) {
  if (event.ctrlKey || event.metaKey || event.shiftKey) return;
  event.preventDefault();
  const shown = SECTIONS.find((each) => !at(each).hidden);
  await attempt(async () => {
    const page = new DOMParser().parseFromString(await getText(at("card-link").href), "text/html");
    at("card-body").replaceChildren(...page.querySelector("main").childNodes);
    at("card").showModal();
    at("card-body").scrollTop = 0;
  }, () => show(shown));
}

function download() {
  const text = `${JSON.stringify(result.analysis, null, 2)}\n`;
  const link = element("a", { href: URL.createObjectURL(new Blob([text], { type: "application/json" })), download: `${song.name}.genre.json` });
  link.click();
  setTimeout(() => URL.revokeObjectURL(link.href), 1000);
}

// Dragging files over the page

const holdsFile = (event) => event.dataTransfer?.types.includes("Files");

function onDrag(event) {
  if (!holdsFile(event)) return;
  event.preventDefault();
  at("veil").hidden = false;
}

function onDrop(event) {
  if (!holdsFile(event)) return;
  event.preventDefault();
  at("veil").hidden = true;
  const [file] = event.dataTransfer.files;
  if (file && !recorder) take(file);
}

at("choose").addEventListener("click", () => at("file").click());
at("file").addEventListener("change", () => at("file").files.length && take(at("file").files[0]));
at("record").addEventListener("click", record);
at("stop").addEventListener("click", stop);
at("discard").addEventListener("click", discard);
at("cancel").addEventListener("click", another);
at("retry").addEventListener("click", () => again());
at("key-form").addEventListener("submit", (event) => {
  event.preventDefault();
  useKey(at("key").value);
  again();
});
at("model").addEventListener("change", () => {
  describeModel();
  if (song) classify();
});
at("card-link").addEventListener("click", showCard);
at("download").addEventListener("click", download);
for (const button of document.querySelectorAll(".another")) button.addEventListener("click", another);
addEventListener("dragover", onDrag);
addEventListener("dragleave", (event) => { if (!event.relatedTarget) at("veil").hidden = true; });
addEventListener("drop", onDrop);
addEventListener("keydown", (event) => { if (event.key === "Escape" && !at("busy").hidden) another(); });
opened().catch((error) => recorder || complain(error, start)); // what is recorded asks again
