"use strict";

// Every visitor's conversation is in their own page alone: each question carries what came before,
// so that the server keeps nothing of anybody.

const limits = JSON.parse(document.body.dataset.limits);
const at = (id) => document.getElementById(id);
const talk = at("talk"), form = at("ask"), text = at("text"), shown = at("shown");

let turns = [];
let pictures = [];
let asking = null;

function make(tag, css, content) {
  const node = document.createElement(tag);
  if (css) node.className = css;
  if (content !== undefined) node.textContent = content;
  return node;
}

function picture(url, alt) {
  const image = make("img");
  image.alt = alt;
  image.addEventListener("load", () => {
    if (image.naturalWidth && Math.max(image.naturalWidth, image.naturalHeight) <= 64) {
      image.classList.add("tiny");
      if (image.closest(".drawn, .canvas")) {
        image.style.width = `${Math.min(8, Math.floor(280 / image.naturalWidth)) * image.naturalWidth}px`;
      }
    }
  });
  image.src = url;
  return image;
}

function complain(words) {
  at("trouble").textContent = words || "";
  at("trouble").hidden = !words;
}

// Images

const imagesSoFar = () => turns.reduce((n, turn) => n + turn.pictures.length, pictures.length);

function readFile(file) {
  return new Promise((resolve, reject) => {
    const reader = new FileReader();
    reader.onload = () => resolve(reader.result);
    reader.onerror = () => reject(reader.error);
    reader.readAsDataURL(file);
  });
}

let reading = Promise.resolve();

function addFiles(files) {
  reading = reading.then(() => readFiles(files));
}

async function readFiles(files) {
  complain();
  for (const file of files) {
    if (!file.type.startsWith("image/")) {
      complain(`${file.name} is no image.`);
    } else if (file.size > limits.bytes) {
      complain(`${file.name} has ${(file.size / 1e6).toFixed(0)} MB; up to ${limits.bytes / 1e6} MB can be sent.`);
    } else if (imagesSoFar() >= limits.images) {
      complain(`A conversation has room for ${limits.images} images. Begin a new chat for more.`);
    } else {
      pictures.push(await readFile(file));
    }
  }
  showPictures();
}

function showPictures() {
  shown.replaceChildren(...pictures.map((url, number) => {
    const item = make("li"), look = make("button", "look"), away = make("button", "away", "\u00d7");
    look.type = away.type = "button";
    look.title = "Ask about a part of it";
    look.append(picture(url, `Image ${number + 1}`));
    look.onclick = () => openRegion(url);
    away.setAttribute("aria-label", `Remove image ${number + 1}`);
    away.onclick = () => { pictures.splice(number, 1); showPictures(); };
    item.append(look, away);
    return item;
  }));
}

at("files").onchange = (event) => { addFiles([...event.target.files]); event.target.value = ""; };
document.addEventListener("paste", (event) => {
  const files = [...event.clipboardData.files];
  if (files.length) { event.preventDefault(); addFiles(files); }
});
document.addEventListener("dragover", (event) => { event.preventDefault(); document.body.classList.add("over"); });
document.addEventListener("dragleave", () => document.body.classList.remove("over"));
document.addEventListener("drop", (event) => {
  event.preventDefault();
  document.body.classList.remove("over");
  addFiles([...event.dataTransfer.files]);
});

// A part of an image

const region = at("region"), canvas = region.querySelector(".canvas"), frame = region.querySelector(".frame");
let drawn = null, start = null, viewed = "";

function openRegion(url) {
  viewed = url;
  drawn = start = null;
  frame.hidden = true;
  at("cut").disabled = at("name").disabled = true;
  canvas.querySelector("img").replaceWith(picture(url, "The image"));
  region.showModal();
}

function place(event) {
  const box = canvas.getBoundingClientRect(), hold = (n) => Math.min(1, Math.max(0, n));
  return [hold((event.clientX - box.left) / box.width), hold((event.clientY - box.top) / box.height)];
}

canvas.onpointerdown = (event) => { start = place(event); canvas.setPointerCapture(event.pointerId); };
canvas.onpointermove = (event) => {
  if (!start) return;
  const [x, y] = place(event);
  drawn = [Math.min(x, start[0]), Math.min(y, start[1]), Math.max(x, start[0]), Math.max(y, start[1])];
  frame.hidden = false;
  Object.assign(frame.style, {
    left: `${drawn[0] * 100}%`, top: `${drawn[1] * 100}%`,
    width: `${(drawn[2] - drawn[0]) * 100}%`, height: `${(drawn[3] - drawn[1]) * 100}%`,
  });
  at("cut").disabled = at("name").disabled = drawn[2] - drawn[0] < .01 || drawn[3] - drawn[1] < .01;
};
canvas.onpointerup = canvas.onpointercancel = () => { start = null; };

at("cut").onclick = () => {
  const whole = canvas.querySelector("img"), part = document.createElement("canvas");
  const [left, top, right, bottom] = drawn;
  const x = Math.round(left * whole.naturalWidth), y = Math.round(top * whole.naturalHeight);
  part.width = Math.max(2, Math.round(right * whole.naturalWidth) - x);
  part.height = Math.max(2, Math.round(bottom * whole.naturalHeight) - y);
  part.getContext("2d").drawImage(whole, x, y, part.width, part.height, 0, 0, part.width, part.height);
  const url = part.toDataURL("image/png"), place = pictures.indexOf(viewed);
  region.close();
  if (place >= 0) pictures[place] = url;
  else if (imagesSoFar() < limits.images) pictures.push(url);
  else return complain(`A conversation has room for ${limits.images} images.`);
  showPictures();
  text.focus();
};
at("name").onclick = () => {
  const words = `[${drawn.map((n) => n.toFixed(2)).join(", ")}]`;
  text.value = text.value ? `${text.value.trimEnd()} ${words}` : words;
  region.close();
  grow();
  text.focus();
};
at("close").onclick = () => region.close();

// Questions and answers

function messagesFor(column, upTo) {
  const messages = [];
  for (const turn of turns.slice(0, upTo + 1)) {
    const parts = turn.pictures.map((url) => ({ type: "image_url", image_url: { url } }));
    const content = [...parts, { type: "text", text: turn.text }];
    if (turn === turns[upTo]) { messages.push({ role: "user", content }); break; }
    const said = turn.answers[column] || turn.answers[0];
    if (said.failed) continue;
    messages.push({ role: "user", content }, { role: "assistant", content: said.text });
  }
  return messages;
}

async function* events(response) {
  const reader = response.body.pipeThrough(new TextDecoderStream()).getReader();
  let waiting = "";
  for (;;) {
    const { value, done } = await reader.read();
    if (done) return;
    waiting += value;
    const lines = waiting.split("\n\n");
    waiting = lines.pop();
    for (const line of lines) {
      const told = line.slice("data: ".length);
      if (told !== "[DONE]") yield JSON.parse(told);
    }
  }
}

async function answer(turn, column, signal) {
  const said = turn.answers[column], messages = messagesFor(column, turns.indexOf(turn));
  try {
    const response = await fetch("/v1/chat/completions", {
      method: "POST", signal, headers: { "Content-Type": "application/json" },
      body: JSON.stringify({ model: said.asked, messages, stream: true }),
    });
    if (!response.ok) throw new Error((await response.json()).error.message);
    for await (const told of events(response)) {
      if (told.error) throw new Error(told.error.message);
      Object.assign(said, told.adaptinf || {});
      said.text += told.choices[0].delta.content || "";
      said.ended = told.choices[0].finish_reason;
      showAnswer(turn, column);
    }
    said.text = said.text.trim();
  } catch (error) {
    if (error.name === "AbortError") said.stopped = true;
    else { said.failed = true; said.trouble = error.message; }
  }
  said.busy = false;
  showAnswer(turn, column);
}

async function ask(turn) {
  asking = new AbortController();
  at("send").hidden = true;
  at("stop").hidden = false;
  showTurn(turn);
  turn.node.scrollIntoView({ block: "end" });
  // The model speaks to one at a time, so both are asked at once and answer one after the other.
  await Promise.all(turn.answers.map((_, column) => answer(turn, column, asking.signal)));
  asking = null;
  at("send").hidden = false;
  at("stop").hidden = true;
  showTurn(turn);
  text.focus();
}

function chosen() {
  const steps = [at("first").value, at("second").value].filter(Boolean);
  return steps.map((asked) => ({ asked, text: "", busy: true, boxes: [] }));
}

function showTurn(turn) {
  const node = make("article", "turn"), mine = make("div", "mine");
  if (turn.pictures.length) {
    const row = make("div", "pictures");
    row.append(...turn.pictures.map((url, number) => {
      const look = make("button");
      look.type = "button";
      look.title = "Ask about a part of it";
      look.append(picture(url, `Image ${number + 1} of the question`));
      look.onclick = () => openRegion(url);
      return look;
    }));
    mine.append(row);
  }
  if (turn.text) mine.append(make("p", "", turn.text));
  const answers = make("div", turn.answers.length > 1 ? "answers two" : "answers");
  answers.append(...turn.answers.map(() => make("section", "answer")));
  node.append(mine, answers);
  if (turn === turns.at(-1) && !asking) {
    const again = make("div", "again"), button = make("button", "plain small", "Retry");
    button.type = "button";
    button.onclick = () => { turn.answers = chosen(); ask(turn); };
    again.append(button);
    node.append(again);
  }
  turn.node?.parentNode ? turn.node.replaceWith(node) : talk.append(node);
  turn.node = node;
  turn.answers.forEach((_, column) => showAnswer(turn, column));
}

function showAnswer(turn, column) {
  const said = turn.answers[column], node = turn.node.querySelectorAll(".answer")[column];
  const follows = talk.scrollHeight - talk.scrollTop - talk.clientHeight < 80;
  node.className = said.busy ? "answer busy" : "answer";
  const by = make("div", "by");
  by.append(make("strong", "", said.step || said.asked));
  const notes = [said.reason, said.ended === "length" && "cut off", said.stopped && "stopped"];
  by.append(...notes.filter(Boolean).map((note) => make("span", "quiet", note)));
  const words = make("div", "said", said.text);
  if (!said.busy && !said.text && !said.failed) words.classList.add("none");
  node.replaceChildren(by);
  if (!said.failed || said.text) node.append(words);
  if (said.failed) node.append(make("p", "trouble", said.trouble));
  if (!said.busy && said.boxes.length) node.append(boxes(turn, said));
  if (follows) talk.scrollTop = talk.scrollHeight;
}

function boxes(turn, said) {
  const all = turns.slice(0, turns.indexOf(turn) + 1).flatMap((one) => one.pictures);
  const holder = make("figure", "drawn"), names = "http://www.w3.org/2000/svg";
  const drawing = document.createElementNS(names, "svg");
  drawing.setAttribute("viewBox", "0 0 1 1");
  drawing.setAttribute("preserveAspectRatio", "none");
  for (const [left, top, right, bottom] of said.boxes) {
    const box = document.createElementNS(names, "rect");
    const sides = { x: left, y: top, width: right - left, height: bottom - top };
    for (const [name, value] of Object.entries(sides)) box.setAttribute(name, value);
    drawing.append(box);
  }
  holder.append(picture(all[said.image], "The image with the boxes of the answer"), drawing);
  return holder;
}

form.onsubmit = async (event) => {
  event.preventDefault();
  await reading;
  const words = text.value.trim();
  if (asking || (!words && !pictures.length)) return;
  complain();
  at("empty").hidden = true;
  for (const turn of turns) turn.node.querySelector(".again")?.remove();
  const turn = { text: words, pictures, answers: chosen() };
  turns.push(turn);
  pictures = [];
  text.value = "";
  grow();
  showPictures();
  ask(turn);
};

at("stop").onclick = () => asking?.abort();
at("fresh").onclick = () => {
  asking?.abort();
  turns = [];
  pictures = [];
  text.value = "";
  complain();
  showPictures();
  talk.querySelectorAll(".turn").forEach((node) => node.remove());
  at("empty").hidden = false;
  text.focus();
};

function grow() {
  text.style.height = "auto";
  text.style.height = `${text.scrollHeight + 2}px`;
}

text.oninput = grow;
text.onkeydown = (event) => {
  if (event.key === "Enter" && !event.shiftKey && !event.isComposing) {
    event.preventDefault();
    form.requestSubmit();
  }
};

fetch("/examples.json").then((response) => (response.ok ? response.json() : [])).then((examples) => {
  at("examples").append(...examples.map((example) => {
    const item = make("li"), button = make("button"), words = make("span");
    button.type = "button";
    if (example.images.length) button.append(picture(example.images[0], ""));
    words.append(make("span", "quiet", example.skill), make("span", "ask", example.text));
    button.append(words);
    button.onclick = () => {
      pictures = [...example.images];
      text.value = example.text;
      showPictures();
      grow();
      text.focus();
    };
    item.append(button);
    return item;
  }));
});
