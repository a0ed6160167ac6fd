//! `drill coordinator-loss`: whether the coordinators could go on without some of them.

use std::collections::BTreeSet;

use miroir_proto::v1;
use serde::Serialize;

use super::failed;
use crate::args::CoordinatorDrillArgs;
use crate::connect::Coordinators;
use crate::exit::Error;
use crate::output::{Output, View};
use crate::table;

/// Foresees a loss. Nothing is done.
pub async fn run(
    args: &CoordinatorDrillArgs,
    coordinators: &Coordinators,
    output: &mut Output,
) -> Result<(), Error> {
    let ask =
        coordinators.read(async |mut c| c.list_coordinators(v1::ListCoordinatorsRequest {}).await);
    let known = ask.await?.coordinators;
    if let Some(id) = args
        .coordinators
        .iter()
        .find(|id| !known.iter().any(|c| c.id == **id))
    {
        return Err(failed(format!("there is no coordinator {id}")));
    }
    let all = coordinators.beside(known.iter().map(|one| one.api_url.clone()));
    let survey = all.survey(false).await;
    let answering = survey
        .answers()
        .iter()
        .map(|answer| answer.status.coordinator);
    let foreseen = Foreseen::of(&known, &answering.collect(), &args.coordinators);
    output.print(&foreseen)?;
    foreseen
        .complaint()
        .map_or(Ok(()), |what| Err(failed(what)))
}

/// What a loss would mean now.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
struct Foreseen {
    drill: &'static str,
    /// Coordinators that vote.
    voters: usize,
    /// Voters that must answer for anything to be decided.
    majority: usize,
    coordinators: Vec<Seat>,
    losses: Vec<Loss>,
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
struct Seat {
    id: u64,
    api_url: String,
    role: String,
    answers: bool,
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
struct Loss {
    /// Coordinators that are lost together.
    lost: Vec<u64>,
    /// Voters left that answer.
    left: usize,
    quorum: bool,
    /// Whether another has to be elected first.
    election: bool,
}

impl Foreseen {
    /// Foresees that `lost` are gone together; each alone when none is named.
    fn of(known: &[v1::Coordinator], answering: &BTreeSet<u64>, lost: &[u64]) -> Self {
        let seat = |one: &v1::Coordinator| Seat {
            id: one.id,
            api_url: one.api_url.clone(),
            role: one.role.clone(),
            answers: answering.contains(&one.id),
        };
        let coordinators: Vec<Seat> = known.iter().map(seat).collect();
        let voters = coordinators.iter().filter(|seat| seat.votes()).count();
        let majority = voters / 2 + 1;
        let loss = |lost: Vec<u64>| {
            let stays = |seat: &&Seat| seat.votes() && seat.answers && !lost.contains(&seat.id);
            let left = coordinators.iter().filter(stays).count();
            let leads = |seat: &Seat| seat.role == "leader" && lost.contains(&seat.id);
            Loss {
                left,
                quorum: left >= majority,
                election: coordinators.iter().any(leads),
                lost,
            }
        };
        let losses = match lost {
            [] => known.iter().map(|one| loss(vec![one.id])).collect(),
            some => vec![loss(some.to_vec())],
        };
        Self {
            drill: "coordinator-loss",
            voters,
            majority,
            losses,
            coordinators,
        }
    }

    fn complaint(&self) -> Option<String> {
        let bad = self.losses.iter().find(|loss| !loss.quorum)?;
        Some(format!(
            "without coordinator {}, {} of {} are left and {} are needed: nothing can be decided",
            bad.names(),
            bad.left,
            self.voters,
            self.majority
        ))
    }
}

impl Seat {
    fn votes(&self) -> bool {
        self.role != "learner"
    }
}

impl Loss {
    fn names(&self) -> String {
        let names: Vec<String> = self.lost.iter().map(ToString::to_string).collect();
        names.join(",")
    }

    fn consequence(&self) -> &'static str {
        match (self.quorum, self.election) {
            (true, true) => "another is elected; writes wait for some seconds",
            (true, false) => "nothing is noticed",
            (false, _) => "searches go on; writes stop, and nothing moves",
        }
    }
}

impl View for Foreseen {
    fn table(&self) -> String {
        let seat = |seat: &Seat| {
            let answers = if seat.answers { "yes" } else { "no" };
            vec![
                seat.id.to_string(),
                seat.api_url.clone(),
                seat.role.clone(),
                answers.to_owned(),
            ]
        };
        let loss = |loss: &Loss| {
            vec![
                loss.names(),
                format!("{} of {}, {} needed", loss.left, self.voters, self.majority),
                loss.consequence().to_owned(),
            ]
        };
        let seats = self.coordinators.iter().map(seat).collect();
        let losses = self.losses.iter().map(loss).collect();
        format!(
            "{}\n\n{}",
            table::list(
                &["ID", "API URL", "ROLE", "ANSWERS"],
                seats,
                "no coordinators"
            ),
            table::list(&["IF LOST", "LEFT", "THEN"], losses, "no coordinators")
        )
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_quorum_is_counted_among_those_that_vote_and_answer() {
        // Roles, who answers, who is lost; quorum of each loss.
        type Case<'a> = (&'a [&'a str], &'a [u64], &'a [u64], &'a [bool]);
        let three = &["leader", "follower", "follower"];
        let table: [Case<'_>; 7] = [
            (three, &[1, 2, 3], &[], &[true, true, true]),
            (three, &[1, 2, 3], &[2, 3], &[false]),
            (three, &[1, 2], &[], &[false, false, true]),
            (&["leader"], &[1], &[], &[false]),
            (&["leader", "follower"], &[1, 2], &[2], &[false]),
            (
                &["leader", "follower", "learner"],
                &[1, 2, 3],
                &[],
                &[false, false, true],
            ),
            (
                &["leader", "follower", "follower", "follower", "follower"],
                &[1, 2, 3, 4, 5],
                &[1, 5],
                &[true],
            ),
        ];
        for (roles, answering, lost, quorum) in table {
            let one = |(id, role): (u64, &&str)| v1::Coordinator {
                id,
                role: (*role).to_owned(),
                ..v1::Coordinator::default()
            };
            let known: Vec<_> = (1..).zip(roles).map(one).collect();
            let found = Foreseen::of(&known, &answering.iter().copied().collect(), lost);
            let kept: Vec<bool> = found.losses.iter().map(|loss| loss.quorum).collect();
            assert_eq!(kept, quorum, "{roles:?} {answering:?} {lost:?}");
            assert_eq!(found.complaint().is_some(), quorum.contains(&false));
            assert_eq!(
                found.losses[0].election,
                lost.first().is_none_or(|id| *id == 1)
            );
        }
    }
}
