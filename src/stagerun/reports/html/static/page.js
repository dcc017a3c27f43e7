// The script of every page: swaps what the server sends, follows the log, searches it, and lets clocks tick.
// Without it each page is whole and reloads by itself. All HTML comes through one function, `parsed`.

const MOST = 2000, BLOCK = 200, HELD = 1000; // lines in the page, in one list, kept while the reader has scrolled up
const own = {createHTML: text => text}, policy = window.trustedTypes?.createPolicy("stagerun", own) ?? own;
const $ = (selector, root = document) => root.querySelector(selector);
const $$ = (selector, root = document) => [...root.querySelectorAll(selector)];
const page = {skew: 0, following: false, held: []};

function parsed(html) {
  return Object.assign(document.createElement("template"), {innerHTML: policy.createHTML(html)}).content;
}

// Messages: each element says by hx-swap-oob where it belongs.
function apply(message) {
  if (message.startsWith("{")) return control(JSON.parse(message));
  const running = () => $$("#running [data-run]").map(each => each.dataset.run).join(), before = running();
  for (const element of [...parsed(message).children]) swap(element);
  if (before !== running()) fetch(location.href).then(answer => answer.text()).then(text => {
    if (!$("#history").contains(document.activeElement)) $("#history").replaceWith($("#history", parsed(text)));
  });
  if (page.log && page.following) settle();
  const about = $("#op-status")?.dataset, icon = `/icon/${about?.look}.svg`;
  if (about) document.title = about.title;
  if (about && $("#icon").getAttribute("href") !== icon) $("#icon").setAttribute("href", icon);
}

function swap(element) {
  const way = element.getAttribute("hx-swap-oob");
  element.removeAttribute("hx-swap-oob");
  const colon = way.indexOf(":"), target = $(colon > 0 ? way.slice(colon + 1) : `#${element.id}`);
  if (!target) return;
  if (element.dataset.first && way.startsWith("beforeend")) {
    if (page.following) append(target, $("ol", element)); else hold(target, $("ol", element));
  } else if (way.startsWith("beforeend")) {
    for (const each of [...element.children]) if (!document.getElementById(each.id)) target.append(each);
  } else if (way === "innerHTML") target.replaceChildren(...element.childNodes);
  else replace(target, element);
  const fold = element.dataset.end && (target.closest(".fold") ?? document.getElementById(element.id)?.closest(".fold"));
  if (fold) fold.dataset.end = element.dataset.end;
}

function replace(old, element) {
  const controls = "a, button, summary, input, select", active = document.activeElement;
  const place = old === active ? -1 : $$(controls, old).indexOf(active), inside = old.contains(active);
  for (const each of $$("details[id]", element)) each.open = document.getElementById(each.id)?.open ?? each.open;
  for (const each of $$("[aria-pressed]", element)) each.ariaPressed = document.getElementById(each.id)?.ariaPressed ?? each.ariaPressed;
  old.replaceWith(element);
  if (inside) (place < 0 ? element : $$(controls, element)[place] ?? element).focus({preventScroll: true});
  if (element.matches("main")) begin();
}

function control(message) {
  if (message.liveop_chain) {
    history.replaceState(null, "", `/runs/${message.liveop_chain.to}`);
    page.socket.onclose = null;
    page.socket.close();
    connect(`/runs/${message.liveop_chain.to}/live?after=${message.liveop_chain.after}`);
  } else if (message.liveop_over) {
    page.main.removeAttribute("data-live");
    link("", message.liveop_over.state === "deleted" ? "this run was deleted" : "");
    if (pressed("#notify")) new Notification(document.title);
    $("#notify").hidden = true;
  }
}

// The log: a fold holds lists of lines and gaps, which together have every line from its first to its end.
const endOf = fold => Number(fold.lastElementChild.dataset.last ?? fold.dataset.first - 1), sum = lists => lists.reduce((total, list) => total + list.children.length, 0);
const num = number => number.toLocaleString("en"), counted = number => `${num(number)} ${number === 1 ? "line" : "lines"}`;

function append(fold, list) {
  const end = endOf(fold), first = Number(list.dataset.first), last = Number(list.dataset.last);
  if (last <= end) return;
  if (first > end + 1) fold.append(gap(end + 1, first - 1));
  for (const line of [...list.children]) if (Number(line.id.slice(1)) <= end) line.remove();
  const tail = fold.lastElementChild;
  list.dataset.first = Math.max(first, end + 1);
  if (!tail.matches(".lines") || tail.children.length >= BLOCK) return fold.append(list);
  tail.append(...list.children);
  tail.dataset.last = last;
}

function settle() {
  for (const fold of $$(".fold", page.log)) {
    const end = endOf(fold);
    if (end < fold.dataset.end) fold.append(gap(end + 1, fold.dataset.end));
    join(fold);
  }
  trim($$(".lines", page.log).at(-1));
  scroller().scrollTop = scroller().scrollHeight;
}

function gap(first, last) {
  const href = `/runs/${page.run}?line=${last}#L${last}`, textContent = `${counted(last - first + 1)} not loaded`;
  const made = Object.assign(document.createElement("a"), {className: "gap", href, textContent});
  Object.assign(made.dataset, {first, last});
  return made;
}

function join(fold) {
  for (const each of $$(".gap + .gap", fold)) {
    each.previousElementSibling.replaceWith(gap(each.previousElementSibling.dataset.first, each.dataset.last));
    each.remove();
  }
}

function trim(near) {
  const lists = $$(".lines", page.log);
  let total = sum(lists);
  while (total > MOST && lists.length > 1) {
    const before = lists.indexOf(near), gone = before >= lists.length - 1 - before ? lists.shift() : lists.pop();
    const fold = gone.parentElement;
    total -= gone.children.length;
    gone.replaceWith(gap(gone.dataset.first, gone.dataset.last));
    join(fold);
  }
}

async function load(missing, near) {
  const {first, last} = missing.dataset, wanted = near ?? (missing.previousElementSibling?.matches(".lines") ? first : last);
  missing.textContent = "loading …";
  const answer = await fetch(`/runs/${page.run}/lines?first=${first}&last=${last}&near=${wanted}`).catch(() => null);
  const lists = answer?.ok ? [...parsed(await answer.text()).children] : [];
  if (!lists.length) return missing.replaceWith(gap(first, last));
  const from = Number(lists[0].dataset.first), to = Number(lists.at(-1).dataset.last);
  missing.replaceWith(...[from > first && gap(first, from - 1), ...lists, to < last && gap(to + 1, last)].filter(Boolean));
  trim(lists.find(list => Number(list.dataset.last) >= wanted) ?? lists[0]);
}

async function show(line) {
  follow(false);
  const missing = $$(".gap", page.log).find(each => Number(each.dataset.first) <= line && line <= Number(each.dataset.last));
  if (missing) await load(missing, line);
  const found = document.getElementById(`L${line}`);
  if (found) $(".hit", page.log)?.classList.remove("hit"); else return;
  found.classList.add("hit");
  found.closest(".fold").open = true;
  for (let frame = 0; frame < 4; frame++) { // lists on the way get their height only when they are laid out
    found.scrollIntoView({block: "center"});
    await new Promise(requestAnimationFrame);
  }
}

// Following: the log scrolls with its newest line until the reader scrolls up; then nothing moves.
const scroller = () => getComputedStyle(page.log).overflowY === "auto" ? page.log : document.scrollingElement;
const atEnd = place => place.scrollHeight - place.scrollTop - place.clientHeight < 40;

function follow(on) {
  page.following = on && page.main.hasAttribute("data-live");
  const held = on ? page.held.splice(0) : [];
  for (const {fold, list} of held) if (fold.isConnected) append(fold, list);
  if (page.following || held.length) settle();
  button();
}

function hold(fold, list) {
  page.held.push({fold, list});
  while (sum(page.held.map(each => each.list)) > HELD) page.held.shift();
  button();
}

function button() {
  const seen = Math.max(0, ...$$(".lines, .gap", page.log).map(each => Number(each.dataset.last)));
  const missed = page.held.length ? Number(page.held.at(-1).list.dataset.last) - seen : 0;
  $("#follow").hidden = page.following || !(page.main.hasAttribute("data-live") || missed);
  $("#follow").textContent = missed ? `${counted(missed)} more · follow` : "Follow";
}

function scrolled(event) {
  const place = event.target === document ? document.scrollingElement : event.target;
  if (!page.log || place !== scroller()) return;
  const up = place.scrollTop < page.top - 2;
  page.top = place.scrollTop;
  if (page.following && up && !atEnd(place)) follow(false);
  else if (!page.following && !up && atEnd(place) && page.main.hasAttribute("data-live")) follow(true);
}

// Search: the server looks through the whole log. `hits` are some of the lines that match; the first is number `base`.
async function matching(more) {
  const asked = new URLSearchParams({q: $("#q").value, level: $("#level").value, ...more});
  return (await fetch(`/runs/${page.run}/search?${asked}`)).json();
}

async function search() {
  page.typing = clearTimeout(page.typing);
  const mine = page.asked = (page.asked ?? 0) + 1, answer = $("#q").value || $("#level").value ? await matching() : null;
  if (mine !== page.asked) return;
  Object.assign(page, {hits: answer?.lines ?? [], total: answer?.total ?? 0, base: 0, hit: -1});
  $("#hits").textContent = answer ? `${num(page.total)} found` : "";
  $("#hit-on").hidden = $("#hit-back").hidden = !page.total;
}

async function step(by) {
  if (page.typing) await search();
  if (!page.total) return;
  const next = (Math.max(page.hit, by < 0 ? 0 : -1) + by + page.total) % page.total;
  if (page.hits[next - page.base] === undefined) {
    const ends = next === 0 ? {after: 0} : next === page.total - 1 ? {before: 1e15} : null;
    const more = ends ?? (by > 0 ? {after: page.hits.at(-1)} : {before: page.hits[0]}), {lines} = await matching(more);
    Object.assign(page, {hits: lines, base: "after" in more ? next : next - lines.length + 1});
  }
  page.hit = next;
  $("#hits").textContent = `${num(next + 1)} of ${num(page.total)}`;
  await show(page.hits[next - page.base]);
}

// Clocks
const pair = (number, by, big, small) => `${Math.floor(number / by)}${big} ${String(Math.floor(number % by / (by / 60))).padStart(2, "0")}${small}`;
const duration = s => s < 59.95 ? `${s.toFixed(1)}s` : Math.round(s) < 3600 ? pair(Math.round(s), 60, "m", "s") : pair(Math.round(s), 3600, "h", "m");
const left = s => s < 59.5 ? `${Math.max(1, Math.round(s))}s` : duration(Math.round(s));
const ago = s => s < 5 ? "just now" : s < 60 ? `${Math.floor(s)} s ago` : s < 3600 ? `${Math.floor(s / 60)} min ago` : s < 86400 ? `${Math.floor(s / 3600)} h ago` : null;

function tick() {
  const now = Date.now() / 1000 + page.skew;
  const text = (element, told) => { if (told && element.textContent !== told) element.textContent = told; };
  for (const each of $$(".clock[data-since]")) text(each, duration(Number(each.dataset.before) + Math.max(0, now - each.dataset.since)));
  for (const each of $$("[data-left]")) text(each, each.dataset.words.replace("…", left(Math.max(0, each.dataset.left - (now - each.dataset.at)))));
  for (const each of $$("time.ago")) text(each, ago(now - Date.parse(each.dateTime) / 1000));
  const run = now - $("#op-stages")?.dataset.begun, bars = $$(".track [data-start]");
  for (const bar of bars) bar.setAttribute("width", Math.max(0, run - bar.dataset.start));
  for (const track of bars.length ? $$(".track") : []) if (run > track.viewBox.baseVal.width) track.setAttribute("viewBox", `0 0 ${run} 1`);
}

const link = (look, told) => Object.assign($("#link"), {className: `link ${look}`, textContent: told, hidden: !told});

function connect(address, tries = 0) {
  const socket = page.socket = new WebSocket(`${location.protocol.replace("http", "ws")}//${location.host}${address}`);
  socket.onopen = () => { tries = 0; link("live", "live"); };
  socket.onmessage = event => apply(event.data);
  socket.onclose = async event => {
    if (event.code === 1000) return;
    link("lost", "connecting again …");
    await new Promise(wait => setTimeout(wait, Math.min(5000, 250 * 2 ** tries)));
    // A browser does not tell a script why a socket was refused.
    const alive = await fetch("/alive").catch(() => null);
    if (alive?.status === 403) return link("over", "no longer allowed: open the address that stagerun serve printed");
    connect(address, tries + 1);
  };
}

async function copy(button) {
  const {copy, copyLines} = button.dataset;
  const text = copy ? $(copy).textContent : await (await fetch(`/runs/${page.run}/log.txt?fold=${copyLines}`)).text();
  button.firstChild.data = await navigator.clipboard?.writeText(text).then(() => "copied", () => null) ?? "not allowed";
  setTimeout(() => { button.firstChild.data = "copy"; }, 1500);
}

const pressed = id => $(id)?.ariaPressed === "true", press = button => { button.ariaPressed = button.ariaPressed !== "true"; look(); };
const look = () => { page.log.classList.toggle("timed", pressed("#times")); page.log.classList.toggle("unwrapped", !pressed("#wrap")); };
const clicks = {
  follow: () => follow(true), "hit-on": () => step(1), "hit-back": () => step(-1), times: press, wrap: press,
  notify: async button => { if (await Notification.requestPermission() === "granted") press(button); },
};

document.addEventListener("click", event => {
  const missing = event.target.closest(".gap"), button = event.target.closest("button"), stage = event.target.closest("[data-fold]");
  if (missing && page.log) { event.preventDefault(); follow(false); load(missing); }
  else if (button?.dataset.copy || button?.dataset.copyLines) { event.preventDefault(); copy(button); }
  else if (button && clicks[button.id]) clicks[button.id](button);
  else if (stage) { follow(false); document.getElementById(stage.dataset.fold).open = true; }
});
document.addEventListener("toggle", event => {
  const missing = event.target.matches?.(".fold[open]") && !$(".lines", event.target) && $(".gap", event.target);
  if (missing && page.log) load(missing);
}, true);
document.addEventListener("scroll", scrolled, {capture: true, passive: true});
document.addEventListener("submit", event => { if (event.target.id === "find") { event.preventDefault(); step(1); } });
document.addEventListener("input", event => {
  if (event.target.closest("#find")) { clearTimeout(page.typing); page.typing = setTimeout(search, 200); }
});
document.addEventListener("keydown", event => {
  if (event.ctrlKey || event.metaKey || event.altKey) return;
  if (event.target.id === "q" && event.key === "Escape") { event.target.value = ""; search(); page.log.focus(); }
  if (event.target.id === "q" && event.key === "Enter" && event.shiftKey) { event.preventDefault(); step(-1); }
  if (event.target.matches("input, select, textarea")) return;
  const heads = $$(".fold > summary"), at = heads.indexOf(document.activeElement?.closest?.("summary"));
  const keys = {
    "/": () => $("#q")?.focus(), "?": () => $("#keys")?.showModal(), f: () => page.log && follow(!page.following),
    j: () => heads[Math.min(at + 1, heads.length - 1)]?.focus(), k: () => heads[Math.max(at - 1, 0)]?.focus(),
  };
  if (keys[event.key]) { event.preventDefault(); keys[event.key](); }
});
const linked = () => { const line = /^#L(\d+)$/.exec(location.hash); if (line && page.log) show(Number(line[1])); };
addEventListener("hashchange", linked);
addEventListener("load", () => setTimeout(linked)); // the browser's own jump comes first and would undo ours

function begin() {
  const main = $("main.op");
  Object.assign(page, {main, log: $("#op-log"), run: Number(main.dataset.run), held: [], hits: [], total: 0, hit: -1, top: 0});
  page.skew = Number(main.dataset.now) - Date.now() / 1000;
  $("#notify").hidden = !("Notification" in window) || !main.hasAttribute("data-live");
  look();
  follow(scroller() === page.log); // where the page scrolls as a whole, its top comes first
}

document.documentElement.classList.add("scripted");
if ($("main.op")) begin();
if (page.main?.hasAttribute("data-live")) connect(`/runs/${page.run}/live?after=${page.main.dataset.seq}`);
else if ($("[data-overview]")) connect("/live");
setInterval(tick, 250);
