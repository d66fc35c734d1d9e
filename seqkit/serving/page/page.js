"use strict";
// Everything that comes from a model or a user is put into the page as text, never as HTML.

const SHOWN = 8;

function element(name, options = {}, ...children) {
  const made = Object.assign(document.createElement(name), options);
  made.append(...children);
  return made;
}

async function ask(path, body) {
  const answer = await fetch(path, {
    method: "POST", headers: { "content-type": "application/json" }, body: JSON.stringify(body),
  });
  const content = await answer.json();
  if (!answer.ok) throw new Error(content.error || `status ${answer.status}`);
  return content;
}

function colorOf(text) {
  let hash = 0;
  for (const letter of text) hash = (hash * 31 + letter.codePointAt(0)) % 360;
  return `hsl(${hash} 80% 60% / 0.35)`;
}

// Spans count characters as Unicode code points, as Python does; JavaScript counts UTF-16 units.
function withSpans(text, spans) {
  const letters = Array.from(text);
  const parts = [];
  let position = 0;
  for (const span of spans) {
    parts.push(letters.slice(position, span.start_char).join(""));
    const mark = element("mark", {}, letters.slice(span.start_char, span.end_char).join(""), element("small", {}, span.type));
    mark.style.background = colorOf(span.type);
    parts.push(mark);
    position = span.end_char;
  }
  parts.push(letters.slice(position).join(""));
  return parts;
}

function valueOf(value) {
  return typeof value === "string" ? value : JSON.stringify(value);
}

function shown(input, record) {
  const result = element("div", { className: "result" }, element("div", { className: "input" }, input));
  if (record.error) {
    result.append(element("div", { className: "error" }, record.error));
    return result;
  }
  const hasPlaces = record.spans && record.spans.every((span) => "start_char" in span);
  const value = element("div", { className: "value" });
  if (hasPlaces) value.append(...withSpans(input, record.spans));
  else value.append(valueOf(record.prediction));
  result.append(value);
  if (record.probabilities) {
    const bars = element("div", { className: "bars" });
    for (const [label, probability] of Object.entries(record.probabilities).slice(0, SHOWN)) {
      bars.append(element("span", {}, label), element("meter", { value: probability, max: 1 }),
        element("span", {}, `${(100 * probability).toFixed(1)} %`));
    }
    result.append(bars);
  } else if (typeof record.confidence === "number") {
    result.append(element("div", { className: "input" }, `confidence ${record.confidence.toFixed(3)}`));
  }
  return result;
}

function base64Of(file) {
  return new Promise((resolve, reject) => {
    const reader = new FileReader();
    reader.onload = () => resolve(reader.result.slice(reader.result.indexOf(",") + 1));
    reader.onerror = () => reject(reader.error);
    reader.readAsDataURL(file);
  });
}

function onSubmit(form, output, action) {
  form.addEventListener("submit", async (event) => {
    event.preventDefault();
    const button = form.querySelector("button");
    if (button) button.disabled = true;
    try {
      output.replaceChildren(...(await action()));
    } catch (error) {
      output.replaceChildren(element("div", { className: "error" }, error.message));
    } finally {
      if (button) button.disabled = false;
    }
  });
}

function setUpPredict(form, output, model, facts) {
  form.querySelector(".text").hidden = !facts.reads_text;
  form.querySelector(".file").hidden = facts.reads_text || !facts.files.length;
  const chooser = form.querySelector("input[type=file]");
  chooser.accept = facts.files.join(",");
  onSubmit(form, output, async () => {
    let inputs = form.querySelector("textarea").value.split("\n").filter((line) => line.trim());
    let names = inputs;
    if (!facts.reads_text) {
      const files = Array.from(chooser.files);
      inputs = await Promise.all(files.map(async (file) => ({ file: file.name, content: await base64Of(file) })));
      names = files.map((file) => file.name);
    }
    if (!inputs.length) throw new Error("There is no input yet.");
    const answer = await ask("predict", { model, task: facts.name, inputs });
    return answer.results.map((record, number) => shown(names[number], record));
  });
}

function setUpGenerate(form, output, model, facts) {
  form.hidden = !facts.generates;
  onSubmit(form, output, async () => {
    const number = (name) => Number(form.querySelector(name).value);
    const answer = await ask("generate", {
      model, task: facts.name, prompt: form.querySelector(".prompt").value,
      length: number(".length"), temperature: number(".temperature"), seed: Math.floor(Math.random() * 1e9),
    });
    return answer.texts.map((text) => element("div", { className: "result" }, element("div", { className: "value" }, text)));
  });
}

// One stream for one text: what is appended is sent; any other change begins a new stream.
function setUpStream(form, output, model, facts) {
  form.hidden = !(facts.streams && facts.reads_text);
  const input = form.querySelector("input");
  let socket = null;
  let sent = "";
  form.addEventListener("submit", (event) => event.preventDefault());
  input.addEventListener("input", () => {
    const text = input.value;
    if (!socket || socket.readyState > WebSocket.OPEN || !text.startsWith(sent)) {
      if (socket) socket.close();
      const query = new URLSearchParams({ model, task: facts.name });
      socket = new WebSocket(`${location.protocol === "https:" ? "wss" : "ws"}://${location.host}/stream?${query}`);
      sent = "";
      socket.onmessage = (event) => output.replaceChildren(shown(`after ${JSON.parse(event.data).steps ?? 0} steps`, JSON.parse(event.data)));
    }
    // A word is sent when a blank ends it.
    const ready = facts.unit === "words" ? text.slice(0, text.search(/\S*$/)) : text;
    if (ready.length <= sent.length) return;
    const piece = facts.unit === "words" ? ready.slice(sent.length).split(/\s+/).filter(Boolean) : ready.slice(sent.length);
    sent = ready;
    const current = socket;
    const send = () => current.send(JSON.stringify({ steps: piece }));
    if (current.readyState === WebSocket.OPEN) send();
    else current.addEventListener("open", send);
  });
}

async function start() {
  const models = await (await fetch("models")).json();
  const main = document.getElementById("models");
  main.replaceChildren();
  for (const [model, tasks] of Object.entries(models)) {
    for (const facts of tasks) {
      const section = document.getElementById("task").content.cloneNode(true).firstElementChild;
      section.querySelector("h2").textContent = model === facts.name ? model : `${model}: ${facts.name}`;
      const labels = facts.labels.length ? `; predicts ${facts.labels.slice(0, 12).join(", ")}${facts.labels.length > 12 ? " …" : ""}` : "";
      section.querySelector(".facts").textContent = `reads ${facts.unit}${labels}`;
      const output = section.querySelector("output");
      setUpPredict(section.querySelector(".predict"), output, model, facts);
      setUpGenerate(section.querySelector(".generate"), output, model, facts);
      setUpStream(section.querySelector(".stream"), output, model, facts);
      main.append(section);
    }
  }
}

start().catch((error) => { document.getElementById("models").textContent = error.message; });
