// What a reader has chosen, in the fragment of the address: `#anchor&verdict=over+budget&sort=-share`. Back and forward work.

export const FACETS = ["verdict", "diagnosis", "case", "cell", "mode", "kind"];

const CHOICES = { q: "", sort: "-verdict", metric: "share", scale: "linear", group: "order", row: "" };

const LEGIBLE = { "%20": "+", "%2F": "/", "%3A": ":", "%2C": "," };
const encoded = (text) => encodeURIComponent(text).replace(/%20|%2F|%3A|%2C/g, (code) => LEGIBLE[code]);

function decoded(text) {
  try {
    return decodeURIComponent(text.replaceAll("+", " "));
  } catch {
    return text; // not written by this page: the text as it is names nothing, and is shown as such
  }
}

export function parse(fragment) {
  const state = { at: "", ...CHOICES, ...Object.fromEntries(FACETS.map((name) => [name, []])) };
  for (const part of fragment.replace(/^#/, "").split("&")) {
    const [name, value] = part.split(/=(.*)/s).map(decoded);
    if (value === undefined) state.at ||= name;
    else if (FACETS.includes(name)) state[name].push(value);
    else if (Object.hasOwn(CHOICES, name)) state[name] = value;
  }
  return state;
}

export function write(state) {
  const chosen = FACETS.flatMap((name) => state[name].map((value) => `${name}=${encoded(value)}`));
  const others = Object.keys(CHOICES).filter((name) => state[name] !== CHOICES[name]);
  return "#" + [encoded(state.at), ...chosen, ...others.map((name) => `${name}=${encoded(state[name])}`)].join("&");
}

export const filtered = (state) => state.q !== "" || FACETS.some((name) => state[name].length > 0);

export const unfiltered = () => ({ q: "", ...Object.fromEntries(FACETS.map((name) => [name, []])) });

export const toggled = (list, value) => (list.includes(value) ? list.filter((each) => each !== value) : [...list, value]);
