//! Comparing the copies of an index on request.

use std::pin::Pin;
use std::time::Duration;

use async_stream::stream;
use futures::Stream;
use miroir_core::cluster::ClusterState;
use miroir_core::id::{IndexUid, ShardId};
use miroir_proto::v1;
use tonic::Status;

use crate::actor::{Context, Fleet};
use crate::machine::Handle;
use crate::migration::{ShardReport, Verifier, VerifyError, VerifyOptions};

/// The verdicts on the shards of an index, in order.
pub type Verdicts = Pin<Box<dyn Stream<Item = Result<v1::ShardVerdict, Status>> + Send>>;

/// How often a shard is compared again whose copies came or went meanwhile.
const TRIES: u32 = 3;

/// Compares shard after shard, as fast as whoever asked takes the answers.
pub fn verify_index(ctx: &Context, request: v1::VerifyIndexRequest) -> Result<Verdicts, Status> {
    let uid = IndexUid::parse(&request.uid)
        .map_err(|error| Status::invalid_argument(error.to_string()))?;
    let options = VerifyOptions {
        chunk_docs: usize::try_from(ctx.config.scrub.chunk_docs).unwrap_or(usize::MAX),
        pause: Duration::ZERO,
    };
    let verifier = Verifier::new(ctx.cluster.clone(), ctx.fleet(), options);
    let named = |state: &ClusterState| state.index_called(&uid).map(|index| index.name().clone());
    let Some(name) = ctx.read(named) else {
        return Err(Status::not_found(format!("Index `{uid}` not found.")));
    };
    let shards = verifier.shards(&name);
    Ok(Box::pin(stream! {
        for shard in shards {
            yield Ok(verify_shard(&verifier, &name, shard, request.repair).await);
        }
    }))
}

async fn verify_shard(
    verifier: &Verifier<Handle, Fleet>,
    name: &IndexUid,
    shard: ShardId,
    repair: bool,
) -> v1::ShardVerdict {
    let mut tries = 0;
    let report = loop {
        tries += 1;
        match verifier.verify(name, shard).await {
            Err(VerifyError::Changed { .. }) if tries < TRIES => {}
            other => break other,
        }
    };
    match report {
        Ok(report) => {
            let ejected = if repair && !report.odd.is_empty() {
                verifier.eject(&report).await.map(|()| true)
            } else {
                Ok(false)
            };
            let mut verdict = verdict(report);
            match ejected {
                Ok(repaired) => verdict.repaired = repaired,
                Err(error) => verdict.error = error.to_string(),
            }
            verdict
        }
        Err(error) => v1::ShardVerdict {
            shard: shard.0.into(),
            error: error.to_string(),
            ..v1::ShardVerdict::default()
        },
    }
}

fn verdict(report: ShardReport) -> v1::ShardVerdict {
    v1::ShardVerdict {
        shard: report.shard.0.into(),
        copies: report.copies.iter().map(|node| node.0).collect(),
        documents: report.documents,
        differing: report.differing,
        ids: report.ids,
        restless: report.restless,
        odd: report.odd.iter().map(|node| node.0).collect(),
        undecided: report.undecided,
        repaired: false,
        error: String::new(),
    }
}
