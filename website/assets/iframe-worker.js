// Browsers give no workers to pages that are opened as files. The search is then run in a hidden
// frame instead, which has a worker's interface as far as the search needs it.
if (location.protocol === "file:") {
  window.Worker = class extends EventTarget {
    #frame = document.createElement("iframe");
    #ready;

    constructor(url) {
      super();
      this.#frame.hidden = true;
      this.#ready = new Promise((resolve) => {
        this.#frame.addEventListener("load", resolve, { once: true });
      });
      this.#frame.srcdoc = `<script>
        window.postMessage = (message) => parent.postMessage({ worker: message }, "*");
        window.importScripts = (...urls) => urls.reduce((before, url) => before.then(
          () => new Promise((resolve, reject) => {
            const script = document.createElement("script");
            script.src = url;
            script.onload = resolve;
            script.onerror = reject;
            document.body.append(script);
          })), Promise.resolve());
      </script><body><script src="${url}"></script></body>`;
      addEventListener("message", (event) => {
        if (event.source === this.#frame.contentWindow && event.data && "worker" in event.data) {
          const message = new MessageEvent("message", { data: event.data.worker });
          this.dispatchEvent(message);
          this.onmessage?.(message);
        }
      });
      document.body.append(this.#frame);
    }

    postMessage(message) {
      this.#ready.then(() => {
        const event = new MessageEvent("message", { data: structuredClone(message) });
        this.#frame.contentWindow.dispatchEvent(event);
      });
    }

    terminate() {
      this.#frame.remove();
    }
  };
}
