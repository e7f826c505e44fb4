// Where in the song we are: by the audio element, or, where the browser cannot play the file, on our own.

export class Player extends EventTarget {
  constructor(audio) {
    super();
    this.audio = audio;
    this.seconds = 0;
    this.playable = false;
    this.aside = 0;
    for (const event of ["play", "pause", "ended"]) audio.addEventListener(event, () => this.changed(event));
    audio.addEventListener("seeked", () => this.changed("moved"));
    audio.addEventListener("error", () => audio.getAttribute("src") && this.becomePlayable(false));
    audio.addEventListener("loadedmetadata", () => this.findEnd());
  }

  load(file, seconds) {
    this.unload();
    this.seconds = seconds;
    this.audio.src = URL.createObjectURL(file);
  }

  unload() {
    this.audio.pause();
    if (this.audio.src) URL.revokeObjectURL(this.audio.src);
    this.audio.removeAttribute("src");
    this.audio.load();
    this.aside = 0;
    this.becomePlayable(null);
  }

  // What browsers record has no length until its end was sought, and cannot be sought before.
  findEnd() {
    const { audio } = this;
    if (Number.isFinite(audio.duration)) {
      this.becomePlayable(true);
      return;
    }
    const found = () => {
      if (!Number.isFinite(audio.duration)) return;
      audio.removeEventListener("durationchange", found);
      audio.addEventListener("seeked", () => this.becomePlayable(true), { once: true });
      audio.currentTime = 0;
    };
    audio.addEventListener("durationchange", found);
    audio.currentTime = Number.MAX_SAFE_INTEGER;
  }

  becomePlayable(playable) {
    this.playable = playable;
    if (playable && this.aside) this.audio.currentTime = this.aside;
    this.changed("playable");
  }

  get position() {
    return Math.min(this.playable ? this.audio.currentTime : this.aside, this.seconds);
  }

  set position(seconds) {
    this.aside = Math.min(this.seconds, Math.max(0, seconds));
    if (this.playable) this.audio.currentTime = this.aside;
    this.changed("moved");
  }

  get playing() {
    return !this.audio.paused && !this.audio.ended;
  }

  async toggle() {
    if (!this.playable) return;
    if (this.playing) this.audio.pause();
    else await this.audio.play().catch(() => this.becomePlayable(false));
  }

  changed(what) {
    this.dispatchEvent(new CustomEvent("change", { detail: what }));
  }
}
