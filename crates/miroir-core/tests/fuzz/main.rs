//! What clients send, mutated without end: nothing panics, and what is accepted keeps its promises.
//!
//! Every target plays `MIROIR_FUZZ_INPUTS` inputs (20,000 by default) from one seed. A failure prints the seed, the number
//! of the input and the input; `MIROIR_SEED` repeats it.

#![expect(
    clippy::disallowed_methods,
    reason = "a run takes its seed from the clock or the environment; what is tested does neither"
)]

mod documents;
mod mutate;
mod requests;
mod run;
