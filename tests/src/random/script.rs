//! What is done in a round, and when: drawn before the round begins.

use std::time::Duration;

use rand::Rng as _;
use rand::rngs::StdRng;

use super::Bias;
use super::change::Kind;
use super::harm::{Victim, lasting};

/// How long clients work before what was harmed is healed.
const ROUND_MS: std::ops::Range<u64> = 900..1_800;

/// One thing that is done.
#[derive(Debug, Clone)]
pub enum Deed {
    /// A topology operation is asked for.
    Change(Kind),
    /// Harm is done, and undone after this long.
    Harm(Victim, Duration),
}

/// A round before it begins.
#[derive(Debug)]
pub struct Script {
    /// What is done, by when it is, counted from the beginning of the round.
    pub deeds: Vec<(Duration, Deed)>,
    /// When what was harmed is healed.
    pub length: Duration,
    /// Searching clients for each proxy.
    pub searchers: u32,
}

impl Script {
    /// Draws one.
    pub fn draw(bias: Bias, rng: &mut StdRng) -> Self {
        let mut script = match bias {
            Bias::Anything => anything(rng),
            Bias::ReadBarrier => read_barrier(rng),
            Bias::DirtyIds => dirty_ids(rng),
            Bias::Ejection => ejection(rng),
        };
        script.deeds.sort_by_key(|(at, _)| *at);
        script
    }

    /// Whether anything may fail that clients ask for.
    pub fn is_harmful(&self) -> bool {
        self.deeds.iter().any(|(_, deed)| match deed {
            Deed::Change(kind) => *kind == Kind::ForceRemove,
            Deed::Harm(..) => true,
        })
    }
}

fn at(rng: &mut StdRng, ms: std::ops::Range<u64>) -> Duration {
    Duration::from_millis(rng.random_range(ms))
}

fn anything(rng: &mut StdRng) -> Script {
    let length = at(rng, ROUND_MS);
    let ms = ROUND_MS.start;
    let mut deeds = Vec::new();
    for _ in 0..rng.random_range(2..=5) {
        deeds.push((at(rng, 0..ms), Deed::Change(Kind::any(rng))));
    }
    let harms = match rng.random_range(0..100) {
        0..=34 => 0,
        35..=79 => 1,
        _ => 2,
    };
    for _ in 0..harms {
        let harm = Deed::Harm(Victim::any(rng), lasting(rng));
        deeds.push((at(rng, 100..ms), harm));
    }
    Script {
        deeds,
        length,
        searchers: 1,
    }
}

/// Shards move while a proxy that reads is out of touch.
fn read_barrier(rng: &mut StdRng) -> Script {
    let paused = Deed::Harm(Victim::Reader, Duration::from_millis(4_500));
    let mut deeds = vec![(Duration::from_millis(300), paused)];
    for _ in 0..4 {
        deeds.push((at(rng, 400..600), Deed::Change(Kind::Move)));
    }
    Script {
        deeds,
        length: Duration::from_millis(5_200),
        searchers: 8,
    }
}

/// Shards move while those who know what was written to them are killed.
fn dirty_ids(rng: &mut StdRng) -> Script {
    let mut deeds = Vec::new();
    for _ in 0..4 {
        deeds.push((at(rng, 0..100), Deed::Change(Kind::Move)));
    }
    let victim = if rng.random_bool(0.75) {
        Victim::Leader
    } else {
        Victim::Writer
    };
    let killed = Deed::Harm(victim, Duration::from_millis(200));
    deeds.push((at(rng, 1_200..2_200), killed));
    Script {
        deeds,
        length: Duration::from_millis(3_000),
        searchers: 1,
    }
}

/// Nodes are killed while documents with two copies are written, for so long that a writer gives up on them.
fn ejection(rng: &mut StdRng) -> Script {
    let killed = Deed::Harm(Victim::Node, at(rng, 2_000..3_000));
    Script {
        deeds: vec![(at(rng, 200..600), killed)],
        length: Duration::from_millis(3_600),
        searchers: 1,
    }
}
