// Packed blocks of the file: base64, gzip, JSON. Each is read once, when it is first asked for.

const read = new Map();

async function unpack(text) {
  const bytes = Uint8Array.fromBase64 ? Uint8Array.fromBase64(text) : bytesOf(atob(text));
  const packed = new ReadableStream({
    start(sink) {
      sink.enqueue(bytes);
      sink.close();
    },
  }); // not a Blob's stream: its bytes go to another process and back
  return new Response(packed.pipeThrough(new DecompressionStream("gzip"))).json();
}

function bytesOf(text) {
  const bytes = new Uint8Array(text.length);
  for (let i = 0; i < text.length; i++) bytes[i] = text.charCodeAt(i);
  return bytes;
}

/** The data of a block, or null where the page has none of that name. */
export function block(name) {
  if (!read.has(name)) {
    const found = document.getElementById(`packed-${name}`);
    read.set(name, found ? unpack(found.textContent) : Promise.resolve(null));
  }
  return read.get(name);
}
