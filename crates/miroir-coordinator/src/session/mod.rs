//! Proxies' sessions as the leader sees them: leases, acknowledged epochs, recorded ids.
//!
//! All of it is memory of the present leader. A new leader knows nothing and therefore assumes the worst:
//! no epoch is acknowledged, every lease began when it took over, and ids recorded before are lost.

mod barrier;
mod lease;
mod registry;
mod seat;
mod stream;
mod tables;
mod watchdog;

pub use barrier::Barriers;
pub use lease::LeaseRules;
pub use registry::{Connection, Dirty, ProxyView, Sessions};
pub use seat::{Seat, SeatWatch};
pub use stream::{Host, Inbound, Outbound, not_leading, serve};
pub use tables::{Tables, publish};
pub use watchdog::run as watch_leases;
