// The city on two canvases: streets and cars as pixels below, sites and cells as shapes above.
const OFF_MAP = 65535, NO_BATTERY = 31;
const INK = "#1a1a1a", MUTED = "#595959", STREET = "#c4c4c4";
// colours: Okabe and Ito (2008), told apart with every common colour vision; shades for amounts run light to dark
const STATES = ["parked", "waiting to enter", "driving", "queueing", "on a socket", "stuck"];
const PARKED = STATES.map((s) => s === "parked" || s === "on a socket");
const MODES = {
  "what it does": {
    keys: [["parked", "#a6a6a6"], ["waiting to enter", "#CC79A7"], ["driving", "#0072B2"], ["queueing at a site", "#E69F00"],
      ["on a socket", "#009E73"], ["stuck", "#D55E00"]],
    of: (w) => (w >> 2) & 7,
  },
  powertrain: {
    keys: [["electric", "#0072B2"], ["e-POWER", "#E69F00"], ["combustion", "#595959"]],
    of: (w) => w & 3,
  },
  "state of charge": {
    keys: [["0–20 %", "#D55E00"], ["20–40 %", "#E69F00"], ["40–60 %", "#b8a800"], ["60–80 %", "#56B4E9"], ["80–100 %", "#0072B2"],
      ["no battery", "#bdbdbd"]],
    of: (w) => { const s = (w >> 8) & 31; return s === NO_BATTERY ? 5 : Math.min(4, Math.floor(s / 6)); },
  },
  ProPILOT: {
    keys: [["engaged", "#0072B2"], ["fitted, not engaged", "#E69F00"], ["not fitted", "#a6a6a6"]],
    of: (w) => (w & 32 ? 0 : w & 64 ? 1 : 2),
  },
  connected: {
    keys: [["connected", "#009E73"], ["not connected", "#a6a6a6"]],
    of: (w) => (w & 128 ? 0 : 1),
  },
};
const SITE_COLOURS = { home: "#0072B2", work: "#E69F00", public: "#009E73", fast: "#000000" };
const JAM = [["under 25 % of free speed", "#4d0013", 0.25], ["25–50 %", "#c2185b", 0.5], ["50–75 %", "#f4a07a", 0.75]];
const LOAD = ["#fde0c5", "#f9b48a", "#ee7a5d", "#c83e62", "#8a1a63", "#4a0c4f"];

function rgba(hex) {
  const n = parseInt(hex.slice(1), 16);
  return (255 << 24) | ((n & 255) << 16) | (n & 0xff00) | (n >> 16);
}

class City {
  constructor(stage) {
    this.stage = stage;
    this.below = Object.assign(document.createElement("canvas"), { className: "below", tabIndex: 0 });
    this.below.dataset.testid = "city";
    this.below.setAttribute("role", "img");
    this.above = Object.assign(document.createElement("canvas"), { className: "above" });
    stage.append(this.below, this.above);
    this.sheet = document.createElement("canvas");
    this.mode = "what it does";
    this.layers = { cars: true, parked: true, others: false, chargers: true, cells: false, congestion: true, load: false };
    this.stale = true; // the streets must be drawn anew
    this.touched = true; // something on them must
    this.selected = null;
    this.data = null;
    this.segment = null;
    this.resize();
  }

  setCity(data) {
    this.data = data;
    this.fit();
  }

  resize() {
    const ratio = Math.min(window.devicePixelRatio || 1, 2);
    const w = Math.max(50, Math.round(this.stage.clientWidth * ratio)), h = Math.max(50, Math.round(this.stage.clientHeight * ratio));
    if (this.below.width === w && this.below.height === h) return;
    for (const c of [this.below, this.above, this.sheet]) { c.width = w; c.height = h; }
    const before = this.ratio;
    this.ratio = ratio;
    if (this.data && (!before || !this.moved)) this.fit();
    this.stale = true;
  }

  fit() {
    if (!this.data) return;
    const { xy, ptr, outside } = this.data;
    let [w, e, s, n] = [Infinity, -Infinity, Infinity, -Infinity];
    const all = outside.every((o) => o);
    for (let i = 0; i < ptr.length - 1; i++) {
      if (outside[i] && !all) continue;
      for (let k = ptr[i]; k < ptr[i + 1]; k++) {
        w = Math.min(w, xy[2 * k]); e = Math.max(e, xy[2 * k]); s = Math.min(s, xy[2 * k + 1]); n = Math.max(n, xy[2 * k + 1]);
      }
    }
    const { width, height } = this.below;
    this.scale = 0.95 * Math.min(width / (e - w || 1), height / (n - s || 1));
    this.x0 = (w + e) / 2 - width / 2 / this.scale;
    this.y1 = (n + s) / 2 + height / 2 / this.scale;
    this.whole = this.scale;
    this.moved = false;
    this.stale = true;
  }

  zoom(factor, px = this.below.width / 2, py = this.below.height / 2) {
    const next = Math.min(Math.max(this.scale * factor, this.whole / 3), this.whole * 200);
    this.x0 += px / this.scale - px / next;
    this.y1 -= py / this.scale - py / next;
    this.scale = next;
    this.moved = true;
    this.stale = true;
  }

  pan(dx, dy) {
    this.x0 -= dx / this.scale;
    this.y1 += dy / this.scale;
    this.moved = true;
    this.stale = true;
  }

  sx(x) { return (x - this.x0) * this.scale; }
  sy(y) { return (this.y1 - y) * this.scale; }

  // ------------------------------------------------------------ cars

  // A frame names only what changed; without the whole before it, it says nothing. Returns whether it was taken.
  take(frame, now) {
    const first = !this.x || this.x.length !== frame.n;
    if (first && !frame.reset) return false;
    if (first) {
      this.x = new Float32Array(frame.n).fill(NaN);
      this.y = new Float32Array(frame.n).fill(NaN);
      this.word = new Uint16Array(frame.n);
      this.rides = new Uint8Array(frame.n);
      this.arrived = 0;
    } else this.settle();
    const gap = now - (this.arrived || now);
    this.arrived = now;
    this.pace = Math.min(Math.max(gap < 3000 && this.pace ? 0.7 * this.pace + 0.3 * gap : 250, 25), 1200);
    const m = frame.id.length;
    this.segment = m ? { id: frame.id, at: frame.at, m, moments: frame.at.length / 2 / m - 1, since: now, done: false } : null;
    for (let i = 0; i < frame.word_id.length; i++) this.word[frame.word_id[i]] = frame.word[i];
    this.other = frame.other;
    this.t0 = frame.t0_s;
    this.t1 = frame.t1_s;
    this.place(0);
    if (first) this.settle();
    this.part();
    this.touched = true;
    return true;
  }

  // Cars that can move before the next frame are drawn over and over, those that stand once.
  part() {
    const n = this.x.length, s = this.segment, rides = this.rides;
    rides.fill(0);
    if (s) for (let i = 0; i < s.m; i++) rides[s.id[i]] = 1;
    let count = 0;
    for (let i = 0; i < n; i++) if (rides[i] || !PARKED[(this.word[i] >> 2) & 7]) { rides[i] = 1; count++; }
    this.riding = new Uint32Array(count);
    for (let i = 0, k = 0; i < n; i++) if (rides[i]) this.riding[k++] = i;
    this.standing = null;
  }

  settle() { this.place(1); this.segment = null; }

  // Cars of the present tick at a share of it: straight between two moments that the server worked out.
  place(share) {
    const s = this.segment;
    if (!s || s.done) return;
    const step = this.data.size_m / (OFF_MAP - 1), far = 1500;
    const at = share * s.moments, k = Math.min(Math.floor(at), Math.max(s.moments - 1, 0)), f = at - k;
    const a = 2 * k * s.m, b = s.moments ? a + 2 * s.m : a;
    for (let i = 0; i < s.m; i++) {
      const x0 = s.at[a + 2 * i], y0 = s.at[a + 2 * i + 1], x1 = s.at[b + 2 * i], y1 = s.at[b + 2 * i + 1];
      const car = s.id[i];
      if ((x0 === OFF_MAP && y0 === OFF_MAP) || (x1 === OFF_MAP && y1 === OFF_MAP)) { this.x[car] = NaN; continue; }
      const jump = Math.abs(x1 - x0) + Math.abs(y1 - y0) > far / step;
      const g = jump ? (f < 1 ? 0 : 1) : f;
      this.x[car] = (x0 + (x1 - x0) * g) * step;
      this.y[car] = (y0 + (y1 - y0) * g) * step;
    }
    if (share >= 1) s.done = true;
  }

  // ------------------------------------------------------------ drawing

  draw(now) {
    if (!this.data || !this.below.width) return;
    if (this.stale) { this.streets(); this.stale = false; this.standing = null; this.touched = true; }
    const rolling = this.segment && !this.segment.done;
    if (rolling) this.place(Math.min((now - this.segment.since) / this.pace, 1));
    if (!rolling && !this.touched) return; // nothing has changed since the last picture
    if (this.x && this.layers.cars) this.splat();
    else if (this.touched) this.below.getContext("2d").drawImage(this.sheet, 0, 0);
    if (this.touched || (this.selected && this.selected.kind === "car")) this.shapes();
    this.touched = false;
  }

  // seconds into the run that the picture shows
  clock(now) {
    if (this.t1 === undefined) return undefined;
    const share = this.segment ? Math.min((now - this.segment.since) / this.pace, 1) : 1;
    return this.t0 + share * (this.t1 - this.t0);
  }

  streets() {
    const g = this.sheet.getContext("2d", { willReadFrequently: true });
    const { width, height } = this.sheet, { ptr, xy, road, classes } = this.data;
    g.fillStyle = "#ffffff";
    g.fillRect(0, 0, width, height);
    g.lineCap = g.lineJoin = "round";
    const grown = Math.min(Math.max(Math.sqrt(this.scale / this.whole), 0.7), 7) * this.ratio;
    const rank = classes.map((c) => Math.max(0, 4 - ["motorway", "trunk", "primary", "secondary", "tertiary"].indexOf(c.replace("_link", ""))));
    const wide = classes.map((c, k) => (/^(motorway|trunk|primary|secondary|tertiary)/.test(c) ? 0.8 + 0.45 * rank[k] : 0.6));
    const path = (list) => {
      const p = new Path2D();
      for (const i of list) {
        let x = this.sx(xy[2 * ptr[i]]), y = this.sy(xy[2 * ptr[i] + 1]);
        p.moveTo(x, y);
        for (let k = ptr[i] + 1; k < ptr[i + 1]; k++) p.lineTo(this.sx(xy[2 * k]), this.sy(xy[2 * k + 1]));
      }
      return p;
    };
    // approach roads are made up beyond the extract's edge: a dashed hint, for the cars on them
    g.strokeStyle = "#dcdcdc"; g.lineWidth = this.ratio; g.setLineDash([3 * this.ratio, 4 * this.ratio]);
    g.stroke(path(this.seen(true)));
    g.setLineDash([]);
    const groups = new Map(), links = this.seen(false);
    for (const i of links) {
      const key = wide[road[i]] || 0.6;
      if (!groups.has(key)) groups.set(key, []);
      groups.get(key).push(i);
    }
    for (const key of [...groups.keys()].sort((a, b) => a - b)) {
      g.strokeStyle = key > 1 ? "#b0b0b0" : STREET;
      g.lineWidth = key * grown;
      g.stroke(path(groups.get(key)));
    }
    if (this.layers.load && this.load) {
      const steps = LOAD.map(() => []);
      for (const i of links) if (this.load[i]) steps[Math.min(LOAD.length - 1, this.load[i] - 1)].push(i);
      steps.forEach((list, k) => { g.strokeStyle = LOAD[k]; g.lineWidth = grown * (1 + 0.45 * k); g.stroke(path(list)); });
    }
    if (this.layers.congestion && this.speed) {
      const slow = JAM.map(() => []);
      for (const i of links) {
        const share = this.speed[i] / 200, k = JAM.findIndex((j) => share < j[2]);
        if (this.speed[i] !== 255 && k >= 0) slow[k].push(i);
      }
      for (let k = JAM.length - 1; k >= 0; k--) { g.strokeStyle = JAM[k][1]; g.lineWidth = grown * (2.6 - 0.5 * k); g.stroke(path(slow[k])); }
    }
    this.base = new Uint32Array(g.getImageData(0, 0, width, height).data.buffer);
  }

  seen(beyond) {
    const { ptr, xy, outside } = this.data, list = [];
    const w = this.x0, e = this.x0 + this.below.width / this.scale, n = this.y1, s = this.y1 - this.below.height / this.scale;
    for (let i = 0; i < ptr.length - 1; i++) {
      if (!!outside[i] !== beyond) continue;
      const a = 2 * ptr[i], b = 2 * (ptr[i + 1] - 1);
      if (Math.max(xy[a], xy[b]) < w - 500 || Math.min(xy[a], xy[b]) > e + 500) continue;
      if (Math.max(xy[a + 1], xy[b + 1]) < s - 500 || Math.min(xy[a + 1], xy[b + 1]) > n + 500) continue;
      list.push(i);
    }
    return list;
  }

  splat() {
    const { width, height } = this.below, g = this.below.getContext("2d");
    if (!this.image || this.image.width !== width || this.image.height !== height) {
      this.image = g.createImageData(width, height);
      this.pixels = new Uint32Array(this.image.data.buffer);
    }
    const mode = MODES[this.mode], colours = mode.keys.map((k) => rgba(k[1]));
    const close = Math.min(Math.max(Math.sqrt(this.scale / this.whole), 1), 3);
    const few = this.x.length <= 3000 ? 1.35 : 1;
    const big = Math.round(Math.min(2.6 * few * close, 9) * this.ratio), small = Math.max(1, Math.round(Math.min(1.4 * few * close, 4) * this.ratio));
    const { x, y, word, rides } = this;
    if (!this.standing) {
      const below = this.standing = this.base.slice();
      if (this.layers.others && this.other) {
        const step = this.data.size_m / (OFF_MAP - 1), grey = rgba("#7a7a7a");
        for (let i = 0; i < this.other.length; i += 2) if (this.other[i] !== OFF_MAP) this.dot(below, this.other[i] * step, this.other[i + 1] * step, small, grey);
      }
      if (this.layers.parked) for (let i = 0; i < x.length; i++) if (!rides[i]) this.dot(below, x[i], y[i], small, colours[mode.of(word[i])]);
    }
    const out = this.pixels;
    out.set(this.standing);
    for (const i of this.riding) {
      const parked = PARKED[(word[i] >> 2) & 7];
      if (!parked || this.layers.parked) this.dot(out, x[i], y[i], parked ? small : big, colours[mode.of(word[i])]);
    }
    g.putImageData(this.image, 0, 0);
  }

  dot(out, x, y, size, colour) {
    const { width, height } = this.image;
    const px = Math.round(this.sx(x) - size / 2), py = Math.round(this.sy(y) - size / 2);
    if (!(px >= 0 && py >= 0 && px + size <= width && py + size <= height)) return; // also where it is unknown
    for (let r = 0; r < size; r++) { const at = (py + r) * width + px; for (let c = 0; c < size; c++) out[at + c] = colour; }
  }

  shapes() {
    const g = this.above.getContext("2d"), d = this.data, q = this.ratio;
    g.clearRect(0, 0, this.above.width, this.above.height);
    if (this.layers.cells && d.cell_x) {
      const top = Math.max(1, ...(this.cellBps || [1]));
      for (let i = 0; i < d.cell_x.length; i++) {
        const x = this.sx(d.cell_x[i]), y = this.sy(d.cell_y[i]), share = this.cellBps ? this.cellBps[i] / top : 0;
        g.beginPath();
        g.arc(x, y, (3 + 26 * Math.sqrt(share)) * q, 0, 7);
        g.fillStyle = "rgba(204,121,167,0.28)";
        g.fill();
        g.strokeStyle = "#a0487d";
        g.lineWidth = q;
        g.stroke();
        g.beginPath(); g.moveTo(x, y - 5 * q); g.lineTo(x + 4.5 * q, y + 4 * q); g.lineTo(x - 4.5 * q, y + 4 * q); g.closePath();
        g.fillStyle = "#a0487d";
        g.fill();
      }
    }
    if (this.layers.chargers && d.site_x) {
      g.font = `${10 * q}px system-ui, sans-serif`;
      for (let i = 0; i < d.site_x.length; i++) {
        const x = this.sx(d.site_x[i]), y = this.sy(d.site_y[i]);
        if (x < -20 || y < -20 || x > this.above.width + 20 || y > this.above.height + 20) continue;
        const kind = d.kinds[d.site_kind[i]], work = kind === "work" || kind === "home";
        const r = (this.siteSize ? 2.5 + 17 * Math.sqrt(this.siteSize[i]) : work ? 3.2 : 6.5) * q;
        const on = this.siteOn ? Math.min(1, this.siteOn[i] / Math.max(1, d.site_sockets[i])) : 0;
        if (work && !this.siteSize && !on && this.scale < 3 * this.whole) continue;
        g.beginPath(); g.arc(x, y, r, 0, 7);
        g.fillStyle = this.siteSize ? SITE_COLOURS[kind] + "b0" : "#ffffff"; g.fill();
        g.strokeStyle = SITE_COLOURS[kind]; g.lineWidth = 1.6 * q; g.stroke();
        if (on) { g.beginPath(); g.moveTo(x, y); g.arc(x, y, r, -Math.PI / 2, -Math.PI / 2 + on * 6.2832); g.closePath(); g.fillStyle = SITE_COLOURS[kind]; g.fill(); }
        const queue = this.siteQueue ? this.siteQueue[i] : 0;
        if (queue) {
          const text = `${queue} waiting`, w = g.measureText(text).width + 8 * q;
          g.fillStyle = "#D55E00"; g.fillRect(x + r + 2 * q, y - 7 * q, w, 14 * q);
          g.fillStyle = "#ffffff"; g.fillText(text, x + r + 6 * q, y + 3.5 * q);
        }
      }
    }
    const chosen = this.where(this.selected);
    if (chosen) {
      g.beginPath(); g.arc(chosen[0], chosen[1], 11 * q, 0, 7);
      g.strokeStyle = "#ffffff"; g.lineWidth = 5 * q; g.stroke();
      g.strokeStyle = INK; g.lineWidth = 2 * q; g.stroke();
    }
    this.scaleBar(g, q);
  }

  where(chosen) {
    if (!chosen) return null;
    if (chosen.kind === "car") {
      if (!this.x || !(chosen.id < this.x.length) || this.x[chosen.id] !== this.x[chosen.id]) return null;
      return [this.sx(this.x[chosen.id]), this.sy(this.y[chosen.id])];
    }
    const i = this.data.site_id.indexOf(chosen.id);
    return i < 0 ? null : [this.sx(this.data.site_x[i]), this.sy(this.data.site_y[i])];
  }

  scaleBar(g, q) {
    const most = 130 * q / this.scale, power = 10 ** Math.floor(Math.log10(most));
    const length = [5, 2, 1].map((m) => m * power).find((m) => m <= most), w = length * this.scale, y = this.above.height - 12 * q;
    const text = length >= 1000 ? `${length / 1000} km` : `${length} m`;
    g.font = `${12 * q}px system-ui, sans-serif`;
    g.fillStyle = "rgba(255,255,255,.8)"; g.fillRect(6 * q, y - 11 * q, w + 62 * q, 18 * q);
    g.fillStyle = INK; g.fillRect(10 * q, y - 1.5 * q, w, 3 * q);
    g.fillText(text, 16 * q + w, y + 4 * q);
  }

  // ------------------------------------------------------------ picking

  pick(px, py) {
    let best = null, least = 14 * this.ratio;
    const d = this.data;
    if (this.layers.chargers && d.site_x) {
      for (let i = 0; i < d.site_x.length; i++) {
        const kind = d.kinds[d.site_kind[i]];
        if ((kind === "work" || kind === "home") && !this.siteSize && this.scale < 3 * this.whole && !(this.siteOn && this.siteOn[i])) continue;
        const r = Math.hypot(this.sx(d.site_x[i]) - px, this.sy(d.site_y[i]) - py) - 4 * this.ratio;
        if (r < least) { least = r; best = { kind: "site", id: d.site_id[i] }; }
      }
    }
    if (this.x && this.layers.cars) {
      for (let i = 0; i < this.x.length; i++) {
        const state = (this.word[i] >> 2) & 7, parked = PARKED[state];
        if (parked && !this.layers.parked) continue;
        const r = Math.hypot(this.sx(this.x[i]) - px, this.sy(this.y[i]) - py) + (parked ? 3 * this.ratio : 0);
        if (r < least) { least = r; best = { kind: "car", id: i }; }
      }
    }
    return best;
  }
}
