// Talks to the service. Every fault is a Failure, whose words may be shown.

import { sentence } from "./words.js";

let key = "";

export function useKey(value) {
  key = value;
}

const HEADLINES = {
  "bad-request": "The song did not arrive whole",
  "unauthorised": "This service asks for a key",
  "slow-body": "The connection is too slow",
  "too-large": "This file is too large",
  "too-long": "This recording is too long",
  "not-audio": "This is not a song",
  "undecodable": "This song cannot be decoded",
  "incomplete": "This song is too short",
  "unknown-model": "This model is no longer here",
  "busy": "Many songs are waiting",
  "timeout": "This took too long",
};
// Sending the same song again would fail again.
const FINAL = new Set(["too-large", "too-long", "not-audio", "undecodable", "incomplete"]);
const REMEDIES = {
  "bad-request": "Try it again.",
  "slow-body": "Try again where the connection is better, or send a smaller file, such as an MP3.",
  "too-large": "Convert it to MP3 or Opus, which are much smaller, or cut out a part of it.",
  "too-long": "Cut out a part of it and send that.",
  "unauthorised": "Whoever runs this service can give you one.",
  "unknown-model": "Load this page again to see the models that are served now.",
  "timeout": "Try it again; if it fails again, convert the song to WAV or FLAC.",
  "internal": "Try it again; if it fails again, tell whoever runs this service the number below.",
};

export class Failure extends Error {
  constructor(kind, headline, detail, remedy = "", id = "") {
    super(detail);
    Object.assign(this, { kind, headline, detail, remedy, id, final: FINAL.has(kind) });
  }
}

// The problem+json of an answer, in words.
function failureOf(text, status, retryAfter) {
  let problem = {};
  try {
    problem = JSON.parse(text);
  } catch {
    // A proxy in between may answer with something else.
  }
  const kind = String(problem.type ?? "").split(":").pop();
  const detail = problem.detail ? sentence(problem.detail) : `The service answered with status ${status}.`;
  const remedy = retryAfter ? `Try again in ${retryAfter} seconds.` : REMEDIES[kind] ?? "";
  return new Failure(kind, HEADLINES[kind] ?? problem.title ?? "Something went wrong", detail, remedy, status < 500 ? "" : problem.request_id);
}

function unreachable() {
  return new Failure("unreachable", "The service cannot be reached", "The connection broke before there was an answer.",
    "Check that you are online and try again. If it breaks with this song alone, the song may be larger than the service takes.");
}

async function get(path, signal) {
  let answer;
  try {
    answer = await fetch(path, { signal, headers: key ? { authorization: `Bearer ${key}` } : {} });
  } catch (error) {
    throw error.name === "AbortError" ? error : unreachable();
  }
  if (!answer.ok) throw failureOf(await answer.text(), answer.status, answer.headers.get("retry-after"));
  return answer;
}

export const getJson = async (path) => (await get(path)).json();
export const getText = async (path) => (await get(path)).text();
export const getBlob = async (path, signal) => (await get(path, signal)).blob();

// Sends a song, and resolves to its analysis. XMLHttpRequest, since fetch tells no progress of uploads.
export function analyse(song, model, { onSent, signal }) {
  return new Promise((resolve, reject) => {
    const request = new XMLHttpRequest();
    const form = new FormData();
    form.append("file", song, song.name);
    request.open("POST", `/v1/analyse?${new URLSearchParams({ model })}`);
    if (key) request.setRequestHeader("authorization", `Bearer ${key}`);
    request.upload.onprogress = (event) => onSent(event.lengthComputable ? event.loaded / event.total : 0);
    request.upload.onload = () => onSent(1);
    request.onload = () => {
      if (request.status === 200) resolve(JSON.parse(request.responseText));
      else reject(failureOf(request.responseText, request.status, request.getResponseHeader("retry-after")));
    };
    request.onerror = () => reject(unreachable());
    request.onabort = () => reject(new DOMException("cancelled", "AbortError"));
    signal.addEventListener("abort", () => request.abort());
    request.send(form);
  });
}
