//! `migration list` and `migration show`.

use miroir_proto::v1;

use crate::connect::Coordinators;
use crate::exit::Error;
use crate::output::Output;
use crate::view::{MigrationShown, Migrations};

/// Prints the unfinished migrations, or `all`.
pub async fn list(
    operation: Option<u64>,
    all: bool,
    coordinators: &Coordinators,
    output: &mut Output,
) -> Result<(), Error> {
    let request = v1::ListMigrationsRequest {
        operation,
        unfinished_only: !all,
    };
    let reply = coordinators
        .read(async |mut c| c.list_migrations(request).await)
        .await?;
    output.print(&Migrations::from(reply))
}

/// Prints one migration with its history.
pub async fn show(id: u64, coordinators: &Coordinators, output: &mut Output) -> Result<(), Error> {
    let request = v1::GetMigrationRequest { id };
    let reply = coordinators
        .read(async |mut c| c.get_migration(request).await)
        .await?;
    output.print(&MigrationShown::from(reply))
}
