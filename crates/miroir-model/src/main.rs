//! Checks the move protocol within a bound given on the command line.

use std::process::ExitCode;
use std::time::Instant;

use clap::Parser;
use miroir_core::migration::Kind;
use miroir_model::{Bound, Bugs, MoveModel};
use stateright::{Checker, Model};

/// Checks every order of steps of one move, within a bound.
#[derive(Debug, Parser)]
struct Args {
    /// Documents, 1 or 2.
    #[arg(long, default_value_t = 1, value_parser = clap::value_parser!(u8).range(1..=2))]
    docs: u8,
    /// Writes of clients.
    #[arg(long, default_value_t = 2)]
    writes: u8,
    /// Everything out of the ordinary, together: losses, misses and orders.
    #[arg(long, default_value_t = 1)]
    faults: u8,
    /// Proxies lost.
    #[arg(long, default_value_t = 1)]
    losses: u8,
    /// Leaders lost.
    #[arg(long, default_value_t = 1)]
    leaders: u8,
    /// Requests or answers lost between a writer and a node.
    #[arg(long, default_value_t = 1)]
    misses: u8,
    /// Orders of an operator: to cancel, or to put reads back.
    #[arg(long, default_value_t = 1)]
    orders: u8,
    /// The target is one more copy, it does not replace A.
    #[arg(long)]
    build: bool,
    /// Threads.
    #[arg(long, default_value_t = 2)]
    threads: usize,
    /// A mistake to make, by its name in `Bugs`; may be given more than once.
    #[arg(long = "bug")]
    bugs: Vec<String>,
}

fn main() -> ExitCode {
    let args = Args::parse();
    let mut bugs = Bugs::default();
    for name in &args.bugs {
        if let Err(known) = bugs.make(name) {
            eprintln!("no bug is called `{name}`; there are: {}", known.join(", "));
            return ExitCode::FAILURE;
        }
    }
    let kind = if args.build { Kind::Build } else { Kind::Move };
    let bound = Bound {
        kind,
        docs: args.docs,
        writes: args.writes,
        faults: args.faults,
        losses: args.losses,
        leaders: args.leaders,
        misses: args.misses,
        orders: args.orders,
    };
    let began = Instant::now();
    let checker = MoveModel { bound, bugs }
        .checker()
        .threads(args.threads)
        .spawn_bfs()
        .join();
    println!("{bound:?}");
    println!(
        "{} states, {} steps, longest way {}, {:.1} s",
        checker.unique_state_count(),
        checker.state_count(),
        checker.max_depth(),
        began.elapsed().as_secs_f64()
    );
    let mut wrong = false;
    for property in checker.model().properties() {
        let path = checker.discovery(property.name);
        let fails = property.expectation.discovery_is_failure() == path.is_some();
        wrong |= fails;
        println!(
            "{} {}",
            if fails { "FAILS" } else { "holds" },
            property.name
        );
        if let (true, Some(path)) = (fails, path) {
            println!("{}", miroir_model::steps(path));
        }
    }
    if wrong {
        ExitCode::FAILURE
    } else {
        ExitCode::SUCCESS
    }
}
