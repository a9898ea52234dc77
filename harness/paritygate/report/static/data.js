// Reads the packed rows of the file.

async function unpack() {
  const text = atob(document.getElementById("packed").textContent);
  const bytes = new Uint8Array(text.length);
  for (let i = 0; i < text.length; i++) bytes[i] = text.charCodeAt(i);
  const stream = new Blob([bytes]).stream().pipeThrough(new DecompressionStream("gzip"));
  return JSON.parse(await new Response(stream).text());
}

const unpacked = { data: null };

/** The rows of one site's page: a text a column, and lists as they were packed. */
export async function rowsOf(page) {
  const { sizes, strings, columns } = await (unpacked.data ??= unpack());
  const start = sizes.slice(0, page).reduce((sum, size) => sum + size, 0);
  const lists = ["judgements", "metrics", "worst"];
  const names = Object.keys(columns).filter((name) => !lists.includes(name));
  return Array.from({ length: sizes[page] }, (_, i) => {
    const row = { strings };
    for (const name of names) row[name] = strings[columns[name][start + i]];
    for (const name of lists) row[name] = columns[name][start + i];
    return row;
  });
}
