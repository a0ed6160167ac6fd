//! `verify`: whether all copies of an index are equal.

use miroir_proto::v1;

use crate::connect::{Coordinators, Fault};
use crate::exit::Error;
use crate::output::Output;
use crate::view::Verification;

/// Compares all copies of an index and prints what was found.
pub async fn verify(
    uid: &str,
    repair: bool,
    coordinators: &Coordinators,
    output: &mut Output,
) -> Result<(), Error> {
    let request = v1::VerifyIndexRequest {
        uid: uid.to_owned(),
        repair,
    };
    let mut verdicts = coordinators
        .stream(async |mut c| c.verify_index(request.clone()).await)
        .await?;
    let mut all = Vec::new();
    loop {
        match verdicts.message().await {
            Ok(Some(verdict)) => all.push(verdict),
            Ok(None) => break,
            Err(status) => {
                let fault = Fault::of(&status);
                return Err(Error::Local(format!(
                    "the comparison ended after {} shards: {}; run it again",
                    all.len(),
                    fault.what()
                )));
            }
        }
    }
    let found = Verification::new(uid, all);
    output.print(&found)?;
    match found.complaint() {
        Some(what) => Err(Error::Refused {
            what,
            rejection: None,
        }),
        None => Ok(()),
    }
}
