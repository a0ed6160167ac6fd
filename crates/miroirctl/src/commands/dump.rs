//! `dump create` and `dump manifest`: dumps of the whole cluster.

use std::path::Path;
use std::time::Duration;

use miroir_core::dump::Manifest;
use miroir_proto::v1;
use tokio::time::{Instant, sleep};
use uuid::Uuid;

use crate::args::{CreateDumpArgs, ManifestArgs};
use crate::connect::{Change, Coordinators};
use crate::exit::Error;
use crate::output::Output;
use crate::view::DumpShown;

/// Pause between two looks at a dump.
const PAUSE: Duration = Duration::from_millis(200);

/// Takes a dump of the whole cluster, waits until every node has written its own, and tells the manifest.
pub async fn create(
    args: &CreateDumpArgs,
    coordinators: &Coordinators,
    output: &mut Output,
) -> Result<(), Error> {
    let request_id = args.request_id.unwrap_or_else(Uuid::new_v4);
    let request = v1::CreateDumpRequest {
        request_id: request_id.to_string(),
    };
    let change = Change {
        what: "the dump".to_owned(),
        advice: format!("the same command with --request-id {request_id} repeats it without harm"),
        waits: false,
    };
    let sent = coordinators
        .change(&change, async |mut c| c.create_dump(request.clone()).await)
        .await?;
    let task = sent.answer?.task;
    let deadline = Instant::now() + Duration::from_secs(args.within_s);
    let mut seen = Instant::now();
    loop {
        let dump = match get(task, coordinators).await {
            Ok(dump) => dump,
            // While another coordinator comes to lead, one may answer that has not heard of it yet.
            Err(_) if seen.elapsed() < coordinators.timeout() => {
                sleep(PAUSE).await;
                continue;
            }
            Err(error) => return Err(error),
        };
        seen = Instant::now();
        match dump.status.as_str() {
            "succeeded" | "forgotten" => return tell(task, &dump, args.to.as_deref(), output),
            "failed" | "canceled" => return Err(failed(task, &dump)),
            _ if Instant::now() >= deadline => {
                return Err(refused(format!(
                    "the dump is not written after {} s; it goes on, and `miroirctl dump manifest {task}` tells its \
                     manifest when nodes have been asked",
                    args.within_s
                )));
            }
            _ => sleep(PAUSE).await,
        }
    }
}

/// Tells the manifest of a dump.
pub async fn manifest(
    args: &ManifestArgs,
    coordinators: &Coordinators,
    output: &mut Output,
) -> Result<(), Error> {
    let dump = get(args.task, coordinators).await?;
    if dump.status == "failed" {
        return Err(failed(args.task, &dump));
    }
    tell(args.task, &dump, args.to.as_deref(), output)
}

async fn get(task: u32, coordinators: &Coordinators) -> Result<v1::Dump, Error> {
    let request = v1::GetDumpRequest { task };
    coordinators
        .read(async |mut c| c.get_dump(request).await)
        .await
}

fn tell(task: u32, dump: &v1::Dump, to: Option<&Path>, output: &mut Output) -> Result<(), Error> {
    if dump.manifest.is_empty() {
        return Err(refused(format!(
            "the dump of task {task} has no manifest yet, or none is kept any more"
        )));
    }
    let manifest: Manifest = serde_json::from_str(&dump.manifest)
        .map_err(|error| Error::Local(format!("the manifest cannot be read: {error}")))?;
    if let Some(path) = to {
        std::fs::write(path, &dump.manifest)
            .map_err(|error| Error::Local(format!("cannot write {}: {error}", path.display())))?;
    }
    output.print(&DumpShown::new(dump.status.clone(), manifest))
}

fn failed(task: u32, dump: &v1::Dump) -> Error {
    let error: serde_json::Value = serde_json::from_str(&dump.error).unwrap_or_default();
    let why = error["message"].as_str().unwrap_or("nobody says why");
    refused(format!("the dump of task {task} failed: {why}"))
}

fn refused(what: String) -> Error {
    Error::Refused {
        what,
        rejection: None,
    }
}
