//! Plays inputs and tells which one failed.

use std::panic::{AssertUnwindSafe, catch_unwind, resume_unwind};
use std::time::{SystemTime, UNIX_EPOCH};

use rand::SeedableRng;
use rand::rngs::StdRng;

use crate::mutate::mutate;

const INPUTS: u64 = 20_000;

/// Plays mutations of `seeds` against `target`, which panics where something is wrong.
pub fn fuzz(name: &str, seeds: &[&str], mut target: impl FnMut(&[u8], &mut StdRng)) {
    let seed = number("MIROIR_SEED").unwrap_or_else(|| {
        let since = SystemTime::now().duration_since(UNIX_EPOCH);
        since.map_or(0, |since| u64::from(since.subsec_nanos()))
    });
    let inputs = number("MIROIR_FUZZ_INPUTS").unwrap_or(INPUTS);
    println!("{name}: {inputs} inputs, seed {seed}");
    for at in 0..inputs {
        // Each input has a generator of its own, so that one can be repeated without those before it.
        let mut rng = StdRng::seed_from_u64(seed.wrapping_add(at));
        let input = mutate(seeds, &mut rng);
        let played = catch_unwind(AssertUnwindSafe(|| target(&input, &mut rng)));
        if let Err(panic) = played {
            let seed = seed.wrapping_add(at);
            eprintln!(
                "{name} failed; repeat with MIROIR_SEED={seed} MIROIR_FUZZ_INPUTS=1 cargo test -p miroir-core --test fuzz {name}"
            );
            eprintln!("input: {:?}", String::from_utf8_lossy(&input));
            resume_unwind(panic);
        }
    }
}

fn number(variable: &str) -> Option<u64> {
    let text = std::env::var(variable).ok()?;
    let number = text.parse();
    Some(number.unwrap_or_else(|error| panic!("{variable} is `{text}`: {error}")))
}
