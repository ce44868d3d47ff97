"use strict";
// Charts, walking from row to row, and pages of long lists. What is drawn stands in the page as text, too.
(() => {
  const data = JSON.parse(document.getElementById("data").textContent);
  const style = (name) => getComputedStyle(document.documentElement).getPropertyValue(name).trim();
  const make = (name, text, attributes = {}) => {
    const element = document.createElement(name);
    if (text !== undefined) element.textContent = text;
    for (const [key, value] of Object.entries(attributes)) element.setAttribute(key, value);
    return element;
  };
  const clock = (sec) => {
    const tenths = Math.round(sec * 10), whole = Math.floor(tenths / 10), two = (n) => String(n).padStart(2, "0");
    const [h, m, s] = [Math.floor(whole / 3600), Math.floor(whole / 60) % 60, whole % 60];
    return (h ? h + ":" + two(m) : m) + ":" + two(s) + (tenths % 10 ? "." + (tenths % 10) : "");
  };
  Chart.defaults.animation = false;
  Chart.defaults.maintainAspectRatio = false;
  Chart.defaults.font.family = "system-ui, sans-serif";
  Chart.defaults.plugins.legend.display = false;

  // Colours. Videos: Okabe and Ito's, for eyes of all kinds, then hues; time: Viridis.
  const OKABE_ITO = ["#0072b2", "#e69f00", "#009e73", "#cc79a7", "#56b4e9", "#d55e00", "#a6a000", "#888888"];
  const VIRIDIS = [[68, 1, 84], [65, 68, 135], [42, 120, 142], [34, 168, 132], [122, 209, 81], [253, 231, 37]];
  const ofVideo = (video) => video < OKABE_ITO.length ? OKABE_ITO[video] : `hsl(${(video * 137.508) % 360} 60% 50%)`;
  const ofShare = (share) => {
    const at = Math.min(Math.max(share, 0), 1) * 5, from = Math.min(Math.floor(at), 4);
    const mixed = VIRIDIS[from].map((c, k) => Math.round(c + (VIRIDIS[from + 1][k] - c) * (at - from)));
    return `rgb(${mixed.join(" ")})`;
  };

  const charts = [];
  const axis = (title) => ({
    title: { display: Boolean(title), text: title, color: style("--faint") },
    ticks: { color: style("--faint"), maxRotation: 0, autoSkip: true }, grid: { color: style("--line") },
  });
  const add = (id, build) => {
    const canvas = document.getElementById(id);
    if (canvas) charts.push({ canvas, build, chart: new Chart(canvas, build()) });
    return charts[charts.length - 1];
  };
  const bars = (id, histogram, title) => add(id, () => ({
    type: "bar",
    data: { labels: histogram.labels, datasets: [{ data: histogram.counts, backgroundColor: style("--rows"), categoryPercentage: 1, barPercentage: .92 }] },
    options: { scales: { x: axis(title), y: { ...axis("rows"), beginAtZero: true } } },
  }));

  // The thumbnail of a video that is nearest to a time.
  const thumbnail = (video, sec) => {
    const images = document.querySelectorAll(`#strip-${data.shown.indexOf(data.names[video])} img`);
    let best = null;
    for (const image of images) {
      if (!best || Math.abs(image.dataset.sec - sec) < Math.abs(best.dataset.sec - sec)) best = image;
    }
    return best;
  };
  const words = ([, , video, sec]) => `${data.names[video]} at ${clock(sec)}`;

  const drawMap = (number, points) => {
    const box = document.querySelector(`[data-map="${number}"]`);
    if (!box) return;
    const shown = document.getElementById(`selected-${number}`);
    const latest = Math.max(...points.map((point) => point[3]), 1e-9);
    const videos = [...new Set(points.map((point) => point[2]))];
    const colours = () => document.getElementById("colour").value === "time"
      ? points.map((point) => ofShare(point[3] / latest)) : points.map((point) => ofVideo(videos.indexOf(point[2])));
    let selected = -1;
    const size = () => points.map((_, k) => (k === selected ? 9 : points.length > 500 ? 2.5 : 4));
    const line = () => points.map((_, k) => (k === selected ? style("--ink") : "transparent"));
    const select = (at) => {
      if (at === selected) return;
      selected = at;
      shown.replaceChildren();
      const image = thumbnail(points[at][2], points[at][3]);
      if (image) shown.append(make("img", undefined, { src: image.src, alt: image.alt }));
      const more = image ? ` (thumbnail of ${clock(image.dataset.sec)})` : "";
      shown.append(make("p", `Row ${at + 1} of ${points.length}: ${words(points[at])}${more}`));
      const set = entry.chart.data.datasets[0];
      [set.pointRadius, set.pointBorderColor] = [size(), line()];
      entry.chart.update("none");
    };
    const entry = add(`map-${number}`, () => ({
      type: "scatter",
      data: { datasets: [{
        data: points.map(([x, y]) => ({ x, y })), pointBackgroundColor: colours(), pointRadius: size(), pointHoverRadius: 7,
        pointBorderColor: line(), pointBorderWidth: 2,
      }] },
      options: {
        interaction: { mode: "nearest", intersect: false },
        onHover: (_, found) => found.length && select(found[0].index),
        plugins: { tooltip: { callbacks: { label: (item) => words(points[item.dataIndex]) } } },
        scales: { x: axis("first component"), y: axis("second component") },
      },
    }));
    box.addEventListener("keydown", (event) => {
      const last = points.length - 1;
      const to = { ArrowRight: selected + 1, ArrowDown: selected + 1, ArrowLeft: selected - 1, ArrowUp: selected - 1, Home: 0, End: last }[event.key];
      if (to === undefined) return;
      event.preventDefault();
      select(Math.min(Math.max(to, 0), last));
    });
    const table = document.querySelector(`[data-table="${number}"]`);
    table.addEventListener("toggle", () => {
      if (table.querySelector("table")) return;
      const rows = points.map((point) => {
        const row = make("tr");
        row.append(make("th", data.names[point[2]], { scope: "row" }), ...[clock(point[3]), point[0], point[1]].map((text) => make("td", text)));
        return row;
      });
      const [head, body, all, titles] = [make("thead"), make("tbody"), make("table"), make("tr")];
      titles.append(...["video", "time", "first component", "second component"].map((text) => make("th", text, { scope: "col" })));
      head.append(titles);
      body.append(...rows);
      all.append(head, body);
      table.append(all);
    });
  };

  data.sets.forEach((set, number) => {
    bars(`norms-${number}`, set.norms, "norm");
    if (set.cosines) bars(`cosines-${number}`, set.cosines, "cosine");
    drawMap(number, set.points);
  });
  const redraw = () => charts.forEach((entry) => {
    entry.chart.destroy();
    entry.chart = new Chart(entry.canvas, entry.build());
  });
  document.getElementById("colour").addEventListener("change", redraw);
  matchMedia("(prefers-color-scheme: dark)").addEventListener("change", redraw);
  matchMedia("print").addEventListener("change", redraw);

  // Pages of long lists: without this script all of them are there.
  const pagers = [];
  for (const list of document.querySelectorAll("[data-pages]")) {
    const [items, size] = [[...list.querySelectorAll(":scope > [data-item]")], Number(list.dataset.pages)];
    const count = Math.ceil(items.length / size);
    if (count < 2) continue;
    const bar = make("nav", undefined, { class: "pages", "aria-label": `Pages of ${list.dataset.of}` });
    const [back, on] = [make("button", "Previous", { type: "button" }), make("button", "Next", { type: "button" })];
    const where = make("span", "", { "aria-live": "polite" });
    let page = 0;
    const show = (to) => {
      page = Math.min(Math.max(to, 0), count - 1);
      items.forEach((item, at) => { item.hidden = Math.floor(at / size) !== page; });
      where.textContent = `Page ${page + 1} of ${count}`;
      [back.disabled, on.disabled] = [page === 0, page === count - 1];
    };
    back.addEventListener("click", () => show(page - 1));
    on.addEventListener("click", () => show(page + 1));
    bar.append(back, where, on);
    (list.closest("table") || list).before(bar);
    pagers.push({ items, show: (item) => show(Math.floor(items.indexOf(item) / size)) });
    show(0);
  }
  const follow = () => {
    const target = document.getElementById(decodeURIComponent(location.hash.slice(1)));
    const pager = target && pagers.find(({ items }) => items.includes(target));
    if (!pager) return;
    pager.show(target);
    target.scrollIntoView();
    target.focus({ preventScroll: true });
  };
  addEventListener("hashchange", follow);
  // A link to where the page is already.
  document.getElementById("videos").addEventListener("click", (event) => {
    if (event.target.matches("a[href^='#video-']") && event.target.hash === location.hash) follow();
  });
  follow();
  document.documentElement.dataset.ready = "true";
})();
