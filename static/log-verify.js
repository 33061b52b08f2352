// Checks a person's log in their own browser (portal/ledger/verifying.py does the same, and the tests hold that both
// find the same).  Nothing here asks the portal, and nothing is believed that is not proved.
// SHA-256 and Ed25519 are the browser's own (SubtleCrypto); the tree is that of RFC 9162 section 2.1.

const FORMAT = "ucm-log-1";
const AT_ONCE = 500;
const PREFIX = new TextEncoder().encode("ucm-disclosure-v1\0");
const LEAF = Uint8Array.of(0);
const NODE = Uint8Array.of(1);
const NOTHING = new Uint8Array(0);
const LOG_KEY = 1;

export class Unreadable extends Error {}

const encoder = new TextEncoder();

function joined(...parts) {
  const whole = new Uint8Array(parts.reduce((size, part) => size + part.length, 0));
  let at = 0;
  for (const part of parts) {
    whole.set(part, at);
    at += part.length;
  }
  return whole;
}

async function sha256(...parts) {
  return new Uint8Array(await crypto.subtle.digest("SHA-256", joined(...parts)));
}

const nodeHash = (left, right) => sha256(NODE, left, right);

export function bytes(base64) {
  try {
    const data = atob(base64);
    // The last letter may have bits that say nothing: two files never say one thing.
    if (btoa(data) === base64) return Uint8Array.from(data, (letter) => letter.charCodeAt(0));
  } catch {
    // It has letters that base64 has not.
  }
  throw new Unreadable();
}

export const base64 = (data) => btoa(String.fromCharCode(...data));

const same = (one, other) => one.length === other.length && one.every((byte, at) => byte === other[at]);

// JSON with its members by name (RFC 8785): numbers and strings are written as JSON.stringify writes them.
function canonical(value) {
  if (Array.isArray(value)) return `[${value.map(canonical).join(",")}]`;
  if (value === null || typeof value !== "object") return JSON.stringify(value);
  const members = Object.keys(value).sort();
  return `{${members.map((name) => `${JSON.stringify(name)}:${canonical(value[name])}`).join(",")}}`;
}

function eightBytes(number) {
  const data = new DataView(new ArrayBuffer(8));
  data.setBigUint64(0, BigInt(number));
  return new Uint8Array(data.buffer);
}

function number(given, least) {
  if (!Number.isSafeInteger(given) || given < least) throw new Unreadable();
  return given;
}

// A file as it is written by portal/ledger/exports.py, or Unreadable.
function read(file) {
  if (file?.format !== FORMAT || !Array.isArray(file.entries) || !Array.isArray(file.path)) throw new Unreadable();
  const entries = file.entries.map((each) => {
    if (typeof each?.said !== "object" || Array.isArray(each.said) || !each.blinds) throw new Unreadable();
    return {
      n: number(each.n, 1),
      leaf: number(each.leaf, 0),
      hash: bytes(each.hash),
      blinds: { said: bytes(each.blinds.said), place: bytes(each.blinds.place) },
      said: each.said,
    };
  });
  return { entries, path: file.path.map(bytes), count: number(file.count, 0) };
}

// The largest power of two that is smaller; numbers of 53 bits are no business of << and >>.
function cut(size) {
  let power = 1;
  while (power * 2 < size) power *= 2;
  return power;
}

// The root that leaves' hashes and those between them come to; null where they are not as many as they must be.
// The hashes are taken from left to right before any is worked out, so that the browser works at all of them at once.
async function rootAround(leaves, size, path) {
  const indexes = [...leaves.keys()].sort((one, other) => one - other);
  if (!indexes.length || indexes.at(-1) >= size) return null;
  let taken = 0;
  const before = (limit, first, last) => {
    while (first < last) {
      const middle = (first + last) >> 1;
      if (indexes[middle] < limit) first = middle + 1;
      else last = middle;
    }
    return first;
  };
  const rootOf = (start, stop, first, last) => {
    if (first === last) return path[taken++] ?? NOTHING;
    if (stop - start === 1) return leaves.get(start);
    const middle = start + cut(stop - start);
    const at = before(middle, first, last);
    const left = rootOf(start, middle, first, at);
    const right = rootOf(middle, stop, at, last);
    return Promise.all([left, right]).then((both) => nodeHash(...both));
  };
  const root = rootOf(0, size, 0, indexes.length);
  return taken === path.length ? root : (await root, null);
}

// Whether `path` proves that the tree of `first` leaves begins that of `second` (RFC 9162 section 2.1.4.2).
export async function consistent(first, firstRoot, second, secondRoot, path) {
  if (!(first > 0 && first <= second)) return false;
  if (first === second) return path.length === 0 && same(firstRoot, secondRoot);
  const hashes = first === 2 ** Math.round(Math.log2(first)) ? [firstRoot, ...path] : [...path];
  if (!hashes.length) return false;
  const up = (value) => Math.floor(value / 2);
  let [at, last] = [first - 1, second - 1];
  while (at % 2) [at, last] = [up(at), up(last)];
  let [small, large] = [hashes[0], hashes[0]];
  for (const each of hashes.slice(1)) {
    if (!last) return false;
    if (at % 2 || at === last) {
      [small, large] = await Promise.all([nodeHash(each, small), nodeHash(each, large)]);
      while (at && at % 2 === 0) [at, last] = [up(at), up(last)];
    } else {
      large = await nodeHash(large, each);
    }
    [at, last] = [up(at), up(last)];
  }
  return !last && same(small, firstRoot) && same(large, secondRoot);
}

// A signed note (C2SP signed-note) as { origin, size, root, text, signatures }.
export function checkpoint(note) {
  const gap = String(note).lastIndexOf("\n\n");
  const text = String(note).slice(0, gap + 1);
  const found = /^([^\n]+)\n(0|[1-9][0-9]{0,15})\n([A-Za-z0-9+/]{43}=)\n$/.exec(text);
  if (gap < 0 || !found) throw new Unreadable();
  const signatures = String(note).slice(gap + 2).split("\n").filter(Boolean).map((line) => line.split(" "));
  return { origin: found[1], size: number(Number(found[2]), 0), root: bytes(found[3]), text, signatures };
}

// Whether the note bears the signature of this verifier key, which is for the log of its own name alone; null where the
// browser cannot say.
export async function signedBy(verifier, note) {
  const found = /^([^\s+]+)\+([0-9a-f]{8})\+([A-Za-z0-9+/=]+)$/.exec(verifier.trim());
  const material = found ? bytes(found[3]) : NOTHING;
  if (material.length !== 33 || material[0] !== LOG_KEY || found[1] !== note.origin) return false;
  const id = (await sha256(encoder.encode(`${found[1]}\n`), material)).slice(0, 4);
  if ([...id].map((byte) => byte.toString(16).padStart(2, "0")).join("") !== found[2]) return false;
  const mine = note.signatures
    .filter(([, name]) => name === found[1])
    .map(([, , written]) => bytes(written ?? ""))
    .find((signature) => same(signature.slice(0, 4), id));
  if (!mine) return false;
  let key;
  try {
    key = await crypto.subtle.importKey("raw", material.slice(1), { name: "Ed25519" }, false, ["verify"]);
  } catch {
    return null;
  }
  return crypto.subtle.verify({ name: "Ed25519" }, key, mine.slice(4), encoder.encode(note.text));
}

// The leaf that the log must have of an entry behind the one with the hash `previous`.
async function leafOf({ n, said, blinds }, previous) {
  const [what, where] = await Promise.all([
    sha256(blinds.said, encoder.encode(canonical(said))),
    sha256(blinds.place, eightBytes(n), previous),
  ]);
  return sha256(LEAF, PREFIX, await sha256(what, where));
}

async function changed(entries, progress) {
  const hashes = new Map([[0, NOTHING], ...entries.map((each) => [each.n, each.hash])]);
  const found = [];
  for (let at = 0; at < entries.length; at += AT_ONCE) {
    const some = entries.slice(at, at + AT_ONCE);
    const right = await Promise.all(
      some.map(async (each) => {
        const previous = hashes.get(each.n - 1);
        if (each.said === null || !previous) return true;
        return same(await leafOf(each, previous), each.hash);
      }),
    );
    some.forEach((each, number) => {
      if (each.said === null) found.push({ kind: "gone", n: each.n });
      else if (!right[number]) found.push({ kind: "changed", n: each.n });
    });
    progress(at + some.length, entries.length);
  }
  return found;
}

function missing(entries, count) {
  const numbers = [...new Set(entries.map((each) => each.n))].sort((one, other) => one - other);
  const found = [];
  let before = 0;
  for (const n of [...numbers, Math.max(count, numbers.at(-1) ?? 0) + 1]) {
    if (n > before + 1) found.push({ kind: "missing", n: before + 1, last: n - 1 });
    before = n;
  }
  return found;
}

// The places of a longest part that ascends (patience sorting): what is not in it was put elsewhere.
function inOrder(numbers) {
  const [ends, places, before] = [[], [], []];
  numbers.forEach((value, at) => {
    let [low, high] = [0, ends.length];
    while (low < high) {
      const middle = (low + high) >> 1;
      if (ends[middle] < value) low = middle + 1;
      else high = middle;
    }
    before.push(low ? places[low - 1] : -1);
    [ends[low], places[low]] = [value, at];
  });
  const found = new Set();
  for (let at = places.at(-1) ?? -1; at >= 0; at = before[at]) found.add(at);
  return found;
}

function moved(entries) {
  const stay = inOrder(entries.map((each) => each.n));
  const found = [];
  let leaf = -1;
  entries.forEach((each, at) => {
    if (!stay.has(at) || each.leaf <= leaf) found.push({ kind: "moved", n: each.n });
    else leaf = each.leaf;
  });
  return found;
}

async function unproved(entries, path, { size, root }) {
  if (!entries.length) return [];
  const found = await rootAround(new Map(entries.map((each) => [each.leaf, each.hash])), size, path);
  return found && same(found, root) ? [] : [{ kind: "unproved", n: 0 }];
}

// Returns { entries, checkpoint, signed, wrong }: `signed` is null where the browser has no Ed25519; what is `wrong` is
// of a `kind` and, unless it is of the whole file, of the entry `n` (to `last`).  Throws Unreadable.
export async function verify(file, verifier, progress = () => {}) {
  const { entries, path, count } = read(file);
  const note = checkpoint(file.checkpoint);
  const signed = await signedBy(verifier, note);
  const wrong = [...missing(entries, count), ...moved(entries), ...(await changed(entries, progress))];
  return { entries, checkpoint: note, signed, wrong: [...wrong, ...(await unproved(entries, path, note))] };
}
