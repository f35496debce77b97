// The picture: lanes over time, on a canvas. It draws what lies within the view and nothing else, so that its cost follows
// what is seen and not how long the run was.
"use strict";

const ROW = 15;      // a bar's height and its gap
const LANE_PAD = 20; // of a lane, below its bars: room for the steps
const AXIS = 34;   // times above, flags below them
const PALETTE = ["#2f6fd0", "#c2560a", "#2a8f5b", "#8a4fc7", "#b8862b", "#1d8fa3", "#c23b7a", "#6b7a1f"];

function css(name) {
  return getComputedStyle(document.documentElement).getPropertyValue(name).trim();
}

// The first place in a list, sorted by key, whose key is not below the value.
function lowerBound(list, value, key) {
  let low = 0, high = list.length;
  while (low < high) {
    const middle = (low + high) >> 1;
    if (key(list[middle]) < value) low = middle + 1; else high = middle;
  }
  return low;
}

class Picture {
  constructor(model, canvas, overview) {
    this.model = model;
    this.canvas = canvas;
    this.overview = overview;
    this.shows = () => true;
    this.chosen = null;
    this.hits = new Set();
    this.broke = new Set(model.violations.map((one) => one.step));
    this.end = Math.max(model.end_ns, 1);
    this.view = [0, this.end];
    this.longest = model.arrows.reduce((most, one) => Math.max(most, one.arrives - one.sent), 0);
    this.layOut();
    this.conflicts = this.findConflicts();
    this.troubled = this.union(model.faults);
    this.dirty = false;
  }

  // Bars of one lane that overlap stand below each other: owned and believed side by side for the same tenure.
  layOut() {
    const { model } = this;
    const bars = model.lanes.map(() => []);
    model.bars.forEach((bar) => bars[bar.lane].push(bar));
    const faults = model.faults.map((fault) => ({ ...fault, kind: "fault", lane: 0 }));
    bars[0].push(...faults);
    let top = AXIS;
    this.lanes = model.lanes.map((lane, index) => {
      const rows = [];
      const lasting = bars[index].filter((bar) => bar.kind !== "down" && bar.kind !== "paused");
      lasting.sort((a, b) => a.from - b.from);
      for (const bar of lasting) {
        let row = rows.findIndex((until) => until <= bar.from);
        if (row < 0) row = rows.push(0) - 1;
        rows[row] = bar.to;
        bar.row = row;
      }
      const height = Math.max(rows.length, lane.kind === "client" ? 2 : 1) * ROW + LANE_PAD;
      const laid = { ...lane, top, height, bars: bars[index], line: top + height - LANE_PAD / 2 - 2 };
      top += height;
      return laid;
    });
    this.height = top + 6;
  }

  // The times in which at least one of these lasts.
  union(lasting) {
    const merged = [];
    for (const { from, to } of [...lasting].sort((a, b) => a.from - b.from)) {
      const last = merged[merged.length - 1];
      if (last && from <= last[1]) last[1] = Math.max(last[1], to); else merged.push([from, to]);
    }
    return merged;
  }

  // When two believed, at once, that they hold what only one may.
  findConflicts() {
    const found = [];
    const believed = this.model.bars.filter((bar) => bar.kind === "believed").sort((a, b) => a.from - b.from);
    believed.forEach((one, index) => {
      for (let next = index + 1; next < believed.length && believed[next].from < one.to; next++) {
        const other = believed[next];
        if (other.name === one.name && other.lane !== one.lane && !(one.shared && other.shared)) {
          found.push({ from: other.from, to: Math.min(one.to, other.to), lanes: [one.lane, other.lane] });
        }
      }
    });
    return found;
  }

  // The one that is on at a step, if there is one.
  conflictAt(step) {
    const { at } = this.model.steps[step];
    return this.conflicts.find((one) => one.from <= at && at <= one.to);
  }

  get gutter() { return this.width < 600 ? 40 : 64; }
  x(at) { return this.gutter + (at - this.view[0]) / (this.view[1] - this.view[0]) * (this.width - this.gutter); }
  at(x) { return this.view[0] + (x - this.gutter) / (this.width - this.gutter) * (this.view[1] - this.view[0]); }

  setView(from, to) {
    const span = Math.min(Math.max(to - from, 1e5), this.end * 1.04);
    from = Math.min(Math.max(from, -this.end * 0.02), this.end * 1.02 - span);
    this.view = [from, from + span];
    this.draw();
  }

  zoom(factor, at = (this.view[0] + this.view[1]) / 2) {
    this.setView(at - (at - this.view[0]) * factor, at + (this.view[1] - at) * factor);
  }

  // Moves the view so that the step is well inside; a span in nanoseconds zooms, too.
  reveal(index, span) {
    const at = this.model.steps[index].at;
    const [from, to] = this.view;
    if (span) return this.setView(at - span * 0.6, at + span * 0.4);
    const margin = (to - from) * 0.05;
    if (at < from + margin || at > to - margin) this.setView(at - (to - from) / 2, at + (to - from) / 2);
    else this.draw();
  }

  isInView(index) {
    const at = this.model.steps[index].at;
    return at >= this.view[0] && at <= this.view[1];
  }

  place(index) {
    const step = this.model.steps[index];
    return [this.x(step.at), this.lanes[step.lane].line];
  }

  draw() {
    if (this.dirty) return;
    this.dirty = true;
    requestAnimationFrame(() => { this.dirty = false; this.paint(); });
  }

  size(canvas, height) {
    const ratio = window.devicePixelRatio || 1;
    const width = canvas.clientWidth;
    if (canvas.width !== Math.round(width * ratio) || canvas.height !== Math.round(height * ratio)) {
      canvas.width = Math.round(width * ratio);
      canvas.height = Math.round(height * ratio);
      canvas.style.height = `${height}px`;
    }
    const pen = canvas.getContext("2d");
    pen.setTransform(ratio, 0, 0, ratio, 0, 0);
    pen.clearRect(0, 0, width, height);
    return [pen, width];
  }

  paint() {
    const [pen, width] = this.size(this.canvas, this.height);
    this.width = width;
    this.colors = Object.fromEntries(["paper", "ink", "faint", "line", "panel", "accent", "bad", "shade", "down"]
      .map((name) => [name, css(`--${name}`)]));
    pen.font = "11px system-ui, sans-serif";
    pen.textBaseline = "middle";
    this.paintGround(pen);
    pen.save();
    pen.beginPath();
    pen.rect(this.gutter, 0, width - this.gutter, this.height);
    pen.clip();
    this.paintTime(pen);
    this.lanes.forEach((lane) => this.paintLane(pen, lane));
    this.paintConflicts(pen);
    this.paintArrows(pen);
    this.paintSteps(pen);
    pen.restore();
    this.paintOverview();
  }

  paintGround(pen) {
    const { colors, width } = this;
    this.lanes.forEach((lane, index) => {
      if (index % 2) { pen.fillStyle = colors.panel; pen.fillRect(0, lane.top, width, lane.height); }
      pen.fillStyle = colors.ink;
      pen.fillText(lane.id === "world" ? "faults" : lane.id, 8, lane.top + lane.height / 2, this.gutter - 10);
    });
    pen.strokeStyle = colors.line;
    pen.beginPath();
    pen.moveTo(this.gutter + .5, 0);
    pen.lineTo(this.gutter + .5, this.height);
    pen.stroke();
  }

  paintTime(pen) {
    const { colors, model } = this;
    pen.fillStyle = colors.shade;
    for (const [from, to] of this.troubled) {
      const left = this.x(from), right = this.x(to);
      if (right >= this.gutter && left <= this.width) pen.fillRect(left, AXIS, Math.max(right - left, 1), this.height - AXIS);
    }
    const span = this.view[1] - this.view[0];
    const most = (this.width - this.gutter) / 80;
    let tick = 1e3, round = 0;
    while (span / tick > most) tick *= [2, 2.5, 2][round++ % 3];
    const digits = Math.max(0, Math.min(6, Math.ceil(-Math.log10(tick / 1e9))));
    pen.fillStyle = colors.faint;
    pen.strokeStyle = colors.line;
    for (let at = Math.ceil(Math.max(this.view[0], 0) / tick) * tick; at <= this.view[1]; at += tick) {
      const x = Math.round(this.x(at)) + .5;
      pen.beginPath(); pen.moveTo(x, 2); pen.lineTo(x, this.height); pen.stroke();
      pen.fillText(`${(at / 1e9).toFixed(digits)} s`, x + 3, 9);
    }
    const taken = [];
    if (model.calm_ns !== null) this.flag(pen, model.calm_ns, "calm", colors.faint, taken);
    this.broke.forEach((step) => this.flag(pen, model.steps[step].at, "violation", colors.bad, taken));
  }

  // Where a flag's word would cover another's, it goes below.
  flag(pen, at, text, color, taken) {
    const x = Math.round(this.x(at)) + .5;
    pen.save();
    pen.strokeStyle = pen.fillStyle = color;
    pen.setLineDash([4, 3]);
    pen.beginPath(); pen.moveTo(x, 0); pen.lineTo(x, this.height); pen.stroke();
    pen.font = "600 11px system-ui, sans-serif";
    const width = pen.measureText(text).width;
    const left = x + 4 + width > this.width ? x - width - 4 : x + 4;
    const beside = taken.filter((one) => one.left < left + width && left < one.right).map((one) => one.row);
    const row = [...taken.keys(), taken.length].find((row) => !beside.includes(row));
    taken.push({ left, right: left + width, row });
    pen.fillText(text, left, 24 + 11 * row);
    pen.restore();
  }

  paintLane(pen, lane) {
    const { colors } = this;
    for (const bar of lane.bars) {
      const from = Math.max(this.x(bar.from), this.gutter - 4), to = Math.min(this.x(bar.to), this.width + 4);
      if (to < this.gutter || from > this.width) continue;
      const width = Math.max(to - from, 2);
      if (bar.kind === "down" || bar.kind === "paused") {
        pen.fillStyle = colors.down;
        pen.fillRect(from, lane.top + 1, width, lane.height - 2);
        this.write(pen, bar.kind === "down" ? "down" : "paused", from, lane.line + 1, width, colors.ink);
        continue;
      }
      const y = lane.top + 3 + bar.row * ROW, height = ROW - 4;
      const color = bar.kind === "fault" ? "#c47800" : bar.kind === "leads" ? "#50708f" : PALETTE[bar.name % PALETTE.length];
      if (bar.kind === "owned") {
        pen.fillStyle = `${color}33`;
        pen.fillRect(from, y, width, height);
        pen.strokeStyle = color;
        pen.strokeRect(from + .5, y + .5, width - 1, height - 1);
        this.write(pen, "owns in etcd", from, y + height / 2, width, colors.ink);
      } else {
        pen.fillStyle = color;
        pen.fillRect(from, y, width, height);
        this.write(pen, bar.kind === "believed" ? bar.text.replace("believes that it holds the ", "believes: ") : bar.text, from, y + height / 2, width, "#fff");
      }
    }
    pen.strokeStyle = colors.line;
    pen.beginPath(); pen.moveTo(this.gutter, lane.line + .5); pen.lineTo(this.width, lane.line + .5); pen.stroke();
  }

  write(pen, text, from, y, width, color) {
    const x = Math.max(from, this.gutter) + 3;
    const room = Math.min(from + width, this.width) - x - 2;
    if (room < 24) return;
    pen.save();
    pen.beginPath(); pen.rect(x, y - 8, room, 16); pen.clip();
    pen.fillStyle = color;
    pen.fillText(text, x, y);
    pen.restore();
  }

  paintConflicts(pen) {
    pen.strokeStyle = this.colors.bad;
    for (const one of this.conflicts) {
      const from = this.x(one.from), to = this.x(one.to);
      if (to < this.gutter || from > this.width) continue;
      const tops = one.lanes.map((lane) => this.lanes[lane]);
      const top = Math.min(...tops.map((lane) => lane.top)), bottom = Math.max(...tops.map((lane) => lane.top + lane.height));
      pen.fillStyle = `${this.colors.bad}2e`;
      pen.fillRect(from, top, Math.max(to - from, 3), bottom - top);
      pen.lineWidth = 2;
      pen.strokeRect(from, top + 1, Math.max(to - from, 3), bottom - top - 2);
      pen.lineWidth = 1;
      // Beside a mark that is narrower than its words; before it where the picture ends.
      const text = "two believe at once", room = pen.measureText(text).width + 6;
      this.write(pen, text, from + room > this.width ? from - room : from, bottom - 8, Math.max(to - from, room), this.colors.bad);
    }
  }

  paintArrows(pen) {
    const { model, colors } = this;
    const first = lowerBound(model.arrows, this.view[0] - this.longest, (one) => one.sent);
    const last = lowerBound(model.arrows, this.view[1], (one) => one.sent);
    const chosen = this.chosen === null ? undefined : model.steps[this.chosen].part;
    const crowded = last - first > 1500;
    for (let index = first; index < last; index++) {
      const arrow = model.arrows[index];
      const step = model.steps[arrow.step];
      if (!this.shows(step)) continue;
      const marked = chosen !== undefined && step.part === chosen;
      if (crowded && !arrow.lost && !marked) continue;
      const color = marked ? colors.accent : arrow.lost || arrow.kind === "refusal" ? colors.bad : arrow.kind === "watch" ? "#2a8f5b" : colors.faint;
      pen.strokeStyle = pen.fillStyle = color;
      pen.globalAlpha = marked ? 1 : .55;
      pen.lineWidth = marked ? 2 : 1;
      let [x1, y1] = [this.x(arrow.sent), this.lanes[arrow.from].line];
      let [x2, y2] = [this.x(arrow.arrives), this.lanes[arrow.to].line];
      if (arrow.lost) { x2 = x1 + (x2 - x1) / 2; y2 = y1 + (y2 - y1) / 2; }
      pen.beginPath(); pen.moveTo(x1, y1); pen.lineTo(x2, y2); pen.stroke();
      if (arrow.lost) {
        pen.beginPath();
        pen.moveTo(x2 - 4, y2 - 4); pen.lineTo(x2 + 4, y2 + 4); pen.moveTo(x2 + 4, y2 - 4); pen.lineTo(x2 - 4, y2 + 4);
        pen.stroke();
      } else {
        const turn = Math.atan2(y2 - y1, x2 - x1);
        pen.beginPath();
        pen.moveTo(x2, y2);
        pen.lineTo(x2 - 7 * Math.cos(turn - .35), y2 - 7 * Math.sin(turn - .35));
        pen.lineTo(x2 - 7 * Math.cos(turn + .35), y2 - 7 * Math.sin(turn + .35));
        pen.fill();
      }
    }
    pen.globalAlpha = 1;
    pen.lineWidth = 1;
  }

  paintSteps(pen) {
    const { model, colors } = this;
    const first = lowerBound(model.steps, this.view[0], (one) => one.at);
    const last = lowerBound(model.steps, this.view[1] + 1, (one) => one.at);
    const tint = { fault: "#c47800", cluster: "#50708f", call: colors.faint, watch: "#2a8f5b", lock: colors.accent, note: colors.faint };
    // Of steps alike that would cover each other one is drawn: a crowded view costs what its width does.
    const drawn = this.lanes.map(() => ({}));
    for (let index = first; index < last; index++) {
      const step = model.steps[index];
      if (!this.shows(step) && !this.broke.has(index)) continue;
      const [x, y] = this.place(index);
      const large = this.broke.has(index) || index === this.chosen || this.hits.has(index);
      const color = this.broke.has(index) || step.bad ? colors.bad : this.hits.has(index) ? "#e0a800" : tint[step.about];
      if (!large && drawn[step.lane][color] === Math.round(x)) continue;
      drawn[step.lane][color] = Math.round(x);
      pen.fillStyle = color;
      pen.beginPath(); pen.arc(x, y, large ? 5.5 : 3, 0, 7); pen.fill();
      if (index === this.chosen) {
        pen.strokeStyle = colors.accent;
        pen.lineWidth = 2;
        pen.beginPath(); pen.arc(x, y, 9, 0, 7); pen.stroke();
        pen.lineWidth = 1;
      }
    }
  }

  paintOverview() {
    const [pen, width] = this.size(this.overview, 28);
    const { model, colors, end } = this;
    const x = (at) => at / end * width;
    const bins = new Uint16Array(Math.max(1, Math.floor(width / 2)));
    model.steps.forEach((step) => bins[Math.min(bins.length - 1, Math.floor(step.at / end * bins.length))]++);
    const most = bins.reduce((a, b) => Math.max(a, b), 1);
    pen.fillStyle = colors.shade;
    this.troubled.forEach(([from, to]) => pen.fillRect(x(from), 0, Math.max(1, x(to) - x(from)), 28));
    pen.fillStyle = colors.faint;
    bins.forEach((count, index) => pen.fillRect(index * 2, 28 - 26 * count / most, 1.5, 26 * count / most));
    pen.fillStyle = colors.bad;
    this.broke.forEach((step) => pen.fillRect(x(model.steps[step].at) - 1, 0, 3, 28));
    pen.strokeStyle = colors.accent;
    pen.lineWidth = 2;
    pen.strokeRect(x(this.view[0]) + 1, 1, Math.max(4, x(this.view[1]) - x(this.view[0]) - 2), 26);
  }

  // The step nearest to a point, if one is near; else the bar below it, as its step.
  find(x, y) {
    const { model } = this;
    let best = null, near = 14;
    const first = lowerBound(model.steps, this.at(x - near), (one) => one.at);
    for (let index = first; index < model.steps.length && this.x(model.steps[index].at) <= x + near; index++) {
      if (!this.shows(model.steps[index]) && !this.broke.has(index)) continue;
      const [left, top] = this.place(index);
      const distance = Math.hypot(left - x, top - y) - (this.broke.has(index) ? 3 : 0);
      if (distance < near) [best, near] = [index, distance];
    }
    if (best !== null) return { step: best, text: model.steps[best].text };
    const lane = this.lanes.find((one) => y >= one.top && y < one.top + one.height);
    const bar = lane && lane.bars.find((one) => x >= this.x(one.from) && x <= Math.max(this.x(one.to), this.x(one.from) + 2)
      && (one.row === undefined ? y > lane.line - 8 : y >= lane.top + 1 + one.row * ROW && y < lane.top + 1 + (one.row + 1) * ROW));
    return bar ? { step: bar.step, text: `${bar.text}, ${(bar.from / 1e9).toFixed(3)} to ${(bar.to / 1e9).toFixed(3)} s` } : null;
  }
}
