"use strict";
// The live page: one message holds the verdict and the picture of one part, and both are shown in one frame.

const line = document.getElementById("line");
const at = (id) => document.getElementById(id);
const text = (name) => line.dataset[name];
const SIGNS = { accept: "✓", review: "?", reject: "✗", error: "!", lost: "!", missed: "!" };
const MOST_REJECTS = 6;
const LONGEST_SILENCE_MS = 4000;
const decoder = new TextDecoder();
let waiting = null;
let isBusy = false;
let heard = performance.now();

function parse(buffer) {
  const length = new DataView(buffer).getUint32(0);
  const fields = JSON.parse(decoder.decode(new Uint8Array(buffer, 4, length)));
  return { fields, picture: buffer.byteLength > 4 + length ? new Uint8Array(buffer, 4 + length) : null };
}

async function take(message) {
  if (message.fields.kind === "part" || waiting === null || waiting.fields.kind !== "part") waiting = message;
  if (isBusy) return;
  isBusy = true;
  while (waiting) {
    const next = waiting;
    waiting = null;
    try { await show(next); } catch (error) { console.error(error); }
  }
  isBusy = false;
}

async function show({ fields, picture }) {
  let bitmap = null, blob = null;
  if (fields.kind === "part" && picture) {
    blob = new Blob([picture], { type: "image/jpeg" });
    bitmap = await createImageBitmap(blob);
  }
  if (!document.hidden) await new Promise(requestAnimationFrame);
  if (fields.kind === "part") showPart(fields, bitmap, blob);
  if (fields.kind === "away") stop(text("textAway"));
  else showState(fields);
  line.dataset.shown = Date.now();
}

function showPart(fields, bitmap, blob) {
  const canvas = at("picture");
  const box = canvas.parentElement.getBoundingClientRect();
  const shares = bitmap ? bitmap.width / bitmap.height : 16 / 9;
  const width = Math.max(1, Math.min(box.width, box.height * shares));
  const pixels = window.devicePixelRatio || 1;
  canvas.width = Math.round(width * pixels);
  canvas.height = Math.round((width / shares) * pixels);
  const pen = canvas.getContext("2d");
  if (bitmap) pen.drawImage(bitmap, 0, 0, canvas.width, canvas.height);
  pen.lineJoin = "round";
  for (const [color, wide] of [["rgba(16,18,22,0.85)", 7], ["#fff", 3]]) {
    pen.strokeStyle = color;
    pen.lineWidth = wide * pixels;
    for (const contour of fields.contours) {
      pen.beginPath();
      contour.forEach(([x, y], number) => pen[number ? "lineTo" : "moveTo"](x * canvas.width, y * canvas.height));
      pen.closePath();
      pen.stroke();
    }
  }
  const decision = fields.decision;
  at("decision").className = `decision ${decision}`;
  at("sign").textContent = SIGNS[decision];
  at("word").textContent = text("text" + decision[0].toUpperCase() + decision.slice(1));
  const score = fields.display_score;
  at("score").textContent = score === null ? fields.fault : text("textScore").replace("{}", Math.round(score));
  at("limit").textContent = score === null ? "" : text("textLimit");
  at("part").textContent = `${text("textPart")} ${fields.part_id || "#" + fields.seq}`;
  at("bar").setAttribute("width", Math.max(0, Math.min(100, score ?? 0)));
  line.dataset.seq = canvas.dataset.seq = fields.seq;
  line.dataset.decision = decision;
  line.dataset.takenAt = fields.taken_at;
  if (decision === "reject" && blob) addReject(fields, canvas);
  bitmap?.close();
}

function addReject(fields, canvas) {
  const list = at("rejects");
  if (list.querySelector(`[data-seq="${fields.seq}"]`)) return;
  const link = document.createElement("a");
  link.href = `/parts/${fields.lane}/${fields.seq}`;
  link.dataset.seq = fields.seq;
  const small = document.createElement("canvas");
  small.height = 150;
  small.width = Math.max(1, Math.round((150 * canvas.width) / canvas.height));
  small.getContext("2d").drawImage(canvas, 0, 0, small.width, small.height);
  link.append(small);
  list.prepend(link);
  while (list.children.length > MOST_REJECTS) list.lastElementChild.remove();
}

function showState(fields) {
  at("product").textContent = fields.product ? `${fields.product} v${fields.version}` : "";
  at("lot").textContent = fields.lot ? `${text("textLot")} ${fields.lot}` : "";
  at("simulated").hidden = !fields.is_simulated;
  at("simulated").textContent = text("textSimulated");
  const counts = fields.counts, count = (name) => counts[name] || 0;
  const say = (name, number) => { at(`count-${name}`).textContent = number.toLocaleString(document.documentElement.lang); };
  for (const name of ["accept", "review", "reject"]) say(name, count(name));
  say("none", count("error") + count("lost") + count("missed"));
  const recent = at("recent");
  recent.replaceChildren(...fields.recent.map((decision) => {
    const mark = document.createElement("i");
    mark.className = decision;
    mark.textContent = SIGNS[decision];
    return mark;
  }));
  const plc = fields.plc || {};
  at("plc").hidden = plc.triggered === undefined;
  for (const name of ["triggered", "answered", "accepted", "rejected", "errors", "unanswered"]) {
    at(`plc-${name}`).textContent = (plc[name] ?? 0).toLocaleString(document.documentElement.lang);
  }
  if (fields.why_not_ready) stop([fields.why_not_ready, ...fields.troubles].join(" · "));
  else go(fields.troubles.join(" · "));
}

function stop(why) {
  line.dataset.state = "stopped";
  at("stopped").hidden = false;
  at("stopped").classList.remove("trouble");
  at("why").textContent = why;
}

function go(trouble) {
  line.dataset.state = "live";
  at("stopped").hidden = !trouble;
  at("stopped").classList.toggle("trouble", Boolean(trouble));
  at("why").textContent = trouble;
}

function connect() {
  const scheme = location.protocol === "https:" ? "wss" : "ws";
  const socket = new WebSocket(`${scheme}://${location.host}/live?lane=${line.dataset.lane}`);
  socket.binaryType = "arraybuffer";
  socket.onmessage = (event) => { heard = performance.now(); take(parse(event.data)); };
  const watch = setInterval(() => { if (performance.now() - heard > LONGEST_SILENCE_MS) socket.close(); }, 500);
  socket.onclose = () => {
    clearInterval(watch);
    stop(text("textOffline"));
    setTimeout(() => { heard = performance.now(); connect(); }, 700);
  };
}

setInterval(() => { at("clock").textContent = new Date().toLocaleTimeString(document.documentElement.lang); }, 500);
connect();
