//! Named places where a test may stop an actor. Nothing of it is in a release build.

use miroir_core::migration::Phase;

/// Stops where a test asked for it, after the phase's barrier and before its work.
/// The points are called `migration-<phase>`, such as `migration-Copying`.
#[cfg(feature = "failpoints")]
pub async fn enter(phase: Phase) {
    let name = format!("migration-{phase}");
    // A pausing point blocks its thread, which must not be one that heartbeats need.
    let waited = tokio::task::spawn_blocking(move || fail::eval(&name, |_| ())).await;
    debug_assert!(waited.is_ok(), "a failpoint panicked");
}

/// Does nothing.
#[cfg(not(feature = "failpoints"))]
pub async fn enter(_: Phase) {}
