//! `index show`: one index with the map of its shards.

use miroir_proto::v1;

use crate::connect::Coordinators;
use crate::exit::Error;
use crate::output::Output;
use crate::view::IndexShown;

/// Prints an index.
pub async fn show(
    uid: &str,
    coordinators: &Coordinators,
    output: &mut Output,
) -> Result<(), Error> {
    // Nodes are asked for first: one that comes between the two answers is in the second.
    let nodes = coordinators
        .read(async |mut c| c.list_nodes(v1::ListNodesRequest {}).await)
        .await?;
    let request = v1::GetIndexRequest {
        uid: uid.to_owned(),
    };
    let detail = coordinators
        .read(async |mut c| c.get_index(request.clone()).await)
        .await?;
    output.print(&IndexShown::new(detail, &nodes))
}
