//! The phases of a migration, and what each means for reads and writes.
//!
//! The table printed by [`table`] is the protocol: `docs/migration.md` carries the same one, and a
//! test compares them.

use std::fmt;

use serde::{Deserialize, Serialize};

/// Where a migration stands. Committed to the log before anything acts on it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub enum Phase {
    /// Waits for a slot under the concurrency caps.
    Planned,
    /// The target gets the index and its settings; leftovers of the shard on it are removed.
    Preparing,
    /// Every document of the shard is copied once.
    Copying,
    /// What was written meanwhile is copied again, until little is left.
    CatchingUp,
    /// Client writes to the shard are held while the last of it is copied.
    Fenced,
    /// Client writes go to source and target; the copies are compared.
    Mirroring,
    /// Reads move to the target, proxy by proxy.
    CutOver,
    /// All read the target; the source is kept, written to, for the reverse window.
    Holding,
    /// The shard is deleted from the source.
    Cleaning,
    /// Finished and verified equal.
    Done,
    /// Reads go back to the source, proxy by proxy.
    Reversing,
    /// What was built is deleted on the target.
    Dropping,
    /// Given up; the target's part is not used.
    Cancelled,
}

/// What the barrier at a phase's epoch has to cover before the actor may start work.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Barrier {
    /// Nothing to wait for.
    None,
    /// The index's writer has drained every write routed by an older table.
    Writes,
    /// So has every proxy its reads.
    Reads,
    /// Both.
    ReadsAndWrites,
}

impl Barrier {
    /// Whether writes routed by older tables must have drained.
    #[must_use]
    pub fn covers_writes(self) -> bool {
        matches!(self, Self::Writes | Self::ReadsAndWrites)
    }

    /// Whether reads routed by older tables must have drained.
    #[must_use]
    pub fn covers_reads(self) -> bool {
        matches!(self, Self::Reads | Self::ReadsAndWrites)
    }
}

/// One row of the phase table. A is the source, C the target.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Row {
    /// The phase described.
    pub phase: Phase,
    /// Which copy answers searches.
    pub reads: &'static str,
    /// Which copies take client writes.
    pub writes: &'static str,
    /// What must have drained before the actor works.
    pub barrier: Barrier,
    /// What the actor does.
    pub actor: &'static str,
    /// What ends the phase.
    pub next_when: &'static str,
}

impl Phase {
    /// Every phase, in the order of a migration that meets no trouble; then those of one that is given up.
    pub const ALL: [Self; 13] = [
        Self::Planned,
        Self::Preparing,
        Self::Copying,
        Self::CatchingUp,
        Self::Fenced,
        Self::Mirroring,
        Self::CutOver,
        Self::Holding,
        Self::Cleaning,
        Self::Done,
        Self::Reversing,
        Self::Dropping,
        Self::Cancelled,
    ];

    /// Whether nothing more will happen.
    #[must_use]
    pub fn is_final(self) -> bool {
        matches!(self, Self::Done | Self::Cancelled)
    }

    /// Whether it takes one of the slots that the concurrency caps count.
    /// A migration that only waits (for a slot, or for the reverse window) takes none.
    #[must_use]
    pub fn takes_slot(self) -> bool {
        match self {
            Self::Preparing
            | Self::Copying
            | Self::CatchingUp
            | Self::Fenced
            | Self::Mirroring
            | Self::CutOver
            | Self::Cleaning
            | Self::Reversing
            | Self::Dropping => true,
            Self::Planned | Self::Holding | Self::Done | Self::Cancelled => false,
        }
    }

    /// Whether the writer reports the ids of what it writes to the shard.
    #[must_use]
    pub fn records_dirty(self) -> bool {
        matches!(self, Self::Copying | Self::CatchingUp)
    }

    /// Whether the writer holds client writes to the shard.
    #[must_use]
    pub fn holds_writes(self) -> bool {
        matches!(self, Self::Fenced)
    }

    /// Whether client writes go to the target as well.
    #[must_use]
    pub fn mirrors_writes(self) -> bool {
        matches!(
            self,
            Self::Mirroring | Self::CutOver | Self::Holding | Self::Reversing
        )
    }

    /// The phase's row of the table.
    #[must_use]
    pub fn row(self) -> Row {
        let row = |reads, writes, barrier, actor, next_when| Row {
            phase: self,
            reads,
            writes,
            barrier,
            actor,
            next_when,
        };
        use Barrier::{None, Reads, ReadsAndWrites, Writes};
        match self {
            Self::Planned => row("A", "A", None, "waits for a slot", "a slot is free"),
            Self::Preparing => row(
                "A",
                "A",
                ReadsAndWrites,
                "waits for index and settings on C, removes leftovers of the shard on C",
                "C is clean",
            ),
            Self::Copying => row(
                "A",
                "A, ids recorded",
                Writes,
                "lets A process what was enqueued, takes all ids at once, copies them in chunks",
                "all chunks are enqueued on C",
            ),
            Self::CatchingUp => row(
                "A",
                "A, ids recorded",
                Writes,
                "copies the present state of recorded ids, or deletes them on C; repeats",
                "few are left and A's queue is short",
            ),
            Self::Fenced => row(
                "A",
                "held",
                Writes,
                "drains A, copies the last recorded ids",
                "all are enqueued on C",
            ),
            Self::Mirroring => row(
                "A",
                "A and C",
                Writes,
                "lets C process past the fence, compares ids and digests of A and C",
                "they are equal",
            ),
            Self::CutOver => row(
                "C",
                "A and C",
                Reads,
                "waits for every proxy",
                "all proxies read C",
            ),
            Self::Holding => row(
                "C",
                "A and C",
                None,
                "waits for the reverse window",
                "the window is over",
            ),
            Self::Cleaning => row(
                "C",
                "C",
                Writes,
                "deletes the shard on A by filter, counts what is left",
                "none is left",
            ),
            Self::Done => row("C", "C", None, "nothing", "-"),
            Self::Reversing => row(
                "A",
                "A and C",
                Reads,
                "waits for every proxy",
                "all proxies read A",
            ),
            Self::Dropping => row(
                "A",
                "A",
                ReadsAndWrites,
                "deletes the shard on C by filter, counts what is left",
                "none is left",
            ),
            Self::Cancelled => row("A", "A", None, "nothing", "-"),
        }
    }
}

impl fmt::Display for Phase {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(match self {
            Self::Planned => "Planned",
            Self::Preparing => "Preparing",
            Self::Copying => "Copying",
            Self::CatchingUp => "CatchingUp",
            Self::Fenced => "Fenced",
            Self::Mirroring => "Mirroring",
            Self::CutOver => "CutOver",
            Self::Holding => "Holding",
            Self::Cleaning => "Cleaning",
            Self::Done => "Done",
            Self::Reversing => "Reversing",
            Self::Dropping => "Dropping",
            Self::Cancelled => "Cancelled",
        })
    }
}

/// The phase table as Markdown, one line a phase.
#[must_use]
pub fn table() -> String {
    let mut out = String::from(
        "| phase | reads | client writes go to | barrier | the actor | next when |\n|---|---|---|---|---|---|\n",
    );
    for phase in Phase::ALL {
        let row = phase.row();
        let barrier = match row.barrier {
            Barrier::None => "-",
            Barrier::Writes => "writes",
            Barrier::Reads => "reads",
            Barrier::ReadsAndWrites => "reads and writes",
        };
        let line = [
            phase.to_string().as_str(),
            row.reads,
            row.writes,
            barrier,
            row.actor,
            row.next_when,
        ]
        .join(" | ");
        out.push_str(&format!("| {line} |\n"));
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The documentation shows the protocol that runs.
    #[test]
    fn the_documented_table_is_the_one_in_the_code() {
        let documented = include_str!("../../../../docs/migration.md");
        let printed = table();
        println!("{printed}");
        assert!(
            documented.contains(&printed),
            "docs/migration.md must contain this table:\n{printed}"
        );
    }
}
