//! The protocol as it is, within bounds that are searched completely.

use std::time::Instant;

use miroir_core::migration::Kind;
use miroir_model::{Bound, Bugs, MoveModel};
use stateright::{Checker, Model};

/// Searches everything within `bound`. Every invariant must hold, and every way named in `possible` must be found,
/// or the model says nothing.
fn check(bound: Bound, impossible: &[&str]) {
    let began = Instant::now();
    let model = MoveModel {
        bound,
        bugs: Bugs::default(),
    };
    let checker = model.checker().threads(2).spawn_bfs().join();
    println!(
        "{bound:?}: {} states, {} steps, {:.1} s",
        checker.unique_state_count(),
        checker.state_count(),
        began.elapsed().as_secs_f64()
    );
    for property in checker.model().properties() {
        let path = checker.discovery(property.name);
        if property.expectation.discovery_is_failure() {
            let steps = path.map(miroir_model::steps);
            assert_eq!(steps, None, "{}", property.name);
        } else {
            let expected = !impossible.contains(&property.name);
            assert_eq!(path.is_some(), expected, "{}", property.name);
        }
    }
}

/// One write and any one fault; with `MIROIR_MODEL_LARGE=1` two writes, which is twenty times as many states.
fn any_one_fault(kind: Kind) -> Bound {
    let large = std::env::var_os("MIROIR_MODEL_LARGE").is_some();
    Bound {
        kind,
        writes: if large { 2 } else { 1 },
        ..Bound::default()
    }
}

#[test]
fn a_move_with_any_one_fault() {
    check(any_one_fault(Kind::Move), &[]);
}

#[test]
fn a_further_copy_with_any_one_fault() {
    check(any_one_fault(Kind::Build), &[]);
}

#[test]
fn writes_that_overtake_each_other() {
    let impossible = [
        "a move goes back for a missed write or a lost writer",
        "a move is done after its writer was lost",
        "a move is done after its leader was lost",
        "reads are put back",
        "a move is undone",
    ];
    check(
        Bound {
            writes: 2,
            faults: 0,
            ..Bound::default()
        },
        &impossible,
    );
}

#[test]
fn a_write_that_is_lost_twice() {
    for kind in [Kind::Move, Kind::Build] {
        check(
            Bound {
                kind,
                writes: 1,
                faults: 2,
                misses: 2,
                leaders: 0,
                losses: 0,
                ..Bound::default()
            },
            &["a move is done after its leader was lost"],
        );
    }
}
