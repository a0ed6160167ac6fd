//! `cluster init`: once in a cluster's life.

use miroir_core::cluster::Rejection;
use miroir_proto::v1;
use uuid::Uuid;

use crate::args::InitArgs;
use crate::connect::{Change, Coordinators};
use crate::exit::Error;
use crate::output::Output;
use crate::view::Initialised;

/// Makes the coordinators one cluster.
pub async fn init(
    args: &InitArgs,
    coordinators: &Coordinators,
    output: &mut Output,
) -> Result<(), Error> {
    // A coordinator that lost its disk does not know its cluster any more; the others do.
    let survey = coordinators.survey(false).await;
    if let Some(refusal) = survey.refusal() {
        return Err(refusal);
    }
    if let Some(cluster_id) = survey.cluster_id() {
        return already(args, cluster_id.to_owned(), output);
    }
    // The id is made here: when an answer is lost, the cluster's id tells whether it was ours.
    let cluster_id = args
        .cluster_id
        .clone()
        .unwrap_or_else(|| Uuid::new_v4().to_string());
    let request = request(args, &cluster_id);
    let change = Change {
        what: format!("the initialisation of cluster {cluster_id}"),
        advice: "`miroirctl status` shows it; `miroirctl cluster init --if-needed` repeats it without harm".to_owned(),
        // Every coordinator has to be there to become a member.
        waits: true,
    };
    let sent = coordinators
        .change(&change, async |mut c| c.init_cluster(request.clone()).await)
        .await?;
    match sent.answer {
        Ok(reply) => output.print(&Initialised {
            cluster_id: reply.cluster_id,
            created: true,
        }),
        Err(Error::Refused {
            rejection: Some(Rejection::AlreadyInitialised { cluster_id: found }),
            ..
        }) => {
            let ours = found == cluster_id && (args.cluster_id.is_none() || sent.repeated);
            if ours {
                output.print(&Initialised {
                    cluster_id,
                    created: true,
                })
            } else {
                already(args, found, output)
            }
        }
        Err(error) => Err(error),
    }
}

fn already(args: &InitArgs, cluster_id: String, output: &mut Output) -> Result<(), Error> {
    let same = args
        .cluster_id
        .as_ref()
        .is_none_or(|asked| *asked == cluster_id);
    if args.if_needed && same {
        return output.print(&Initialised {
            cluster_id,
            created: false,
        });
    }
    let advice = if same {
        "; --if-needed accepts that"
    } else {
        "; --endpoint names another cluster"
    };
    let rejection = Rejection::AlreadyInitialised { cluster_id };
    Err(Error::Refused {
        what: format!("{rejection}{advice}"),
        rejection: Some(rejection),
    })
}

fn request(args: &InitArgs, cluster_id: &str) -> v1::InitClusterRequest {
    v1::InitClusterRequest {
        cluster_id: cluster_id.to_owned(),
        default_shards: args.shards,
        default_replication_factor: args.rf,
        groups: args.groups,
        min_in_sync: args.min_in_sync,
        reverse_window_ms: args.reverse_window_ms,
        max_concurrent_migrations: args.max_concurrent_migrations,
        max_migrations_per_target: args.max_migrations_per_target,
        max_migrations_per_source: args.max_migrations_per_source,
        throttle_docs_per_s: args.throttle_docs_per_s,
    }
}
