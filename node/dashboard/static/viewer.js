// The viewer of slices: a slider through the slices, the segments' opacity, each segment on or off.
// Pictures come from the server; arrow keys work on the sliders, and on the pictures once they have the focus.
(function () {
  "use strict";

  function start(viewer) {
    if (viewer.dataset.started) return;
    viewer.dataset.started = "yes";
    const base = viewer.dataset.viewer;
    const labels = viewer.dataset.labels.split("|");
    const slider = viewer.querySelector("[data-frame]");
    const opacity = viewer.querySelector("[data-opacity]");
    const ticks = viewer.querySelectorAll("[data-segment]");
    const panes = viewer.querySelector("[data-panes]");
    viewer.querySelector("[data-tools]").hidden = false;
    panes.tabIndex = 0;

    function show() {
      const frame = Number(slider.value);
      viewer.querySelector("[data-place]").textContent = String(frame + 1);
      viewer.querySelector("[data-label]").textContent = labels[frame] || "";
      for (const image of viewer.querySelectorAll("[data-source]")) image.src = `${base}/${frame}/source.png`;
      for (const layer of viewer.querySelectorAll("[data-layer]")) layer.src = `${base}/${frame}/segment-${layer.dataset.layer}.png`;
      for (const near of [frame - 1, frame + 1]) {
        if (near >= 0 && near <= Number(slider.max)) new Image().src = `${base}/${near}/source.png`;
      }
    }

    function paint() {
      for (const layer of viewer.querySelectorAll("[data-layer]")) {
        const tick = viewer.querySelector(`[data-segment="${layer.dataset.layer}"]`);
        layer.hidden = !tick.checked;
        layer.style.opacity = String(Number(opacity.value) / 100);
      }
    }

    slider.addEventListener("input", show);
    opacity.addEventListener("input", paint);
    for (const tick of ticks) tick.addEventListener("change", paint);
    function step(by) {
      slider.value = String(Number(slider.value) + by);
      show();
    }
    panes.addEventListener("keydown", (event) => {
      const by = { ArrowUp: -1, ArrowLeft: -1, ArrowDown: 1, ArrowRight: 1, PageUp: -10, PageDown: 10 }[event.key];
      if (by === undefined) return;
      event.preventDefault();
      step(by);
    });
    panes.addEventListener("wheel", (event) => {
      if (document.activeElement !== panes) return;
      event.preventDefault();
      step(Math.sign(event.deltaY));
    }, { passive: false });
    paint();
  }

  function find() {
    document.querySelectorAll("[data-viewer]").forEach(start);
  }
  document.addEventListener("htmx:afterSettle", find);
  find();
})();
