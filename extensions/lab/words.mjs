// The sentences of this extension, for translators: reads them out of src/, and keeps what is made of them.
//
//   node words.mjs           write locale/sublet_lab.pot anew, bring each locale/*.po up to it, and make of that the JSON
//                            that JupyterLab reads (sublet_server/locale, by the entry point jupyterlab.locale)
//   node words.mjs --check   fail where one of these files is not current, or a sentence is not translated
//
// A file of translations is in gettext's format (https://www.gnu.org/software/gettext/manual/html_node/PO-Files.html).

import { existsSync, mkdirSync, readdirSync, readFileSync, writeFileSync } from "node:fs";
import { basename, dirname, join, relative } from "node:path";
import { fileURLToPath } from "node:url";
import ts from "typescript";

const DOMAIN = "sublet_lab";
const HERE = dirname(fileURLToPath(import.meta.url));
const CATALOGS = join(HERE, "locale");
const SERVED = join(HERE, "..", "sublet_server", "locale");
const CHECK = process.argv.includes("--check");

const faults = [];

/** All messages in `src`: by their English, the plural's English where there is one, and the files they are in. */
function messagesOf(folder) {
  const found = new Map();
  for (const name of readdirSync(folder).sort()) {
    if (!/\.tsx?$/.test(name) || name.endsWith(".d.ts")) continue;
    const source = ts.createSourceFile(name, readFileSync(join(folder, name), "utf8"), ts.ScriptTarget.Latest, true);
    const visit = node => {
      if (ts.isCallExpression(node) && ts.isPropertyAccessExpression(node.expression)) {
        const method = node.expression.name.text;
        if (method === "__" || method === "_n") note(found, name, node.arguments, method === "_n");
      }
      ts.forEachChild(node, visit);
    };
    visit(source);
  }
  return [...found.values()].sort((a, b) => (a.id < b.id ? -1 : 1));
}

function note(found, file, [one, many], isPlural) {
  const id = textOf(one);
  const plural = isPlural ? textOf(many) : null;
  if (id === null || (isPlural && plural === null)) {
    faults.push(`src/${file}: a message is not written out, so that nobody can translate it: ${one.getText()}`);
    return;
  }
  const message = found.get(id) ?? { id, plural, files: new Set() };
  message.plural ??= plural;
  message.files.add(`src/${file}`);
  found.set(id, message);
}

/** A string as it is written, in one piece or in some that are added up; null for anything else. */
function textOf(node) {
  if (ts.isStringLiteral(node) || ts.isNoSubstitutionTemplateLiteral(node)) return node.text;
  if (ts.isBinaryExpression(node) && node.operatorToken.kind === ts.SyntaxKind.PlusToken) {
    const [left, right] = [textOf(node.left), textOf(node.right)];
    return left === null || right === null ? null : left + right;
  }
  return null;
}

/** A catalog's text. `translations`: by message, one string, or one for each form of the plural. */
function written(head, messages, translations) {
  const entries = messages.map(({ id, plural, files }) => {
    const forms = translations.get(id) ?? [];
    const lines = [`#: ${[...files].join(" ")}`, `msgid ${JSON.stringify(id)}`];
    if (plural === null) lines.push(`msgstr ${JSON.stringify(forms[0] ?? "")}`);
    else {
      lines.push(`msgid_plural ${JSON.stringify(plural)}`);
      for (const form of [0, 1]) lines.push(`msgstr[${form}] ${JSON.stringify(forms[form] ?? "")}`);
    }
    return `${lines.join("\n")}\n`;
  });
  return `${head}\n${entries.join("\n")}`;
}

/** A catalog's head, as it is written, and its translations by message. */
function read(path) {
  const [head, ...entries] = readFileSync(path, "utf8").trimEnd().split(/\n\n+/);
  const translations = new Map();
  for (const entry of entries) {
    let [key, id, forms] = [null, "", []];
    for (const line of entry.split("\n")) {
      if (line.startsWith("#")) continue;
      const [, keyword, text] = /^(?:(msgid|msgid_plural|msgstr(?:\[\d\])?) )?(".*")$/.exec(line) ?? [];
      if (text === undefined) throw new Error(`${path}: what is ${line}?`);
      key = keyword ?? key;
      if (key.startsWith("msgstr")) {
        if (keyword) forms.push("");
        forms[forms.length - 1] += JSON.parse(text);
      } else if (key === "msgid") id += JSON.parse(text);
    }
    translations.set(id, forms);
  }
  return { head: `${head}\n`, translations };
}

/** The catalog as JupyterLab reads it; what is not translated is left out, and shown in English. */
function served(language, messages, translations) {
  const about = {
    domain: DOMAIN,
    language: language.replace("_", "-"),
    plural_forms: "nplurals=2; plural=(n != 1);",
    version: JSON.parse(readFileSync(join(HERE, "package.json"), "utf8")).version,
  };
  const done = messages.map(({ id }) => [id, translations.get(id) ?? []]).filter(([, forms]) => forms.every(Boolean));
  return `${JSON.stringify({ "": about, ...Object.fromEntries(done) }, null, 1)}\n`;
}

/** Note what is missing or wrong in a translation: a place that is not filled would show as `%1`. */
function examine(path, messages, translations) {
  for (const { id, plural } of messages) {
    const forms = translations.get(id) ?? [];
    if (forms.length !== (plural === null ? 1 : 2) || forms.includes(""))
      faults.push(`${path}: not translated: ${id}`);
    for (const form of forms.filter(Boolean)) {
      if (places(form) !== places(plural ?? id)) faults.push(`${path}: places differ: ${id} | ${form}`);
    }
  }
}

function places(text) {
  return [...text.matchAll(/%\d/g)].map(String).sort().join();
}

function keep(path, content) {
  if (existsSync(path) && readFileSync(path, "utf8") === content) return;
  if (CHECK) {
    faults.push(`${relative(HERE, path)} is not current: run \`make lab-words\``);
    return;
  }
  mkdirSync(dirname(path), { recursive: true });
  writeFileSync(path, content);
}

const HEAD = `# The sentences of Sublet in JupyterLab. Made by \`make lab-words\` from src/.
msgid ""
msgstr ""
"Content-Type: text/plain; charset=UTF-8\\n"
"Content-Transfer-Encoding: 8bit\\n"
"Plural-Forms: nplurals=2; plural=(n != 1);\\n"
`;

const messages = messagesOf(join(HERE, "src"));
keep(join(CATALOGS, `${DOMAIN}.pot`), written(HEAD, messages, new Map()));
for (const name of readdirSync(CATALOGS).filter(name => name.endsWith(".po"))) {
  const path = join(CATALOGS, name);
  const language = basename(name, ".po");
  const { head, translations } = read(path);
  examine(`locale/${name}`, messages, translations);
  keep(path, written(head, messages, translations));
  keep(join(SERVED, language, "LC_MESSAGES", `${DOMAIN}.json`), served(language, messages, translations));
}
for (const fault of faults) console.error(fault);
if (CHECK && faults.length > 0) process.exit(1);
