//! How messages look as JSON.

use miroir_core::migration::Phase;
use serde::{Serialize, Serializer};

use crate::v1;

/// A phase under the name of the documentation; `null` for one that is not known here.
#[allow(
    clippy::trivially_copy_pass_by_ref,
    reason = "serde passes a reference"
)]
pub(crate) fn phase<S: Serializer>(number: &i32, serializer: S) -> Result<S::Ok, S::Error> {
    let named = v1::Phase::try_from(*number).ok();
    let known = named.and_then(|named| Phase::try_from(named).ok());
    known.map(|known| known.to_string()).serialize(serializer)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_phase_is_shown_by_its_name() {
        let change = v1::PhaseChange {
            phase: v1::Phase::from(Phase::CatchingUp).into(),
            at_ms: 5,
            event: "Copied".to_owned(),
        };
        let json = serde_json::to_value(&change).expect("plain data");
        let expected = serde_json::json!({"phase": "CatchingUp", "at_ms": 5, "event": "Copied"});
        assert_eq!(json, expected);
        let odd = v1::PhaseChange {
            phase: 99,
            ..change
        };
        let json = serde_json::to_value(&odd).expect("plain data");
        assert!(json["phase"].is_null(), "{json}");
    }
}
