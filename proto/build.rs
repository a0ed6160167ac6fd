//! Compiles every `.proto` file of this crate, without a protoc binary.

use std::path::{Path, PathBuf};
use std::{env, fs};

use prost::Message;

/// Messages that coordinators also show as JSON, under the names of their fields.
const SHOWN: [&str; 20] = [
    "miroir.v1.ChangeReply",
    "miroir.v1.Plan",
    "miroir.v1.PlannedMove",
    "miroir.v1.Topology",
    "miroir.v1.HoldState",
    "miroir.v1.Policy",
    "miroir.v1.Group",
    "miroir.v1.Node",
    "miroir.v1.NodeDetail",
    "miroir.v1.ListNodesReply",
    "miroir.v1.ListGroupsReply",
    "miroir.v1.ListShardsReply",
    "miroir.v1.ShardCopy",
    "miroir.v1.ExplainShardReply",
    "miroir.v1.ListOperationsReply",
    "miroir.v1.Operation",
    "miroir.v1.ListMigrationsReply",
    "miroir.v1.Migration",
    "miroir.v1.PhaseChange",
    "miroir.v1.Comparison",
];

/// Fields of them that are phases.
const PHASES: [&str; 2] = ["miroir.v1.Migration.phase", "miroir.v1.PhaseChange.phase"];

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let sources = Path::new("miroir/v1");
    println!("cargo:rerun-if-changed={}", sources.display());
    let mut protos: Vec<PathBuf> = fs::read_dir(sources)?
        .map(|entry| Ok(entry?.path()))
        .collect::<Result<_, std::io::Error>>()?;
    protos.sort();
    let descriptors = protox::compile(&protos, ["."])?;
    let out = PathBuf::from(env::var_os("OUT_DIR").ok_or("OUT_DIR is not set")?);
    // For the reflection service, so that `grpcurl` needs no file of ours.
    fs::write(out.join("miroir.v1.bin"), descriptors.encode_to_vec())?;
    let mut config = tonic_prost_build::configure();
    for message in SHOWN {
        config = config.type_attribute(message, "#[derive(serde::Serialize)]");
    }
    for field in PHASES {
        let phase = r#"#[serde(serialize_with = "crate::json::phase")]"#;
        config = config.field_attribute(field, phase);
    }
    config.compile_fds(descriptors)?;
    Ok(())
}
