// Draws a site's page when it is opened, from the packed rows of the file. Text goes in as text, never as markup.
(() => {
  "use strict";

  const NUMBERS_PER_JUDGEMENT = 7;

  async function unpack() {
    const text = atob(document.getElementById("packed").textContent);
    const bytes = new Uint8Array(text.length);
    for (let i = 0; i < text.length; i++) bytes[i] = text.charCodeAt(i);
    const stream = new Blob([bytes]).stream().pipeThrough(new DecompressionStream("gzip"));
    return JSON.parse(await new Response(stream).text());
  }

  let unpacked = null;
  const rowsOf = async (page) => {
    const { sizes, strings, columns } = await (unpacked ??= unpack());
    const start = sizes.slice(0, page).reduce((sum, size) => sum + size, 0);
    const lists = ["judgements", "metrics", "worst"];
    const names = Object.keys(columns).filter((name) => !lists.includes(name));
    return Array.from({ length: sizes[page] }, (_, i) => {
      const row = { strings };
      for (const name of names) row[name] = strings[columns[name][start + i]];
      for (const name of lists) row[name] = columns[name][start + i];
      return row;
    });
  };

  const element = (tag, className, ...inner) => {
    const made = document.createElement(tag);
    if (className) made.className = className;
    made.append(...inner);
    return made;
  };

  const number = (value) => {
    if (value === null || typeof value === "string") return value ?? "–";
    if (value === 0) return "0";
    const size = Math.abs(value);
    return size >= 1e-3 && size < 1e5 ? String(Number(value.toPrecision(3))) : value.toExponential(2).replace(/\.?0*e/, "e");
  };
  const times = (ratio) => (ratio === null ? "–" : number(Number(ratio)) + "×");

  function table(titles, lines, rightFrom, rightTo) {
    const side = (i) => (i >= rightFrom && i <= rightTo ? "right" : "");
    const head = element("tr", "", ...titles.map((title, i) => element("th", side(i), title)));
    const body = lines.map((line) =>
      element("tr", "", ...line.map((cell, i) => element("td", side(i), cell))));
    return element("div", "scroll", element("table", "", element("thead", "", head), element("tbody", "", ...body)));
  }

  function chunks(list, size) {
    return Array.from({ length: list.length / size }, (_, i) => list.slice(i * size, (i + 1) * size));
  }

  function panel(row) {
    const pairs = element("dl", "pairs");
    const labels = ["verdict", "words", "diagnosis", "origin", "problem", "reason", "value"];
    for (const label of labels) {
      if (!row[label] || (label === "reason" && row.reason === row.words)) continue;
      const shown = label === "verdict" ? row.verdict.replace("_", " ") : row[label];
      const tone = label === "verdict" ? (row.verdict === "pass" ? "good" : "bad") : "";
      pairs.append(element("dt", "", label === "words" ? "drift" : label), element("dd", tone, shown));
    }
    const judged = chunks(row.judgements, NUMBERS_PER_JUDGEMENT).map(([metric, value, floor, ratio, limit, rule, ok]) => [
      row.strings[metric], number(value), floor ? number(floor) : "–", times(ratio), number(limit),
      element("span", ok ? "good" : "bad", ok ? "within" : "over"), element("span", "muted", row.strings[rule]),
    ]);
    const measured = chunks(row.metrics, 2).map(([metric, value]) => [
      row.strings[metric], number(value), "–", "–", "–", "", element("span", "muted", "not judged"),
    ]);
    const made = element("div", "row-panel",
      element("h4", "", `${row.port} · ${row.case} · ${row.cell} · ${row.mode}`), pairs);
    if (judged.length + measured.length) {
      made.append(table(["metric", "value", "floor", "ρ", "limit", "", "budget"], [...judged, ...measured], 1, 4));
    }
    if (row.worst.length) {
      const lines = chunks(row.worst, 4).map(([index, golden, got, difference]) => [
        element("code", "", `[${index.join(", ")}]`), String(golden), String(got),
        element("span", "bad", number(difference)),
      ]);
      made.append(table(["worst elements", "golden", "got", "difference"], lines, 1, 3));
    }
    return made;
  }

  // One table a case: ports down, cells and modes across; a square chosen shows its row in full below.
  function matrix(rows, choose) {
    const places = [...new Set(rows.map((row) => `${row.cell} ${row.mode}`))];
    const cells = [...new Set(rows.map((row) => row.cell))];
    const modesOf = (cell) => places.filter((place) => place.startsWith(`${cell} `)).map((place) => place.slice(cell.length + 1));
    const ports = [...new Set(rows.map((row) => row.port))];
    const groups = element("tr", "", element("td", ""), ...cells.map((cell) => {
      const group = element("th", "", cell);
      group.colSpan = modesOf(cell).length;
      return group;
    }));
    const columns = cells.flatMap((cell) => modesOf(cell).map((mode) => [`${cell} ${mode}`, mode]));
    const head = element("tr", "", element("td", ""), ...columns.map(([, mode]) => {
      const column = element("th", "", mode);
      column.scope = "col";
      return column;
    }));
    const body = ports.map((port) => {
      const line = element("tr", "", element("th", "", port));
      line.firstChild.scope = "row";
      for (const [place] of columns) {
        const row = rows.find((r) => r.port === port && `${r.cell} ${r.mode}` === place);
        const cell = element("td", row ? row.look : "empty");
        if (row) {
          const button = element("button", "", row.square || "·");
          button.title = row.words;
          button.setAttribute("aria-label", `${port}, ${place}: ${row.verdict}, ${row.words}`);
          button.addEventListener("click", () => choose(row, cell));
          row.square_cell = cell;
          cell.append(button);
        }
        line.append(cell);
      }
      return line;
    });
    return element("div", "scroll heat-scroll",
      element("table", "heat", element("thead", "", groups, head), element("tbody", "", ...body)));
  }

  function worstOf(rows) {
    const rank = (row) => (row.look.startsWith("fail") ? 20 : row.look.startsWith("propagated") ? 10 : 0)
      + Number(row.look.at(-1));
    return rows.reduce((best, row) => (rank(row) > rank(best) ? row : best));
  }

  async function draw(details) {
    if (details.dataset.drawn) return;
    details.dataset.drawn = "yes";
    const rows = await rowsOf(Number(details.dataset.page));
    const place = element("div", "");
    const choose = (row, cell) => {
      details.querySelector("td.chosen")?.classList.remove("chosen");
      cell.classList.add("chosen");
      place.replaceChildren(panel(row));
      cell.closest(".case").append(place);
    };
    for (const name of new Set(rows.map((row) => row.case))) {
      const own = rows.filter((row) => row.case === name);
      details.append(element("div", "case", element("h3", "", name), matrix(own, choose)));
    }
    const first = worstOf(rows);
    choose(first, first.square_cell);
  }

  function open(hash) {
    const target = hash.length > 1 && document.getElementById(decodeURIComponent(hash.slice(1)));
    if (target instanceof HTMLDetailsElement) {
      target.open = true;
      target.scrollIntoView();
    }
  }

  for (const details of document.querySelectorAll("details.site")) {
    details.addEventListener("toggle", () => details.open && draw(details));
  }
  document.addEventListener("click", (event) => {
    const link = event.target.closest?.('a[href^="#"]');
    if (link) open(link.getAttribute("href"));
  });
  window.addEventListener("hashchange", () => open(location.hash));
  open(location.hash);
})();
