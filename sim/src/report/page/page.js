// The page around the picture: which steps are shown, the list of them, the chosen one in full, keys and pointers.
"use strict";

(() => {
  const byId = (id) => document.getElementById(id);
  const model = JSON.parse(byId("model").textContent);
  const canvas = byId("canvas");
  const picture = new Picture(model, canvas, byId("overview"));
  const list = byId("list"), rows = byId("rows"), tip = byId("tip");
  const HEIGHT = 22;
  const abouts = { lock: "Locks", call: "Calls", watch: "Watches", cluster: "Cluster", fault: "Faults", note: "Notes" };
  const shown = new Set(Object.keys(abouts));
  const parts = new Map();
  model.steps.forEach((step, index) => {
    if (step.part) parts.set(step.part, [...(parts.get(step.part) || []), index]);
  });
  let visible = [];

  const seconds = (ns) => `${(ns / 1e9).toFixed(6)} s`;
  const element = (tag, text, name) => {
    const made = document.createElement(tag);
    if (text !== undefined) made.textContent = text;
    if (name) made.className = name;
    return made;
  };

  function refilter() {
    picture.shows = (step) => shown.has(step.about);
    visible = model.steps.map((_, index) => index)
      .filter((index) => picture.shows(model.steps[index]) || picture.broke.has(index));
    rows.style.height = `${visible.length * HEIGHT}px`;
    search();
  }

  function search() {
    const wanted = byId("search").value.trim().toLowerCase();
    picture.hits = new Set(wanted === "" ? [] : visible.filter((index) => {
      const step = model.steps[index];
      return `${model.lanes[step.lane].id} ${step.text}`.toLowerCase().includes(wanted);
    }));
    byId("hits").textContent = wanted === "" ? "" : `${picture.hits.size} found`;
    fill();
    picture.draw();
  }

  // Only the rows that are seen exist.
  function fill() {
    const first = Math.max(0, Math.floor(list.scrollTop / HEIGHT) - 5);
    const last = Math.min(visible.length, Math.ceil((list.scrollTop + list.clientHeight) / HEIGHT) + 5);
    rows.replaceChildren(...visible.slice(first, last).map((index, place) => {
      const step = model.steps[index];
      const row = element("div", undefined, "row");
      row.style.top = `${(first + place) * HEIGHT}px`;
      row.classList.toggle("bad", !!step.bad);
      row.classList.toggle("hit", picture.hits.has(index));
      row.classList.toggle("broke", picture.broke.has(index));
      row.classList.toggle("chosen", index === picture.chosen);
      row.append(element("b", seconds(step.at)), element("em", model.lanes[step.lane].id), step.text);
      row.addEventListener("click", () => choose(index));
      return row;
    }));
  }

  function choose(index, span) {
    picture.chosen = index;
    picture.reveal(index, span);
    const place = lowerBound(visible, index, (one) => one);
    const top = place * HEIGHT;
    if (top < list.scrollTop || top > list.scrollTop + list.clientHeight - HEIGHT) {
      list.scrollTop = Math.max(0, top - list.clientHeight / 2);
    }
    fill();
    tell(index);
  }

  function tell(index) {
    const step = model.steps[index];
    const lane = model.lanes[step.lane].id;
    const details = byId("details");
    const broken = model.violations.filter((one) => one.step === index)
      .map((one) => element("p", `${one.invariant} broke here: ${one.detail}`, "bad"));
    const head = element("h2", `Step ${index}, ${lane}, ${seconds(step.at)}`);
    const facts = element("dl");
    const add = (term, text, names) => facts.append(element("dt", term), element("dd", text, names));
    for (const other of step.part ? parts.get(step.part) : [index]) {
      const one = model.steps[other];
      add(`${seconds(one.at)} ${model.lanes[one.lane].id}`, one.text, `${other === index ? "chosen" : ""} ${one.bad ? "bad" : ""}`.trim() || undefined);
    }
    const holds = model.bars.filter((bar) => bar.from <= step.at && step.at <= bar.to && bar.kind !== "leads");
    const then = holds.map((bar) => element("p", `${model.lanes[bar.lane].id} ${bar.text}`));
    const at = holds.length ? [element("h2", "At this moment")] : [];
    details.replaceChildren(head, ...broken, ...(step.part ? [element("p", `All of ${step.part}:`, "hint")] : []), facts, ...at, ...then);
    details.scrollTop = 0;
  }

  function go(by) {
    if (!visible.length) return;
    const from = picture.chosen === null ? lowerBound(visible, lowerBound(model.steps, picture.view[0], (one) => one.at), (one) => one) - (by > 0 ? 1 : 0)
      : lowerBound(visible, picture.chosen, (one) => one);
    choose(visible[Math.min(visible.length - 1, Math.max(0, from + by))]);
  }

  // Of several, where two believe at once: there the picture says most.
  function toViolation() {
    const one = model.violations.find(({ step }) => picture.conflictAt(step)) || model.violations[0];
    if (one) choose(one.step, Math.min(picture.end * 1.04, spanAround(one.step)));
  }

  // Wide enough to see what led to it: back to where those who believe at that step began to; but if two believe at once, so near that
  // the time for which they do is seen.
  function spanAround(step) {
    const at = model.steps[step].at;
    const conflict = picture.conflictAt(step);
    if (conflict) return Math.max((conflict.to - conflict.from) * 12, 1e6);
    const since = model.bars.filter((bar) => (bar.kind === "believed" || bar.kind === "paused") && bar.from <= at && bar.to >= at).map((bar) => bar.from);
    return Math.max((at - Math.min(at, ...since)) * 2.2, 2e9);
  }

  function nextHit(by) {
    const hits = [...picture.hits];
    if (!hits.length) return;
    const place = picture.chosen === null ? -1 : hits.findIndex((index) => index >= picture.chosen);
    const at = picture.hits.has(picture.chosen) ? place + by : place;
    choose(hits[(at + hits.length) % hits.length]);
  }

  function controls() {
    for (const [about, label] of Object.entries(abouts)) {
      const box = element("input");
      box.type = "checkbox";
      box.checked = true;
      box.addEventListener("change", () => {
        if (box.checked) shown.add(about); else shown.delete(about);
        refilter();
      });
      const around = element("label");
      around.append(box, label);
      byId("filters").append(around);
    }
    byId("in").addEventListener("click", () => picture.zoom(.5));
    byId("out").addEventListener("click", () => picture.zoom(2));
    byId("whole").addEventListener("click", () => picture.setView(-picture.end * .02, picture.end * 1.02));
    byId("jump").addEventListener("click", toViolation);
    byId("search").addEventListener("input", search);
    byId("search").addEventListener("keydown", (event) => {
      if (event.key === "Enter") nextHit(event.shiftKey ? -1 : 1);
      if (event.key === "Escape") event.target.blur();
    });
    byId("theme").addEventListener("click", () => {
      const root = document.documentElement;
      root.dataset.theme = root.dataset.theme === "dark" ? "light" : "dark";
      picture.draw();
    });
    document.querySelectorAll("header [data-step]").forEach((one) =>
      one.addEventListener("click", () => choose(Number(one.dataset.step), Math.min(picture.end * 1.04, spanAround(Number(one.dataset.step))))));
    list.addEventListener("scroll", fill);
    new ResizeObserver(() => { picture.draw(); fill(); }).observe(byId("picture"));
  }

  function keys() {
    const actions = {
      ArrowRight: () => go(1), ArrowDown: () => go(1), ArrowLeft: () => go(-1), ArrowUp: () => go(-1),
      PageDown: () => go(15), PageUp: () => go(-15), Home: () => choose(visible[0]), End: () => choose(visible[visible.length - 1]),
      "+": () => picture.zoom(.5), "=": () => picture.zoom(.5), "-": () => picture.zoom(2), 0: () => byId("whole").click(),
      v: toViolation, n: () => nextHit(1), N: () => nextHit(-1), "/": () => byId("search").focus(),
    };
    document.addEventListener("keydown", (event) => {
      if (event.target.matches("input, button") || event.ctrlKey || event.metaKey || event.altKey || !visible.length) return;
      const action = actions[event.key];
      if (action) { event.preventDefault(); action(); }
    });
  }

  function pointers() {
    const held = new Map();
    let moved = 0, apart = 0;
    canvas.addEventListener("pointerdown", (event) => {
      held.set(event.pointerId, event);
      canvas.setPointerCapture(event.pointerId);
      moved = apart = 0;
    });
    canvas.addEventListener("pointermove", (event) => {
      const before = held.get(event.pointerId);
      if (!before) return hint(event);
      tip.hidden = true;
      held.set(event.pointerId, event);
      const per = (picture.view[1] - picture.view[0]) / (picture.width - picture.gutter);
      if (held.size === 2) {
        const [one, other] = [...held.values()];
        const now = Math.abs(one.offsetX - other.offsetX);
        if (apart > 10 && now > 10) picture.zoom(apart / now, picture.at((one.offsetX + other.offsetX) / 2));
        apart = now;
        moved = 99;
        return;
      }
      moved += Math.abs(event.offsetX - before.offsetX);
      canvas.classList.toggle("dragging", moved > 4);
      if (moved > 4) picture.setView(picture.view[0] - (event.offsetX - before.offsetX) * per, picture.view[1] - (event.offsetX - before.offsetX) * per);
    });
    const release = (event) => {
      if (held.delete(event.pointerId) && moved <= 4 && event.type === "pointerup") {
        const found = picture.find(event.offsetX, event.offsetY);
        if (found) choose(found.step);
      }
      canvas.classList.remove("dragging");
    };
    canvas.addEventListener("pointerup", release);
    canvas.addEventListener("pointercancel", release);
    canvas.addEventListener("pointerleave", () => { tip.hidden = true; });
    // The page scrolls as ever; with a modifier, or sideways, the wheel is the picture's.
    canvas.addEventListener("wheel", (event) => {
      if (event.ctrlKey || event.metaKey || event.shiftKey) picture.zoom(Math.exp((event.deltaY || event.deltaX) / 300), picture.at(event.offsetX));
      else if (Math.abs(event.deltaX) > Math.abs(event.deltaY)) {
        const by = event.deltaX * (picture.view[1] - picture.view[0]) / (picture.width - picture.gutter);
        picture.setView(picture.view[0] + by, picture.view[1] + by);
      } else return;
      event.preventDefault();
    }, { passive: false });
    const overview = byId("overview");
    const centre = (event) => {
      const at = event.offsetX / overview.clientWidth * picture.end, span = picture.view[1] - picture.view[0];
      picture.setView(at - span / 2, at + span / 2);
    };
    overview.addEventListener("pointerdown", (event) => { overview.setPointerCapture(event.pointerId); centre(event); });
    overview.addEventListener("pointermove", (event) => { if (event.buttons) centre(event); });
  }

  function hint(event) {
    const found = picture.find(event.offsetX, event.offsetY);
    tip.hidden = !found;
    if (!found) return;
    tip.textContent = found.text.length > 220 ? `${found.text.slice(0, 220)} ...` : found.text;
    const right = event.offsetX > picture.width / 2;
    tip.style.left = right ? "" : `${event.offsetX + 14}px`;
    tip.style.right = right ? `${picture.width - event.offsetX + 14}px` : "";
    tip.style.top = `${Math.min(event.offsetY + 40, picture.height - 20)}px`;
  }

  function legend() {
    const entry = (style, text) => {
      const around = element("span"), patch = element("i");
      patch.style.cssText = style;
      around.append(patch, text);
      byId("legend").append(around);
    };
    model.names.forEach((name, index) => entry(`background:${PALETTE[index % PALETTE.length]}`, name));
    entry("background:#888", "filled: the client believes it holds");
    entry("border:1px solid #888", "outlined: it owns by etcd's keys");
    entry("background:var(--bad-paper);border:1px solid var(--bad)", "two believe at once");
    entry("background:var(--shade)", "a fault is active");
    entry("background:var(--down)", "down or paused");
    entry("background:#2a8f5b", "watch");
    entry("background:var(--faint)", "request, answer (a cross: lost)");
    byId("legend").append(element("span", "Drag to move, ctrl + wheel or pinch to zoom"));
  }

  if (matchMedia("(prefers-color-scheme: dark)").matches) document.documentElement.dataset.theme = "dark";
  controls();
  keys();
  pointers();
  legend();
  refilter();
  picture.paint();
  if (model.violations.length) toViolation(); else picture.setView(-picture.end * .02, picture.end * 1.02);
  // For whoever drives this page from outside.
  window.tenure = { model, picture, choose };
  document.body.dataset.ready = "yes";
})();
