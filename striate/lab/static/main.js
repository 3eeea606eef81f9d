// The page: which run, which view, and what is followed.

import { onTheme, startTheme } from "./colours.js";
import { Compare } from "./compare.js";
import { ask, Connection } from "./connection.js";
import { say, setText, soon } from "./dom.js";
import { Follow } from "./follow.js";
import { Look } from "./look.js";
import { Record } from "./record.js";
import { RunList } from "./runs.js";
import { TrainingDialog } from "./training.js";
import { learnNames } from "./words.js";

const VIEWS = ["follow", "look", "compare"];
const byId = (name) => document.getElementById(name);

startTheme(byId("theme"));
const state = { runs: null, selected: null, ticked: new Set(), records: new Map(), view: "follow" };
const connection = new Connection();
const dialog = new TrainingDialog(started);
const follow = new Follow(byId("follow"), () => openDialog(), openDialog);
const look = new Look(byId("look"));
const compare = new Compare(byId("compare"));
const list = new RunList({ choose, tick });

const draw = soon(() => {
  if (state.runs === null) return;
  const run = state.runs.find((one) => one.key === state.selected) ?? null;
  list.show(state.runs, state.selected, state.ticked);
  if (state.view === "follow") follow.show(run, run && state.records.get(run.key));
  if (state.view === "look") look.show(run, state.runs);
  if (state.view === "compare") compare.show(compared());
  connection.follow(followed());
});

function compared() {
  return state.runs.map((run, index) => ({ run, record: state.records.get(run.key), index })).filter(({ run }) => state.ticked.has(run.key));
}

// A page follows at most a dozen records: the chosen run and those that are compared.
function followed() {
  const keys = state.view === "compare" ? [...state.ticked] : [];
  return [...new Set([state.selected, ...keys])].filter((key) => key !== null).slice(0, 12);
}

function choose(key) {
  state.selected = key;
  draw();
}

function tick(key, on) {
  if (on) state.ticked.add(key);
  else state.ticked.delete(key);
  if (on && state.ticked.size > 11) state.ticked.delete([...state.ticked][0]);
  draw();
}

function started(runs) {
  if (runs.length > 1) state.ticked.clear(); // they are compared with each other
  for (const run of runs) {
    if (!state.runs.some((one) => one.key === run.key)) state.runs.push(run);
    state.ticked.add(run.key);
  }
  state.selected = runs[0].key;
  open(runs.length > 1 ? "compare" : "follow");
}

function openDialog(changes = {}) {
  const run = state.runs?.find((one) => one.key === state.selected);
  dialog.open(run?.settings, changes).catch((error) => say(error.message));
}

function open(view) {
  state.view = view;
  for (const name of VIEWS) {
    const tab = byId(`tab-${name}`);
    tab.setAttribute("aria-selected", String(name === view));
    tab.tabIndex = name === view ? 0 : -1;
    byId(name).hidden = name !== view;
  }
  if (location.hash !== `#${view}`) history.replaceState(null, "", `#${view}`);
  draw();
}

for (const [i, name] of VIEWS.entries()) {
  const tab = byId(`tab-${name}`);
  tab.addEventListener("click", () => open(name));
  tab.addEventListener("keydown", (event) => {
    const step = { ArrowRight: 1, ArrowLeft: -1 }[event.key];
    if (!step) return;
    const next = VIEWS[(i + step + VIEWS.length) % VIEWS.length];
    byId(`tab-${next}`).focus();
    open(next);
  });
}
byId("new").addEventListener("click", () => openDialog());
onTheme(draw);

connection.addEventListener("runs", ({ detail }) => {
  const first = state.runs === null;
  state.runs = detail.runs;
  if (!state.runs.some((run) => run.key === state.selected)) state.selected = state.runs.at(-1)?.key ?? null;
  if (first) begin();
  draw();
});
connection.addEventListener("history", ({ detail }) => {
  recordOf(detail.run).load(detail.history);
  draw();
});
connection.addEventListener("events", ({ detail }) => {
  recordOf(detail.run).apply(detail.events);
  draw();
});
connection.addEventListener("open", () => {
  byId("lost").hidden = true;
});
connection.addEventListener("lost", ({ detail }) => {
  byId("lost").hidden = detail < 2;
  setText(byId("lost"), "The lab does not answer. If it was closed, start `striate lab` again and open the new address that it prints.");
});

function recordOf(key) {
  if (!state.records.has(key)) state.records.set(key, new Record());
  return state.records.get(key);
}

async function begin() {
  const finished = state.runs.filter((run) => run.accuracy !== null).slice(-4);
  for (const run of finished) state.ticked.add(run.key);
  const wanted = location.hash.slice(1);
  open(VIEWS.includes(wanted) ? wanted : "follow");
  try {
    const choices = await ask("/api/choices");
    learnNames(choices);
    const { first } = choices;
    draw();
    if (first && state.runs.some((run) => run.key === first)) choose(first);
  } catch (error) {
    say(error.message);
  }
}
