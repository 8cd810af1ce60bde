// GitHub's parser of workflows and its evaluator of expressions: one request a line, one answer a line, both as JSON.

import { register } from "node:module";
import { createInterface } from "node:readline";

// The parser imports its schema without the attribute that Node requires for JSON.
const load = `export const load = (url, context, next) =>
  next(url, url.endsWith(".json") ? { ...context, importAttributes: { type: "json" } } : context);`;
register(`data:text/javascript,${encodeURIComponent(load)}`);

const { convertWorkflowTemplate, isBasicExpression, isMapping, isSequence, NoOperationTraceWriter, parseWorkflow } =
  await import("@actions/workflow-parser");
const { convertActionTemplate, parseAction } = await import("@actions/workflow-parser/actions/index");
const { data, Evaluator, Lexer, Parser } = await import("@actions/expressions");

/** A token as JSON; an expression is `{expression: "..."}`. */
function plain(token) {
  if (token === undefined) return null;
  if (isBasicExpression(token)) return { expression: token.expression };
  if (isMapping(token)) return Object.fromEntries([...token].map(({ key, value }) => [key.value, plain(value)]));
  if (isSequence(token)) return [...token].map(plain);
  return token.value ?? null;
}

function plainStep(step) {
  const continues = step["continue-on-error"] === true;
  return { id: step.id, name: step.name?.value ?? "", if: step.if.expression, continues };
}

function plainJob(job) {
  return {
    if: job.if.expression,
    needs: (job.needs ?? []).map((need) => need.value),
    uses: job.ref?.value ?? "",
    environment: plain(job.environment),
    concurrency: plain(job.concurrency),
    matrix: plain(job.strategy)?.matrix ?? {},
    outputs: plain(job.outputs) ?? {},
    steps: (job.steps ?? []).map(plainStep),
  };
}

async function parse({ files }) {
  const provider = {
    getFileContent: async ({ path }) => {
      if (!(path in files)) throw new Error(`${path} is missing`);
      return { name: path, content: files[path] };
    },
  };
  const errors = [];
  const workflows = {};
  for (const [name, content] of Object.entries(files)) {
    const isAction = name.endsWith("/action.yml");
    const read = isAction ? parseAction : parseWorkflow;
    const { context, value } = read({ name, content }, new NoOperationTraceWriter());
    if (value && isAction) convertActionTemplate(context, value);
    if (value && !isAction) {
      const options = { fetchReusableWorkflowDepth: 1 };
      const { events, concurrency, jobs = [] } = await convertWorkflowTemplate(context, value, provider, options);
      workflows[name] = {
        events,
        concurrency: plain(concurrency),
        jobs: Object.fromEntries(jobs.filter((job) => job.if).map((job) => [job.id.value, plainJob(job)])),
      };
    }
    errors.push(...context.errors.getErrors().map((error) => error.message));
  }
  return { errors, workflows };
}

const toData = (value) => JSON.parse(JSON.stringify(value), data.reviver);

/** The value of an expression; a function returns the value that is given for it. */
function evaluate({ expression, contexts, functions }) {
  const known = Object.entries(functions).map(([name, value]) => {
    return { name, minArgs: 0, maxArgs: 255, call: () => toData(value) };
  });
  const tree = new Parser(new Lexer(expression).lex().tokens, Object.keys(contexts), known).parse();
  const definitions = new Map(known.map((definition) => [definition.name.toLowerCase(), definition]));
  const value = new Evaluator(tree, toData(contexts), definitions).evaluate();
  return { value: JSON.parse(JSON.stringify(value, data.replacer)) };
}

for await (const line of createInterface({ input: process.stdin })) {
  const request = JSON.parse(line);
  let answer;
  try {
    answer = "files" in request ? await parse(request) : evaluate(request);
  } catch (error) {
    answer = { failure: `${request.expression ?? "parse"}: ${error.message}` };
  }
  process.stdout.write(`${JSON.stringify(answer)}\n`);
}
