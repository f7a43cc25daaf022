// Small charts on canvas: units on every axis, local time along the bottom, a cursor for the hour that is shown.
const LINES = ["#0072B2", "#E69F00", "#009E73", "#D55E00", "#56B4E9", "#CC79A7"];

function niceStep(range, most) {
  const raw = range / most, power = 10 ** Math.floor(Math.log10(raw));
  return [1, 2, 5, 10].map((m) => m * power).find((s) => s >= raw * 0.999);
}

function short(value) {
  const size = Math.abs(value);
  return size >= 1e6 ? `${+(value / 1e6).toPrecision(3)} M` : size >= 1e4 ? `${+(value / 1e3).toPrecision(3)} k` : `${+value.toPrecision(3)}`;
}

function clockText(startText, seconds) {
  const at = new Date(Date.parse(startText + "Z") + seconds * 1000);
  return at.toISOString().slice(11, 16);
}

class Chart {
  constructor(parent, title, unit) {
    this.title = title;
    this.unit = unit;
    const figure = document.createElement("figure");
    this.caption = document.createElement("figcaption");
    this.canvas = document.createElement("canvas");
    this.canvas.setAttribute("role", "img");
    figure.append(this.caption, this.canvas);
    parent.append(figure);
    this.figure = figure;
  }

  // series: [{name, y: array, dash, fill}], x: array in seconds, or bars with labels
  draw({ x, series, span, start, cursor, bars, labels, xUnit, empty, percent }) {
    const q = Math.min(window.devicePixelRatio || 1, 2), w = this.canvas.clientWidth || 260, h = this.canvas.clientHeight || 130;
    if (this.canvas.width !== w * q || this.canvas.height !== h * q) { this.canvas.width = w * q; this.canvas.height = h * q; }
    const g = this.canvas.getContext("2d");
    g.setTransform(q, 0, 0, q, 0, 0);
    g.clearRect(0, 0, w, h);
    const last = series.map((s) => { let k = s.y.length - 1; while (k >= 0 && Number.isNaN(s.y[k])) k--; return k < 0 ? NaN : s.y[k]; });
    this.heading(series, last);
    g.font = "11px system-ui, sans-serif";
    let top = 0, floor = 0;
    for (const s of series) for (const v of s.y) if (v > top) top = v;
    if (!(top > 0)) top = 1;
    const step = niceStep(top, 3.2), left = 8 + Math.max(...[top, step].map((v) => g.measureText(short(v)).width + 8)), right = 8, bottom = 20, head = 6;
    top = Math.ceil(top / step - 1e-9) * step;
    const X = (t) => left + (w - left - right) * t, Y = (v) => h - bottom - (h - bottom - head) * ((v - floor) / (top - floor));
    g.fillStyle = MUTED; g.strokeStyle = "#e4e4e4"; g.lineWidth = 1; g.textAlign = "right"; g.textBaseline = "middle";
    for (let v = 0; v <= top * 1.0001; v += step) { g.beginPath(); g.moveTo(left, Y(v)); g.lineTo(w - right, Y(v)); g.stroke(); g.fillText(short(v), left - 5, Y(v)); }
    g.textAlign = "center"; g.textBaseline = "alphabetic";
    if (bars) {
      const n = bars.length, y = series[0].y;
      for (let i = 0; i < n; i++) { g.fillStyle = bars[i]; const a = X(i / n) + 1, b = X((i + 1) / n) - 1; g.fillRect(a, Y(y[i]), b - a, Y(0) - Y(y[i])); }
      g.fillStyle = MUTED;
      labels.forEach(([at, text]) => g.fillText(text, Math.min(X(at), w - 2 - g.measureText(text).width / 2), h - 6));
    } else {
      const hours = span / 3600, tick = [0.25, 0.5, 1, 2, 3, 6, 12, 24, 48].find((s) => hours / s <= Math.max(2, (w - left) / (w < 230 ? 32 : 52))) || 96;
      const offset = start ? (Date.parse(start + "Z") / 3.6e6) % 24 : 0;
      const narrow = w < 230 && tick >= 1, name = (t) => (narrow ? `${+clockText(start, t).slice(0, 2)} h` : clockText(start, t));
      for (let t = (tick - (offset % tick)) % tick; t <= hours + 1e-6; t += tick) g.fillText(name(t * 3600), Math.min(Math.max(X(t / hours), left + 14), w - 18), h - 6);
      series.forEach((s, k) => {
        g.strokeStyle = s.colour || LINES[k];
        g.lineWidth = s.thin ? 1.2 : 1.9;
        g.setLineDash(s.dash ? [4, 3] : []);
        g.beginPath();
        let pen = false;
        for (let i = 0; i < x.length; i++) {
          if (Number.isNaN(s.y[i])) { pen = false; continue; }
          const px = X(x[i] / span), py = Y(s.y[i]);
          if (pen) g.lineTo(px, py); else g.moveTo(px, py);
          pen = true;
        }
        g.stroke();
        g.setLineDash([]);
      });
      if (cursor !== undefined && cursor !== null) { g.strokeStyle = INK; g.lineWidth = 1; g.beginPath(); g.moveTo(X(cursor / span), head); g.lineTo(X(cursor / span), h - bottom); g.stroke(); }
    }
    if (empty) { g.fillStyle = MUTED; g.fillText(empty, (left + w) / 2, h / 2); }
  }

  heading(series, last) {
    const key = series.map((s, k) => `${s.name}|${s.now !== undefined ? s.now : short(last[k])}`).join(";");
    if (key === this.said) return;
    this.said = key;
    this.caption.replaceChildren();
    const title = document.createElement("b");
    title.append(`${this.title} `, tag("small", { textContent: this.unit }));
    this.caption.append(title);
    series.forEach((s, k) => {
      if (!s.name) return;
      const item = document.createElement("span"), mark = document.createElement("i");
      mark.style.borderTop = `3px ${s.dash ? "dashed" : "solid"} ${s.colour || LINES[k]}`;
      const value = s.now !== undefined ? s.now : Number.isNaN(last[k]) ? "–" : short(last[k]);
      item.append(mark, ` ${s.name} ${value}`);
      this.caption.append(item);
    });
    this.canvas.setAttribute("aria-label", `${this.title}, ${this.unit}: ${series.map((s, k) => `${s.name || "value"} ${s.now !== undefined ? s.now : short(last[k])}`).join(", ")}`);
  }
}
