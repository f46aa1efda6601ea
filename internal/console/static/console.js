// Copyright The Goshawk Authors.
// SPDX-License-Identifier: Apache-2.0
"use strict";
{
  const $ = (selector, root = document) => root.querySelector(selector);
  const all = (selector, root = document) => [...root.querySelectorAll(selector)];
  const main = () => $("#main");

  // --- What the page says about itself: the banner, and how old the data are ---

  let asOf = Date.now(), isLive = false, lostAt = 0, heardAt = 0;
  const follows = () => main().hasAttribute("data-live"); // the page is made again after a change

  function banner(text, link) {
    const at = $("#live");
    at.replaceChildren();
    if (!text) return;
    const p = at.appendChild(document.createElement("p"));
    p.className = "notice bad";
    p.textContent = text + " ";
    if (link) p.appendChild(link);
  }

  function button(text, action) {
    const b = document.createElement("button");
    b.type = "button";
    b.textContent = text;
    b.addEventListener("click", action);
    return b;
  }

  function ago(ms) {
    const s = Math.floor(Math.abs(ms) / 1000), m = Math.floor(s / 60), h = Math.floor(m / 60);
    const text = s < 120 ? s + "s" : m < 120 ? m + "m" : h < 48 ? h + "h" : Math.floor(h / 24) + "d";
    return s < 1 ? "just now" : ms < 0 ? "in " + text : text + " ago";
  }

  const clock = (t) => new Date(t).toLocaleTimeString([], { hour: "2-digit", minute: "2-digit", second: "2-digit" });

  function refreshTimes() {
    if (document.hidden) return;
    for (const t of all("main time, #connection time")) {
      const text = ago(Date.now() - skew - Date.parse(t.dateTime));
      if (t.textContent !== text) t.textContent = text;
    }
    const state = $("#asof");
    if (!state) return;
    const known = Date.parse($("#connection time")?.dateTime); // when the API server was reached last, if it is lost
    const wasLive = (lostAt || known) && follows();
    state.textContent = isLive && !known ? "live" : (wasLive ? "not live, " : "") + "as of " + clock(known ? known + skew : asOf);
    state.classList.toggle("lost", (!isLive || known) && wasLive);
  }
  // The ages of the page are those of the server's clock.
  const skew = Date.now() - Date.parse(document.documentElement.dataset.now);

  // --- Changing the page in place: what a person typed, opened, focused or scrolled stays ---

  const same = (a, b) => a.nodeType === b.nodeType && a.nodeName === b.nodeName && (a.id || "") === (b.id || "");
  const isEdited = (e) => e.matches?.("input, textarea, select") && (e === document.activeElement || e.dataset.edited !== undefined);

  function morph(from, to) {
    if (from.nodeType !== Node.ELEMENT_NODE) {
      if (from.nodeValue !== to.nodeValue) from.nodeValue = to.nodeValue;
      return;
    }
    if (isEdited(from)) return;
    const kept = from.nodeName === "DETAILS" || from.nodeName === "DIALOG" ? ["open"] : [];
    for (const { name } of [...from.attributes]) if (!to.hasAttribute(name) && !kept.includes(name)) from.removeAttribute(name);
    for (const { name, value } of [...to.attributes]) if (from.getAttribute(name) !== value && !kept.includes(name)) from.setAttribute(name, value);
    if (from.nodeName === "INPUT" && from.value !== to.value) from.value = to.value;
    morphChildren(from, to);
  }

  function morphChildren(from, to) {
    let at = from.firstChild;
    for (const wanted of [...to.childNodes]) {
      let found = at;
      if (wanted.id) {
        for (found = at; found && found.id !== wanted.id; ) found = found.nextSibling;
      } else if (at?.id) {
        found = null; // it is another one, and may be wanted later
      }
      if (found && same(found, wanted)) {
        if (found !== at) from.insertBefore(found, at);
        else at = at.nextSibling;
        morph(found, wanted);
      } else {
        from.insertBefore(wanted, at);
      }
    }
    while (at) {
      const next = at.nextSibling;
      at.remove();
      at = next;
    }
  }

  // --- Asking for the page again ---

  let asking = false, again = false, tag = "", version = "";

  async function update() {
    if (asking) {
      again = true;
      return;
    }
    asking = true;
    try {
      do {
        again = false;
        await ask();
      } while (again);
    } finally {
      asking = false;
    }
  }

  async function ask() {
    const headers = { "X-Goshawk-Part": "main" }, check = main().dataset.check;
    if (tag && !check) headers["If-None-Match"] = tag;
    let response, text;
    try {
      response = await fetch(check || location.href, { headers, cache: "no-store", redirect: "follow", signal: AbortSignal.timeout(15000) });
      text = await response.text();
    } catch {
      return lost();
    }
    version = response.headers.get("X-Goshawk-Version") || version;
    if (response.status === 304) {
      fresh();
      return connect();
    }
    const part = new DOMParser().parseFromString(text, "text/html");
    const shown = $("#main", part);
    if (!shown) return lost("The console answered with status " + response.status + (/^text\/plain/.test(response.headers.get("Content-Type")) ? ": " + text.trim().slice(0, 300) : "."));
    const problem = $(".problem", shown)?.textContent || "";
    const hasContent = !$(".problem", main());
    if (response.status === 401) {
      const login = $("a", shown);
      if (login) login.target = "_blank";
      isLive = false;
      banner("The session has ended. " + problem + " " + ($(".fix", shown)?.textContent || ""), login);
      refreshTimes();
      return schedule(10000);
    }
    if (response.status >= 500 && hasContent) {
      isLive = false;
      banner(problem + " The page shows what was known at " + clock(asOf) + ".");
      refreshTimes();
      return schedule(2000);
    }
    if (check) {
      const changed = all("li", shown).map((e) => e.textContent).join(" ") || problem, since = asOf;
      fresh();
      if (changed) {
        asOf = since;
        banner("Since this page was made, something has changed. " + changed, $("a", shown));
        refreshTimes();
      }
      return connect();
    }
    tag = response.ok ? response.headers.get("ETag") || "" : "";
    document.title = part.title;
    const connection = $("#connection", part);
    if (connection) morph($("#connection"), connection);
    const focused = document.activeElement;
    morph(main(), shown);
    if (focused && focused !== document.activeElement && focused.isConnected) focused.focus({ preventScroll: true });
    enable();
    fresh();
    connect();
    if (main().dataset.retry) schedule(main().dataset.retry * 1000);
    planNext();
  }

  let retry = 0;
  function schedule(ms) {
    clearTimeout(retry);
    retry = setTimeout(update, ms);
  }

  // A page can say when it changes by itself, such as when a window opens.
  let next = 0;
  function planNext() {
    clearTimeout(next);
    const at = Date.parse(main().dataset.changesAt || "");
    if (at) next = setTimeout(update, Math.min(Math.max(at + skew - Date.now(), 0) + 1000, 0x7fffffff));
  }

  function fresh() {
    asOf = Date.now();
    lostAt = 0;
    isLive = follows() && events?.readyState === EventSource.OPEN;
    banner("");
    refreshTimes();
  }

  function lost(reason) {
    lostAt ||= Date.now();
    isLive = false;
    banner((reason || "The console cannot be reached since " + clock(lostAt) + ".") + " The page shows what was known at " + clock(asOf) + ". It is updated as soon as the console can be reached.");
    refreshTimes();
    schedule(3000);
  }

  // --- Being notified ---

  let events, topics = "";

  function connect() {
    const wanted = (follows() || main().dataset.check) && !document.hidden ? main().dataset.kinds + " " + main().dataset.namespace : "";
    if (wanted === topics && events?.readyState !== EventSource.CLOSED) return;
    events?.close();
    topics = wanted;
    isLive = false;
    if (!wanted) return;
    const { kinds, namespace } = main().dataset;
    events = new EventSource("/events?" + new URLSearchParams({ kinds, namespace, version: version || main().dataset.version }));
    events.addEventListener("hello", (e) => {
      const hello = JSON.parse(e.data), page = document.documentElement.dataset;
      heardAt = Date.now();
      isLive = follows();
      if (hello.instance !== page.instance) {
        page.instance = hello.instance;
        if (!$(`script[src="${hello.script}"]`)) return renew();
        tag = "";
        update();
      } else if (lostAt) update();
      refreshTimes();
    });
    events.addEventListener("changed", () => {
      heardAt = Date.now();
      update();
    });
    events.addEventListener("alive", () => {
      heardAt = Date.now();
      if (isLive && !asking) asOf = heardAt;
    });
    events.addEventListener("error", () => {
      isLive = false;
      refreshTimes();
      // The browser connects again by itself, unless the server refused it: asking for the page says why.
      if (events.readyState === EventSource.CLOSED) schedule(5000);
      else schedule(1000);
    });
  }

  // A network can drop a connection silently. The console sends an event at least every 20 seconds.
  function checkStream() {
    if (document.hidden || events?.readyState !== EventSource.OPEN || Date.now() - heardAt < 50000) return;
    events.close();
    isLive = false;
    lostAt ||= heardAt;
    refreshTimes();
    update();
  }

  // The console was restarted with another version: the page and its script are loaded again.
  function renew() {
    if (!$("[data-edited]")) return location.reload();
    banner("The console was restarted with another version. What you typed is not sent yet.", button("Load the page again", () => location.reload()));
  }

  document.addEventListener("visibilitychange", () => {
    connect();
    if (!document.hidden && (follows() || main().dataset.check)) update();
  });
  document.addEventListener("input", (e) => (e.target.dataset.edited = ""));
  document.addEventListener("reset", (e) => all("[data-edited]", e.target).forEach((i) => delete i.dataset.edited));

  // --- Keyboard ---

  const keys = $("#keys"), allowed = $("#keys-allowed");
  let hasKeys = true;
  try {
    hasKeys = localStorage.getItem("keys") !== "off";
  } catch {}
  if (allowed) {
    allowed.checked = hasKeys;
    allowed.addEventListener("change", () => {
      hasKeys = allowed.checked;
      try {
        localStorage.setItem("keys", hasKeys ? "on" : "off");
      } catch {}
    });
  }
  all("[data-opens]").forEach((b) => ((b.hidden = false), b.addEventListener("click", () => $("#" + b.dataset.opens).showModal())));

  let goes = 0;
  function pick(step) {
    const rows = all("main tbody tr").filter((row) => $("a", row));
    if (!rows.length) return;
    const at = rows.findIndex((row) => row.contains(document.activeElement));
    $("a", rows[Math.min(Math.max(at + step, 0), rows.length - 1)]).focus();
  }
  const actions = {
    "?": () => keys.showModal(),
    "/": () => $("#search")?.focus(),
    f: () => $("main form.filter input, main form.filter select")?.focus(),
    j: () => pick(1),
    k: () => pick(-1),
    n: () => $("main a[rel=next]")?.click(),
    p: () => $("main a[rel=prev]")?.click(),
    r: update,
  };
  document.addEventListener("keydown", (e) => {
    const typing = e.target.closest?.("input, textarea, select, [contenteditable]");
    if (e.key === "Escape" && typing) return typing.blur();
    if (!hasKeys || typing || e.ctrlKey || e.metaKey || e.altKey || $("dialog[open]")) return;
    if (Date.now() - goes < 1500) {
      goes = 0;
      const to = $(`nav [data-key="${CSS.escape(e.key)}"]`);
      if (to) {
        e.preventDefault();
        return to.click();
      }
    }
    if (e.key === "g") return (goes = Date.now());
    const action = Object.hasOwn(actions, e.key) && actions[e.key];
    if (!action) return;
    e.preventDefault();
    action();
  });

  // --- Copying ---

  document.addEventListener("click", async (e) => {
    const from = e.target.closest?.("[data-copy]");
    if (!from) return;
    try {
      await navigator.clipboard.writeText($("#" + from.dataset.copy).textContent);
      from.textContent = "Copied";
    } catch {
      from.textContent = "Not copied: select the text";
    }
  });

  // Some buttons work only with this script, so they are hidden without it.
  function enable() {
    all("[data-copy]").forEach((b) => (b.hidden = false));
  }

  enable();
  connect();
  if (main().dataset.retry) schedule(main().dataset.retry * 1000);
  planNext();
  refreshTimes();
  setInterval(() => (checkStream(), refreshTimes()), 5000);
}
