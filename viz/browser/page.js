// The page's one widget: map, layers, charts, story; a running twin ("live") or a finished run ("replay").
const COLUMNS = ["t", "kw", "engaged", "driven", "made", "delivered", "held", "driving", "plugged", "queued"];

function tag(name, attributes = {}, ...children) {
  const made = document.createElement(name);
  for (const [key, value] of Object.entries(attributes)) {
    if (key === "on") for (const [event, call] of Object.entries(value)) made.addEventListener(event, call);
    else if (key in made && key !== "list") made[key] = value;
    else made.setAttribute(key, value);
  }
  made.append(...children);
  return made;
}

class Page {
  constructor(model, el) {
    this.model = model;
    this.replay = model.get("kind") === "replay";
    this.frames = 0;
    this.updates = 0;
    this.history = COLUMNS.map(() => []);
    this.root = tag("div", { className: this.replay ? "twin replay" : "twin" });
    el.append(tag("div", { className: "twin-box" }, this.root));
    this.bar = tag("div", { className: "bar" });
    this.clock = tag("strong", { className: "clock", textContent: "–" });
    this.clock.dataset.testid = "clock";
    this.counts = tag("span", { className: "counts" });
    this.bar.append(this.clock, this.counts);
    this.tools = tag("div", { className: "tools" });
    this.stage = tag("div", { className: "stage" });
    this.body = tag("div", { className: "body" });
    this.side = tag("aside", { className: "story", hidden: true });
    this.side.dataset.testid = "story";
    this.side.setAttribute("aria-live", "polite");
    this.credit = tag("small", { className: "credit" });
    this.keys = tag("div", {});
    this.legend = tag("details", { className: "legend", open: true }, tag("summary", { textContent: "Legend" }), this.keys);
    this.panel = tag("div", { className: "charts" });
    this.panel.tabIndex = 0; // scrolls by keyboard
    this.panel.setAttribute("aria-label", "Charts");
    this.body.append(tag("div", { className: "map" }, this.stage, this.credit, this.legend), this.panel);
    this.root.append(this.bar, this.tools, this.body);
    this.city = new City(this.stage);
    this.stage.append(this.zoomButtons(), this.side);
    if (this.replay) Object.assign(this.city.layers, { load: true, congestion: false });
    this.controls();
    this.pointer();
    this.makeCharts();
    if (this.replay) this.scrubber();
    this.cleanups = [];
    this.on("change:city", () => this.takeCity());
    this.on("change:frame", () => this.takeFrame());
    this.on("change:day", () => this.takeDay());
    this.on("change:story", () => this.tell());
    this.takeCity();
    this.takeDay();
    this.takeFrame();
    this.tell();
    this.watch = new ResizeObserver(() => { this.city.resize(); this.chartsStale = true; });
    this.watch.observe(this.stage);
    this.watch.observe(this.panel);
    this.sync = (event) => this.follow(event.detail);
    window.addEventListener("twin-sync", this.sync);
    this.alive = true;
    const beat = (now) => { if (!this.alive) return; this.beat(now); requestAnimationFrame(beat); };
    requestAnimationFrame(beat);
    window.__twin = window.__twin || {};
    window.__twin[this.replay ? "replay" : "live"] = this;
    this.model.set("shown", this.model.get("shown") + 1); // a page is there: send what you have
    this.model.save_changes();
  }

  on(event, call) {
    this.model.on(event, call);
    this.cleanups.push(() => this.model.off(event, call));
  }

  close() {
    this.alive = false;
    this.watch.disconnect();
    window.removeEventListener("twin-sync", this.sync);
    this.cleanups.forEach((c) => c());
  }

  // ------------------------------------------------------------ what comes in

  takeCity() {
    const data = unpack(this.model.get("city"));
    if (!data) return;
    this.about = data;
    this.city.setCity(data);
    this.minute = undefined;
    this.describe();
    this.chartsStale = true;
    this.credit.textContent = data.attribution;
  }

  takeFrame() {
    const frame = unpack(this.model.get("frame"));
    if (!frame || !this.about) return;
    if (frame.reset) { this.history = COLUMNS.map(() => []); this.city.x = null; this.select(null); this.city.speed = null; }
    if (!this.city.take(frame, performance.now())) return;
    if (frame.speed) { this.city.speed = frame.speed; this.city.stale = true; }
    if (frame.cell_bps) this.city.cellBps = frame.cell_bps;
    this.city.siteOn = frame.site_on;
    this.city.siteQueue = frame.site_queue;
    const rows = frame.rows.length / COLUMNS.length;
    for (let r = 0; r < rows; r++) COLUMNS.forEach((_, c) => this.history[c].push(frame.rows[r * COLUMNS.length + c]));
    this.frame = frame;
    this.unseen = frame.seq;
    this.chartsStale = true;
  }

  takeDay() {
    const day = unpack(this.model.get("day"));
    if (!day) return;
    this.day = day;
    this.slider.max = String(day.span_s);
    this.slider.step = String(day.step_s);
    this.show(this.shownAt === undefined ? day.begin_s : this.shownAt);
  }

  beat(now) {
    this.city.draw(now);
    this.frames += 1;
    if (this.replay) { if (this.running) this.advance(now); }
    else {
      const t = this.city.clock(now);
      const minute = t === undefined ? undefined : Math.floor(t / 60);
      if (this.about && minute !== this.minute) { this.minute = minute; this.write(this.clock, this.civil(60 * minute)); }
      if (this.unseen !== undefined) {
        this.updates += 1;
        this.write(this.counts, this.frame.counts);
        this.model.set("ack", this.unseen);
        this.model.save_changes();
        this.unseen = undefined;
      }
    }
    if (this.chartsStale && (!this.chartsAt || now - this.chartsAt > (this.replay ? 180 : 1000))) { this.chartsAt = now; this.chartsStale = false; this.drawCharts(); }
  }

  write(where, text) { if (where.textContent !== text) where.textContent = text; }

  civil(t) {
    const at = new Date(Date.parse(this.about.start + "Z") + t * 1000);
    return `${at.toLocaleDateString("en-GB", { weekday: "short", day: "numeric", month: "short", timeZone: "UTC" })} ${at.toISOString().slice(11, 16)}`;
  }

  describe() {
    const canvas = this.city.below;
    canvas.setAttribute("aria-label", `Map of ${this.about.title}. Arrow keys move, plus and minus zoom, 0 shows all; cars and sites can also be found by number.`);
  }

  // ------------------------------------------------------------ controls

  zoomButtons() {
    const button = (text, label, call) => tag("button", { type: "button", textContent: text, "aria-label": label, title: label, on: { click: call } });
    return tag("div", { className: "zoom" },
      button("+", "Zoom in", () => this.moved(() => this.city.zoom(1.6))),
      button("−", "Zoom out", () => this.moved(() => this.city.zoom(1 / 1.6))),
      button("⤢", "Show all", () => this.moved(() => this.city.fit())));
  }

  moved(change) { change(); this.tellOthers(); }

  controls() {
    if (!this.replay) {
      const select = tag("select", { "aria-label": "Colour of cars", on: { change: () => { this.city.mode = select.value; this.city.stale = true; this.drawLegend(); } } });
      for (const mode of Object.keys(MODES)) select.append(tag("option", { value: mode, textContent: mode }));
      select.dataset.testid = "colour";
      this.tools.append(tag("label", {}, "Cars by ", select));
    }
    const names = this.replay
      ? { load: "vehicles per link", congestion: "congestion", chargers: "charging", cells: "radio cells" }
      : { cars: "cars", parked: "parked cars", others: "other traffic", chargers: "charging sites", cells: "radio cells", congestion: "congestion" };
    const group = tag("fieldset", {}, tag("legend", { textContent: "Layers" }));
    this.boxes = {};
    for (const [layer, name] of Object.entries(names)) {
      const box = tag("input", { type: "checkbox", checked: this.city.layers[layer], on: { change: () => { this.city.layers[layer] = box.checked; this.city.stale = true; this.drawLegend(); } } });
      this.boxes[layer] = box;
      group.append(tag("label", {}, box, name));
    }
    const number = tag("input", { type: "number", min: 0, value: 0, "aria-label": "Number of the car or site" });
    const what = tag("select", { "aria-label": "Kind of thing to find" }, tag("option", { value: "car", textContent: "car" }), tag("option", { value: "site", textContent: "site" }));
    const find = tag("form", { className: "find", on: { submit: (e) => { e.preventDefault(); this.ask({ kind: what.value, id: +number.value }); } } }, "Find ", what, number, tag("button", { textContent: "Show" }));
    this.tools.append(find, group);
    this.drawLegend();
  }

  drawLegend() {
    const entries = [];
    const L = this.city.layers;
    if (!this.replay && L.cars) entries.push(["Cars", MODES[this.city.mode].keys]);
    if (L.congestion) entries.push(["Congestion", JAM.map((j) => [j[0], j[1]])]);
    if (L.load && this.day) entries.push(["Vehicles per link and hour", LOAD.map((c, k) => [this.day.load_keys[k], c])]);
    if (L.chargers) entries.push([this.replay ? "Charging power" : "Sites (filled: sockets taken)", Object.entries(SITE_COLOURS).filter(([k]) => this.replay || k !== "home").map(([k, c]) => [k, c])]);
    if (L.cells) entries.push(["Radio cells", [["size: bytes per second", "#a0487d"]]]);
    if (this.replay) entries.push(["Single cars", [["results keep no positions; find a car by number for its story", "#ffffff"]]]);
    this.keys.replaceChildren(...entries.map(([title, keys]) => tag("div", {}, tag("b", { textContent: title }), ...keys.map(([name, colour]) => {
      const mark = tag("i"); mark.style.background = colour; return tag("span", {}, mark, name);
    }))));
  }

  pointer() {
    const canvas = this.city.below, ratio = () => this.city.ratio;
    let from = null, far = 0, fingers = new Map();
    const at = (e) => { const box = canvas.getBoundingClientRect(); return [(e.clientX - box.left) * ratio(), (e.clientY - box.top) * ratio()]; };
    canvas.addEventListener("pointerdown", (e) => { fingers.set(e.pointerId, at(e)); from = at(e); far = 0; canvas.setPointerCapture(e.pointerId); });
    canvas.addEventListener("pointermove", (e) => {
      if (!fingers.has(e.pointerId)) return;
      const here = at(e), old = fingers.get(e.pointerId);
      if (fingers.size === 2) {
        const other = [...fingers].find(([id]) => id !== e.pointerId)[1];
        const before = Math.hypot(old[0] - other[0], old[1] - other[1]), after = Math.hypot(here[0] - other[0], here[1] - other[1]);
        if (before > 5) this.moved(() => this.city.zoom(after / before, (here[0] + other[0]) / 2, (here[1] + other[1]) / 2));
        far = 99;
      } else {
        far += Math.hypot(here[0] - old[0], here[1] - old[1]);
        if (far > 4) this.moved(() => this.city.pan(here[0] - old[0], here[1] - old[1]));
      }
      fingers.set(e.pointerId, here);
    });
    const up = (e) => { fingers.delete(e.pointerId); if (from && far <= 4 && e.type === "pointerup") { const found = this.city.pick(...from); if (found) this.ask(found); else this.forget(); } from = null; };
    canvas.addEventListener("pointerup", up);
    canvas.addEventListener("pointercancel", up);
    canvas.addEventListener("wheel", (e) => { e.preventDefault(); const p = at(e); this.moved(() => this.city.zoom(e.deltaY < 0 ? 1.25 : 0.8, p[0], p[1])); }, { passive: false });
    canvas.addEventListener("keydown", (e) => {
      const step = 60 * ratio(), pans = { ArrowLeft: [step, 0], ArrowRight: [-step, 0], ArrowUp: [0, step], ArrowDown: [0, -step] };
      if (pans[e.key]) this.moved(() => this.city.pan(...pans[e.key]));
      else if (e.key === "+" || e.key === "=") this.moved(() => this.city.zoom(1.4));
      else if (e.key === "-") this.moved(() => this.city.zoom(1 / 1.4));
      else if (e.key === "0") this.moved(() => this.city.fit());
      else if (e.key === "Escape") this.forget();
      else return;
      e.preventDefault();
    });
  }

  // ------------------------------------------------------------ stories

  ask(found) {
    this.select(found);
    this.asked = (this.asked || 0) + 1;
    this.model.set("pick", { ...found, n: this.asked });
    this.model.save_changes();
  }

  select(found) { this.city.selected = found; this.city.touched = true; }

  forget() { this.select(null); this.side.hidden = true; }

  tell() {
    const story = this.model.get("story");
    if (!story || !story.title) return;
    this.side.hidden = false;
    const list = tag("dl", {});
    for (const [name, value] of story.facts) list.append(tag("dt", { textContent: name }), tag("dd", { textContent: value }));
    const parts = [tag("button", { type: "button", className: "close", textContent: "×", "aria-label": "Close the story", on: { click: () => this.forget() } }),
      tag("h3", { textContent: story.title }), list];
    for (const t of story.tables) {
      if (!t.rows.length) continue;
      parts.push(tag("table", {}, tag("caption", { textContent: t.caption }), tag("thead", {}, tag("tr", {}, ...t.head.map((h) => tag("th", { scope: "col", textContent: h })))),
        tag("tbody", {}, ...t.rows.map((r) => tag("tr", {}, ...r.map((c) => tag("td", { textContent: c })))))));
    }
    this.side.replaceChildren(...parts);
    this.reveal();
  }

  // The thing whose story is told, when it lies outside the map's part or under the story, comes to where it is seen.
  reveal() {
    const c = this.city, at = c.where(c.selected), q = c.ratio;
    if (!at) return;
    const stage = this.stage.getBoundingClientRect(), side = this.side.getBoundingClientRect();
    const x = stage.left + at[0] / q, y = stage.top + at[1] / q, air = 14;
    const seen = x > stage.left + air && x < stage.right - air && y > stage.top + air && y < stage.bottom - air;
    if (seen && !(x > side.left - air && x < side.right + air && y > side.top - air && y < side.bottom + air)) return;
    const below = side.width > 0.7 * stage.width; // a phone: the story takes the lower part
    const tx = below ? stage.width / 2 : Math.max((side.left - stage.left) / 2, 40), ty = below ? Math.max((side.top - stage.top) / 2, 20) : stage.height / 2;
    this.moved(() => c.pan(tx * q - at[0], ty * q - at[1]));
  }

  // ------------------------------------------------------------ a finished run

  scrubber() {
    this.button = tag("button", { type: "button", textContent: "▶", "aria-label": "Play the day", on: { click: () => { this.running = !this.running; this.last = undefined; this.button.textContent = this.running ? "❚❚" : "▶"; } } });
    this.slider = tag("input", { type: "range", min: 0, max: 86400, step: 900, value: 0, "aria-label": "Time of the run", on: { input: () => { this.show(+this.slider.value); this.tellOthers(); } } });
    this.slider.dataset.testid = "hour";
    this.root.insertBefore(tag("div", { className: "scrub" }, this.button, this.slider), this.tools);
  }

  advance(now) {
    if (this.last === undefined) { this.last = now; return; }
    const steps = Math.floor((now - this.last) / 120);
    if (!steps) return;
    this.last += steps * 120;
    const next = this.shownAt + steps * this.day.step_s;
    this.show(next >= this.day.span_s ? 0 : next);
    this.tellOthers();
  }

  show(seconds) {
    const d = this.day, n = this.about.ptr.length - 1, hours = d.hours;
    this.shownAt = seconds;
    this.slider.value = String(seconds);
    const hour = Math.min(hours - 1, Math.floor(seconds / 3600)), step = Math.min(d.steps - 1, Math.floor(seconds / d.step_s));
    if (hour !== this.hour) {
      this.hour = hour;
      this.city.speed = d.speed.subarray(hour * n, (hour + 1) * n);
      this.city.load = d.load.subarray(hour * n, (hour + 1) * n);
      this.city.stale = true;
      this.drawLegend();
    }
    const sites = this.about.site_x.length, cells = this.about.cell_x.length;
    this.city.siteSize = Array.from(d.site_level.subarray(step * sites, (step + 1) * sites), (v) => v / 255);
    this.city.cellBps = d.cell_bps.subarray(step * cells, (step + 1) * cells);
    this.city.touched = true;
    this.write(this.clock, this.civil(seconds));
    const kw = d.kw_total[step];
    this.counts.textContent = `${short(kw)} kW charging · links of the hour to ${clockText(this.about.start, (hour + 1) * 3600)}`;
    this.chartsStale = true;
  }

  tellOthers() {
    const c = this.city;
    if (!this.replay || !this.about) return;
    const detail = { from: this, at: this.shownAt, view: { x: c.x0 + c.below.width / 2 / c.scale + this.about.west, y: c.y1 - c.below.height / 2 / c.scale + this.about.south, zoom: c.scale / c.whole } };
    window.dispatchEvent(new CustomEvent("twin-sync", { detail }));
  }

  follow({ from, at, view }) {
    if (from === this || !this.replay || !this.day) return;
    const c = this.city;
    if (at !== undefined && at !== this.shownAt) this.show(Math.min(at, this.day.span_s));
    const scale = view.zoom * c.whole;
    c.scale = scale;
    c.x0 = view.x - this.about.west - c.below.width / 2 / scale;
    c.y1 = view.y - this.about.south + c.below.height / 2 / scale;
    c.moved = true;
    c.stale = true;
  }

  // ------------------------------------------------------------ charts

  makeCharts() {
    const make = (title, unit) => new Chart(this.panel, title, unit);
    this.charts = {
      load: make("Grid load", "kW"), autonomy: make("ProPILOT engaged", "% of km"), cloud: make("Cloud traffic", "MB per connected car"),
      queue: make("Charging", "cars"), soc: make("Electric cars by charge", "cars"), bytes: make("Telemetry", "kB/s"),
    };
    if (this.replay) for (const name of ["soc"]) { this.charts[name].figure.remove(); delete this.charts[name]; }
  }

  drawCharts() {
    if (!this.about) return;
    if (this.replay) return this.drawDay();
    if (!this.frame) return;
    const [t, kw, engaged, driven, made, delivered, held, driving, plugged, queued] = this.history;
    const base = { x: t, span: this.frame.until_s, start: this.about.start };
    const share = driven.map((km, i) => (km > 0 ? (100 * engaged[i]) / km : NaN));
    const online = this.frame.online;
    const per = made.map((b) => (online ? b / online / 1e6 : NaN));
    const rate = (list) => list.map((b, i) => (i ? (b - list[i - 1]) / Math.max(t[i] - t[i - 1], 1) / 1000 : NaN));
    const c = this.charts;
    c.load.draw({ ...base, series: [{ name: "charging", y: kw }] });
    c.autonomy.draw({ ...base, series: [{ name: "so far", y: share }] });
    c.cloud.draw({ ...base, series: [{ name: "generated so far", y: per }] });
    c.queue.draw({ ...base, series: [{ name: "on sockets", y: plugged, colour: LINES[2] }, { name: "waiting", y: queued, colour: LINES[3], dash: true }] });
    const shades = Array.from({ length: 10 }, (_, i) => MODES["state of charge"].keys[Math.floor(i / 2)][1]), soc = Array.from(this.frame.soc);
    c.soc.draw({ x: [], span: 1, series: [{ name: "", now: `${soc.slice(0, 2).reduce((a, b) => a + b, 0)} below 20 %`, y: soc }], bars: shades, labels: [[0.03, "0"], [0.5, "50 %"], [0.94, "100 %"]] });
    c.bytes.draw({ ...base, series: [{ name: "generated", y: rate(made), thin: true }, { name: "delivered", y: rate(delivered), colour: LINES[2], dash: true }] });
  }

  drawDay() {
    const d = this.day;
    if (!d) return;
    const x = Array.from({ length: d.steps }, (_, i) => (i + 0.5) * d.step_s), hx = Array.from({ length: d.hours }, (_, i) => (i + 0.5) * 3600);
    const base = { x, span: d.span_s, start: this.about.start, cursor: this.shownAt };
    const step = Math.min(d.steps - 1, Math.floor(this.shownAt / d.step_s)), hour = Math.min(d.hours - 1, Math.floor(this.shownAt / 3600));
    const at = (list, i, unit) => (Number.isNaN(list[i]) ? "–" : `${short(list[i])}${unit}`);
    const c = this.charts;
    c.load.draw({ ...base, series: d.kinds_kw.map((kind, k) => { const y = d.kw.subarray(k * d.steps, (k + 1) * d.steps); return { name: kind, y, now: at(y, step, ""), colour: SITE_COLOURS[kind] }; }) });
    c.autonomy.draw({ ...base, x: hx, series: [{ name: "in the hour", y: d.autonomy, now: at(d.autonomy, hour, " %") }] });
    c.cloud.draw({ ...base, series: [{ name: "generated so far", y: d.mb, now: at(d.mb, step, "") }] });
    c.queue.draw({ ...base, series: [{ name: "on sockets", y: d.plugged, now: at(d.plugged, step, ""), colour: LINES[2] }, { name: "waiting", y: d.queued, now: at(d.queued, step, ""), colour: LINES[3], dash: true }] });
    c.bytes.draw({ ...base, series: [{ name: "generated", y: d.made, now: at(d.made, step, ""), thin: true }, { name: "delivered", y: d.delivered, now: at(d.delivered, step, ""), colour: LINES[2], dash: true }] });
  }
}

export default {
  render({ model, el }) {
    const page = new Page(model, el);
    return () => page.close();
  },
};
