import secureJson from 'secure-json-parse';
import { DomainError } from '../domain/domain-error.js';

/** Deeper bodies than this are no request of any contract, and recursion over them could exhaust the stack. */
const MAX_DEPTH = 32;

/**
 * Parses a JSON body. An empty one is `{}`. Integers beyond 2^53 come as numeric strings, exact, since a number would
 * round them. Throws an `invalid` DomainError for malformed JSON, prototype keys, or nesting deeper than 32.
 */
export function parseJsonBody(text: string): unknown {
  const body = text.charCodeAt(0) === 0xfeff ? text.slice(1) : text;
  if (body.trim() === '') return {};
  const { depth, longIntegers } = scan(body);
  if (depth > MAX_DEPTH) throw new DomainError('invalid', 'malformed_json', 'The request body is nested too deeply');
  try {
    if (longIntegers.length === 0) return secureJson.parse(body);
    // Quoting must not turn malformed JSON into good JSON.
    JSON.parse(body);
    return secureJson.parse(quote(body, longIntegers));
  } catch (error) {
    throw new DomainError('invalid', 'malformed_json', 'The request body is not valid JSON', {}, { cause: error });
  }
}

/** One pass over the text: how deep it nests, and where integers stand that a double cannot hold. */
function scan(text: string): { depth: number; longIntegers: [number, number][] } {
  const longIntegers: [number, number][] = [];
  let deepest = 0;
  let depth = 0;
  for (let at = 0; at < text.length; at += 1) {
    const char = text[at]!;
    if (char === '"') {
      at = endOfString(text, at);
    } else if (char === '{' || char === '[') {
      depth += 1;
      deepest = Math.max(deepest, depth);
    } else if (char === '}' || char === ']') {
      depth -= 1;
    } else if (char === '-' || (char >= '0' && char <= '9')) {
      const end = endOfNumber(text, at);
      const token = text.slice(at, end);
      if (token.length > 15 && /^-?\d+$/.test(token) && !Number.isSafeInteger(Number(token))) {
        longIntegers.push([at, end]);
      }
      at = end - 1;
    }
  }
  return { depth: deepest, longIntegers };
}

function endOfString(text: string, start: number): number {
  let at = start + 1;
  while (at < text.length && text[at] !== '"') at += text[at] === '\\' ? 2 : 1;
  return at;
}

function endOfNumber(text: string, start: number): number {
  let at = start + 1;
  while (at < text.length && '0123456789.eE+-'.includes(text[at]!)) at += 1;
  return at;
}

function quote(text: string, ranges: [number, number][]): string {
  const parts: string[] = [];
  let done = 0;
  for (const [start, end] of ranges) {
    parts.push(text.slice(done, start), '"', text.slice(start, end), '"');
    done = end;
  }
  return parts.join('') + text.slice(done);
}
