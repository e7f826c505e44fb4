// Recording from the microphone.

import { Failure } from "./service.js";

// What browsers do for speech would change the music.
const AS_IT_SOUNDS = { echoCancellation: false, noiseSuppression: false, autoGainControl: false };
const LONGEST_S = 300;
const TYPES = [["audio/webm;codecs=opus", "webm"], ["audio/mp4", "m4a"], ["audio/ogg;codecs=opus", "ogg"]];

export class Recorder {
  static async open() {
    if (!navigator.mediaDevices?.getUserMedia || !window.MediaRecorder) {
      throw new Failure("no-microphone", "This page cannot record",
        "Browsers let a page use the microphone over HTTPS or on this computer (localhost) only.",
        "Open the page with https://, or record with another program and drop the file here.");
    }
    try {
      return new Recorder(await navigator.mediaDevices.getUserMedia({ audio: AS_IT_SOUNDS }));
    } catch (error) {
      throw refusal(error);
    }
  }

  constructor(stream) {
    this.stream = stream;
    [this.type, this.extension] = TYPES.find(([type]) => MediaRecorder.isTypeSupported(type)) ?? ["", "webm"];
    this.recorder = new MediaRecorder(stream, this.type ? { mimeType: this.type, audioBitsPerSecond: 192000 } : {});
    this.parts = [];
    this.recorder.addEventListener("dataavailable", ({ data }) => data.size && this.parts.push(data));
    this.stopped = new Promise((resolve) => this.recorder.addEventListener("stop", resolve, { once: true }));
    this.sound = new AudioContext();
    this.analyser = new AnalyserNode(this.sound, { fftSize: 2048 });
    this.sound.createMediaStreamSource(stream).connect(this.analyser);
    this.samples = new Float32Array(this.analyser.fftSize);
    this.recorder.start(1000);
    this.started = performance.now();
  }

  get seconds() {
    return (performance.now() - this.started) / 1000;
  }

  get full() {
    return this.seconds >= LONGEST_S;
  }

  // Greatest sample of the last moment.
  level() {
    this.analyser.getFloatTimeDomainData(this.samples);
    return this.samples.reduce((most, sample) => Math.max(most, Math.abs(sample)), 0);
  }

  async close() {
    if (this.recorder.state !== "inactive") this.recorder.stop();
    await this.stopped;
    this.stream.getTracks().forEach((track) => track.stop());
    await this.sound.close();
    return new File(this.parts, `recording.${this.extension}`, { type: this.recorder.mimeType });
  }
}

function refusal(error) {
  if (error.name === "NotAllowedError") {
    return new Failure("no-microphone", "The microphone is not allowed", "This page may not use the microphone.",
      "Allow it in the browser's settings for this page (the symbol beside the address), then try again.");
  }
  if (error.name === "NotFoundError") {
    return new Failure("no-microphone", "There is no microphone", "The browser finds no microphone.",
      "Connect one and try again, or drop a file instead.");
  }
  return new Failure("no-microphone", "The microphone does not work", `The browser says: ${error.message || error.name}.`,
    "Close other programs that use it, and try again.");
}
