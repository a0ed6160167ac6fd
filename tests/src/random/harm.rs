//! Harm that is done to processes, and undone after a while.

use std::time::Duration;

use miroir_dev::cluster::{Cluster, Role};
use rand::Rng as _;
use rand::rngs::StdRng;
use rand::seq::IndexedRandom as _;

use crate::Network;

/// What is done.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Harm {
    /// Killed with SIGKILL, and started again later.
    Kill(Vec<Role>),
    /// Stopped with SIGSTOP, and let go on later.
    Pause(Role),
    /// Two lose everything that they send each other for a while.
    Cut(Role, Role),
}

/// What harm a round may do.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Victim {
    /// Whoever leads.
    Leader,
    /// Any coordinator.
    Coordinator,
    /// All coordinators.
    Coordinators,
    /// The proxy that orders the writes.
    Writer,
    /// A proxy that does not.
    Reader,
    /// Any node.
    Node,
}

const VICTIMS: [(Victim, u32); 6] = [
    (Victim::Leader, 5),
    (Victim::Coordinator, 2),
    (Victim::Coordinators, 1),
    (Victim::Writer, 3),
    (Victim::Reader, 2),
    (Victim::Node, 5),
];

impl Victim {
    /// One of them.
    pub fn any(rng: &mut StdRng) -> Self {
        let chosen = VICTIMS.choose_weighted(rng, |(_, weight)| *weight);
        chosen.map_or(Self::Leader, |(victim, _)| *victim)
    }
}

/// Harm that is done at present.
#[derive(Debug, Default)]
pub struct Harms {
    done: Vec<Harm>,
}

impl Harms {
    /// Whether a process suffers already.
    pub fn suffers(&self, role: Role) -> bool {
        self.done.iter().any(|harm| match harm {
            Harm::Kill(roles) => roles.contains(&role),
            Harm::Pause(one) => *one == role,
            Harm::Cut(one, other) => [one, other].contains(&&role),
        })
    }

    /// Does it.
    pub async fn inflict(
        &mut self,
        cluster: &mut Cluster,
        network: Option<&Network>,
        harm: Harm,
    ) -> anyhow::Result<()> {
        match &harm {
            Harm::Kill(roles) => {
                for role in roles {
                    cluster.kill(*role).await?;
                }
            }
            Harm::Pause(role) => cluster.pause(*role).await?,
            Harm::Cut(one, other) => {
                if let Some(network) = network {
                    network.cut(*one, *other)?;
                }
            }
        }
        self.done.push(harm);
        Ok(())
    }

    /// Undoes it. Harm that was undone already stays so.
    pub async fn undo(
        &mut self,
        cluster: &mut Cluster,
        network: Option<&Network>,
        harm: &Harm,
    ) -> anyhow::Result<()> {
        let Some(turn) = self.done.iter().position(|done| done == harm) else {
            return Ok(());
        };
        self.done.swap_remove(turn);
        match harm {
            Harm::Kill(roles) => roles.iter().try_for_each(|role| cluster.spawn(*role)),
            Harm::Pause(role) => cluster.resume(*role).await,
            Harm::Cut(one, other) => match network {
                Some(network) => network.heal(*one, *other),
                None => Ok(()),
            },
        }
    }

    /// Undoes all.
    pub async fn undo_all(
        &mut self,
        cluster: &mut Cluster,
        network: Option<&Network>,
    ) -> anyhow::Result<()> {
        while let Some(harm) = self.done.last().cloned() {
            self.undo(cluster, network, &harm).await?;
        }
        Ok(())
    }
}

/// How long harm lasts: mostly a moment, now and then longer than a lease.
pub fn lasting(rng: &mut StdRng) -> Duration {
    let ms = if rng.random_bool(0.15) {
        rng.random_range(2_500..4_000)
    } else {
        rng.random_range(0..1_200)
    };
    Duration::from_millis(ms)
}
