// "Check my log" on Activity: fetches the person's log, checks it here (log-verify.js), and shows what is wrong at its
// row.  What it saw is remembered in this browser, so that a log that is rewritten later does not go unnoticed.

import { base64, bytes, checkpoint, consistent, signedBy, Unreadable, verify } from "./log-verify.js";

const MEMORY = "checked-logs";
const HOUR = 3_600_000;
const MOST_SHOWN = 100;
const MARKS = {
  changed: "Changed: this is not what the log has",
  gone: "Removed here: the log has a row, and nobody says any more what it was",
  missing: "Missing here: the log had a row, and it was taken out",
  moved: "Moved: the log has this row in another place",
  unlogged: "Not in the log",
  shown: "This page shows something else than the log has",
};
const place = document.getElementById("log-check");
const part = (name) => document.getElementById(`log-check-${name}`);
let last; // what was found last: rows that come later are marked, too

const day = (moment) => new Date(moment).toLocaleString("en-GB", { dateStyle: "long", timeStyle: "short" });
const plural = (count, word) => `${count.toLocaleString("en-GB")} ${word}${count === 1 ? "" : "s"}`;

function element(name, words, ...classes) {
  const made = document.createElement(name);
  made.textContent = words;
  made.classList.add(...classes);
  return made;
}

function note(tone, ...sentences) {
  const made = element("div", "", "note", "stack-s", ...(tone ? [tone] : []));
  made.append(...sentences.map((each) => (typeof each === "string" ? element("p", each) : each)));
  return made;
}

function remembered() {
  try {
    return JSON.parse(localStorage.getItem(MEMORY)) ?? {};
  } catch {
    return {};
  }
}

function remember(memory) {
  try {
    localStorage.setItem(MEMORY, JSON.stringify(memory));
    return true;
  } catch {
    return false;
  }
}

async function fetched(address) {
  const answer = await fetch(address, { headers: { Accept: "application/json" }, cache: "no-store" });
  if (!answer.ok || answer.redirected) throw new Unreadable();
  return answer.json();
}

// Both that of then and that of now must be how the newest begins, or there are two logs: the proofs are of one moment.
async function proofs(...sizes) {
  for (let tries = 0; tries < 5; tries += 1) {
    const told = await Promise.all(sizes.map((size) => fetched(place.dataset.consistency.replace(/0$/, size))));
    if (new Set(told.map((each) => each.checkpoint)).size === 1) return told;
  }
  throw new Unreadable();
}

async function begins(...older) {
  const told = await proofs(...older.map((each) => each.size));
  const newest = checkpoint(told[0].checkpoint);
  if ((await signedBy(place.dataset.verifier, newest)) === false) return false;
  const found = told.map(({ path }, at) => consistent(older[at].size, older[at].root, newest.size, newest.root, path.map(bytes)));
  return (await Promise.all(found)).every(Boolean);
}

// What this browser saw of the log before must still be how it begins.
async function isContinued(before, now) {
  const then = { size: before.checkpoint.size, root: bytes(before.checkpoint.root) };
  if (now.size < then.size) return false;
  if (now.size === then.size) return base64(now.root) === before.checkpoint.root;
  return !then.size || begins(then, now);
}

// The person's own newest entry of then must stand where it stood; the newest ones can be left out of a file unseen.
function ownSince(head, found) {
  if (!head) return [];
  const same = found.entries.find((each) => each.n === head.n);
  return same && base64(same.hash) === head.hash
    ? []
    : [`Your own log ended with entry ${head.n} when you last checked it here. That entry is not in it any more, or not as it was.`];
}

async function compared(found) {
  const memory = remembered();
  const sameLog = memory.log?.verifier === place.dataset.verifier;
  if (!sameLog) return { wrong: [], memory, sameLog, before: memory.log };
  const head = memory.heads?.[place.dataset.whose];
  const wrong = ownSince(head, found);
  if (!(await isContinued(memory.log, found.checkpoint))) {
    wrong.unshift(`The log was rewritten since you checked it here on ${day(memory.log.at)}: it does not begin as it was then.`);
  }
  return { wrong, memory, sameLog, before: memory.log, own: Boolean(head) };
}

function keep(memory, found, sameLog) {
  const newest = found.entries.at(-1);
  const { size, root } = found.checkpoint;
  const head = newest ? { [place.dataset.whose]: { n: newest.n, hash: base64(newest.hash) } } : {};
  return remember({
    log: { verifier: place.dataset.verifier, checkpoint: { size, root: base64(root) }, at: Date.now() },
    heads: { ...(sameLog ? memory.heads : {}), ...head },
  });
}

// What there is to see on the page about each row: which entry of the log says it, and what is wrong with that.
function gathered(found) {
  const entries = new Map(found.entries.map((each) => [each.n, each]));
  const rows = new Map();
  for (const each of found.entries) {
    if (each.said && !rows.has(each.said.disclosure_id)) rows.set(each.said.disclosure_id, each);
  }
  const marks = new Map();
  const lost = [];
  for (const wrong of found.wrong) {
    const id = entries.get(wrong.n)?.said?.disclosure_id;
    if (id) marks.set(id, wrong.kind);
    else if (wrong.n) lost.push(wrong);
  }
  return { rows, marks, lost };
}

function mark(row, kind) {
  const where = row.matches("tr") ? row.querySelector("[data-h=Outcome] > span") ?? row.lastElementChild : row;
  where.append(" ", element("span", MARKS[kind], "tag", "stop", "wrap-text", "log-mark"));
  row.classList.add("is-wrong");
  row.closest("details")?.setAttribute("open", "");
}

function markRow(row, { rows, marks }, late) {
  const { entry: id, at } = row.dataset;
  const who = row.querySelector("[data-h=Who]")?.textContent;
  const logged = rows.get(id);
  if (marks.has(id)) return mark(row, marks.get(id));
  if (!logged) return Date.now() - Date.parse(at) > late ? mark(row, "unlogged") : undefined;
  // A row of the log without these members is of what became of another one.
  const said = logged.said;
  const others = (who && !who.includes(said.company_name)) || Date.parse(said.at) !== Date.parse(at);
  if ("company_name" in said && others) mark(row, "shown");
  return undefined;
}

// A row that is not there any more is shown between those that stood around it, where both are on this page.
function showLost(table, { rows, lost }) {
  const shown = [...table.tBodies[0].rows].map((row) => ({ row, n: rows.get(row.dataset.entry)?.n }));
  for (const { kind, n, last } of lost) {
    const [newer, older] = [shown.filter((each) => each.n > n).at(-1), shown.find((each) => each.n < n)];
    if ((!newer && "continued" in table.dataset) || (!older && "older" in table.dataset)) continue;
    const row = document.createElement("tr");
    row.setAttribute("role", "row");
    const cell = row.insertCell();
    cell.setAttribute("role", "cell");
    cell.colSpan = 6;
    cell.append(element("span", `${name(n, last)}: ${MARKS[kind]}`, "tag", "stop", "wrap-text", "log-mark"));
    row.classList.add("is-wrong", "is-lost");
    if (older) older.row.before(row);
    else table.tBodies[0].append(row);
  }
}

function markAll() {
  const table = document.getElementById("activity-rows");
  for (const old of document.querySelectorAll(".log-mark, tr.is-lost")) old.remove();
  if (!table || !last) return;
  // Repeats stand in their row once more; the row itself bears the mark of any of them.
  for (const row of table.querySelectorAll("tbody tr[data-entry], li[data-entry]")) {
    row.classList.remove("is-wrong");
    markRow(row, last, HOUR);
  }
  showLost(table, last);
}

const name = (n, end) => (end > n ? `Entries ${n} to ${end}` : `Entry ${n}`);

function listed(found) {
  const list = element("ol", "", "stack-s");
  const entries = new Map(found.entries.map((each) => [each.n, each]));
  for (const { kind, n, last: end } of found.wrong.slice(0, MOST_SHOWN)) {
    const said = entries.get(n)?.said;
    const item = element("li", n ? `${name(n, end)}: ${MARKS[kind]}. ` : "The proof in your file does not lead to the log that was signed.");
    if (said?.disclosure_id) {
      const link = element("a", `See the row of ${day(said.at)}${said.company_name ? `, ${said.company_name}` : ""}`);
      link.href = place.dataset.entry + encodeURIComponent(said.disclosure_id);
      item.append(link);
    }
    list.append(item);
  }
  return list;
}

function told(found, since, took) {
  const { origin, size } = found.checkpoint;
  const checked = `${plural(found.entries.length, "entry").replace("entrys", "entries")} of yours checked, in a log of ${size.toLocaleString("en-GB")} (${origin}).`;
  const notes = [];
  if (found.signed === false) notes.push(note("stop", "The log is not signed by the key shown below. Do not believe it, and tell somebody."));
  if (found.signed === null) notes.push(note("hold", "Your browser cannot check the log's signature (Ed25519). Everything else was checked. For the signature use another browser, or the program described below."));
  if (since.wrong.length) notes.push(note("stop", ...since.wrong));
  if (since.before && !since.sameLog) notes.push(note("hold", `The log's key is another one than when you checked here on ${day(since.before.at)}. That is right if the log was opened anew, under another name. Compare the new key.`));
  if (found.wrong.length) {
    const more = found.wrong.length - MOST_SHOWN;
    notes.push(note("stop", `${plural(found.wrong.length, "thing")} ${found.wrong.length === 1 ? "is" : "are"} wrong. ${checked}`, listed(found), ...(more > 0 ? [`And ${more} more.`] : [])));
  }
  if (found.signed !== false && !found.wrong.length && !since.wrong.length) {
    const known = since.sameLog ? `The log continues what this browser saw on ${day(since.before.at)}. ` : "";
    const own = since.own ? "Your own rows do, too." : "Your own rows were checked in this browser for the first time. From now on it notices if they are rewritten.";
    const again = known + own;
    notes.unshift(note("ok", `Nothing was changed, removed or moved. ${checked}`, again));
  }
  part("result").dataset.milliseconds = JSON.stringify(took);
  part("result").replaceChildren(...notes);
}

async function check() {
  const times = [performance.now()];
  const bar = part("progress");
  const file = await fetched(place.dataset.file);
  times.push(performance.now());
  part("step").textContent = "Checking your log";
  const found = await verify(file, place.dataset.verifier, (done, of) => {
    [bar.max, bar.value] = [of, done];
  });
  const since = await compared(found);
  last = gathered(found);
  markAll();
  // What is wrong is not remembered in the place of what was right.
  if (found.signed !== false && !found.wrong.length && !since.wrong.length) keep(since.memory, found, since.sameLog);
  times.push(performance.now());
  told(found, since, { fetched: Math.round(times[1] - times[0]), checked: Math.round(times[2] - times[1]) });
}

async function start() {
  part("start").disabled = true;
  part("step").textContent = "Fetching your log";
  part("progress").removeAttribute("value");
  part("busy").hidden = false;
  part("result").replaceChildren();
  try {
    await check();
  } catch (error) {
    const known = error instanceof Unreadable || error instanceof TypeError || error instanceof SyntaxError;
    const words = known ? "Your log could not be fetched, or is not one that can be checked." : "Your log could not be checked.";
    part("result").replaceChildren(note("hold", `${words} Try again; if that stays so, take the file away and check it without this page.`));
  }
  part("busy").hidden = true;
  part("start").disabled = false;
}

if (place && globalThis.crypto?.subtle) {
  place.hidden = false;
  part("start").addEventListener("click", start);
  document.addEventListener("htmx:after:settle", markAll);
} else if (place) {
  place.hidden = false;
  part("start").hidden = true;
  part("result").append(note("hold", "Your browser cannot check the log here: it has no SubtleCrypto, or this page did not come over a secure connection. Use the program described below."));
}
