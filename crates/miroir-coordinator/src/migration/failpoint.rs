//! Named places where a test may stop an actor. Nothing of it is in a release build.

use miroir_core::migration::Phase;

/// Stops where a test asked for it, whatever the index.
/// The points are called `migration-<phase>`, such as `migration-Copying`.
#[cfg(feature = "failpoints")]
pub async fn enter(phase: Phase) {
    let name = format!("migration-{phase}");
    // A pausing point blocks its thread, which must not be one that heartbeats need.
    let waited = tokio::task::spawn_blocking(move || fail::eval(&name, |_| ())).await;
    debug_assert!(waited.is_ok(), "a failpoint panicked");
}

/// Stops after the barrier of a phase and before its work, where a test asked for it: of all indexes, or of this one by
/// `migration-<phase>-<index>`.
#[cfg(feature = "failpoints")]
pub async fn enter_of(phase: Phase, index: &str) {
    enter(phase).await;
    let name = format!("migration-{phase}-{index}");
    let waited = tokio::task::spawn_blocking(move || fail::eval(&name, |_| ())).await;
    debug_assert!(waited.is_ok(), "a failpoint panicked");
}

/// Stops before the work of a stage of a dump of the whole cluster, where a test asked for it: `cut-<stage>`.
#[cfg(feature = "failpoints")]
pub async fn enter_cut(stage: &'static str) {
    let waited = tokio::task::spawn_blocking(move || fail::eval(stage, |_| ())).await;
    debug_assert!(waited.is_ok(), "a failpoint panicked");
}

/// Does nothing.
#[cfg(not(feature = "failpoints"))]
pub async fn enter_cut(_: &'static str) {}

/// Does nothing.
#[cfg(not(feature = "failpoints"))]
pub async fn enter(_: Phase) {}

/// Does nothing.
#[cfg(not(feature = "failpoints"))]
pub async fn enter_of(_: Phase, _: &str) {}
