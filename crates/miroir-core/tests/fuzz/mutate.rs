//! Inputs: seeds cut, doubled, spliced and sprinkled with what parsers stumble over.

use rand::Rng;
use rand::rngs::StdRng;
use rand::seq::IndexedRandom;

/// What parsers stumble over.
const TOKENS: [&str; 40] = [
    "{",
    "}",
    "[",
    "]",
    "\"",
    "\\",
    ":",
    ",",
    "\n",
    "\r\n",
    "\0",
    "null",
    "true",
    "-",
    "-0",
    "1e400",
    "18446744073709551616",
    "9007199254740993",
    "0.1",
    "1E-7",
    "\\u0000",
    "\\ud800",
    "\u{feff}",
    "\u{2042}",
    "\u{2021}",
    "İ",
    "日本",
    "_miroir_shard",
    "_geo",
    "_vectors",
    "id",
    "AND",
    "NOT",
    "(",
    ")",
    "'",
    "TO",
    "IN [",
    "_geoRadius(1,2,3)",
    "  ",
];

/// Deep enough to overflow the stack of a parser that recurses without a bound.
const DEEP: usize = 20_000;

/// One input.
pub fn mutate(seeds: &[&str], rng: &mut StdRng) -> Vec<u8> {
    let mut input = pick(seeds, rng).as_bytes().to_vec();
    for _ in 0..rng.random_range(0..6_u8) {
        step(&mut input, seeds, rng);
    }
    input
}

fn pick<'a>(from: &[&'a str], rng: &mut StdRng) -> &'a str {
    from.choose(rng).copied().unwrap_or_default()
}

fn step(input: &mut Vec<u8>, seeds: &[&str], rng: &mut StdRng) {
    let at = rng.random_range(0..=input.len());
    let end = rng.random_range(at..=input.len());
    match rng.random_range(0..100_u8) {
        0..25 => insert(input, at, pick(&TOKENS, rng).as_bytes()),
        25..45 => drop(input.drain(at..end)),
        45..60 => {
            let part = input[at..end].to_vec();
            insert(input, at, &part);
        }
        60..75 => {
            if let Some(byte) = input.get_mut(at) {
                *byte ^= 1 << rng.random_range(0..8_u8);
            }
        }
        75..90 => {
            let other = pick(seeds, rng).as_bytes();
            let from = rng.random_range(0..=other.len());
            input.truncate(at);
            input.extend_from_slice(&other[from..]);
        }
        90..99 => input.extend((0..rng.random_range(0..40_u8)).map(|_| rng.random::<u8>())),
        _ => {
            const OPENINGS: [&[u8]; 3] = [b"[", b"{\"a\":", b"\\u{"];
            let opening = OPENINGS[rng.random_range(0..OPENINGS.len())];
            insert(input, at, &opening.repeat(rng.random_range(1..DEEP)));
        }
    }
}

fn insert(input: &mut Vec<u8>, at: usize, part: &[u8]) {
    input.splice(at..at, part.iter().copied());
}
