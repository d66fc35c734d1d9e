"use strict";
// Everything that comes from a model or a user is put into the page as text, never as HTML.

const SHOWN = 8;
const MOST_LETTERS = 300;

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
  if (typeof value === "string") return value;
  if (typeof value === "number" && !Number.isInteger(value)) return String(Number(value.toPrecision(5)));
  if (Array.isArray(value)) return value.map(valueOf).join(Array.isArray(value[0]) ? "\n" : ", ");
  return value === null ? "(nothing)" : value === undefined ? "" : JSON.stringify(value);
}

function shortened(text) {
  return text.length > MOST_LETTERS ? `${text.slice(0, MOST_LETTERS)} …` : text;
}

function isNumbers(value) {
  return Array.isArray(value) && value.length > 0 && value.every((item) => typeof item === "number");
}

// One line for each channel: rows of numbers, or numbers.
function channelsOf(values) {
  if (isNumbers(values)) return [values];
  if (!Array.isArray(values) || !values.length || !values.every(isNumbers)) return [];
  return values[0].map((_, channel) => values.map((row) => row[channel]));
}

function drawn(name, attributes) {
  const made = document.createElementNS("http://www.w3.org/2000/svg", name);
  for (const [key, value] of Object.entries(attributes)) made.setAttribute(key, value);
  return made;
}

// A forecast behind what came before, with the band between the outermost quantiles.
function chart(past, future, quantiles) {
  const width = 640, height = 150;
  const bands = quantiles ? Object.values(quantiles).filter(isNumbers) : [];
  const outer = bands.length > 1 ? [bands[0], bands[bands.length - 1]] : [];
  const before = past.length ? past[0].length : 0;
  const all = [...past, ...future, ...outer].flat();
  const low = Math.min(...all), high = Math.max(...all), count = before + future[0].length;
  const point = (value, step) => `${(width * step / Math.max(1, count - 1)).toFixed(1)},` +
    (height - 5 - (height - 10) * (value - low) / ((high - low) || 1)).toFixed(1);
  const points = (values, first) => values.map((value, step) => point(value, first + step));
  const picture = drawn("svg", { viewBox: `0 0 ${width} ${height}`, role: "img", class: "chart" });
  picture.append(drawn("title", {}));
  picture.firstChild.textContent = `${before} steps that were given, ${future[0].length} that are predicted; from ${valueOf(low)} to ${valueOf(high)}`;
  if (outer.length) {
    const around = [...points(outer[0], before), ...points(outer[1], before).reverse()];
    picture.append(drawn("polygon", { points: around.join(" "), class: "band" }));
  }
  for (const line of past) picture.append(drawn("polyline", { points: points(line, 0).join(" "), class: "past" }));
  for (const line of future) picture.append(drawn("polyline", { points: points(line, before).join(" "), class: "future" }));
  return picture;
}

function shown(input, record, given = null) {
  const result = element("div", { className: "result" }, element("div", { className: "input" }, shortened(input)));
  if (record.error) {
    result.append(element("div", { className: "error" }, record.error));
    return result;
  }
  const hasPlaces = record.spans && record.spans.every((span) => "start_char" in span);
  const value = element("div", { className: "value" });
  if (hasPlaces) value.append(...withSpans(input, record.spans));
  else value.append(valueOf(record.prediction));
  const forecast = channelsOf(record.prediction);
  if (forecast.length && forecast[0].length > 1) {
    const past = channelsOf(given);
    result.append(chart(past.length === forecast.length ? past : [], forecast, forecast.length === 1 && record.scores && record.scores.quantiles));
  }
  result.append(value);
  if (record.probabilities) {
    const bars = element("div", { className: "bars" });
    // JavaScript puts keys that look like numbers first, in their own order.
    const best = Object.entries(record.probabilities).sort((one, other) => other[1] - one[1]);
    for (const [label, probability] of best.slice(0, SHOWN)) {
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

// Numbers as they are typed: JSON, or a step a line.
function numbersOf(text, schema) {
  if (/^\s*[[{]/.test(text)) {
    try {
      return JSON.parse(text);
    } catch (error) {
      throw new Error(`This is not JSON: ${error.message}`);
    }
  }
  const rows = text.split("\n").filter((line) => line.trim()).map((line) => line.trim().split(/[\s,;]+/).filter(Boolean).map((word) => {
    const number = Number(word);
    if (Number.isNaN(number)) throw new Error(`“${word}” is not a number.`);
    return number;
  }));
  const width = schema.items && schema.items.maxItems;
  return width === 1 ? rows.flat().map((number) => [number]) : rows;
}

function setUpPredict(form, output, model, facts) {
  const typed = form.querySelector("textarea");
  const chooser = form.querySelector("input[type=file]");
  const example = form.querySelector(".example");
  const takesNumbers = !facts.reads_text && facts.example !== null;
  form.querySelector(".text").hidden = !facts.reads_text && !takesNumbers;
  form.querySelector(".file").hidden = facts.reads_text || !facts.files.length;
  example.hidden = facts.example === null;
  chooser.accept = facts.files.join(",");
  if (facts.reads_text && facts.example !== null) {
    example.textContent = "Fill in an example";
    example.addEventListener("click", () => { typed.value = facts.example; });
  }
  if (takesNumbers) {
    form.querySelector(".text span").textContent = "Input: JSON, or a step a line";
    example.addEventListener("click", () => {
      chooser.value = "";
      typed.value = facts.example.every(isNumbers) ? facts.example.map((row) => row.join(" ")).join("\n") : JSON.stringify(facts.example);
    });
    chooser.addEventListener("change", () => { typed.value = ""; });
    typed.addEventListener("input", () => { chooser.value = ""; });
  }
  onSubmit(form, output, async () => {
    let inputs = typed.value.split("\n").filter((line) => line.trim());
    let names = inputs;
    if (!facts.reads_text) {
      const files = Array.from(chooser.files);
      inputs = await Promise.all(files.map(async (file) => ({ file: file.name, content: await base64Of(file) })));
      names = files.map((file) => file.name);
      if (!files.length && typed.value.trim()) {
        inputs = [numbersOf(typed.value, facts.schema)];
        names = [JSON.stringify(inputs[0])];
      }
    }
    if (!inputs.length) throw new Error("There is no input yet.");
    const answer = await ask("predict", { model, task: facts.name, inputs });
    return answer.results.map((record, number) => shown(names[number], record, inputs[number]));
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
      const width = !facts.reads_text && facts.schema.items && facts.schema.items.maxItems;
      const numbers = width ? ` of ${width} ${width === 1 ? "number" : "numbers"}` : "";
      section.querySelector(".facts").textContent = `reads ${facts.unit}${numbers}${labels}`;
      const output = section.querySelector("output");
      setUpPredict(section.querySelector(".predict"), output, model, facts);
      setUpGenerate(section.querySelector(".generate"), output, model, facts);
      setUpStream(section.querySelector(".stream"), output, model, facts);
      main.append(section);
    }
  }
}

start().catch((error) => { document.getElementById("models").textContent = error.message; });
