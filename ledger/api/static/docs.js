// Makes the page from openapi.json. Text goes in as text, never as HTML.
"use strict";

const METHODS = ["get", "put", "patch", "post", "delete"];
// From the page's address and not its base URL: that may hold the key.
const SELF = new URL(location.pathname, location.origin);

function make(tag, attributes, ...children) {
  const element = document.createElement(tag);
  for (const [name, value] of Object.entries(attributes || {})) {
    element.setAttribute(name, value);
  }
  element.append(...children.flat().filter((child) => child !== null));
  return element;
}

// `code` and the rest of a description.
function prose(text) {
  return (text || "").split("`").map((part, index) =>
    index % 2 ? make("code", {}, part) : part
  );
}

function resolve(api, node) {
  if (!node.$ref) return node;
  const steps = node.$ref.slice(2).split("/");
  return steps.reduce((inner, step) => inner[step], api);
}

// What a schema allows, in words; names of other schemas are links.
function kindOf(schema) {
  if (schema.$ref) {
    const name = schema.$ref.split("/").pop();
    if (name === "JsonValue") return ["any JSON"];
    return [make("a", { href: `#schema-${name}` }, name)];
  }
  const choices = schema.anyOf || schema.allOf;
  if (choices) {
    const kinds = choices.map(kindOf).filter((kind) => kind.length);
    const between = schema.anyOf ? " or " : ", ";
    return kinds.flatMap((kind, index) => (index ? [between, ...kind] : kind));
  }
  if (schema.enum) return [schema.enum.map((value) => JSON.stringify(value)).join(" or ")];
  if ("const" in schema) return [JSON.stringify(schema.const)];
  if (schema.type === "array") return ["list of ", ...kindOf(schema.items || {})];
  if (Array.isArray(schema.type)) return [schema.type.join(" or ")];
  return schema.type ? [[named(schema), ...limits(schema)].join(", ")] : [];
}

function named(schema) {
  return { "date-time": "time (RFC 3339)" }[schema.format] || schema.type;
}

function limits(schema) {
  const found = [];
  if (schema.minLength || schema.maxLength) {
    const most = schema.maxLength ? ` to ${schema.maxLength}` : " or more";
    found.push(`${schema.minLength || 0}${most} characters`);
  }
  if ("minimum" in schema) found.push(`${schema.minimum} to ${schema.maximum}`);
  if (schema.pattern) found.push(`matches ${schema.pattern}`);
  return found;
}

function field(name, schema, { required, note, description }) {
  const fallback = "default" in schema && schema.default !== null;
  return make("div", {},
    make("dt", {},
      make("span", { class: "field" }, name),
      make("span", { class: "kind" }, ...kindOf(schema),
        fallback ? `, else ${JSON.stringify(schema.default)}` : ""),
      note ? make("span", { class: "kind" }, note) : null,
      required ? make("span", { class: "needed" }, "needed") : null),
    make("dd", {}, prose(description)));
}

function properties(schema) {
  const needed = new Set(schema.required || []);
  return make("dl", { class: "fields" },
    Object.entries(schema.properties || {}).map(([name, inner]) =>
      field(name, inner, { required: needed.has(name), description: inner.description })
    ));
}

// JSON, indented, with its keys, texts and numbers told apart.
function coloured(value) {
  const text = typeof value === "string" ? value : JSON.stringify(value, null, 2);
  if (typeof value === "string") return [text];
  const token = /("(?:[^"\\]|\\.)*")(\s*:)?|-?\d[\d.eE+-]*|true|false|null/g;
  const parts = [];
  let end = 0;
  for (const match of text.matchAll(token)) {
    const kind = match[2] ? "key" : match[1] ? "text" : "number";
    const shown = match[1] || match[0];
    parts.push(text.slice(end, match.index), make("span", { class: kind }, shown));
    end = match.index + shown.length;
  }
  return [...parts, text.slice(end)];
}

// May be broken after a slash, where the column is narrow.
function breakable(path) {
  return path.split(/(?<=.\/)/).flatMap((step) => [step, make("wbr")]);
}

function quoted(text) {
  return `'${text.replaceAll("'", "'\\''")}'`;
}

function curl(operation) {
  const given = (place) => (operation.parameters || []).filter(
    (parameter) => parameter.in === place && parameter.required
  );
  let path = operation.path;
  for (const parameter of given("path")) {
    const value = encodeURIComponent(parameter.example || parameter.name);
    path = path.replace(`{${parameter.name}}`, value);
  }
  const query = given("query").map((parameter) => `${parameter.name}=…`).join("&");
  const url = new URL(`.${path}`, SELF).href + (query ? `?${query}` : "");
  const lines = [`curl ${quoted(url)}`];
  if (operation.method !== "get") lines[0] = `curl -X ${operation.method.toUpperCase()} ${quoted(url)}`;
  if (operation.security.length) lines.push('-H "Authorization: Bearer $LEDGER_KEY"');
  for (const parameter of given("header")) lines.push(`-H '${parameter.name}: …'`);
  for (const [type, content] of Object.entries(bodies(operation)).slice(0, 1)) {
    if (content.example) lines.push(`--json ${quoted(JSON.stringify(content.example))}`);
    else lines.push(`-H 'Content-Type: ${type}' -d '…'`);
  }
  return lines.join(" \\\n  ");
}

function bodies(operation) {
  return operation.requestBody ? operation.requestBody.content : {};
}

function copyButton(text) {
  const button = make("button", { type: "button" }, "Copy");
  button.addEventListener("click", async () => {
    await navigator.clipboard.writeText(text);
    button.textContent = "Copied";
  });
  return button;
}

function example(operation) {
  const line = curl(operation);
  const panel = make("div", { class: "example" },
    make("header", {}, "Try", navigator.clipboard ? copyButton(line) : null),
    make("pre", { tabindex: "0" }, line));
  for (const [status, response] of Object.entries(operation.responses)) {
    for (const [type, content] of Object.entries(response.content || {})) {
      if (!("example" in content)) continue;
      panel.append(
        make("header", {}, `${status} ${type}`),
        make("pre", { tabindex: "0" }, coloured(content.example)));
      return panel;
    }
  }
  return panel;
}

function response(api, status, node) {
  if (node.$ref) return fault(status);
  const { description, content, headers } = resolve(api, node);
  const grade = status < 400 ? "good" : status < 500 ? "refused" : "failed";
  const [[type, { schema }] = []] = [Object.entries(content || {})[0] || [undefined, {}]];
  const isProblem = type === "application/problem+json";
  const names = Object.keys(headers || {}).filter((name) => name !== "X-Request-Id");
  return make("div", {},
    make("dt", {},
      make("span", { class: `status ${grade}` }, status),
      type ? make("span", { class: "kind" },
        isProblem ? "problem" : Object.keys(content).join(", ")) : null,
      schema && !isProblem ? make("span", { class: "kind" }, ...kindOf(schema)) : null,
      names.length ? make("span", { class: "kind" }, `with ${names.join(", ")}`) : null),
    make("dd", {}, isProblem
      ? make("ul", { class: "problems" },
          description.split(/(?<=\.) (?=`)/).map((each) => make("li", {}, prose(each))))
      : prose(description)));
}

function fault(status) {
  return make("div", {},
    make("dt", {},
      make("span", { class: "status failed" }, status),
      make("span", { class: "kind" }, "problem")),
    make("dd", {}, "A fault of the service: one of the ",
      make("a", { href: "#problems" }, "problem codes"), " with this status."));
}

function roles(operation) {
  const needed = operation["x-roles"];
  if (!needed) return make("p", { class: "roles" }, "Needs no key");
  return make("p", { class: "roles" }, "Key of ",
    needed.map((role) => make("span", { class: "pill" }, role)));
}

function operationOf(api, operation) {
  const parameters = operation.parameters || [];
  return make("article", { class: "columns", id: operation.operationId },
    make("div", {},
      make("h3", {}, operation.summary),
      make("p", { class: "address" },
        make("span", { class: `method ${operation.method}` }, operation.method),
        operation.path),
      roles(operation),
      operation.description ? make("p", {}, prose(operation.description)) : null,
      parameters.length ? make("h4", {}, "Parameters") : null,
      make("dl", { class: "fields" }, parameters.map((parameter) =>
        field(parameter.name, parameter.schema, {
          required: parameter.required,
          note: `in ${parameter.in}`,
          description: parameter.description,
        }))),
      operation.requestBody ? make("h4", {}, "Body") : null,
      Object.entries(bodies(operation)).map(([type, { schema }]) => make("div", {},
        make("p", { class: "kind" }, `${type} `, ...(schema.$ref ? kindOf(schema) : [])),
        type === "application/json" && !schema.$ref ? "" : properties(resolve(api, schema)))),
      make("h4", {}, "Answers"),
      make("dl", { class: "fields" }, Object.entries(operation.responses).map(
        ([status, node]) => response(api, status, node)))),
    example(operation));
}

function operationsOf(api) {
  return Object.entries(api.paths).flatMap(([path, item]) =>
    METHODS.filter((method) => item[method]).map((method) =>
      ({ method, path, ...item[method] })));
}

function schemaOf(name, schema) {
  return make("article", { class: "columns", id: `schema-${name}` },
    make("div", {},
      make("h3", {}, name),
      make("p", {}, prose(schema.description)),
      properties(schema)));
}

function problems(api) {
  return make("table", {},
    make("thead", {}, make("tr", {},
      ["Code", "Status", "What it says"].map((head) => make("th", { scope: "col" }, head)))),
    make("tbody", {}, api["x-problems"].map((problem) => make("tr", {},
      make("td", {}, make("code", {}, problem.code)),
      make("td", {}, String(problem.status)),
      make("td", {}, prose(problem.title))))));
}

function intro(api) {
  const key = `export LEDGER_KEY=…\n${curl({
    method: "get", path: "/openapi.json", security: [{}],
  })}`;
  return make("section", { id: "start" },
    make("h1", {}, api.info.title, make("span", { class: "version" }, api.info.version)),
    make("p", { class: "lead" }, prose(api.info.description)),
    make("div", { class: "columns" },
      make("div", {},
        make("h3", {}, "Keys"),
        make("p", {}, prose("Everything but the webhook, health and metrics needs an API "
          + "key: `Authorization: Bearer <key>`, or Basic with the key as password. "
          + "`consent-ledger keys create` makes one, with a role.")),
        make("p", {}, "The description itself is ",
          make("a", { href: "openapi.json" }, "openapi.json"), ".")),
      make("div", { class: "example" },
        make("header", {}, "With a key"),
        make("pre", { tabindex: "0" }, key))));
}

function contents(groups, schemas) {
  const list = (title, items) => [make("h2", {}, title), make("ul", {}, items)];
  const link = (id, ...inner) => make("li", {}, make("a", { href: `#${id}` }, ...inner));
  return [
    make("a", { class: "name", href: "#start" }, "Consent ledger"),
    ...groups.flatMap(([tag, operations]) => list(tag, operations.map((operation) =>
      link(operation.operationId,
        make("span", { class: `method ${operation.method}` }, operation.method),
        make("span", { class: "path" }, breakable(operation.path)))))),
    ...list("Reference", [link("schemas", "Schemas"), link("problems", "Problem codes")]),
    ...list("All schemas", schemas.map(([name]) => link(`schema-${name}`, name))),
  ];
}

function show(api) {
  const operations = operationsOf(api);
  const groups = api.tags.map(({ name }) =>
    [name, operations.filter((operation) => operation.tags[0] === name)]);
  const schemas = Object.entries(api.components.schemas)
    .filter(([, schema]) => schema.properties);
  document.getElementById("contents").replaceChildren(...contents(groups, schemas));
  document.getElementById("content").replaceChildren(
    intro(api),
    ...groups.map(([tag, listed]) => make("section", {},
      make("h2", {}, tag), listed.map((operation) => operationOf(api, operation)))),
    make("section", { id: "schemas" },
      make("h2", {}, "Schemas"), schemas.map(([name, schema]) => schemaOf(name, schema))),
    make("section", { id: "problems" },
      make("h2", {}, "Problem codes"), problems(api)));
  if (location.hash) document.getElementById(location.hash.slice(1))?.scrollIntoView();
}

async function start() {
  const answer = await fetch(new URL("openapi.json", SELF));
  if (!answer.ok) throw new Error(`openapi.json was answered ${answer.status}`);
  show(await answer.json());
}

start().catch((error) => {
  document.getElementById("content").replaceChildren(
    make("p", { class: "notice", role: "alert" }, String(error)));
});
